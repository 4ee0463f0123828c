"""What everything is given: time, measurements, a memory, the service manager."""

from collections.abc import Mapping
from datetime import datetime
from threading import Event
from typing import Protocol

from appliance.core.types import ClockState


class Clock(Protocol):
    """Time. The only way the loop learns what time it is."""

    @property
    def boot_id(self) -> str:
        """The kernel's random id of this boot; orders events where the wall clock cannot."""
        ...

    def monotonic_s(self) -> float:
        """Seconds that never run backwards and never jump (``CLOCK_MONOTONIC``)."""
        ...

    def now_utc(self) -> datetime | None:
        """The wall clock for display, or None while it is known to be wrong."""
        ...

    def state(self) -> ClockState:
        """How far the wall clock can be believed."""
        ...

    def wait(self, event: Event, timeout_s: float) -> bool:
        """Block until ``event`` is set or ``timeout_s`` has passed; say whether it is set."""
        ...


class Meter(Protocol):
    """Where measurements go. Names and labels are those of ``appliance.core.catalogue``; never raises, never blocks."""

    def count(self, name: str, amount: float = 1.0, **labels: str) -> None:
        """Add to a counter."""
        ...

    def observe(self, name: str, value: float, **labels: str) -> None:
        """Add one observation to a histogram."""
        ...

    def set(self, name: str, value: float, **labels: str) -> None:
        """Set a gauge."""
        ...

    def forget(self, name: str, **labels: str) -> None:
        """Take a gauge back: its value is not known any more. What was never set may be taken back too."""
        ...

    def flat(self) -> dict[str, float]:
        """The numbers of the ``metrics`` topic: flat, JSON-ready."""
        ...


class MemoryStore(Protocol):
    """What extractors remember over a restart: small values by owner and key. For any thread."""

    def load(self, owner: str) -> dict[str, bytes]:
        """Return every entry of ``owner``. Raises MemoryStoreError."""
        ...

    def save(self, owner: str, entries: Mapping[str, bytes]) -> None:
        """Write all of ``entries`` or none; an empty value removes its entry. Raises MemoryStoreError.

        Once it has returned, a power cut does not undo it.
        """
        ...

    def close(self) -> None:
        """Let the store go. Idempotent; never raises."""
        ...


class ServiceManager(Protocol):
    """The service manager that started us (systemd), or nobody."""

    def ready(self) -> None:
        """Say that start-up is over."""
        ...

    def watchdog(self) -> None:
        """Say that decisions are being made."""
        ...

    def status(self, line: str) -> None:
        """One line for ``systemctl status``."""
        ...

    def stopping(self) -> None:
        """Say that shutdown has begun."""
        ...

    @property
    def watchdog_interval_s(self) -> float | None:
        """How often ``watchdog`` must be called at least, or None when nobody watches."""
        ...
