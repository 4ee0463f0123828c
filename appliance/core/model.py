"""What a model says of itself: tensors, preprocessing, decoding, golden vectors. Values only."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import ClassVar, Literal

import numpy as np

from appliance.core.facts import Facts
from appliance.core.types import Array, FrameKind


class Dtype(StrEnum):
    """Element types that the appliance's models use at their edges."""

    INT8 = "int8"
    UINT8 = "uint8"
    FLOAT32 = "float32"

    @property
    def numpy(self) -> np.dtype[np.generic]:
        """The NumPy dtype of the same name."""
        return np.dtype(self.value)


class Task(StrEnum):
    """What a model is for; decides which decoders may follow it."""

    DETECT = "detect"
    CLASSIFY = "classify"
    ANOMALY = "anomaly"
    SCORE = "score"


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """One tensor at the model's edge. ``real = (quantised - zero_point) * scale``.

    ``scale`` is 0.0 for float tensors, which are not quantised.
    """

    name: str
    shape: tuple[int, ...]
    dtype: Dtype
    scale: float = 0.0
    zero_point: int = 0


@dataclass(frozen=True, slots=True)
class Preprocess:
    """How a frame becomes the input tensor: ``(x - mean) / std``, then quantised by the input's spec.

    ``mean`` and ``std`` have one entry a colour channel (IMAGE), signal channel (WINDOW) or feature (RECORD).
    """

    kind: FrameKind
    mean: tuple[float, ...]
    std: tuple[float, ...]
    colour: Literal["rgb", "bgr"] = "rgb"
    fit: Literal["stretch", "letterbox"] = "stretch"
    features: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class SsdRawDecode:
    """Boxes as offsets from anchors, to be decoded and suppressed here (Liu et al., SSD, 2016)."""

    anchors: Array
    """float32 ``[N, 4]``: ymin, xmin, ymax, xmax in fractions of the model's picture."""
    box_scales: tuple[float, float, float, float]
    """Divisors of the y, x, height and width offsets."""
    background: bool
    """Column 0 of the scores is the background; label i stands in column i + 1."""
    score_min: float
    iou_max: float
    max_detections: int


@dataclass(frozen=True, slots=True)
class SsdPostprocessedDecode:
    """Boxes decoded and suppressed in the graph (``TFLite_Detection_PostProcess``)."""

    score_min: float
    max_detections: int


@dataclass(frozen=True, slots=True)
class ClassifyDecode:
    """One score a label."""

    activation: Literal["none", "softmax"]


@dataclass(frozen=True, slots=True)
class AnomalyDecode:
    """Mean squared error between the normalised input and its reconstruction."""

    label: str


@dataclass(frozen=True, slots=True)
class ScoreDecode:
    """One number for the whole frame."""

    activation: Literal["none", "sigmoid"]
    label: str


@dataclass(frozen=True, slots=True)
class CardHistoryExtract:
    """Features of a transaction against what its card and its terminal did before."""

    FIELDS: ClassVar[tuple[str, ...]] = ("amount", "time", "x", "y", "category", "card_not_present")
    """Numbers of a request, in the order of a RECORD frame; ``time`` is UTC seconds since 1970, x and y are km."""
    TOKENS: ClassVar[tuple[str, ...]] = ("card", "terminal")
    """Words of a request that say whose history it is; never the card's number."""

    cards_max: int = 20_000
    terminals_max: int = 5_000
    history_min: int = 3
    """Transactions of a card that must be known before one is scored."""


@dataclass(frozen=True, slots=True)
class BeatsExtract:
    """Features of each heartbeat in a window of one ECG lead, against the wearer's own baseline."""

    rate_hz: float
    length: int
    """Samples in a window."""
    stride: int
    """Samples from one window's start to the next one's; each beat is judged in one window."""
    calibration_beats: int = 120
    """Good, mutually similar beats from which the wearer's baseline is made."""


@dataclass(frozen=True, slots=True)
class SpectrumExtract:
    """Spectral features of a window of vibration, measured in orders of the shaft's speed."""

    rate_hz: float
    length: int
    """Samples in a window."""
    shaft_hz: tuple[float, float]
    """Slowest and fastest speed of the shaft, in turns a second: it is looked for between them."""
    envelope_hz: tuple[float, float]
    """The band in which a damaged bearing rings."""
    bands: int = 12
    """Levels from half the slowest speed to half the rate, of equal width on a logarithmic scale."""
    floor: float = 0.001
    """Levels (rms, in the sensor's unit) below this do not matter: the sensor's own noise."""
    rms_min: float = 0.0
    """A quieter window (rms, in the sensor's unit, without its mean) is of a machine that stands still."""
    speed_exponent: float = 1.5
    """Levels are taken to grow with this power of the speed, and corrected for it: 2 is a rotating mass, 0 is none."""


Extract = CardHistoryExtract | BeatsExtract | SpectrumExtract


Decode = SsdRawDecode | SsdPostprocessedDecode | ClassifyDecode | AnomalyDecode | ScoreDecode


@dataclass(frozen=True, slots=True, eq=False)
class Golden:
    """Inputs with the raw outputs they must give, and how far a runtime may be off."""

    inputs: tuple[Array, ...]
    outputs: tuple[Mapping[str, Array], ...]
    tolerance_lsb: Mapping[str, int]
    """For each role the largest allowed difference, in steps of the quantised value."""


@dataclass(frozen=True, slots=True, eq=False)
class Model:
    """A verified model: its description, and the very bytes that were verified."""

    name: str
    version: str
    task: Task
    description: str
    licence: str
    source: str
    input: TensorSpec
    preprocess: Preprocess
    outputs: Mapping[str, TensorSpec]
    decode: Decode
    labels: tuple[str, ...]
    golden: Golden
    tflite: bytes
    sha256: str
    """Of ``tflite``, in hexadecimal."""
    tflite_edgetpu: bytes | None = None
    """The same network compiled for the Edge TPU (``model_edgetpu.tflite``); runs there and nowhere else."""
    onnx: bytes | None = None
    """The same network as ONNX (``model.onnx``), for ONNX Runtime."""
    extract: Extract | None = None
    """How a frame becomes the numbers that ``preprocess`` normalises; None where it is those numbers."""
    facts: Facts = field(default_factory=Facts)
    """Limits, metrics, provenance and data card; nothing of it changes a decision."""

    @property
    def fields(self) -> tuple[str, ...]:
        """Names of a RECORD frame's numbers: what a request has to bring. Empty for other kinds of frame."""
        if isinstance(self.extract, CardHistoryExtract):
            return self.extract.FIELDS
        return self.preprocess.features if self.preprocess.kind is FrameKind.RECORD else ()

    @property
    def channels(self) -> int:
        """Signals that a WINDOW frame holds side by side: one lead, one axis where an extractor makes the features."""
        return len(self.preprocess.mean) if self.extract is None else 1

    @property
    def tokens(self) -> tuple[str, ...]:
        """Names of the words that a RECORD frame must bring in its context."""
        return self.extract.TOKENS if isinstance(self.extract, CardHistoryExtract) else ()
