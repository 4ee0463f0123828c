"""What a ``model.toml`` may say, key by key (``models/README.md`` explains each to the author of a model)."""

import math
from typing import Annotated, Literal, Self

from pydantic import Field, Strict, StringConstraints, model_validator

from appliance.core.features.beats import AFTER_S
from appliance.core.model import Dtype, Task
from appliance.schema import Section
from appliance.trust.facts import DataSection, LimitsSection, Metrics, ProvenanceSection

TENSOR_ELEMENTS_MAX = 16 * 1024 * 1024
"""Elements of one tensor at a model's edge: a 2300 x 2300 colour picture, and no more than the memory of a small Pi."""
SPECTRUM_TURNS_MIN = 8
"""Turns in a window of vibration, so that half orders of the shaft's speed stand 4 bins apart: a line is 2 wide."""
SPECTRUM_ORDERS = 9
"""Multiples of the shaft's speed that are looked at, 8 and what is around it."""
TOLERANCE_LSB_MAX = 64
"""A quarter of the range of an 8-bit value; golden vectors with more prove nothing."""

Int = Annotated[int, Strict()]
Number = Annotated[float, Strict()]
Flag = Annotated[bool, Strict()]
Fraction = Annotated[float, Strict(), Field(ge=0.0, le=1.0)]
Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_-]{0,31}$")]
Text = Annotated[str, StringConstraints(min_length=1, max_length=1000)]
Label = Annotated[str, StringConstraints(pattern=r"^[ -~]{1,64}$")]
RelativePath = Annotated[
    str, StringConstraints(pattern=r"^[A-Za-z0-9_][A-Za-z0-9._-]{0,63}(/[A-Za-z0-9_][A-Za-z0-9._-]{0,63}){0,3}$")
]
"""A path that cannot leave its folder: no leading slash, no ``..``, no backslash, no hidden name."""
Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Steps = Annotated[int, Strict(), Field(ge=0, le=TOLERANCE_LSB_MAX)]
Detections = Annotated[int, Strict(), Field(ge=1, le=1000)]


class TensorSection(Section):
    """``[input]``: the tensor exactly as the file has it."""

    name: Text
    shape: tuple[Annotated[Int, Field(ge=1, le=TENSOR_ELEMENTS_MAX)], ...] = Field(min_length=1, max_length=6)
    dtype: Dtype
    scale: Number = Field(default=0.0, ge=0.0)
    zero_point: Int = 0

    @model_validator(mode="after")
    def _sound(self) -> Self:
        if math.prod(self.shape) > TENSOR_ELEMENTS_MAX:
            msg = f"shape has {math.prod(self.shape)} elements; at most {TENSOR_ELEMENTS_MAX} are taken"
            raise ValueError(msg)
        if self.dtype is Dtype.FLOAT32:
            if self.scale != 0.0 or self.zero_point != 0:
                msg = "a float32 tensor is not quantised: scale must be 0.0 and zero_point 0, or leave both out"
                raise ValueError(msg)
            return self
        low, high = (-128, 127) if self.dtype is Dtype.INT8 else (0, 255)
        if self.scale <= 0.0:
            msg = f"scale must be greater than 0 for {self.dtype}"
            raise ValueError(msg)
        if not low <= self.zero_point <= high:
            msg = f"zero_point must be from {low} to {high} for {self.dtype}, not {self.zero_point}"
            raise ValueError(msg)
        return self


class OutputSection(TensorSection):
    """``[[outputs]]``: a tensor and the part it plays."""

    role: Name


class _Preprocess(Section):
    mean: tuple[Number, ...] = Field(min_length=1, max_length=4096)
    std: tuple[Annotated[Number, Field(gt=0.0)], ...] = Field(min_length=1, max_length=4096)


class ImageSection(_Preprocess):
    """``[preprocess]`` of a picture. Colour and fit have no default: a wrong guess costs accuracy in silence."""

    kind: Literal["image"]
    colour: Literal["rgb", "bgr"]
    fit: Literal["stretch", "letterbox"]


class WindowSection(_Preprocess):
    """``[preprocess]`` of a window of samples; ``features`` only where an extractor makes some of it."""

    kind: Literal["window"]
    features: tuple[Label, ...] = Field(default=(), max_length=4096)


class RecordSection(_Preprocess):
    """``[preprocess]`` of a record of named numbers."""

    kind: Literal["record"]
    features: tuple[Label, ...] = Field(min_length=1, max_length=4096)


class CardHistorySection(Section):
    """``[extract]`` of a transaction's features from its card's and its terminal's history."""

    kind: Literal["card_history"]
    cards_max: Annotated[Int, Field(ge=1, le=1_000_000)] = 20_000
    terminals_max: Annotated[Int, Field(ge=1, le=1_000_000)] = 5_000
    history_min: Annotated[Int, Field(ge=1, le=1000)] = 3


