"""What holds of a policy for any sequence of frames, blindness and timing."""

from dataclasses import dataclass
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from appliance.core.policy import Rule, outcome
from appliance.core.polygon import contains
from appliance.core.types import Alert, Box, Decision, EventType, FrameKind, OutcomeState, Prediction
from tests.core.making import Playing, make_prediction, make_rule

ZONE = ((0.0, 0.5), (1.0, 0.5), (1.0, 1.0), (0.0, 1.0))
GOOD, SMALL, OUTSIDE = Box(0.2, 0.4, 0.8, 0.6), Box(0.7, 0.4, 0.8, 0.6), Box(0.1, 0.4, 0.4, 0.6)
THRESHOLD, BETWEEN = 0.6, 0.5

SCENES: dict[str, tuple[Prediction, ...]] = {
    "strong": (make_prediction(0.9, box=GOOD),),
    "stronger": (make_prediction(0.7, box=GOOD), make_prediction(0.95, box=GOOD)),
    "at threshold": (make_prediction(THRESHOLD, box=GOOD),),
    "between": (make_prediction(BETWEEN, box=GOOD),),
    "weak": (make_prediction(0.3, box=GOOD),),
    "empty": (),
    "stranger": (make_prediction(0.99, "cat", GOOD),),
    "small": (make_prediction(0.99, box=SMALL),),
    "outside": (make_prediction(0.99, box=OUTSIDE),),
}
HITS = ("strong", "stronger", "at threshold")
BLIND = {"no result": OutcomeState.NO_RESULT, "no signal": OutcomeState.NO_SIGNAL, "no score": OutcomeState.NO_SCORE}

Step = tuple[str, float]
# Twice hits, twice misses, and all the rest: events must begin and end within a few steps to be examined.
steps = st.lists(
    st.tuples(
        st.sampled_from((*HITS, *HITS, "empty", "empty", *SCENES, *BLIND)),
        st.sampled_from((0.125, 0.5, 1.0, 2.5)),  # exact in binary: sums do not depend on their order
    ),
    max_size=40,
)


@st.composite
def rules(draw: st.DrawFn) -> Rule:
    """Rules with short memories, so that forty frames see several events."""
    hold_m = draw(st.integers(1, 4))
    return make_rule(
        release=draw(st.sampled_from((THRESHOLD, BETWEEN, 0.4))),
        hold=(draw(st.integers(1, hold_m)), hold_m),
        cooldown_s=draw(st.sampled_from((0.0, 1.0, 4.0))),
        update_interval_s=draw(st.sampled_from((0.5, 2.0, 1000.0))),
        polygon=ZONE,
        height_min=0.3,
    )


@dataclass(frozen=True)
class Moment:
    """One step of a played sequence, seen from outside."""

    scene: str
    now_s: float
    was_active: bool
    active: bool
    decision: Decision

    @property
    def judged(self) -> bool:
        return self.scene in SCENES

    @property
    def alerts(self) -> tuple[Alert, ...]:
        return self.decision.alerts

    def hit(self, rule: Rule) -> bool:
        """The specification of a hit, said once more and independently."""
        return self.scene in HITS or (self.scene == "between" and self.was_active and rule.release <= BETWEEN)

    def told(self, event_type: EventType) -> bool:
        return any(alert.event_type is event_type for alert in self.alerts)


def played(rule: Rule, sequence: list[Step], kind: FrameKind = FrameKind.IMAGE) -> list[Moment]:
    play = Playing(rule, kind=kind)
    moments = []
    for scene, after_s in sequence:
        was_active = play.state.rules[0].event is not None
        if scene in BLIND:
            decision = play.blind(BLIND[scene], after_s=after_s)
        else:
            decision = play.see(*SCENES[scene], after_s=after_s)
        active = play.state.rules[0].event is not None
        moments.append(Moment(scene, play.now_s, was_active, active, decision))
    return moments


@given(rules(), steps)
def test_an_event_is_new_once_then_updated_then_ended_once_and_only_one_is_active(
    rule: Rule, sequence: list[Step]
) -> None:
    alerts = [alert for moment in played(rule, sequence) for alert in moment.alerts]
    for before, after in pairwise(alerts):
        same = before.event_id == after.event_id
        assert same is (after.event_type is not EventType.NEW)
        assert (before.event_type is EventType.END) is (after.event_type is EventType.NEW)
    assert not alerts or alerts[0].event_type is EventType.NEW
    begun = [alert.event_id for alert in alerts if alert.event_type is EventType.NEW]
    assert begun == [f"b1-gate-{number}" for number in range(1, len(begun) + 1)]


@given(rules(), steps)
def test_an_event_begins_exactly_when_enough_judged_frames_were_hits_and_the_cooldown_is_over(
    rule: Rule, sequence: list[Step]
) -> None:
    seen: list[bool] = []
    ended_s = float("-inf")
    for moment in (moment for moment in played(rule, sequence) if moment.judged):
        seen.append(moment.hit(rule))
        enough = sum(seen[-rule.hold_m :]) >= rule.hold_n
        cool = moment.now_s >= ended_s + rule.cooldown_s
        assert moment.told(EventType.NEW) is (not moment.was_active and seen[-1] and enough and cool)
        if moment.told(EventType.END):
            ended_s = moment.now_s


