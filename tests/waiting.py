"""Waiting for something to become true, with a bound: the only way tests wait."""

import time
from collections.abc import Callable
from threading import Event
from typing import TypeVar

T = TypeVar("T")

POLL_S = 0.005
_NEVER = Event()


def eventually(probe: Callable[[], T], *, within_s: float = 15.0) -> T:
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
