"""Every knob of the appliance: its unit, its bounds, its default.

One TOML file. Unknown keys are refused, every number is bounded, every error names the file, the line where it
can be found, the key path and what would be right. Paths in the file are relative to the file.
"""

import tomllib
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, StringConstraints, ValidationError, ValidationInfo, model_validator

from appliance.core.types import Severity
from appliance.errors import ConfigError
from appliance.schema import Section, describe, key_lines

CONFIG_BYTES_MAX = 1_000_000
"""A configuration larger than this is not one."""

Identifier = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_-]{0,31}$")]
"""A name that is safe as an MQTT topic level, a metric label and a Home Assistant object id."""
Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
Point = tuple[Fraction, Fraction]
"""``[x, y]`` in fractions of the picture, origin at the top left."""
_FOLDER = "folder"


def _from_folder(path: Path, info: ValidationInfo) -> Path:
    """Let a relative path start at the folder of the configuration file."""
    return Path(info.context[_FOLDER]) / path if info.context else path


def _source_from_folder(source: str, info: ValidationInfo) -> str:
    """The same for a camera's source, unless it is a URL."""
    return source if "://" in source else str(_from_folder(Path(source), info))


FilePath = Annotated[Path, AfterValidator(_from_folder)]
BackendName = Literal["cpu"]
"""Backends that configuration may name; a new backend adds its name here and a line to the registry."""


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


class ModelConfig(Section):
    """A model folder and how to run it."""

    folder: FilePath
    """``models/<name>/<version>``."""
    backends: tuple[BackendName, ...] = Field(default=("cpu",), min_length=1)
    """In order of preference."""
    threads: int = Field(default=1, ge=1, le=16)
    xnnpack: bool = True
    invoke_deadline_s: float = Field(default=2.0, ge=0.001, le=60.0)
    probe_interval_s: float = Field(default=30.0, ge=0.1, le=86_400.0)
    """How long a dropped backend is left alone before it is probed."""


class CameraConfig(Section):
    """A camera through OpenCV: V4L2 device, RTSP URL, video file or folder of pictures."""

    kind: Literal["camera"]
    source: Annotated[str, Field(min_length=1, max_length=2048), AfterValidator(_source_from_folder)]
    """``/dev/video0``, ``rtsp://...``, a video file, or a folder of pictures."""
    width_px: int | None = Field(default=None, ge=16, le=8192)
    height_px: int | None = Field(default=None, ge=16, le=8192)
    fps: float | None = Field(default=None, gt=0.0, le=240.0)
    """Asked of a device; paces files and folders (default: the file's own rate, 10 for a folder)."""
    repeat: bool = False
    """Files and folders start again at their end."""
    open_timeout_s: float = Field(default=10.0, ge=0.1, le=120.0)


class PicameraConfig(Section):
    """The Raspberry Pi's CSI camera through picamera2."""

    kind: Literal["picamera"]
    camera: int = Field(default=0, ge=0, le=7)
    width_px: int = Field(default=640, ge=16, le=8192)
    height_px: int = Field(default=480, ge=16, le=8192)
    fps: float = Field(default=15.0, gt=0.0, le=240.0)


class ReplayConfig(Section):
    """A recording: frames or samples with their timing."""

    kind: Literal["replay"]
    file: FilePath
    """An .npz recording (see ``appliance/adapters/sensors/replay.py`` for its keys)."""
    speed: Literal["real", "fast"] = "real"
    repeat: bool = False


class TransactionsConfig(Section):
    """Questions over MQTT 5: a request with response topic and correlation data gets its decision back."""

    kind: Literal["transactions"]
    queue_max: int = Field(default=256, ge=1, le=100_000)
    """Requests waiting; beyond this the oldest is answered ``no_result`` at once."""


