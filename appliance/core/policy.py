"""When predictions become an event, and what is told of it: the rules of one channel. Pure and deterministic.

Each rule lives for itself (see ``appliance.core.rule``); a decision puts them together. A frame that could not be
judged is neither a hit nor a miss.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from appliance.core.fallback import Fallback, fall_back
from appliance.core.rule import Rule, RuleState, floor, judge
from appliance.core.types import (
    Alert,
    Decision,
    EventType,
    Frame,
    OutcomeState,
    Prediction,
    Provenance,
)

__all__ = ["CLEAR", "UNKNOWN", "Policy", "PolicyState", "Rule", "decide", "outcome", "start", "undecided"]

CLEAR = "clear"
"""The outcome of a judged frame when no event is active."""
UNKNOWN = "unknown"
"""The outcome of a frame that could not be judged."""


@dataclass(frozen=True, slots=True)
class Policy:
    """The rules of one channel, at least one, in the order in which they name the outcome."""

    channel: str
    rules: tuple[Rule, ...]
    fallback: Fallback | None = None
    """What is said of a record that has no score."""

    def __post_init__(self) -> None:
        assert self.rules, f"channel {self.channel} has no rules"


@dataclass(frozen=True, slots=True)
class PolicyState:
    """What a policy remembers from frame to frame."""

    event_prefix: str
    rules: tuple[RuleState, ...]
    events: int = 0
    """Events begun so far, over all rules: the number in the newest event's id."""
    frame_seq: int = 0
    """Of the newest frame seen; a decision without a frame carries it."""


def start(policy: Policy, event_prefix: str) -> PolicyState:
    """Return the state before the first frame.

    Args:
        policy: the channel's policy.
        event_prefix: makes event ids unique beyond this process: different at each start.
    """
    return PolicyState(event_prefix=event_prefix, rules=tuple(RuleState() for _ in policy.rules))


def decide(
    state: PolicyState,
    predictions: Sequence[Prediction],
    frame: Frame,
    policy: Policy,
    *,
    now_s: float,
    provenance: Provenance,
) -> tuple[PolicyState, Decision]:
    """Judge one frame by every rule of ``policy``.

    Args:
        state: as returned by ``start`` or the call before.
        predictions: all that the model says about ``frame``, in any order.
        frame: the judged frame.
        policy: the one that ``state`` was started with.
        now_s: monotonic time, not less than at the call before.
        provenance: who judged.

    Returns:
        The state for the next call, and the decision with at most one alert a rule, in the rules' order.
    """
    events, held_after, alerts = state.events, [], []
    for rule, held in zip(policy.rules, state.rules, strict=True):
        new_id = f"{state.event_prefix}-{policy.channel}-{events + 1}"
        after, alert = judge(rule, held, predictions, frame, now_s=now_s, new_id=new_id)
        held_after.append(after)
        if alert is not None:
            events += alert.event_type is EventType.NEW
            alerts.append(alert)
    decision = Decision(
        channel=policy.channel,
        outcome_state=OutcomeState.RESULT,
        rules={rule.name: held.event is not None for rule, held in zip(policy.rules, held_after, strict=True)},
        predictions=tuple(predictions),
        alerts=tuple(alerts),
        provenance=provenance,
        frame_seq=frame.seq,
        captured_s=frame.captured_s,
        decided_s=now_s,
        threshold=_reported_threshold(state, predictions, policy),
    )
    return replace(state, rules=tuple(held_after), events=events, frame_seq=frame.seq), decision


def undecided(
    state: PolicyState,
    policy: Policy,
    *,
    outcome_state: OutcomeState,
    reason: str,
    now_s: float,
    provenance: Provenance,
    frame: Frame | None,
) -> tuple[PolicyState, Decision]:
    """Say that a frame could not be judged, or that there was none.

    That is neither a hit nor a miss: no event of a rule begins, ends or is told of, and what was judged before stays in
    view. A record without a score is flagged by the policy's fallback, where it has one.

    Args:
        state: as returned by ``start`` or the call before.
        policy: the one that ``state`` was started with.
        outcome_state: NO_RESULT, NO_SIGNAL or NO_SCORE.
        reason: why, in a few words for people.
        now_s: monotonic time, not less than at the call before.
        provenance: who would have judged.
        frame: the frame that could not be judged, if there was one.
    """
    assert outcome_state is not OutcomeState.RESULT, "a result is decided"
    seq = state.frame_seq if frame is None else frame.seq
    word = ""
    alerts: tuple[Alert, ...] = ()
    if policy.fallback is not None and frame is not None:
        new_id = f"{state.event_prefix}-{policy.channel}-{state.events + 1}"
        word, alert = fall_back(policy.fallback, frame, new_id)
        alerts = (alert,)
    decision = Decision(
        channel=policy.channel,
        outcome_state=outcome_state,
        rules=dict.fromkeys((rule.name for rule in policy.rules), None),
        predictions=(),
        alerts=alerts,
        provenance=provenance,
        frame_seq=seq,
        captured_s=now_s if frame is None else frame.captured_s,
        decided_s=now_s,
        threshold=policy.rules[0].threshold,
        reason=reason or outcome_state.value,
        fallback=word,
    )
    return replace(state, frame_seq=seq, events=state.events + bool(alerts)), decision


def outcome(decision: Decision) -> str:
    """Return the one word for a decision: its first active rule in the policy's order, or CLEAR.

    Of a frame that could not be judged what the fallback says, or UNKNOWN.
    """
    if decision.outcome_state is not OutcomeState.RESULT:
        return decision.fallback or UNKNOWN
    return next((name for name, active in decision.rules.items() if active), CLEAR)


def _reported_threshold(state: PolicyState, predictions: Sequence[Prediction], policy: Policy) -> float:
    """Return what applied to the prediction with the highest score: by the first rule with its label, or the first."""
    top = max(predictions, key=lambda prediction: prediction.score, default=None)
    for rule, held in zip(policy.rules, state.rules, strict=True):
        if top is not None and top.label in rule.labels:
            return floor(rule, held)
    return floor(policy.rules[0], state.rules[0])
