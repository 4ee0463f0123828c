"""The sensors' sections."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from appliance.config.fields import FilePath, Fraction, source_from_folder
from appliance.schema import Section


class CameraConfig(Section):
    """A camera through OpenCV: V4L2 device, RTSP URL, video file or folder of pictures."""

    kind: Literal["camera"]
    source: Annotated[str, Field(min_length=1, max_length=2048), AfterValidator(source_from_folder)]
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
    gap_s_max: float | None = Field(default=None, gt=0.0, le=3600.0)
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
