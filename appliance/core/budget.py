"""How many bytes may be fetched: a bucket that fills with the time a device runs, and needs no wall clock.

A device without a battery for its clock does not know what a day is; it knows how long it has run. The bucket holds
a day's bytes at most, and fills as fast as a day of running fills it. While the device is off it does not fill.
"""

from dataclasses import dataclass

DAY_S = 86_400.0


@dataclass(frozen=True, slots=True)
class Bucket:
    """What may be fetched, as of a moment of the boot ``boot_id``."""

    left_bytes: float
    boot_id: str
    mono_s: float


def full(daily_bytes: int, boot_id: str, mono_s: float) -> Bucket:
    """Return the bucket of a device that has fetched nothing yet."""
    return Bucket(float(daily_bytes), boot_id, mono_s)


def refill(bucket: Bucket, daily_bytes: int, boot_id: str, mono_s: float) -> Bucket:
    """Return the bucket after the time that the device has run since.

    After a reboot that is the time since the boot, less what may have been counted already: an id that looks new may
    be the same boot's (a sandbox can hide it), and then its monotonic clock has not gone back.

    Args:
        bucket: as it was kept.
        daily_bytes: what it holds at most, and what fills it in a day.
        boot_id: of the present boot.
        mono_s: seconds of the present boot's monotonic clock.
    """
    same = boot_id == bucket.boot_id or mono_s >= bucket.mono_s
    ran_s = max(0.0, mono_s - bucket.mono_s) if same else mono_s
    return Bucket(min(bucket.left_bytes + ran_s * daily_bytes / DAY_S, float(daily_bytes)), boot_id, mono_s)


def spend(bucket: Bucket, count_bytes: int) -> Bucket | None:
    """Return the bucket without ``count_bytes``; None where it holds fewer."""
    left_bytes = bucket.left_bytes - count_bytes
    return Bucket(left_bytes, bucket.boot_id, bucket.mono_s) if left_bytes >= 0.0 else None
