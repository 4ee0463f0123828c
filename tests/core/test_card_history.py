"""What a card and a terminal did before, as features of the next purchase."""

from collections.abc import Mapping
from math import log, log1p

import numpy as np
import pytest

from appliance.core.features.card_history import AHEAD, BACKWARDS, NAMES, NO_HISTORY, STRAYS_MAX, WORDS, CardHistory
from appliance.core.model import CardHistoryExtract
from appliance.core.types import Frame, FrameKind
from appliance.errors import FrameError, NoScoreError

NOON_S = 1_704_110_400.0
"""2024-01-01 12:00 UTC."""
HOUR_S, DAY_S = 3600.0, 86_400.0


def request(  # a purchase has that many facts
    time_s: float = NOON_S,
    *,
    amount: float = 20.0,
    place: tuple[float, float] = (10.0, 10.0),
    category: float = 0.0,
    online: float = 0.0,
    card: str = "card-a",
    terminal: str = "till-1",
) -> Frame:
    numbers = np.array([amount, time_s, *place, category, online])
    return Frame(FrameKind.RECORD, numbers, 0.0, 0, context={"card": card, "terminal": terminal})


def features(history: CardHistory, frame: Frame) -> Mapping[str, float]:
    (vector,) = history(frame)
    assert vector.dtype == np.float32
    return dict(zip(NAMES, vector.tolist(), strict=True))


def enter(history: CardHistory, *frames: Frame) -> None:
    for frame in frames:
        try:
            history(frame)
        except NoScoreError as error:
            assert str(error) == NO_HISTORY  # noqa: PT017 - nothing else is to be swallowed here


def move_time(history: CardHistory, time_s: float, card: str = "card-a", terminal: str = "till-1") -> Frame:
    """Bring a first purchase of a far time, which is not believed; return one of another card that confirms it."""
    with pytest.raises(NoScoreError, match=f"^{AHEAD}$"):
        history(request(time_s, card="a card", terminal="a till"))
    return request(time_s, card=card, terminal=terminal)


def habitual(days: int = 3, **facts: str | float) -> list[Frame]:
    """Purchases of one card, one each noon."""
    return [request(NOON_S + day * DAY_S, **facts) for day in range(days)]  # type: ignore[arg-type]  # facts of request


def fresh(**settings: int) -> CardHistory:
    return CardHistory(CardHistoryExtract(**settings))


def test_a_card_is_scored_once_enough_of_its_purchases_are_known() -> None:
    history = fresh(history_min=2)
    for frame in habitual(2):
        with pytest.raises(NoScoreError, match=f"^{NO_HISTORY}$"):
            history(frame)
    assert set(features(history, request(NOON_S + 2 * DAY_S))) == set(NAMES)


def test_what_is_usual_has_the_features_of_the_usual() -> None:
    history = fresh()
    enter(history, *habitual(3))
    seen = features(history, request(NOON_S + 3 * DAY_S))
    expected = {
        "amount": log1p(20),
        "amount_unusual": 0,
        "amount_over_largest": 0,
        "pace": 0,
        "speed": 0,
        "km_from_last": 0,
        "km_from_usual": 0,
        "purchases_1h": 0,
        "purchases_24h": 0,
        "spent_24h": log1p(20 / 21),
        "small_24h": 0,
        "hour_unusual": 0,
        "card_not_present": 0,
        "card_not_present_unusual": 0,
        "terminal_unknown": 0,
        "history": log1p(3),
    }
    assert {name: seen[name] for name in expected} == pytest.approx(expected, abs=1e-5)


def test_what_is_unlike_the_card_stands_out_in_each_feature() -> None:
    history = fresh()
    enter(history, *habitual(3))
    odd = request(
        NOON_S + 2 * DAY_S + HOUR_S / 2,
        amount=2000.0,
        place=(10.0, 110.0),
        category=7.0,
        card="card-a",
        terminal="till-9",
    )
    seen = features(history, odd)
    assert seen["amount_unusual"] > 5
    assert seen["amount_over_largest"] == pytest.approx(log1p(2000) - log1p(20), abs=1e-5)
    assert seen["pace"] == pytest.approx(log1p(DAY_S) - log1p(HOUR_S / 2), abs=1e-4)
    assert seen["speed"] == pytest.approx(log1p(100 / 0.55), abs=1e-4)
    assert seen["km_from_last"] == pytest.approx(log1p(100), abs=1e-5)
    assert seen["km_from_usual"] == pytest.approx(log1p(100), abs=1e-5)
    assert seen["purchases_1h"] == pytest.approx(log1p(1))
    assert seen["purchases_24h"] == pytest.approx(log1p(1)), "the purchase a day and more before does not count"
    assert seen["spent_24h"] == pytest.approx(log1p(2020 / 21), abs=1e-4)
    assert seen["category_unusual"] > 7 / 8
    assert seen["terminal_unknown"] == 1


