"""The values that travel through the loop: frame, prediction, decision, alert.

Times are monotonic seconds (``CLOCK_MONOTONIC``) unless a name ends in ``_utc``.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Outputs = dict[str, Array]
"""Raw output tensors by role (``boxes``, ``scores``, ...), batch dimension included, still quantised."""


class FrameKind(StrEnum):
    """What a frame's ``data`` holds."""

    IMAGE = "image"
    """uint8 ``[height, width, 3]``, channels in OpenCV's order blue, green, red."""
    WINDOW = "window"
    """float32 ``[length, channels]``: consecutive samples of a signal, oldest first, in the sensor's unit."""
    RECORD = "record"
    """float64 ``[fields]``: one transaction, in the order of the model's ``fields``; its words are in ``context``."""


class OutcomeState(StrEnum):
    """Whether a frame could be judged. *No answer is a value*: blindness never reads as emptiness."""

    RESULT = "result"
    NO_RESULT = "no_result"
    """The frame is missing, too old, or no backend judged it."""
    NO_SIGNAL = "no_signal"
    """The sensor delivers, but what it delivers is not a signal (lead off, flat line, gap)."""
    NO_SCORE = "no_score"
    """The frame is sound, but what it is judged against is not there yet (no history of this card, no baseline)."""


class ClockState(StrEnum):
    """How far the wall clock can be believed."""

    SYNCED = "synced"
    FLOOR = "floor"
    """Not synchronised, but not before the newest time this device has proof of."""
    UNSYNCED = "unsynced"
    """Known to be wrong; timestamps are null."""


class Severity(StrEnum):
    """How urgent an alert is, for whoever subscribes."""

    INFO = "info"
    WARNING = "warning"
    CRITICAL = "critical"


class EventType(StrEnum):
    """An alert's place in the life of its event."""

    NEW = "new"
    UPDATE = "update"
    END = "end"


@dataclass(frozen=True, slots=True)
class ReplyAddress:
    """Where the answer to a request goes (MQTT 5 response topic and correlation data)."""

    topic: str
    correlation: bytes
    request_id: str = ""


@dataclass(frozen=True, slots=True)
class Frame:
    """One thing to judge, as a sensor captured it."""

    kind: FrameKind
    data: Array
    captured_s: float
    """Monotonic time at which the data came into being (shutter, last sample, arrival of the request)."""
    seq: int
    """Counts up by one for each frame the sensor saw, so that a jump tells how many were skipped."""
    signal_fault: str = ""
    """Why the signal is not one (``flat line``, ``out of range``, ``gap``, ``not a number``); empty when it is good."""
    reply: ReplyAddress | None = None
    context: dict[str, str | float] = field(default_factory=dict)
    """Small values carried into alerts unchanged (a card's token, a terminal's id); never raw data."""


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle in fractions of the captured picture, 0 to 1, origin at the top left."""

    ymin: float
    xmin: float
    ymax: float
    xmax: float

    @property
    def height(self) -> float:
        """Height as a fraction of the picture's height; never negative."""
        return max(0.0, self.ymax - self.ymin)

    @property
    def width(self) -> float:
        """Width as a fraction of the picture's width; never negative."""
        return max(0.0, self.xmax - self.xmin)

    @property
    def foot(self) -> tuple[float, float]:
        """Middle of the lower edge as ``(x, y)``: where a person stands, the point zones are tested with."""
        return ((self.xmin + self.xmax) / 2, self.ymax)


@dataclass(frozen=True, slots=True)
class Prediction:
    """One thing the model says about a frame. ``box`` is None for models that do not locate."""

    label: str
    score: float
    box: Box | None = None


REASONS_MAX = 8
"""Most that a decision may carry."""


@dataclass(frozen=True, slots=True)
class Reason:
    """A feature, and what it did to the score."""

    feature: str
    effect: float
    """How far the score would fall if this feature had its average value, in the unit of the model's raw score
    (for fraud: of the logit). Negative when the feature spoke against the prediction."""
    words: str = ""
    """For people: what the feature means, where somebody wrote it down."""


@dataclass(frozen=True, slots=True)
class Provenance:
    """Who judged: carried by every decision and alert."""

    model: str
    model_version: str
    backend: str
    """``tpu``, ``cpu``, ...; empty when no backend judged."""
    degraded: bool
    """True when another backend than the first of the model's order answered, or none did."""


class Priority(IntEnum):
    """What may be dropped first when the outbox is full: the higher number."""

    ALERT = 0
    TELEMETRY = 1


@dataclass(frozen=True, slots=True)
class Alert:
    """A step in the life of an event, to be delivered at least once."""

    event_id: str
    event_type: EventType
    rule: str
    label: str
    score: float
    """For END: the highest score the event reached."""
    threshold: float
    severity: Severity
    frame_seq: int
    captured_s: float
    box: Box | None = None
    context: dict[str, str | float] = field(default_factory=dict)
    priority: Priority = Priority.ALERT
    """TELEMETRY for what may make room for alerts when the outbox is full."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What the loop concluded from one frame (or from the lack of one)."""

    channel: str
    outcome_state: OutcomeState
    rules: dict[str, bool | None]
    """Each rule of the policy: is its event active? None when the frame could not be judged."""
    predictions: tuple[Prediction, ...]
    alerts: tuple[Alert, ...]
    provenance: Provenance
    frame_seq: int
    captured_s: float
    """When the judged frame was captured; for a decision without a frame, when it was decided."""
    decided_s: float
    threshold: float
    """The threshold that applied to the reported prediction."""
    reason: str = ""
    """Why there is no result; empty for RESULT."""
    reasons: tuple[Reason, ...] = ()
    """What moved the score most, strongest first; empty where the model's features have no names."""
    fallback: str = ""
    """The outcome of the channel's fallback for a frame that has no score; empty where there is none."""

    @property
    def top(self) -> Prediction | None:
        """The prediction with the highest score, if any."""
        return max(self.predictions, key=lambda prediction: prediction.score, default=None)

    @property
    def frame_age_s(self) -> float:
        """From capture to decision, in seconds."""
        return self.decided_s - self.captured_s


@dataclass(frozen=True, slots=True)
class Message:
    """One MQTT message. ``payload`` is a JSON object, a plain word, or None for a zero-byte payload."""

    topic: str
    payload: Mapping[str, object] | str | None
    qos: int = 1
    retain: bool = False


@dataclass(frozen=True, slots=True)
class InferenceResult:
    """Raw outputs of one inference and who gave them."""

    outputs: Outputs
    backend: str
    degraded: bool


def as_float32(values: Array) -> NDArray[np.float32]:
    """Return ``values`` as float32 without copying when it already is."""
    return np.asarray(values, dtype=np.float32)
