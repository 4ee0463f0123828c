"""Each rule of a policy, one example at a time. Properties over any timing are in test_policy_properties.py."""

from math import nan

import pytest

from appliance.core.policy import Policy, outcome
from appliance.core.polygon import contains
from appliance.core.types import Box, FrameKind, OutcomeState, Severity
from tests.core.making import Playing, make_decision, make_frame, make_prediction, make_rule, told

UNJUDGED = [state for state in OutcomeState if state is not OutcomeState.RESULT]


@pytest.mark.parametrize(
    ("score", "begins"), [(0.59, False), (0.6, True), (0.61, True), (nan, False)], ids=["below", "at", "above", "nan"]
)
def test_a_score_counts_from_the_threshold_on(score: float, *, begins: bool) -> None:
    decision = Playing(make_rule(threshold=0.6)).see(score)
    assert decision.rules == {"person": begins}
    assert told(decision) == (["new"] if begins else [])


def test_only_the_labels_of_the_rule_count() -> None:
    play = Playing(make_rule(labels=("person", "dog")))
    assert told(play.see(make_prediction(0.9, "cat"))) == []
    assert told(play.see(make_prediction(0.9, "dog"))) == ["new"]


def test_while_an_event_is_active_scores_down_to_release_keep_it_going() -> None:
    play = Playing(make_rule(threshold=0.6, release=0.4))
    assert told(play.see(0.5)) == [], "release alone begins nothing"
    assert told(play.see(0.6), play.see(0.4), play.see(0.39)) == ["new", "end"]
    assert told(play.see(0.5)) == [], "after the end the threshold applies again"


@pytest.mark.parametrize(
    ("hold", "scores", "expected"),
    [
        ((2, 3), [0.9, 0.0, 0.9], ["new"]),
        ((2, 3), [0.9, 0.0, 0.0, 0.9], []),
        ((3, 3), [0.9, 0.9, 0.0, 0.9, 0.9], []),
        ((3, 3), [0.9, 0.9, 0.9], ["new"]),
        ((2, 2), [0.9, 0.9, 0.0, 0.9], ["new"]),
        ((2, 2), [0.9, 0.9, 0.0, 0.0], ["new", "end"]),
        ((1, 3), [0.9, 0.0, 0.0], ["new"]),
        ((1, 3), [0.9, 0.0, 0.0, 0.0], ["new", "end"]),
        ((1, 3), [0.9, 0.0, 0.0, 0.9, 0.0, 0.0], ["new"]),
    ],
)
def test_an_event_begins_with_n_hits_in_m_frames_and_ends_with_m_misses(
    hold: tuple[int, int], scores: list[float], expected: list[str]
) -> None:
    play = Playing(make_rule(hold=hold))
    assert told(*[play.see(score) for score in scores]) == expected


def test_after_an_end_no_event_begins_until_the_cooldown_is_over() -> None:
    play = Playing(make_rule(cooldown_s=5.0))
    assert told(play.see(0.9), play.see(0.0)) == ["new", "end"]
    assert told(play.see(0.9, after_s=4.9)) == []
    assert told(play.see(0.9, after_s=0.2)) == ["new"]


def test_a_cooldown_that_runs_out_over_an_empty_scene_begins_nothing() -> None:
    play = Playing(make_rule(hold=(1, 3), cooldown_s=5.0))
    assert told(play.see(0.9), play.see(0.0), play.see(0.0), play.see(0.0)) == ["new", "end"]
    assert told(play.see(0.9, after_s=4.0)) == []
    assert told(play.see(0.0, after_s=2.0)) == [], "the hit is still in view, but nobody is there now"
    assert told(play.see(0.9)) == ["new"]


LEFT_HALF = ((0.0, 0.0), (0.5, 0.0), (0.5, 1.0), (0.0, 1.0))


@pytest.mark.parametrize(
    ("box", "begins"),
    [
        (Box(0.1, 0.1, 0.8, 0.3), True),
        (Box(0.1, 0.4, 0.8, 0.9), False),
        (Box(0.1, 0.4, 0.8, 0.6), True),
        (Box(0.1, 0.1, 1.0, 0.3), True),
        (None, True),
    ],
    ids=["inside", "outside", "foot on the line", "foot at the picture's edge", "no box"],
)
def test_a_box_counts_when_its_foot_is_in_the_zone(box: Box | None, *, begins: bool) -> None:
    play = Playing(make_rule(polygon=LEFT_HALF))
    assert told(play.see(make_prediction(0.9, box=box))) == (["new"] if begins else [])