def test_tiny_purchases_and_an_odd_hour_are_told() -> None:
    history = fresh()
    enter(history, *habitual(3))
    midnight_s = NOON_S + 2 * DAY_S + 12 * HOUR_S
    features(history, request(midnight_s - 60, amount=0.2))
    seen = features(history, request(midnight_s, amount=0.2))
    assert seen["small_24h"] == pytest.approx(log1p(2))
    assert seen["hour_unusual"] > 1.4, "twelve hours away from the habit; 2 without the purchase a minute before"


def test_a_place_says_nothing_without_the_card() -> None:
    history = fresh()
    enter(history, *habitual(3))
    seen = features(history, request(NOON_S + 3 * DAY_S, place=(900.0, 900.0), online=1.0))
    assert (seen["speed"], seen["km_from_last"], seen["km_from_usual"]) == (0, 0, 0)
    assert (seen["card_not_present"], seen["card_not_present_unusual"]) == (1, 1)
    later = features(history, request(NOON_S + 4 * DAY_S))
    assert later["km_from_last"] == 0, "nor did it move the card"


def test_averages_follow_what_a_card_does_now() -> None:
    history = fresh()
    enter(history, *habitual(200))
    for day in range(200, 350):
        features(history, request(NOON_S + day * DAY_S, amount=400.0))
    assert abs(features(history, request(NOON_S + 350 * DAY_S, amount=400.0))["amount_unusual"]) < 0.5
    assert features(history, request(NOON_S + 351 * DAY_S, amount=20.0))["amount_unusual"] < -3


def test_a_request_that_comes_twice_is_judged_alike_and_enters_once() -> None:
    once, twice = fresh(), fresh()
    for history in (once, twice):
        enter(history, *habitual(3))
    again = request(NOON_S + 3 * DAY_S, amount=50.0)
    features(once, again)
    first, second = features(twice, again), features(twice, again)
    assert second["purchases_1h"] == first["purchases_1h"] == 0
    assert second["amount_over_largest"] == first["amount_over_largest"] > 0
    after = request(NOON_S + 4 * DAY_S)
    assert features(once, after) == features(twice, after)


def test_two_purchases_at_one_time_are_two_when_their_amounts_differ() -> None:
    history = fresh()
    enter(history, *habitual(3))
    features(history, request(NOON_S + 3 * DAY_S, amount=30.0))
    assert features(history, request(NOON_S + 3 * DAY_S, amount=31.0))["purchases_1h"] == pytest.approx(log1p(1))


def test_a_late_purchase_is_judged_as_of_its_time_and_enters() -> None:
    history = fresh()
    enter(history, *habitual(3))
    at_s = NOON_S + 3 * DAY_S
    features(history, request(at_s))
    late = features(history, request(at_s - 600, amount=25.0))
    assert late["purchases_1h"] == 0, "what came after its time is not before it"
    assert features(history, request(at_s + 60))["purchases_1h"] == pytest.approx(log1p(2))


def test_a_purchase_from_far_before_is_not_judged_and_changes_nothing() -> None:
    disturbed, calm = fresh(), fresh()
    for history in (disturbed, calm):
        enter(history, *habitual(5))
    early = request(NOON_S + 2 * DAY_S + 1, amount=999.0)
    for _ in range(STRAYS_MAX - 1):
        with pytest.raises(NoScoreError, match=f"^{BACKWARDS}$"):
            disturbed(early)
    after = request(NOON_S + 5 * DAY_S)
    assert features(disturbed, after) == features(calm, after)


def test_the_edge_of_lateness_is_a_day() -> None:
    history = fresh()
    enter(history, *habitual(5))
    newest_s = NOON_S + 4 * DAY_S
    with pytest.raises(NoScoreError, match=BACKWARDS):
        history(request(newest_s - DAY_S - 1))
    assert features(history, request(newest_s - DAY_S + 1))


def test_a_late_purchase_moves_the_edge_of_lateness_by_nothing() -> None:
    history = fresh()
    enter(history, *habitual(5))
    newest_s = NOON_S + 4 * DAY_S
    assert features(history, request(newest_s - 20 * HOUR_S))
    with pytest.raises(NoScoreError, match=BACKWARDS):
        history(request(newest_s - 26 * HOUR_S))


def test_a_history_whose_time_was_wrong_begins_anew() -> None:
    history = fresh()
    enter(history, *habitual(3))
    assert features(history, move_time(history, NOON_S + 20_000 * DAY_S))
    reasons = []
    for minute in range(STRAYS_MAX + 2):
        with pytest.raises(NoScoreError) as caught:
            history(request(NOON_S + 3 * DAY_S + minute * 60))
        reasons.append(str(caught.value))
    assert reasons == [BACKWARDS] * (STRAYS_MAX - 1) + [NO_HISTORY] * 3
    assert features(history, request(NOON_S + 4 * DAY_S))["history"] == pytest.approx(log1p(3))


def test_purchases_far_back_count_only_in_a_row() -> None:
    history = fresh()
    enter(history, *habitual(5))
    for day in range(5, 11):
        with pytest.raises(NoScoreError, match=BACKWARDS):
            history(request(NOON_S))
        assert features(history, request(NOON_S + day * DAY_S))


