"""What is said of a record that has no score: never a score, always an event, and a word to act on."""

import numpy as np
import pytest

from appliance.core.fallback import ABOVE_LIMIT, BELOW_LIMIT, Fallback
from appliance.core.policy import UNKNOWN, Policy, decide, outcome, start, undecided
from appliance.core.types import Decision, EventType, Frame, FrameKind, OutcomeState, Priority, Severity
from tests.core.making import BY_CPU, make_prediction, make_rule

FALLBACK = Fallback("amount", place=1, limit=50.0, severity=Severity.WARNING)
POLICY = Policy("till", (make_rule("fraud", labels=("fraud",)),), FALLBACK)


def record(amount: float) -> Frame:
    return Frame(FrameKind.RECORD, np.array([9999.0, amount]), captured_s=5.0, seq=3, context={"card": "c1"})


def unscored(frame: Frame | None, policy: Policy = POLICY, state: OutcomeState = OutcomeState.NO_SCORE) -> Decision:
    _, decision = undecided(
        start(policy, "b1"), policy, outcome_state=state, reason="no history", now_s=6.0, provenance=BY_CPU, frame=frame
    )
    return decision


@pytest.mark.parametrize(
    ("amount", "word"),
    [(49.99, BELOW_LIMIT), (50.0, BELOW_LIMIT), (50.01, ABOVE_LIMIT), (np.inf, ABOVE_LIMIT), (np.nan, ABOVE_LIMIT)],
)
def test_up_to_the_limit_a_record_passes_and_what_is_no_number_does_not(amount: float, word: str) -> None:
    assert outcome(unscored(record(amount))) == word


@pytest.mark.parametrize("state", [each for each in OutcomeState if each is not OutcomeState.RESULT])
def test_whyever_there_is_no_score_the_state_still_says_so(state: OutcomeState) -> None:
    decision = unscored(record(1.0), state=state)
    assert (decision.outcome_state, decision.rules, decision.predictions) == (state, {"fraud": None}, ())


def test_an_unscored_record_is_an_event_of_its_own_told_once() -> None:
    [flag] = unscored(record(70.0)).alerts
    assert (flag.event_type, flag.rule, flag.label) == (EventType.NEW, ABOVE_LIMIT, "amount")
    assert (flag.score, flag.threshold, flag.context) == (70.0, 50.0, {"card": "c1"})


@pytest.mark.parametrize(
    ("amount", "severity", "priority"),
    [(50.0, Severity.INFO, Priority.TELEMETRY), (50.01, Severity.WARNING, Priority.ALERT)],
)
def test_what_may_pass_is_flagged_and_makes_room_and_what_may_not_is_urgent(
    amount: float, severity: Severity, priority: Priority
) -> None:
    [flag] = unscored(record(amount)).alerts
    assert (flag.severity, flag.priority) == (severity, priority)


def test_events_of_fallback_and_rules_share_no_id() -> None:
    state, first = undecided(
        start(POLICY, "b1"),
        POLICY,
        outcome_state=OutcomeState.NO_SCORE,
        reason="no history",
        now_s=6.0,
        provenance=BY_CPU,
        frame=record(1.0),
    )
    _, second = decide(state, (make_prediction(0.9, "fraud"),), record(1.0), POLICY, now_s=7.0, provenance=BY_CPU)
    assert {alert.event_id for alert in (*first.alerts, *second.alerts)} == {"b1-till-1", "b1-till-2"}


def test_without_a_record_or_without_a_fallback_the_outcome_is_unknown_and_nothing_is_told() -> None:
    for decision in (unscored(None), unscored(record(1.0), Policy("till", POLICY.rules))):
        assert (outcome(decision), decision.alerts, decision.fallback) == (UNKNOWN, (), "")
