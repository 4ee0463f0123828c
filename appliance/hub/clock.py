"""The publisher's clock: what a signature's time and every expiry are counted from."""

from datetime import UTC, datetime


def now_utc() -> datetime:
    """Tell the time, in whole seconds: signed metadata holds no more."""
    return datetime.now(UTC).replace(microsecond=0)
