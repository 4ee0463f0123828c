"""What a channel says of a record that has no score: an offline policy, by one number and a lower limit. Pure.

A terminal must be told something even when the card has no history or no backend answers. Up to the limit the record
may pass, and is flagged; above it somebody has to be asked. It is never told as a score: ``outcome_state`` stays what
it is, and every such record is an event of its own, so that it can be looked at afterwards. Such an event is told once,
as ``new``, and has no end. Flags of what may pass make room for alerts when the outbox is full: a device whose
histories are empty has many of them.
"""

from dataclasses import dataclass

from appliance.core.types import Alert, EventType, Frame, FrameKind, Priority, Severity

BELOW_LIMIT = "below_limit"
ABOVE_LIMIT = "above_limit"


@dataclass(frozen=True, slots=True)
class Fallback:
    """The limit of one channel."""

    field: str
    """The number that is compared, by its name in a request."""
    place: int
    """Where that number stands in a RECORD frame."""
    limit: float
    """Greatest value that passes."""
    severity: Severity
    """Of a record above the limit; one that may pass is flagged as INFO."""


def fall_back(fallback: Fallback, frame: Frame, event_id: str) -> tuple[str, Alert]:
    """Return the outcome for a record without a score, and the event that flags it.

    The alert carries the compared number as its score and the limit as its threshold. NaN does not pass.
    """
    assert frame.kind is FrameKind.RECORD, "a fallback is for records"
    value = float(frame.data[fallback.place])
    passes = value <= fallback.limit
    alert = Alert(
        event_id=event_id,
        event_type=EventType.NEW,
        rule=BELOW_LIMIT if passes else ABOVE_LIMIT,
        label=fallback.field,
        score=value,
        threshold=fallback.limit,
        severity=Severity.INFO if passes else fallback.severity,
        frame_seq=frame.seq,
        captured_s=frame.captured_s,
        context=frame.context,
        priority=Priority.TELEMETRY if passes else Priority.ALERT,
    )
    return alert.rule, alert