class QualityConfig(Section):
    """What a window must be like to be a signal at all; a window that is not yields NO_SIGNAL."""

    flat_range_min: float = Field(default=0.0, ge=0.0)
    """A channel whose maximum minus minimum is at or under this is a flat line."""
    value_min: float | None = None
    value_max: float | None = None
    out_of_range_max: Fraction = 0.0
    """Fraction of samples that may lie outside value_min..value_max."""
    gap_s_max: float | None = Field(default=None, gt=0.0)
    """Longest allowed time between two samples; default: 5 sample periods."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.value_min is not None and self.value_max is not None and self.value_min >= self.value_max:
            msg = "value_min must be less than value_max"
            raise ValueError(msg)
        return self


class SamplesFileConfig(Section):
    """Samples from a recording."""

    kind: Literal["file"]
    file: FilePath
    """.csv (one row a sample, optional header) or .npz (``samples`` [n, channels], optional ``times_s`` [n])."""
    columns: tuple[str, ...] = ()
    """CSV columns to read, by header name; default: all but ``time_s``."""
    speed: Literal["real", "fast"] = "real"
    repeat: bool = False


class SamplesSerialConfig(Section):
    """Samples from a serial line: one sample a line, channels separated by commas."""

    kind: Literal["serial"]
    device: str = Field(min_length=1, max_length=256)
    baud: int = Field(default=115_200, ge=300, le=4_000_000)


class SamplesIioConfig(Section):
    """Samples from Linux Industrial I/O (``/sys/bus/iio``), polled."""

    kind: Literal["iio"]
    device: str = Field(min_length=1, max_length=64)
    """``iio:device0``, or the device's ``name``."""
    channels: tuple[str, ...] = Field(min_length=1)
    """As in sysfs, without ``in_`` and ``_raw``: ``accel_x``, ``voltage0``."""
    sysfs: Path = Path("/sys/bus/iio/devices")


SamplesSourceConfig = Annotated[SamplesFileConfig | SamplesSerialConfig | SamplesIioConfig, Field(discriminator="kind")]


class SamplesConfig(Section):
    """Windows over a sampled signal."""

    kind: Literal["samples"]
    source: SamplesSourceConfig
    rate_hz: float = Field(gt=0.0, le=100_000.0)
    length: int = Field(ge=1, le=100_000)
    """Samples in a window."""
    stride: int = Field(ge=1, le=100_000)
    """Samples from one window's start to the next one's."""
    quality: QualityConfig = QualityConfig()


SensorConfig = Annotated[
    CameraConfig | PicameraConfig | ReplayConfig | TransactionsConfig | SamplesConfig, Field(discriminator="kind")
]


class ZoneConfig(Section):
    """Part of the picture in which a rule counts."""

    polygon: tuple[Point, ...] = Field(min_length=3, max_length=64)
    """Corners ``[x, y]``; a box counts when the middle of its lower edge is inside."""


class RuleConfig(Section):
    """When predictions become an event."""

    name: Identifier
    """Key in the state topic, and the entity's name."""
    labels: tuple[str, ...] = Field(min_length=1)
    threshold: float
    """Score at which a frame counts as a hit (the model's own scale; 0 to 1 for probabilities)."""
    release: float | None = None
    """Hysteresis: while an event is active, scores down to this still count; default: threshold."""
    hold_n: int = Field(default=1, ge=1, le=1000)
    hold_m: int = Field(default=1, ge=1, le=1000)
    """An event begins when hold_n of the last hold_m judged frames were hits, and ends when all of them were none."""
    cooldown_s: float = Field(default=0.0, ge=0.0, le=86_400.0)
    """After an event's end no new one begins for this long."""
    update_interval_s: float = Field(default=10.0, ge=0.1, le=86_400.0)
    """How often an active event says that it goes on."""
    zone: ZoneConfig | None = None
    height_min: Fraction = 0.0
    """Boxes lower than this fraction of the picture's height do not count."""
    severity: Severity = Severity.WARNING

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.release is not None and self.release > self.threshold:
            msg = f"release ({self.release}) must not be above threshold ({self.threshold})"
            raise ValueError(msg)
        if self.hold_n > self.hold_m:
            msg = f"hold_n ({self.hold_n}) must not be above hold_m ({self.hold_m})"
            raise ValueError(msg)
        return self