class BeatsSection(Section):
    """``[extract]`` of heartbeats from a window of an ECG lead."""

    kind: Literal["beats"]
    rate_hz: Annotated[Number, Field(ge=50.0, le=2000.0)]
    length: Annotated[Int, Field(ge=100, le=100_000)]
    stride: Annotated[Int, Field(ge=1, le=100_000)]
    calibration_beats: Annotated[Int, Field(ge=8, le=10_000)] = 120

    @model_validator(mode="after")
    def _every_beat_is_judged(self) -> Self:
        length_min = self.stride + round(AFTER_S * self.rate_hz)
        if self.length < length_min:
            msg = f"length must be {length_min} or more: a stride, and {AFTER_S:g} s after the last beat it judges"
            raise ValueError(msg)
        return self


class SpectrumSection(Section):
    """``[extract]`` of spectral features from a window of vibration."""

    kind: Literal["spectrum"]
    rate_hz: Annotated[Number, Field(ge=10.0, le=100_000.0)]
    length: Annotated[Int, Field(ge=256, le=65_536)]
    shaft_hz: tuple[Annotated[Number, Field(gt=0.0)], Annotated[Number, Field(gt=0.0)]]
    envelope_hz: tuple[Annotated[Number, Field(gt=0.0)], Annotated[Number, Field(gt=0.0)]]
    bands: Annotated[Int, Field(ge=4, le=64)] = 12
    floor: Annotated[Number, Field(gt=0.0, le=1e6)] = 0.001
    rms_min: Annotated[Number, Field(ge=0.0, le=1e6)] = 0.0
    speed_exponent: Annotated[Number, Field(ge=0.0, le=4.0)] = 1.5

    @model_validator(mode="after")
    def _within_reach(self) -> Self:
        (slow_hz, fast_hz), (low_hz, high_hz), half_hz = self.shaft_hz, self.envelope_hz, self.rate_hz / 2
        turns, fast_max_hz = slow_hz * self.length / self.rate_hz, half_hz / SPECTRUM_ORDERS
        faults = {
            "shaft_hz must be slowest, fastest, not the same": slow_hz >= fast_hz,
            f"a window holds {turns:.1f} turns at the slowest speed; {SPECTRUM_TURNS_MIN} are needed": (
                turns < SPECTRUM_TURNS_MIN
            ),
            f"shaft_hz must end at {fast_max_hz:g} or less, so that half of rate_hz holds {SPECTRUM_ORDERS} orders": (
                fast_hz > fast_max_hz
            ),
            f"envelope_hz must be low, high, both within half of rate_hz ({half_hz:g})": (
                not low_hz < high_hz <= half_hz
            ),
        }
        for message, present in faults.items():
            if present:
                raise ValueError(message)
        return self


class SsdRawSection(Section):
    """``[decode]`` of boxes that stand as offsets from anchors."""

    kind: Literal["ssd_raw"]
    anchors: RelativePath
    box_scales: tuple[Number, Number, Number, Number]
    background: Flag
    score_min: Fraction
    iou_max: Fraction
    max_detections: Detections

    @model_validator(mode="after")
    def _divisors(self) -> Self:
        if min(self.box_scales) <= 0.0:
            msg = "box_scales must all be greater than 0: offsets are divided by them"
            raise ValueError(msg)
        return self


class SsdPostprocessedSection(Section):
    """``[decode]`` of boxes that the graph has decoded."""

    kind: Literal["ssd_postprocessed"]
    score_min: Fraction
    max_detections: Detections


class ClassifySection(Section):
    """``[decode]`` of one score a label."""

    kind: Literal["classify"]
    activation: Literal["none", "softmax"]


class AnomalySection(Section):
    """``[decode]`` of a reconstruction."""

    kind: Literal["anomaly"]
    label: Label


class ScoreSection(Section):
    """``[decode]`` of one number."""

    kind: Literal["score"]
    activation: Literal["none", "sigmoid"]
    label: Label


class GoldenSection(Section):
    """``[golden]``."""

    file: RelativePath
    tolerance_lsb: dict[Name, Steps]
    measured_lsb: dict[Name, Steps] = Field(default_factory=dict)
    runtimes: tuple[Text, ...] = Field(default=(), max_length=8)


PreprocessSection = Annotated[ImageSection | WindowSection | RecordSection, Field(discriminator="kind")]
ExtractSection = Annotated[CardHistorySection | BeatsSection | SpectrumSection, Field(discriminator="kind")]
DecodeSection = Annotated[
    SsdRawSection | SsdPostprocessedSection | ClassifySection | AnomalySection | ScoreSection,
    Field(discriminator="kind"),
]


class Description(Section):
    """A whole ``model.toml``; whether its parts fit one another, ``consistency`` says."""

    format: Literal[1] = Field(alias="schema")
    name: Name
    version: Annotated[str, StringConstraints(pattern=r"^[0-9][0-9A-Za-z.+-]{0,31}$")]
    task: Task
    description: Text
    licence: Text
    source: Text
    files: dict[RelativePath, Digest] = Field(min_length=1, max_length=64)
    input: TensorSection
    preprocess: PreprocessSection
    extract: ExtractSection | None = None
    outputs: tuple[OutputSection, ...] = Field(min_length=1, max_length=8)
    decode: DecodeSection
    golden: GoldenSection
    limits: LimitsSection = LimitsSection()
    metrics: Metrics = ()
    provenance: ProvenanceSection | None = None
    data: DataSection | None = None
