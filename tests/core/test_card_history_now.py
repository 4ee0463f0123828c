"""A wrong clock among the purchases: it is not believed, and does no harm to those that come after."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.core.features.card_history import AHEAD, NO_HISTORY, CardHistory
from appliance.core.model import CardHistoryExtract
from appliance.core.types import Frame, FrameKind
from appliance.errors import NoScoreError

START_S = 1_704_110_400.0
DAY_S = 86_400.0
FAR_S = 4_070_908_800.0
"""2099."""


def at(time_s: float, card: str = "a", terminal: str = "x", amount: float = 20.0) -> Frame:
    numbers = np.array([amount, time_s, 0.0, 0.0, 0.0, 0.0])
    return Frame(FrameKind.RECORD, numbers, 0.0, 0, context={"card": card, "terminal": terminal})


def said(history: CardHistory, *frames: Frame) -> list[bytes | str]:
    """What a history says of each frame: the vector's bytes, or why there is none."""
    answers: list[bytes | str] = []
    for frame in frames:
        try:
            answers.append(history(frame)[0].tobytes())
        except NoScoreError as error:
            answers.append(str(error))
    return answers


def believed(history: CardHistory, *frames: Frame) -> list[bool]:
    return [answer != AHEAD for answer in said(history, *frames)]


def fresh(*frames: Frame) -> CardHistory:
    history = CardHistory(CardHistoryExtract(history_min=1))
    said(history, *frames)
    return history


def restarted(history: CardHistory, kinds: str = "ctn") -> CardHistory:
    """The history after a restart that brings back only entries of these kinds."""
    again = CardHistory(CardHistoryExtract(history_min=1))
    again.restore({name: value for name, value in history.changes(10_000).items() if name[0] in kinds})
    return again


def test_one_wrong_clock_costs_the_card_nothing() -> None:
    daily = [at(START_S + day * DAY_S) for day in range(8)]
    after = [at(START_S + (8 + day) * DAY_S) for day in range(5)]
    history, calm = fresh(*daily), fresh(*daily)
    assert said(history, at(FAR_S)) == [AHEAD]
    answers = said(history, *after)
    assert answers == said(calm, *after)
    assert all(isinstance(answer, bytes) for answer in answers)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_purchases_of_a_wrong_time_between_others_leave_no_trace(data: st.DataObject) -> None:
    history, calm = fresh(), fresh()
    time_s = START_S
    for _ in range(data.draw(st.integers(1, 25))):
        time_s += data.draw(st.sampled_from((0.0, 5.0, 4000.0, 80_000.0, DAY_S, -50_000.0)))
        frame = at(time_s, data.draw(st.sampled_from("aabc")), data.draw(st.sampled_from("xy")))
        assert said(history, frame) == said(calm, frame)
        far = START_S + data.draw(st.sampled_from((30.0, 400.0, 20_000.0))) * DAY_S
        wrong = at(far, data.draw(st.sampled_from("abz")), data.draw(st.sampled_from("xyz")))
        for _ in range(data.draw(st.integers(0, 4))):  # one purchase, delivered up to four times
            assert said(history, wrong) == [AHEAD]


def test_the_edge_of_what_is_believed_is_a_day_after_the_newest_of_any_card() -> None:
    assert believed(fresh(at(START_S)), at(START_S + DAY_S, "b")) == [True]
    assert believed(fresh(at(START_S)), at(START_S + DAY_S + 1, "b")) == [False]
    late = fresh(at(START_S), at(START_S - 20 * 3600, "c"))
    assert believed(late, at(START_S + DAY_S, "b")) == [True], "a late purchase does not move the newest"


@pytest.mark.parametrize(
    ("buyers", "expected"),
    [
        (["ax", "by"], [False, True]),
        (["ax", "ax", "ax"], [False, False, True]),
        (["ax", "bx", "cx"], [False, False, True]),
        (["ax", "ay", "az"], [False, False, True]),
        (["ax", "ay", "bx"], [False, False, True]),
    ],
    ids=["another card elsewhere", "one card", "one terminal", "one card anywhere", "three at all"],
)
@pytest.mark.parametrize("days", [1.5, 3, 30, 20_000])
def test_a_time_is_believed_when_others_confirm_it(buyers: list[str], expected: list[bool], days: float) -> None:
    history = fresh(at(START_S), at(START_S, "b"))
    frames = [at(START_S + days * DAY_S + second, *buyer) for second, buyer in enumerate(buyers)]
    assert believed(history, *frames) == expected
    assert believed(history, at(frames[-1].data[1] + DAY_S, "q", "q")) == [True]


def test_only_purchases_in_a_row_confirm() -> None:
    history = fresh(at(START_S))
    for minute in range(10):
        far, near = at(FAR_S + minute, "bcde"[minute % 4], "xyzu"[minute % 4]), at(START_S + 60 * minute)
        assert believed(history, far, near) == [False, True]


def test_a_request_that_comes_again_confirms_nothing() -> None:
    history = fresh(at(START_S))
    one, two = at(FAR_S), at(FAR_S + 60)
    assert believed(history, one, one, one, two, one, two, one) == [False] * 7
    assert believed(history, at(FAR_S + 120)) == [True]


def test_wrong_times_that_differ_do_not_confirm_one_another() -> None:
    history = fresh(at(START_S))
    frames = [at(START_S + days * DAY_S, card, card) for days, card in ((9_000, "b"), (400, "c"), (20_000, "d"))]
    assert believed(history, *frames * 3) == [False] * 9


