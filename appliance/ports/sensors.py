"""Where frames come from, and who is answered."""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from appliance.config import MqttConfig
from appliance.core.model import Model
from appliance.core.types import Decision, Frame
from appliance.core.wire import Identity
from appliance.ports.services import Clock, Meter


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
    meter: Meter
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
