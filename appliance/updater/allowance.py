"""The day's bytes, kept on disk: they are taken before they are fetched, so that no cut hides what was used."""

import json
import math
from collections.abc import Callable

from appliance.core.budget import Bucket, full, refill, spend
from appliance.errors import BudgetError, RepositoryError
from appliance.ports.services import Clock
from appliance.ports.updates import Partial, Repository, SlotStore, uncounted
from appliance.trust.manifest import Bundle

FILE = "budget.json"
PORTION_BYTES = 1024 * 1024
"""Taken from the day's bytes at a time, and given back where they were not needed: one record for each MiB fetched."""
USEFUL_BYTES = 64 * 1024
"""A connection is not worth its own bytes for less."""
USED_UP = "the day's bytes are used up (update.daily_bytes)"


class Allowance:
    """What may still be fetched. One process at a time."""

    def __init__(self, slots: SlotStore, clock: Clock, daily_bytes: int) -> None:
        """Nothing is read yet."""
        self._slots, self._clock, self._daily_bytes = slots, clock, daily_bytes
        self._taken_bytes = 0

    def left_bytes(self) -> int:
        """Return what may be fetched now. Raises StoreError."""
        return int(self._bucket().left_bytes) + self._taken_bytes

    def enough_for(self, size_bytes: int) -> bool:
        """Whether a file may be begun: there is enough for it, or as much as there ever is. Raises StoreError."""
        return self.left_bytes() >= min(size_bytes, self._daily_bytes)

    def useful_for(self, size_bytes: int) -> bool:
        """Whether it is worth going on with the ``size_bytes`` that are missing of a file. Raises StoreError."""
        return self.left_bytes() >= min(size_bytes, USEFUL_BYTES)

    def take(self, count_bytes: int) -> None:
        """Count bytes that are about to be kept. Raises BudgetError when there are no more, StoreError."""
        if count_bytes > self._taken_bytes:
            self._take(count_bytes - self._taken_bytes)
        self._taken_bytes -= count_bytes

    def charge(self, count_bytes: int) -> None:
        """Count bytes that had to be fetched whether there were any left or not. Raises StoreError."""
        if count_bytes:
            bucket = self._bucket()
            self._write(Bucket(max(0.0, bucket.left_bytes - count_bytes), bucket.boot_id, bucket.mono_s))

    def give_back(self) -> None:
        """Return what was taken and not needed. Raises StoreError."""
        if self._taken_bytes:
            bucket = self._bucket()
            self._write(Bucket(bucket.left_bytes + self._taken_bytes, bucket.boot_id, bucket.mono_s))
            self._taken_bytes = 0

    def _take(self, count_bytes: int) -> None:
        bucket = self._bucket()
        portion = max(count_bytes, min(PORTION_BYTES, int(bucket.left_bytes)))
        after = spend(bucket, portion)
        if after is None:
            raise BudgetError(USED_UP)
        self._write(after)
        self._taken_bytes += portion

    def _bucket(self) -> Bucket:
        """Return the bucket as it is now; a damaged record becomes one that was emptied just now."""
        boot_id, mono_s = self._clock.boot_id, self._clock.monotonic_s()
        raw = self._slots.file(FILE)
        if raw is None:
            return full(self._daily_bytes, boot_id, mono_s)
        bucket = _read(raw)
        if bucket is None:
            bucket = Bucket(0.0, boot_id, mono_s)
            self._write(bucket)
        return refill(bucket, self._daily_bytes, boot_id, mono_s)

    def _write(self, bucket: Bucket) -> None:
        row = {"left_bytes": bucket.left_bytes, "boot_id": bucket.boot_id, "mono_s": bucket.mono_s}
        self._slots.write_file(FILE, json.dumps(row).encode())


class Charged:
    """A repository whose metadata costs the day's bytes, too, and comes though none are left: it may end an update."""

    def __init__(self, repository: Repository, allowance: Allowance) -> None:
        self._repository, self._allowance = repository, allowance

    def metadata(self, name: str, size_bytes_max: int, received: Callable[[int], None] = uncounted) -> bytes | None:
        """As ``ports.Repository.metadata``; raises StoreError, too. An answer that broke off has its price as well."""
        pieces: list[int] = []

        def count(count_bytes: int) -> None:
            pieces.append(count_bytes)
            received(count_bytes)

        try:
            return self._repository.metadata(name, size_bytes_max, count)
        finally:
            self._allowance.charge(sum(pieces))

    def fetch(self, bundle: Bundle, into: Partial, received: Callable[[int], None]) -> None:
        """As ``ports.Repository.fetch``; ``received`` counts."""
        self._repository.fetch(bundle, into, received)


class Count:
    """Counts what is received, against the day's bytes and the end of the run."""

    def __init__(self, allowance: Allowance | None, clock: Clock, until_s: float) -> None:
        self.total_bytes = 0
        self._allowance, self._clock, self._until_s = allowance, clock, until_s

    def begin(self, missing_bytes: int) -> None:
        """See whether it is worth going on with what is missing. Raises BudgetError, StoreError."""
        if self._allowance and not self._allowance.useful_for(missing_bytes):
            raise BudgetError(USED_UP)

    def add(self, count_bytes: int) -> None:
        """Count a piece before it is kept. Raises BudgetError, RepositoryError at the end of the run, StoreError."""
        if self._allowance:
            self._allowance.take(count_bytes)
        self.total_bytes += count_bytes
        if self._clock.monotonic_s() >= self._until_s:
            raise RepositoryError("the run has lasted as long as it may (update.run_s_max)")

    def end(self) -> None:
        """Give back what was not needed. Raises StoreError."""
        if self._allowance:
            self._allowance.give_back()


def _read(raw: bytes) -> Bucket | None:
    """Read a record; None where it is damaged."""
    try:
        row = json.loads(raw)
        bucket = Bucket(float(row["left_bytes"]), str(row["boot_id"]), float(row["mono_s"]))
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    sound = all(math.isfinite(number) and number >= 0.0 for number in (bucket.left_bytes, bucket.mono_s))
    return bucket if sound else None
