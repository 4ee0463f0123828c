"""Time that passes only when told to."""

import time
from datetime import UTC, datetime, timedelta
from threading import Condition, Event, Lock

from appliance.core.types import ClockState

LOOK_S = 0.001
"""How often, in real seconds, a waiting thread looks whether its event was set; an advance wakes it at once."""
STUCK_AFTER_S = 60.0
"""Real seconds after which a wait that nobody ended is taken for a mistake in the test."""


class ManualClock:
    """A clock in the hands of its owner; for any number of threads.

    It models the port completely, but not real time's small print: time stands still while code runs.
    """

    def __init__(
        self,
        *,
        monotonic_s: float = 1000.0,
        utc: datetime = datetime(2026, 1, 1, tzinfo=UTC),
        state: ClockState = ClockState.SYNCED,
        boot_id: str = "00000000-0000-4000-8000-000000000000",
        auto_advance: bool = False,
    ) -> None:
        """With ``auto_advance``, ``wait`` moves the clock to its own end at once: for tests with one thread."""
        self._changed = Condition(Lock())
        self._monotonic_s = monotonic_s
        self._utc = utc
        self._state = state
        self._boot_id = boot_id
        self._auto_advance = auto_advance
        self._waiting = 0

    @property
    def boot_id(self) -> str:
        """What ``reboot`` or the constructor was given."""
        return self._boot_id

    @property
    def waiting(self) -> int:
        """How many threads are in ``wait`` now."""
        with self._changed:
            return self._waiting

    def monotonic_s(self) -> float:
        """The time that ``advance`` has reached, in seconds."""
        with self._changed:
            return self._monotonic_s

    def now_utc(self) -> datetime | None:
        """The wall clock, which goes with ``advance`` and jumps with ``set_utc``; None while UNSYNCED."""
        with self._changed:
            return None if self._state is ClockState.UNSYNCED else self._utc

    def state(self) -> ClockState:
        """What ``set_state`` or the constructor was given."""
        with self._changed:
            return self._state

    def wait(self, event: Event, timeout_s: float) -> bool:
        """Return when ``event`` is set, or when some thread has advanced the clock by ``timeout_s``."""
        if self._auto_advance:
            if not event.is_set():
                self.advance(max(0.0, timeout_s))
            return event.is_set()
        stuck_s = time.monotonic() + STUCK_AFTER_S
        with self._changed:
            deadline_s = self._monotonic_s + timeout_s
            self._waiting += 1
            try:
                while not event.is_set() and self._monotonic_s < deadline_s:
                    assert time.monotonic() < stuck_s, f"nobody set the event or advanced the clock to {deadline_s}"
                    self._changed.wait(LOOK_S)
            finally:
                self._waiting -= 1
        return event.is_set()

    def advance(self, seconds: float) -> None:
        """Let ``seconds`` (not negative) pass, on both clocks."""
        assert seconds >= 0.0, seconds
        with self._changed:
            self._monotonic_s += seconds
            self._utc += timedelta(seconds=seconds)
            self._changed.notify_all()

    def set_utc(self, utc: datetime) -> None:
        """Let the wall clock jump to ``utc`` (aware); the monotonic clock does not notice."""
        assert utc.tzinfo is not None, utc
        with self._changed:
            self._utc = utc

    def set_state(self, state: ClockState) -> None:
        """Say how far the wall clock can be believed from now on."""
        with self._changed:
            self._state = state

    def reboot(self, boot_id: str, monotonic_s: float = 0.0) -> None:
        """Be another boot of the same device: new id, monotonic clock anew. For use while no thread waits."""
        with self._changed:
            assert self._waiting == 0, "threads do not survive a reboot"
            self._boot_id = boot_id
            self._monotonic_s = monotonic_s
