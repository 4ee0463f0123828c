"""What the whole device has: its name, the broker, the outbox, models, health, logs."""

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from appliance.config.fields import BackendName, FilePath, Identifier
from appliance.schema import Section


class NodeConfig(Section):
    """Who this device is."""

    id: Identifier | None = None
    """Stable id in topics and entities; default: derived from /etc/machine-id, never from the host name."""
    name: str = Field(default="Edge appliance", min_length=1, max_length=64)
    state_dir: FilePath = Path("/var/lib/appliance")
    """Where the outbox lives; systemd's STATE_DIRECTORY, when set, takes its place."""


class TlsConfig(Section):
    """TLS to the broker. The broker's certificate is always verified."""

    ca_file: FilePath | None = None
    """Default: the system's certificate authorities."""
    cert_file: FilePath | None = None
    key_file: FilePath | None = None

    @model_validator(mode="after")
    def _pair(self) -> Self:
        if (self.cert_file is None) != (self.key_file is None):
            msg = "cert_file and key_file go together: give both or neither"
            raise ValueError(msg)
        return self


class MqttConfig(Section):
    """The broker, normally Debian's mosquitto on this device."""

    host: str = Field(default="127.0.0.1", min_length=1, max_length=253)
    port: int = Field(default=1883, ge=1, le=65_535)
    unix_socket: FilePath | None = None
    """Connect through this Unix socket; host and port are then not used."""
    protocol: Literal["5", "3.1.1"] = "5"
    username: str | None = None
    password_file: FilePath | None = None
    """A file (mode 0600) whose first line is the password."""
    tls: TlsConfig | None = None
    root: Identifier = "edge"
    """First level of every topic."""
    keepalive_s: int = Field(default=30, ge=5, le=600)
    connect_timeout_s: float = Field(default=5.0, ge=0.1, le=60.0)
    reconnect_min_s: float = Field(default=0.5, ge=0.05, le=60.0)
    reconnect_max_s: float = Field(default=30.0, ge=0.1, le=600.0)
    inflight_max: int = Field(default=20, ge=1, le=1000)
    """Messages sent and not yet acknowledged."""
    discovery: bool = True
    """Announce entities to Home Assistant."""
    discovery_prefix: str = Field(default="homeassistant", pattern=r"^[A-Za-z0-9_-]{1,64}$")
    historical_after_s: float = Field(default=10.0, ge=0.0, le=86_400.0)
    """An alert delivered later than this after its capture says ``historical: true``."""


class OutboxConfig(Section):
    """Alerts waiting for the broker, on disk."""

    file: str = Field(default="outbox.db", pattern=r"^[A-Za-z0-9._-]{1,64}$")
    """A file name in ``node.state_dir``."""
    rows_max: int = Field(default=200_000, ge=10, le=10_000_000)
    size_bytes_max: int = Field(default=200_000_000, ge=100_000, le=10_000_000_000)
    attempts_max: int = Field(default=10, ge=1, le=1000)
    """Sessions that may end on a message before it goes to the dead letters."""
    dead_letters_max: int = Field(default=1000, ge=0, le=100_000)
    sync_interval_s: float = Field(default=1.0, ge=0.0, le=60.0)
    """An alert survives a kill at once, a power cut after this long; longer is kinder to the SD card."""


class MemoryConfig(Section):
    """What channels remember over a restart: cards' histories, a wearer's baseline."""

    file: str = Field(default="memory.db", pattern=r"^[A-Za-z0-9._-]{1,64}$")
    """A file name in ``node.state_dir``."""
    interval_s: float = Field(default=30.0, ge=0.1, le=3600.0)
    """What changed is saved this often: a power cut costs at most this much; longer is kinder to the SD card."""
    size_bytes_max: int = Field(default=100_000_000, ge=100_000, le=10_000_000_000)


class ModelConfig(Section):
    """A model folder and how to run it."""

    folder: FilePath
    """``models/<name>/<version>``."""
    backends: tuple[BackendName, ...] = Field(default=("cpu",), min_length=1, max_length=3)
    """In order of preference; the last is the twin, which is ready from the first second."""
    tpu: Identifier | None = None
    """Key under ``tpus`` of the Edge TPU that serves this model; default: the only one."""
    threads: int = Field(default=1, ge=1, le=16)
    xnnpack: bool = True
    invoke_deadline_s: float | None = Field(default=None, ge=0.001, le=60.0)
    """Longest wait for an answer of the Edge TPU, then the twin answers; default: ten times what all but the slowest
    hundredth of its answers took, 0.1 to 2 s."""
    probe_interval_s: float = Field(default=30.0, ge=0.1, le=86_400.0)
    """How long a dropped backend is left alone before it is probed; an Edge TPU follows its recovery ladder instead."""
    return_passes: int = Field(default=3, ge=1, le=100)
    """How often in a row a backend must give the golden outputs before it serves again."""


class TpuConfig(Section):
    """An Edge TPU."""

    device: str = Field(default="", pattern=r"^(usb|pci)?(:[0-9])?$")
    """Which one: empty is any, ``usb`` or ``pci`` the first of that bus, ``usb:1`` its second, ``:1`` the second."""
    performance: Literal["low", "medium", "high", "max"] = "max"
    """Its clock. Slower is cooler and draws less: try ``high`` where the power supply is weak."""
    open_deadline_s: float = Field(default=30.0, ge=1.0, le=300.0)
    """Longest wait for it to open: 2 to 25 s are normal. The twin answers meanwhile."""
    runtime: Literal["auto", "ai-edge-litert", "tflite-runtime"] = "auto"
    """Python package that runs the models; ``auto``: the first one installed that works with the library."""
    library: str = Field(default="libedgetpu.so.1", min_length=1, max_length=256)
    """The shared library that drives it, from Debian's or Google's libedgetpu1-std."""
    options: dict[str, str] = Field(default_factory=dict, max_length=16)
    """Further options of the library, as ``"Usb.AlwaysDfu" = "True"``."""
    power_cycle: Literal["never", "alone", "always"] = "alone"
    """Whether a dead one's USB port may be switched off and on (uhubctl). ``alone``: only where that cuts no other
    device; the ports of a Pi 4 and a Pi 5 are switched together, so there it needs ``always``."""


class HealthConfig(Section):
    """What the appliance says of itself."""

    stall_after_s: float = Field(default=30.0, ge=1.0, le=3600.0)
    """A channel without a decision for this long stops the watchdog from being fed."""
    status_interval_s: float = Field(default=30.0, ge=0.5, le=3600.0)
    metrics_interval_s: float = Field(default=60.0, ge=0.5, le=3600.0)
    metrics_port: int | None = Field(default=None, ge=1, le=65_535)
    """Prometheus on 127.0.0.1 at this port; off by default."""


class LogConfig(Section):
    """Logs go to stderr, for journald."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "json", "human"] = "auto"
    """``auto``: human on a terminal, JSON elsewhere."""
