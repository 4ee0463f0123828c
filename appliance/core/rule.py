"""When predictions become an event: one rule, and the life of its events. Pure and deterministic.

One event of one rule, judged frame by judged frame (a frame that could not be judged changes nothing)::

    quiet ── hit, and hold_n of the last hold_m were hits, and cooldown_s is over ──► active   tells NEW
    active ── update_interval_s since it last told; or another record is a hit ─────► active   tells UPDATE
    active ── none of the last hold_m was a hit ────────────────────────────────────► quiet    tells END

A frame is a hit when a prediction with one of the rule's labels scores at least ``threshold`` (``release`` while
the event is active: hysteresis) and its box, where it has one, is high enough and stands in the zone.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import inf

from appliance.core.polygon import Point, contains
from appliance.core.types import Alert, EventType, Frame, FrameKind, Prediction, Severity


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """When predictions become an event. The fields are those of the configuration's rule, resolved."""

    name: str
    labels: frozenset[str]
    threshold: float
    """Score from which a prediction counts, on the model's own scale."""
    release: float
    """Score from which it counts while the event is active; at most ``threshold``."""
    hold_n: int
    hold_m: int
    """Judged frames that are looked back on; at least ``hold_n``, which is at least 1."""
    cooldown_s: float
    update_interval_s: float
    polygon: tuple[Point, ...] | None
    """Corners of the zone, at least 3; None for the whole picture."""
    height_min: float
    """Lowest box that counts, as a fraction of the picture's height."""
    severity: Severity

    def __post_init__(self) -> None:
        assert self.release <= self.threshold, f"rule {self.name}: release above threshold"
        assert 1 <= self.hold_n <= self.hold_m, f"rule {self.name}: hold_n not in 1..hold_m"


@dataclass(frozen=True, slots=True)
class Sighting:
    """A prediction that was a hit, with the context of its frame."""

    prediction: Prediction
    context: dict[str, str | float]


@dataclass(frozen=True, slots=True)
class ActiveEvent:
    """An event that began and has not ended."""

    id: str
    best: Sighting
    latest: Sighting
    told_s: float
    """Monotonic time of its newest alert."""


@dataclass(frozen=True, slots=True)
class RuleState:
    """What a rule remembers from frame to frame."""

    history: int = 0
    """The last ``hold_m`` judged frames as bits, the newest lowest; 1 is a hit."""
    event: ActiveEvent | None = None
    quiet_until_s: float = -inf
    """Monotonic time before which no event begins: the end of the cooldown."""


@dataclass(frozen=True, slots=True)
class _Step:
    """One judged frame, as a rule sees it."""

    sighting: Sighting | None
    each_alone: bool
    """Every frame is a case of its own (records), not another look at the same scene."""
    new_id: str
    now_s: float


def floor(rule: Rule, held: RuleState) -> float:
    """Return the score that a prediction has to reach now."""
    return rule.threshold if held.event is None else rule.release


def judge(
    rule: Rule, held: RuleState, predictions: Sequence[Prediction], frame: Frame, *, now_s: float, new_id: str
) -> tuple[RuleState, Alert | None]:
    """Judge one frame by one rule.

    Args:
        rule: the rule.
        held: what it remembers, as returned by the call before.
        predictions: all that the model says about ``frame``, in any order.
        frame: the judged frame.
        now_s: monotonic time, not less than at the call before.
        new_id: id of the event that may begin with this frame.

    Returns:
        What the rule remembers now, and what is to be told, if anything. An alert of type NEW used up ``new_id``.
    """
    step = _Step(
        sighting=_sighting(rule, held, predictions, frame),
        each_alone=frame.kind is FrameKind.RECORD,
        new_id=new_id,
        now_s=now_s,
    )
    after, told = _advance(rule, held, step)
    return after, None if told is None else _alert(*told, rule, frame)


def _sighting(rule: Rule, held: RuleState, predictions: Sequence[Prediction], frame: Frame) -> Sighting | None:
    """Return the best prediction that makes ``frame`` a hit, or None. A score that is not a number is no hit."""
    least = floor(rule, held)
    hits = [
        prediction
        for prediction in predictions
        if prediction.label in rule.labels and prediction.score >= least and _stands_in(rule, prediction)
    ]
    best = max(hits, key=lambda prediction: prediction.score, default=None)
    return None if best is None else Sighting(best, frame.context)


def _stands_in(rule: Rule, prediction: Prediction) -> bool:
    """Tell whether the box is high enough and in the zone; a prediction without a box is everywhere."""
    if prediction.box is None:
        return True
    if prediction.box.height < rule.height_min:
        return False
    return rule.polygon is None or contains(rule.polygon, prediction.box.foot)


def _advance(rule: Rule, held: RuleState, step: _Step) -> tuple[RuleState, tuple[EventType, ActiveEvent] | None]:
    """Take one judged frame into a rule's state: the module's diagram. Returns also what is to be told."""
    sighting = step.sighting
    history = (held.history << 1 | (sighting is not None)) & ((1 << rule.hold_m) - 1)
    if held.event is None:
        # The frame itself must be a hit: a cooldown that runs out over an empty scene begins nothing.
        if sighting is None or history.bit_count() < rule.hold_n or step.now_s < held.quiet_until_s:
            return replace(held, history=history), None
        event = ActiveEvent(id=step.new_id, best=sighting, latest=sighting, told_s=step.now_s)
        return replace(held, history=history, event=event), (EventType.NEW, event)
    if history == 0:
        return RuleState(quiet_until_s=step.now_s + rule.cooldown_s), (EventType.END, held.event)
    event = _seen(held.event, sighting)
    if not _update_due(rule, event, step):
        return replace(held, history=history, event=event), None
    event = replace(event, told_s=step.now_s)
    return replace(held, history=history, event=event), (EventType.UPDATE, event)


def _seen(event: ActiveEvent, sighting: Sighting | None) -> ActiveEvent:
    """Let an event remember its latest and its best sighting."""
    if sighting is None:
        return event
    better = sighting.prediction.score > event.best.prediction.score
    return replace(event, latest=sighting, best=sighting if better else event.best)


def _update_due(rule: Rule, event: ActiveEvent, step: _Step) -> bool:
    """Tell whether an active event has to say so again.

    Pictures and windows show the same scene again, so once in a while is enough. A record is another case each
    time: one that is a hit is never folded silently into the event of the one before.
    """
    return step.now_s - event.told_s >= rule.update_interval_s or (step.each_alone and step.sighting is not None)


def _alert(event_type: EventType, event: ActiveEvent, rule: Rule, frame: Frame) -> Alert:
    """Tell a step of an event: its latest sighting, or at its end the best one.

    ``threshold`` is what scores had to reach at this step: ``threshold`` to begin, ``release`` from then on.
    """
    sighting = event.best if event_type is EventType.END else event.latest
    return Alert(
        event_id=event.id,
        event_type=event_type,
        rule=rule.name,
        label=sighting.prediction.label,
        score=sighting.prediction.score,
        threshold=rule.threshold if event_type is EventType.NEW else rule.release,
        severity=rule.severity,
        frame_seq=frame.seq,
        captured_s=frame.captured_s,
        box=sighting.prediction.box,
        context=sighting.context,
    )
