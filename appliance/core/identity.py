"""Who speaks, when, and under which topics."""

from dataclasses import dataclass

from appliance.core.types import ClockState


@dataclass(frozen=True, slots=True)
class Identity:
    """Who speaks, and under which topics."""

    root: str
    node: str
    """Stable id of this device."""
    name: str
    """What people call it."""
    boot_id: str
    software_version: str
    hardware: str
    discovery_prefix: str

    @property
    def base(self) -> str:
        """The topic under which everything of this device is."""
        return f"{self.root}/{self.node}"

    @property
    def availability_topic(self) -> str:
        """Whether the device is there."""
        return f"{self.base}/availability"

    @property
    def status_topic(self) -> str:
        """Health."""
        return f"{self.base}/status"

    @property
    def metrics_topic(self) -> str:
        """Numbers."""
        return f"{self.base}/metrics"

    @property
    def birth_topic(self) -> str:
        """Where Home Assistant says that it has started."""
        return f"{self.discovery_prefix}/status"

    def channel_topic(self, channel: str, leaf: str = "") -> str:
        """Return the topic of a channel, or one below it: ``availability``, ``state``, ``event``, ``request``."""
        return f"{self.base}/{channel}" + (f"/{leaf}" if leaf else "")

    def model_topic(self, model: str, leaf: str) -> str:
        """Return a topic about a model, by its name: ``state``, ``set``, ``report``."""
        return f"{self.base}/model/{model}/{leaf}"


@dataclass(frozen=True, slots=True)
class Stamp:
    """When."""

    mono_ns: int
    """Monotonic; orders what has the same boot id."""
    ts: str | None
    """ISO 8601, UTC, for display; None while the wall clock is known to be wrong."""
    clock: ClockState