def test_what_was_not_believed_is_in_no_history_once_it_is_confirmed() -> None:
    history = fresh(at(START_S))
    assert said(history, at(FAR_S, "n", "x"), at(FAR_S, "m", "y")) == [AHEAD, NO_HISTORY]
    assert said(history, at(FAR_S, "n", "x")) == [NO_HISTORY]


@settings(max_examples=60, deadline=None)
@given(
    steps=st.lists(st.sampled_from((0.0, 60.0, 2 * DAY_S, 9 * DAY_S, 4e7, 1e9, -1e9, -4e7, -DAY_S)), max_size=20),
    seconds=st.floats(0.0, 4.1e9),
)
def test_whatever_came_the_third_purchase_of_a_time_is_believed(steps: list[float], seconds: float) -> None:
    history, time_s = fresh(), START_S
    for number, step_s in enumerate(steps):
        time_s = min(max(time_s + step_s, 0.0), 4.1e9)
        said(history, at(time_s, "abc"[number % 3], "xy"[number % 2]))
    assert all(believed(history, *[at(seconds + second, "h", "h") for second in range(6)])[2:])


@settings(max_examples=60, deadline=None)
@given(
    least=st.floats(0.1, 14.0),
    stretches=st.lists(st.floats(1.0, 1.99), min_size=15, max_size=15),
    cards=st.sampled_from(("a", "ab", "abc")),
)
def test_a_rarely_used_device_loses_two_scores_at_most(least: float, stretches: list[float], cards: str) -> None:
    history, time_s, lost = fresh(at(START_S)), START_S, 0
    for number, stretch in enumerate(stretches):
        time_s += least * stretch * DAY_S
        lost += not believed(history, at(time_s, cards[number % len(cards)]))[0]
    assert lost <= 2


@pytest.mark.parametrize("days", [2.6, 7, 14, 28])
def test_a_silence_that_was_confirmed_is_foreseen(days: float) -> None:
    history = fresh(at(START_S))
    frames = [at(START_S + number * days * DAY_S, "abc"[number % 3], "xyz"[number % 3]) for number in range(1, 12)]
    assert believed(history, *frames) == [False] + [True] * 10
    assert believed(history, at(FAR_S)) == [False], "and no more than that"


def test_of_a_long_silence_two_weeks_are_foreseen_and_twice_that_believed() -> None:
    for days, expected in ((28, True), (28.1, False)):
        history = fresh(at(START_S), at(START_S + 200 * DAY_S), at(START_S + 200 * DAY_S, "b", "y"))
        assert believed(history, at(START_S + (200 + days) * DAY_S)) == [expected]


def test_of_purchases_that_confirm_one_another_the_earliest_tells_the_silence() -> None:
    for days, expected in ((4, True), (4.1, False)):
        history = fresh(at(START_S), at(START_S + 2 * DAY_S), at(START_S + 6 * DAY_S, "b", "y"))
        assert believed(history, at(START_S + (6 + days) * DAY_S)) == [expected]


def test_purchases_before_and_after_the_newest_do_not_confirm_one_another() -> None:
    history = fresh(at(START_S))
    sides = zip((-28.1, 1.1) * 3, "bcdefg", strict=True)
    assert believed(history, *[at(START_S + days * DAY_S, card, card) for days, card in sides]) == [True, False] * 3


def test_steps_that_double_get_nowhere() -> None:
    history = fresh(at(START_S), at(START_S + 2 * DAY_S), at(START_S + 2 * DAY_S, "b", "y"))  # a silence of two days
    frames = [at(START_S + days * DAY_S) for days in (2 + 4, 2 + 4 + 8)]
    assert believed(history, *frames) == [True, False]


def test_a_silence_that_does_not_come_again_is_forgotten() -> None:
    history = fresh(at(START_S), at(START_S + 10 * DAY_S), at(START_S + 10 * DAY_S, "b", "y"))
    said(history, *[at(START_S + (10 + half / 2) * DAY_S) for half in range(221)])
    assert believed(history, at(START_S + (120 + 2) * DAY_S)) == [False]


def test_a_device_whose_first_purchase_was_wrong_is_guarded_again() -> None:
    history = fresh(at(FAR_S, "w", "w"))
    daily = [at(START_S + day * DAY_S, "ab"[day % 2], "xy"[day % 2]) for day in range(6)]
    assert believed(history, *daily, at(FAR_S, "w", "w")) == [True] * 6 + [False]


def test_late_purchases_in_a_row_do_not_move_the_time_back() -> None:
    history = fresh(at(START_S))
    late = [at(START_S - 27 * DAY_S + minute, card, card) for minute, card in enumerate("bcdefg")]
    assert believed(history, *late, at(START_S + DAY_S, "h")) == [True] * 7


def test_the_time_believed_survives_a_restart() -> None:
    history = restarted(fresh(at(START_S)))
    assert believed(history, at(FAR_S, "b", "y")) == [False]
    assert believed(restarted(history), at(FAR_S, "c", "z")) == [True], "and so does who contradicted it"


def test_where_no_time_was_stored_the_first_purchase_tells_it() -> None:
    history = restarted(fresh(at(START_S)), kinds="ct")
    (answer,) = said(history, at(START_S + 90 * DAY_S))
    assert isinstance(answer, bytes)
    assert believed(history, at(FAR_S)) == [False]


def test_the_time_is_handed_out_however_busy_cards_are() -> None:
    history = fresh(*[at(START_S + number, f"card-{number}", f"till-{number}") for number in range(50)])
    assert sorted(name[0] for name in history.changes(3)) == ["c", "n", "t"]
