"""Waiting for something to become true, with a bound: the only way tests wait."""

import time
from collections.abc import Callable
from threading import Event
from typing import TypeVar

T = TypeVar("T")

POLL_S = 0.005
GIVE_UP_S = 45.0
"""When something is taken for never coming: a bound for a busy machine, no measure of anything."""
_NEVER = Event()


def eventually(probe: Callable[[], T], *, within_s: float = GIVE_UP_S) -> T:
    """Call ``probe`` until it returns something true, and return that; fail after ``within_s`` seconds."""
    deadline_s = time.monotonic() + within_s
    while True:
        value = probe()
        if value:
            return value
        if time.monotonic() > deadline_s:
            msg = f"still {value!r} after {within_s} s: {probe}"
            raise AssertionError(msg)
        _NEVER.wait(POLL_S)