class ChannelConfig(Section):
    """One sensor, one model, one policy."""

    model: Identifier
    """Key under ``models``."""
    sensor: SensorConfig
    rules: tuple[RuleConfig, ...] = Field(min_length=1, max_length=32)
    capture_timeout_s: float = Field(default=2.0, ge=0.01, le=300.0)
    """Longest wait for a frame; then the channel says NO_RESULT and the sensor is reopened."""
    frame_age_max_s: float = Field(default=1.0, ge=0.001, le=300.0)
    """An older frame gets NO_RESULT, not a judgement of the past."""
    reopen_min_s: float = Field(default=0.5, ge=0.01, le=60.0)
    reopen_max_s: float = Field(default=30.0, ge=0.1, le=3600.0)
    state_interval_s: float = Field(default=10.0, ge=0.1, le=60.0)
    """How often the state topic is refreshed when nothing changed."""

    @model_validator(mode="after")
    def _distinct_rules(self) -> Self:
        names = [rule.name for rule in self.rules]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            msg = f"two rules have the name {twice[0]!r}; each rule of a channel needs its own"
            raise ValueError(msg)
        return self


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


class Config(Section):
    """The whole configuration."""

    node: NodeConfig = NodeConfig()
    mqtt: MqttConfig = MqttConfig()
    outbox: OutboxConfig = OutboxConfig()
    models: dict[Identifier, ModelConfig] = Field(min_length=1)
    channels: dict[Identifier, ChannelConfig] = Field(min_length=1, max_length=32)
    health: HealthConfig = HealthConfig()
    log: LogConfig = LogConfig()

    @model_validator(mode="after")
    def _watchdog_waits_for_capture(self) -> Self:
        for name, channel in self.channels.items():
            if channel.capture_timeout_s >= self.health.stall_after_s:
                msg = (
                    f"channels.{name}.capture_timeout_s ({channel.capture_timeout_s:g}) must be less than "
                    f"health.stall_after_s ({self.health.stall_after_s:g}), or a slow sensor reads as a stalled loop"
                )
                raise ValueError(msg)
        return self

    @model_validator(mode="after")
    def _models_exist(self) -> Self:
        for name, channel in self.channels.items():
            if channel.model not in self.models:
                known = ", ".join(sorted(self.models))
                msg = f"channels.{name}.model names {channel.model!r}, which is not under models (there: {known})"
                raise ValueError(msg)
            if isinstance(channel.sensor, TransactionsConfig) and self.mqtt.protocol != "5":
                msg = f'channels.{name}: a transactions sensor needs mqtt.protocol = "5" (response topics)'
                raise ValueError(msg)
        return self


def load(file: Path) -> Config:
    """Read a configuration; its relative paths become relative to its folder. Raises ConfigError."""
    try:
        with file.open("rb") as stream:
            raw = stream.read(CONFIG_BYTES_MAX + 1)
    except OSError as error:
        msg = f"{file}: cannot be read: {error.strerror}; give the path of a TOML file (see examples/)"
        raise ConfigError(msg) from error
    if len(raw) > CONFIG_BYTES_MAX:
        msg = f"{file}: larger than {CONFIG_BYTES_MAX} bytes; this is not a configuration"
        raise ConfigError(msg)
    try:
        text = raw.decode("utf-8")
        tree = tomllib.loads(text)
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        msg = f"{file}: not TOML: {error}"
        raise ConfigError(msg) from error
    return parse(tree, text=text, file=file)


def parse(tree: dict[str, object], *, text: str, file: Path) -> Config:
    """Check a parsed TOML tree. ``text`` and ``file`` are for the messages and relative paths. Raises ConfigError."""
    try:
        return Config.model_validate(tree, context={_FOLDER: file.resolve().parent})
    except ValidationError as error:
        raise ConfigError(
            describe(error, str(file), tree=tree, lines=key_lines(text), hint="`appliance check --keys`")
        ) from error