def test_the_foot_and_not_the_head_of_a_box_is_in_the_zone() -> None:
    lower_half = ((0.0, 0.5), (1.0, 0.5), (1.0, 1.0), (0.0, 1.0))
    play = Playing(make_rule(polygon=lower_half))
    assert told(play.see(make_prediction(0.9, box=Box(0.1, 0.1, 0.45, 0.3)))) == []
    assert told(play.see(make_prediction(0.9, box=Box(0.1, 0.1, 0.55, 0.3)))) == ["new"]


@pytest.mark.parametrize(
    ("ymax", "begins"), [(0.74, False), (0.75, True), (0.9, True)], ids=["too low", "just high enough", "higher"]
)
def test_a_box_counts_from_the_minimum_height_on(ymax: float, *, begins: bool) -> None:
    play = Playing(make_rule(height_min=0.25))
    assert told(play.see(make_prediction(0.9, box=Box(0.5, 0.0, ymax, 1.0)))) == (["new"] if begins else [])


def test_a_better_prediction_that_does_not_count_does_not_hide_one_that_does() -> None:
    play = Playing(make_rule(height_min=0.25))
    near, far = make_prediction(0.7, box=Box(0.1, 0.1, 0.9, 0.3)), make_prediction(0.9, box=Box(0.1, 0.1, 0.2, 0.3))
    (alert,) = play.see(far, near).alerts
    assert (alert.score, alert.box) == (0.7, near.box)


@pytest.mark.parametrize("severity", Severity)
def test_alerts_carry_the_severity_of_their_rule(severity: Severity) -> None:
    play = Playing(make_rule(severity=severity))
    assert [alert.severity for alert in (*play.see(0.9).alerts, *play.see(0.0).alerts)] == [severity, severity]


def test_an_active_event_says_so_each_update_interval() -> None:
    play = Playing(make_rule(update_interval_s=3.0))
    assert told(*[play.see(0.9) for _ in range(8)]) == ["new", "update", "update"]


def test_an_update_carries_the_latest_sighting_and_the_end_the_best() -> None:
    play = Playing(make_rule(threshold=0.6, release=0.4, update_interval_s=2.0))
    alerts = [alert for score in (0.7, 0.95, 0.5, 0.1) for alert in play.see(score).alerts]
    assert [(alert.event_type.value, alert.score, alert.threshold) for alert in alerts] == [
        ("new", 0.7, 0.6),
        ("update", 0.5, 0.4),
        ("end", 0.95, 0.4),
    ]
    assert {alert.event_id for alert in alerts} == {"b1-gate-1"}
    assert [alert.frame_seq for alert in alerts] == [1, 3, 4]


def test_an_update_that_falls_on_a_miss_carries_the_sighting_before() -> None:
    play = Playing(make_rule(hold=(1, 5), update_interval_s=2.0))
    play.see(0.7)
    play.see(0.8)
    (alert,) = play.see().alerts
    assert (alert.event_type.value, alert.score) == ("update", 0.8)


def test_each_record_that_is_a_hit_is_told_and_none_is_folded_into_the_one_before() -> None:
    play = Playing(make_rule("fraud"), kind=FrameKind.RECORD)
    decisions = [play.see(0.9, context={"card": card}) for card in ("a", "b")]
    assert told(*decisions) == ["new", "update"]
    assert [alert.context for decision in decisions for alert in decision.alerts] == [{"card": "a"}, {"card": "b"}]


def test_the_end_is_not_told_with_the_context_of_the_frame_that_was_no_hit() -> None:
    play = Playing(make_rule("fraud"), kind=FrameKind.RECORD)
    play.see(0.9, context={"card": "guilty"})
    (alert,) = play.see(0.1, context={"card": "innocent"}).alerts
    assert (alert.event_type.value, alert.context) == ("end", {"card": "guilty"})


@pytest.mark.parametrize("outcome_state", UNJUDGED)
def test_a_frame_that_cannot_be_judged_says_so_and_nothing_else(outcome_state: OutcomeState) -> None:
    play = Playing(make_rule(), make_rule("dog", labels=("dog",)))
    play.see(0.9)
    decision = play.blind(outcome_state, frame=make_frame(9, captured_s=101.5))
    assert decision.outcome_state is outcome_state
    assert decision.rules == {"person": None, "dog": None}
    assert (decision.alerts, decision.predictions, decision.reason) == ((), (), "lens covered")
    assert (decision.frame_seq, decision.captured_s, decision.decided_s) == (9, 101.5, 102.0)


@pytest.mark.parametrize("outcome_state", UNJUDGED)
def test_blindness_neither_begins_nor_ends_an_event_nor_forgets_what_was_seen(outcome_state: OutcomeState) -> None:
    play = Playing(make_rule(hold=(2, 2)))
    play.see(0.9)
    assert told(*[play.blind(outcome_state) for _ in range(5)]) == []
    assert told(play.see(0.9)) == ["new"], "the hit before the blindness still counts"
    assert told(play.see(0.0)) == []
    assert told(*[play.blind(outcome_state) for _ in range(5)]) == [], "blindness is no miss"
    assert told(play.see(0.0)) == ["end"]


