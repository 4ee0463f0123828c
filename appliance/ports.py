"""Every edge of the appliance as a Protocol, with the errors it may raise and what it promises.

An adapter (``appliance.adapters``) and its simulation (``appliance.sim``) implement the same port and pass the
same contract suite (``tests/contract``).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from threading import Event
from typing import Protocol, runtime_checkable

from appliance.config import MqttConfig
from appliance.core.model import Model
from appliance.core.types import Array, ClockState, Decision, Frame, Outputs
from appliance.core.wire import Identity


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


class Sensor(Protocol):
    """A source of frames. Constructed without touching the device; ``open`` touches it.

    ``open`` and ``close`` may be called again and again, in pairs; ``close`` never raises and returns within
    a bounded time even when the device hangs.
    """

    @property
    def newest_only(self) -> bool:
        """Whether ``capture`` gives only the newest frame, so that one nobody has taken may give way to a newer."""
        ...

    def open(self) -> None:
        """Get the device ready. Raises SensorError when it is not there."""
        ...

    def capture(self, timeout_s: float) -> Frame:
        """Return the newest frame not yet returned, waiting at most ``timeout_s``.

        Raises SensorError when there is none in time or the device is lost, Idle when there is none in time and
        that is no fault (no request came, a window is still filling), EndOfRecording when there will never be one
        again.
        """
        ...

    def close(self) -> None:
        """Let the device go. Idempotent; never raises."""
        ...


@dataclass(frozen=True, slots=True)
class SensorContext:
    """What a sensor may know beside its own section of the configuration."""

    channel: str
    model: Model
    clock: Clock
    meter: "Meter"
    mqtt: MqttConfig
    identity: Identity

    @property
    def topic(self) -> str:
        """The channel's topic, ``<root>/<node>/<channel>``."""
        return self.identity.channel_topic(self.channel)


@runtime_checkable
class Responder(Protocol):
    """A sensor whose frames are questions: it gets each decision to answer with."""

    def respond(self, frame: Frame, decision: Decision) -> None:
        """Answer the question that ``frame`` was. Never blocks; what cannot be sent is dropped and counted."""
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


class Backend(Protocol):
    """Runs one model on one kind of hardware. Not thread-safe: its owner takes turns."""

    @property
    def name(self) -> str:
        """``tpu``, ``cpu``, ...: what decisions are tagged with."""
        ...

    def open(self, model: Model) -> None:
        """Load ``model`` and check its tensors against its spec.

        Raises BackendError when this hardware cannot serve now, ModelError when the file contradicts its
        description (no hardware could serve it).
        """
        ...

    def invoke(self, tensor: Array, deadline_s: float) -> Outputs:
        """Run the model on one input tensor (dtype and shape of the model's input spec).

        Returns copies of the raw outputs by role. Returns or raises BackendError within ``deadline_s`` seconds
        from the call where the hardware can hang; a backend in this process that cannot hang may ignore it.
        """
        ...

    def close(self) -> None:
        """Let the hardware go. Idempotent; never raises."""
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

    def flat(self) -> dict[str, float]:
        """The numbers of the ``metrics`` topic: flat, JSON-ready."""
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


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """The broker took responsibility for a message, or refused it for good."""

    token: int
    refused: str = ""
    """The broker's reason when it refused; empty when it accepted."""


@dataclass(frozen=True, slots=True)
class Received:
    """A message on a topic we subscribed to."""

    topic: str
    payload: bytes
    retained: bool


@dataclass(frozen=True, slots=True)
class Lost:
    """The session is over."""

    reason: str


LinkEvent = Acknowledged | Received | Lost


class Link(Protocol):
    """One connection to the broker at a time. Used by one thread, but for ``wake``."""

    def connect(self, subscriptions: Sequence[str]) -> None:
        """Open a session, with our will set, and subscribe (QoS 1).

        Returns only when the broker has *accepted* the connection. Raises BrokerError after a bounded wait
        when it is absent or refuses.
        """
        ...

    def publish(self, topic: str, payload: bytes, *, qos: int, retain: bool) -> int:
        """Hand a message to the session; returns the token its acknowledgement will carry.

        Raises BrokerError when there is no session.
        """
        ...

    def poll(self, timeout_s: float) -> list[LinkEvent]:
        """Move bytes both ways; return what happened, at the latest after ``timeout_s`` or a ``wake``."""
        ...

    def wake(self) -> None:
        """Make a running ``poll`` return at once. Safe from any thread, with or without a session."""
        ...

    def close(self) -> None:
        """End the session with a clean DISCONNECT (which cancels the will). Idempotent; never raises."""
        ...
