"""Whether two models judge a frame alike, and whether one has stopped telling frames apart."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.core.agreement import LOOKS_MIN, Look, Yardstick, agree, degenerate, look, yardstick
from appliance.core.model import Task
from appliance.core.types import Box, Prediction
from tests.core.making import make_rule

HERE, MOVED, ELSEWHERE = Box(0.1, 0.1, 0.5, 0.5), Box(0.12, 0.12, 0.52, 0.52), Box(0.5, 0.5, 0.9, 0.9)
PEOPLE = Yardstick(Task.DETECT, {"person": 0.6})
COLOURS = Yardstick(Task.CLASSIFY, {"red": 0.6})
FRAUD = Yardstick(Task.SCORE, {"fraud": 0.5})
NOTHING, PERSON = Look((), "", 0.0), Look(("person",), "", 0.0)

labels = st.sampled_from(["person", "dog", "red", "blue", "fraud"])
scores = st.floats(0.0, 1.0)
boxes = st.none() | st.sampled_from([HERE, MOVED, ELSEWHERE])
predictions = st.lists(st.builds(Prediction, labels, scores, boxes), max_size=6)
yardsticks = st.sampled_from([PEOPLE, COLOURS, FRAUD])


def found(score: float, box: Box = HERE, label: str = "person") -> Prediction:
    return Prediction(label, score, box)


def test_each_label_is_looked_for_at_the_lowest_threshold_of_its_rules() -> None:
    rules = [make_rule("a", labels=("x", "y"), threshold=0.6), make_rule("b", labels=("y", "z"), threshold=0.4)]
    assert yardstick(Task.CLASSIFY, rules).thresholds == {"x": 0.6, "y": 0.4, "z": 0.4}


@given(predictions, yardsticks, st.integers(1, 3))
def test_a_model_agrees_with_itself(one: list[Prediction], by: Yardstick, parts: int) -> None:
    assert agree(one, list(one), by, parts=parts)


@given(predictions, predictions, yardsticks, st.integers(1, 3))
def test_it_does_not_matter_who_is_asked_first(
    one: list[Prediction], other: list[Prediction], by: Yardstick, parts: int
) -> None:
    assert agree(one, other, by, parts=parts) is agree(other, one, by, parts=parts)


@pytest.mark.parametrize(
    ("one", "other", "agreed"),
    [
        ([], [], True),
        ([], [found(0.3)], True),  # no rule would take it
        ([found(0.8)], [found(0.7, MOVED)], True),
        ([found(0.61)], [found(0.58)], True),  # by chance on the other side
        ([found(0.61)], [], False),
        ([], [found(0.9)], False),
        ([found(0.8)], [found(0.8, ELSEWHERE)], False),
        ([found(0.8)], [found(0.8, label="dog")], False),
        ([found(0.8)], [found(0.8), found(0.8, ELSEWHERE)], False),
        ([found(0.9, label="dog")], [], True),  # no rule looks for dogs
    ],
)
def test_boxes_agree_where_each_that_counts_has_its_like(
    one: list[Prediction], other: list[Prediction], *, agreed: bool
) -> None:
    assert agree(one, other, PEOPLE) is agreed


def test_classes_agree_by_the_label_on_top() -> None:
    red, blue = [Prediction("red", 0.5), Prediction("blue", 0.4)], [Prediction("blue", 0.5), Prediction("red", 0.4)]
    assert not agree(red, blue, COLOURS)
    assert agree(red, [Prediction("red", 0.9)], COLOURS)
    assert agree(red, blue, COLOURS, parts=2), "of merged parts, what rules would decide"
    assert not agree([Prediction("red", 0.9)], blue, COLOURS, parts=2)


@pytest.mark.parametrize(("one", "other", "agreed"), [(0.1, 0.4, True), (0.49, 0.51, True), (0.44, 0.51, False)])
def test_scores_agree_on_the_same_side_of_the_threshold_or_near_to_each_other(
    one: float, other: float, *, agreed: bool
) -> None:
    assert agree([Prediction("fraud", one)], [Prediction("fraud", other)], FRAUD) is agreed


def test_a_look_holds_what_counts() -> None:
    assert look([found(0.7), found(0.9, ELSEWHERE), found(0.1, label="dog")], PEOPLE) == PERSON
    assert look([found(0.3)], PEOPLE) == NOTHING
    assert look([Prediction("blue", 0.5), Prediction("red", 0.4)], COLOURS) == Look((), "blue", 0.0)
    assert look([Prediction("fraud", 0.7)], FRAUD) == Look(("fraud",), "", 0.7)


@given(st.lists(st.tuples(st.sampled_from([NOTHING, PERSON]), st.sampled_from([NOTHING, PERSON])), max_size=9))
def test_a_few_frames_say_nothing(looks: list[tuple[Look, Look]]) -> None:
    assert len(looks) < LOOKS_MIN
    assert degenerate(looks) == ""


@given(st.lists(st.sampled_from([NOTHING, PERSON, Look((), "red", 0.2)]), min_size=LOOKS_MIN, max_size=40))
def test_a_model_that_judges_as_the_one_before_is_never_condemned(looks: list[Look]) -> None:
    assert degenerate([(each, each) for each in looks]) == ""


@given(st.lists(st.sampled_from([NOTHING, PERSON]), min_size=LOOKS_MIN, max_size=40))
def test_where_the_model_before_sees_nothing_seeing_nothing_is_right(looks: list[Look]) -> None:
    assert degenerate([(NOTHING, NOTHING) for _ in looks]) == ""
    rarely = [(NOTHING, PERSON if place == 0 else NOTHING) for place, _ in enumerate(looks)]
    assert degenerate(rarely) == "", "a false alarm that the newer one does not give"


def _alternating(candidate: Look, before: tuple[Look, Look]) -> str:
    return degenerate([(candidate, before[place % 2]) for place in range(2 * LOOKS_MIN)])


def test_a_model_that_sees_nothing_where_the_one_before_sees_people_is_found_out() -> None:
    assert "the same of every frame" in _alternating(NOTHING, (NOTHING, PERSON))


def test_a_model_that_sees_people_everywhere_is_found_out() -> None:
    assert "something in every frame" in degenerate([(PERSON, NOTHING)] * LOOKS_MIN)
    some = Look(("dog", "person"), "", 0.0)
    looks = [((PERSON, some)[place % 2], NOTHING) for place in range(LOOKS_MIN)]
    assert "something in every frame" in degenerate(looks)
    assert degenerate([(PERSON, PERSON)] * LOOKS_MIN) == "", "a busy place"


def test_a_score_that_never_moves_is_found_out_where_the_one_before_moves() -> None:
    moving = [Look((), "", place / 100) for place in range(LOOKS_MIN)]
    assert "the same score" in degenerate([(Look((), "", 0.5), each) for each in moving])
    assert degenerate([(Look((), "", 0.5), Look((), "", 0.1))] * LOOKS_MIN) == ""
    assert degenerate([(each, Look((), "", 0.1)) for each in moving]) == ""