def test_blindness_says_no_update_but_the_first_judged_frame_after_it_does() -> None:
    play = Playing(make_rule(hold=(1, 2), update_interval_s=3.0))
    play.see(0.9)
    assert told(play.blind(after_s=60.0)) == []
    assert told(play.see(0.9)) == ["update"]


def test_a_decision_without_a_frame_carries_the_newest_sequence_and_the_time_of_deciding() -> None:
    play = Playing(make_rule())
    assert play.blind().frame_seq == 0
    play.see(0.1)
    decision = play.blind()
    assert (decision.frame_seq, decision.captured_s) == (1, decision.decided_s)
    play.blind(frame=make_frame(8))
    assert play.blind().frame_seq == 8, "a frame that could not be judged was seen all the same"


def test_what_was_not_judged_always_has_a_reason() -> None:
    play = Playing(make_rule())
    assert play.blind(OutcomeState.NO_SIGNAL, reason="").reason == "no_signal"
    assert play.see(0.1).reason == "", "a result has no reason to be none"


def test_rules_live_for_themselves_and_number_their_events_together() -> None:
    play = Playing(make_rule(), make_rule("dog", labels=("dog",)))
    first = play.see(0.9, make_prediction(0.8, "dog"))
    assert [(alert.rule, alert.event_id) for alert in first.alerts] == [("person", "b1-gate-1"), ("dog", "b1-gate-2")]
    second = play.see(make_prediction(0.8, "dog"))
    assert second.rules == {"person": False, "dog": True}
    third = play.see(0.9)
    assert [(alert.rule, alert.event_id, alert.event_type.value) for alert in third.alerts] == [
        ("person", "b1-gate-3", "new"),
        ("dog", "b1-gate-2", "end"),
    ]


def test_a_decision_reports_all_predictions_and_the_threshold_of_the_best() -> None:
    play = Playing(make_rule(threshold=0.6, release=0.3), make_rule("dog", labels=("dog",), threshold=0.8))
    assert play.see().threshold == 0.6
    assert play.see(make_prediction(0.99, "cat")).threshold == 0.6
    both = (make_prediction(0.2), make_prediction(0.5, "dog"))
    decision = play.see(*both)
    assert (decision.predictions, decision.threshold) == (both, 0.8)
    assert play.see(0.7).threshold == 0.6
    assert play.see(0.7).threshold == 0.3, "the event is active: release applies"


@pytest.mark.parametrize(
    ("rules", "outcome_state", "word"),
    [
        ({"person": False, "dog": False}, OutcomeState.RESULT, "clear"),
        ({"person": False, "dog": True}, OutcomeState.RESULT, "dog"),
        ({"person": True, "dog": True}, OutcomeState.RESULT, "person"),
        ({"person": None, "dog": None}, OutcomeState.NO_RESULT, "unknown"),
        ({"person": None, "dog": None}, OutcomeState.NO_SIGNAL, "unknown"),
    ],
)
def test_the_outcome_is_the_first_active_rule_or_clear_or_unknown(
    rules: dict[str, bool | None], outcome_state: OutcomeState, word: str
) -> None:
    assert outcome(make_decision(rules, outcome_state=outcome_state)) == word


def test_what_the_configuration_refuses_is_an_invariant_here() -> None:
    with pytest.raises(AssertionError, match="release"):
        make_rule(threshold=0.5, release=0.6)
    with pytest.raises(AssertionError, match="hold_n"):
        make_rule(hold=(3, 2))
    with pytest.raises(AssertionError, match="no rules"):
        Policy("gate", ())
    with pytest.raises(AssertionError, match="decided"):
        Playing(make_rule()).blind(OutcomeState.RESULT)


ARROW = ((0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.5, 0.5), (0.0, 1.0))


@pytest.mark.parametrize(
    ("point", "inside"),
    [
        ((0.5, 0.25), True),
        ((0.1, 0.8), True),
        ((0.9, 0.8), True),
        ((0.5, 0.8), False),
        ((0.5, 0.5), True),
        ((0.25, 0.75), True),
        ((0.0, 1.0), True),
        ((0.5, 1.0), False),
        ((-0.1, 0.5), False),
        ((1.1, 0.0), False),
        ((-0.1, 0.0), False),
    ],
)
def test_a_point_is_inside_a_polygon_with_a_notch(point: tuple[float, float], *, inside: bool) -> None:
    assert contains(ARROW, point) is inside
    assert contains(ARROW[::-1], point) is inside, "in either direction"
    assert contains(ARROW[2:] + ARROW[:2], point) is inside, "from any corner"