def busy_terminal(history: CardHistory, **facts: float | str) -> None:
    """Twenty cards with a history come to one terminal within an hour."""
    for number in range(20):
        enter(history, *habitual(3, card=f"card-{number}", terminal=f"till-{number}"))
    for number in range(20):
        features(
            history,
            request(NOON_S + 3 * DAY_S + 60 * number, card=f"card-{number}", terminal="till-bad", **facts),  # type: ignore[arg-type]  # facts of request
        )


@pytest.mark.parametrize(
    ("facts", "raised"),
    [
        ({"amount": 1.0}, {"terminal_small", "terminal_strangers", "terminal_pace"}),
        ({"amount": 20.0}, {"terminal_strangers", "terminal_pace"}),
        ({"amount": 900.0}, {"terminal_amounts", "terminal_strangers", "terminal_pace"}),
    ],
)
def test_what_other_cards_do_at_a_terminal_is_told_and_fades(facts: dict[str, float], raised: set[str]) -> None:
    history = fresh()
    busy_terminal(history, **facts)
    terminal = {name for name in NAMES if name.startswith("terminal_")} - {"terminal_unknown"}
    now = features(history, request(NOON_S + 3 * DAY_S + 1300, card="card-0", terminal="till-bad"))
    assert {name for name in terminal if now[name] > 0.5} == raised
    later = features(history, move_time(history, NOON_S + 60 * DAY_S, card="card-0", terminal="till-bad"))
    assert all(abs(later[name]) < 0.1 for name in terminal)


def test_a_terminal_with_many_purchases_is_not_in_a_rush_because_of_that() -> None:
    history = fresh()
    third_s = HOUR_S / 3
    for third in range(3 * 24 * 21):
        enter(history, request(NOON_S + third * third_s, amount=20.0 + third % 7))
    seen = features(history, request(NOON_S + 3 * 24 * 21 * third_s))
    # 1 / (exp(1/3) - 1) purchases are left of the hour, 3 x 168 x (1 - exp(-3)) of the weeks.
    assert seen["terminal_pace"] == pytest.approx(log((2.528 + 0.5) / (2.85 + 0.5)), abs=0.01)


def test_a_terminal_whose_clock_was_wrong_begins_anew() -> None:
    history = fresh()
    busy_terminal(history, amount=1.0)
    enter(history, move_time(history, NOON_S + 20_000 * DAY_S, card="card-x", terminal="till-bad"))
    for number in range(STRAYS_MAX + 8):
        seen = features(
            history,
            request(NOON_S + 4 * DAY_S + number * 60, amount=1.0, card=f"card-{number}", terminal="till-bad"),
        )
    assert seen["terminal_pace"] == pytest.approx(log((8 + 0.5) / (8 / 168 + 0.5)), abs=0.2), "eight have entered since"


def test_the_card_unused_for_longest_makes_room() -> None:
    history = fresh(cards_max=2)
    enter(history, *habitual(3, card="a"), *habitual(3, card="b"))
    assert features(history, request(NOON_S + 3 * DAY_S, card="a"))
    enter(history, request(NOON_S + 3 * DAY_S, card="c"))
    assert features(history, request(NOON_S + 4 * DAY_S, card="a"))
    with pytest.raises(NoScoreError, match=NO_HISTORY):
        history(request(NOON_S + 4 * DAY_S, card="b"))


@pytest.mark.parametrize(
    ("frame", "told"),
    [
        (request(amount=0.0), "amount"),
        (request(amount=-1.0), "amount"),
        (request(amount=float("nan")), "amount"),
        (request(amount=1e10), "amount"),
        (request(-1.0), "time"),
        (request(5e9), "time"),
        (request(float("inf")), "time"),
        (request(place=(1e6, 0.0)), "x"),
        (request(place=(0.0, float("-inf"))), "y"),
        (request(category=8.0), "category"),
        (request(category=1.5), "category"),
        (request(category=-1.0), "category"),
        (request(online=2.0), "card_not_present"),
        (request(online=0.5), "card_not_present"),
        (request(card=""), "card"),
        (request(terminal="t" * 257), "terminal"),
        (Frame(FrameKind.RECORD, np.zeros(5), 0.0, 0), "6 numbers"),
        (Frame(FrameKind.WINDOW, np.ones(6), 0.0, 0), "record"),
        (Frame(FrameKind.RECORD, request().data, 0.0, 0, context={"card": 7.0, "terminal": "t"}), "card"),
        (Frame(FrameKind.RECORD, request().data, 0.0, 0, context={"card": "c"}), "terminal"),
    ],
)
def test_a_request_that_is_not_sound_is_refused_and_does_not_enter(frame: Frame, told: str) -> None:
    history = fresh()
    with pytest.raises(FrameError, match=told):
        history(frame)
    assert history.changes(10) == {}


def test_every_feature_has_words() -> None:
    assert set(WORDS) == set(NAMES) == set(fresh().names)
    assert len(set(WORDS.values())) == len(NAMES)