@given(rules(), steps)
def test_an_event_ends_exactly_when_all_of_the_last_m_judged_frames_were_misses(
    rule: Rule, sequence: list[Step]
) -> None:
    misses = 0
    for moment in (moment for moment in played(rule, sequence) if moment.judged):
        misses = 0 if moment.hit(rule) else misses + 1
        assert moment.told(EventType.END) is (moment.was_active and misses >= rule.hold_m)
        assert moment.active is (moment.told(EventType.NEW) or (moment.was_active and not moment.told(EventType.END)))


@given(rules(), steps)
def test_an_active_event_is_updated_exactly_when_the_interval_has_passed(rule: Rule, sequence: list[Step]) -> None:
    told_s = 0.0
    for moment in (moment for moment in played(rule, sequence) if moment.judged):
        due = moment.was_active and moment.active and moment.now_s - told_s >= rule.update_interval_s
        assert moment.told(EventType.UPDATE) is due
        if moment.alerts:
            told_s = moment.now_s


@given(rules(), steps)
def test_an_end_carries_the_highest_score_of_its_event(rule: Rule, sequence: list[Step]) -> None:
    scores: list[float] = []
    for moment in played(rule, sequence):
        if moment.told(EventType.NEW):
            scores = []
        if moment.judged and moment.hit(rule):
            scores.append(max(prediction.score for prediction in moment.decision.predictions))
        for alert in moment.alerts:
            assert alert.event_type is not EventType.END or alert.score == max(scores)
            assert (alert.label, alert.box) == ("person", GOOD)


@given(rules(), steps)
def test_a_frame_that_cannot_be_judged_changes_no_activity_and_is_never_clear(rule: Rule, sequence: list[Step]) -> None:
    for moment in played(rule, sequence):
        if moment.judged:
            assert moment.decision.rules == {"person": moment.active}
            assert outcome(moment.decision) == ("person" if moment.active else "clear")
        else:
            assert moment.active is moment.was_active
            assert moment.decision.rules == {"person": None}
            assert moment.alerts == ()
            assert outcome(moment.decision) == "unknown"


@given(rules(), steps)
def test_without_its_blind_moments_a_sequence_tells_the_same(rule: Rule, sequence: list[Step]) -> None:
    seeing: list[Step] = []
    waited_s = 0.0
    for scene, after_s in sequence:
        waited_s += after_s
        if scene in SCENES:
            seeing.append((scene, waited_s))
            waited_s = 0.0
    with_blind = [alert for moment in played(rule, sequence) for alert in moment.alerts]
    without = [alert for moment in played(rule, seeing) for alert in moment.alerts]
    assert [(a.event_id, a.event_type, a.score) for a in with_blind] == [
        (a.event_id, a.event_type, a.score) for a in without
    ]


@given(rules(), steps)
def test_of_records_each_hit_of_an_active_rule_is_told(rule: Rule, sequence: list[Step]) -> None:
    for moment in played(rule, sequence, FrameKind.RECORD):
        if moment.judged and moment.was_active and moment.hit(rule):
            assert moment.told(EventType.UPDATE)


@given(rules(), rules(), steps)
def test_two_rules_of_a_policy_tell_what_each_tells_alone(one: Rule, two: Rule, sequence: list[Step]) -> None:
    other = make_rule(
        "other",
        release=two.release,
        hold=(two.hold_n, two.hold_m),
        cooldown_s=two.cooldown_s,
        update_interval_s=two.update_interval_s,
    )
    together, alone = Playing(one, other), (Playing(one), Playing(other))
    for scene, after_s in sequence:
        if scene in BLIND:
            for play in (together, *alone):
                play.blind(BLIND[scene], after_s=after_s)
            continue
        decision, *singly = [play.see(*SCENES[scene], after_s=after_s) for play in (together, *alone)]
        assert [(a.rule, a.event_type, a.score) for a in decision.alerts] == [
            (a.rule, a.event_type, a.score) for single in singly for a in single.alerts
        ]
        assert decision.rules == singly[0].rules | singly[1].rules


corners = st.integers(0, 8).map(lambda eighths: eighths / 8)


@given(corners, corners, corners, corners, st.tuples(corners, corners))
def test_a_rectangle_contains_what_is_between_its_sides_and_its_sides(
    x0: float, x1: float, y0: float, y1: float, point: tuple[float, float]
) -> None:
    rectangle = ((x0, y0), (x1, y0), (x1, y1), (x0, y1))
    between = min(x0, x1) <= point[0] <= max(x0, x1) and min(y0, y1) <= point[1] <= max(y0, y1)
    assert contains(rectangle, point) is between
