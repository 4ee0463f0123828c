"""Heat that no thermometer tells: when a model has become slow, and the level its device is run at because of that."""

from collections.abc import Iterable
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from appliance.core.drift import (
    COOLING_S,
    DRIFT_FACTOR,
    DRIFT_S_MIN,
    PERFORMANCES,
    RECOMPUTE_INVOKES,
    SETTLING_INVOKES,
    STEP_INTERVAL_S,
    WINDOW_INVOKES,
    Cooling,
    Drift,
    slower,
)

LEARNING = SETTLING_INVOKES + WINDOW_INVOKES
USUAL_S, SLOW_S = 0.01, 0.0151
NOTICED = WINDOW_INVOKES // 2 + 1 + RECOMPUTE_INVOKES
"""Slow invokes in a row after which it is told: more than half a window of them, and the next look."""
LOOK_S = 1.0
"""How often the level is asked for."""
SCATTERED = st.binary(min_size=LEARNING, max_size=400)
"""Times: each byte is one between the usual and the slowest that is no drift."""


def feed(drift: Drift, took_s: Iterable[float]) -> int:
    """Observe all; return how often it was told that the model has become slow."""
    return sum([drift.observe(each_s) for each_s in took_s])


def learned(usual_s: float = USUAL_S) -> Drift:
    """One that knows how long an invoke takes."""
    drift = Drift()
    assert feed(drift, [usual_s] * LEARNING) == 0
    return drift


class Device:
    """Runs at the level that is chosen; every second it may be slow."""

    def __init__(self, configured: str) -> None:
        self.now_s = 1000.0
        self.cooling = Cooling(configured, self.now_s)
        self.levels = [configured]
        """At each second."""

    def live(self, seconds: float, *, slow: bool) -> str:
        for _ in range(int(seconds / LOOK_S)):
            self.now_s += LOOK_S
            if slow:
                self.cooling.slowed(self.now_s)
            self.levels.append(self.cooling.choose(self.now_s))
            assert self.levels[-1] == self.cooling.performance
        return self.levels[-1]

    @property
    def steps(self) -> list[tuple[str, str]]:
        """Every change of the level."""
        return [(before, after) for before, after in pairwise(self.levels) if before != after]


def test_a_model_that_becomes_half_as_slow_again_is_told_once() -> None:
    drift = learned()
    assert feed(drift, [SLOW_S] * NOTICED) == 1
    assert drift.slow
    assert feed(drift, [SLOW_S * 2] * 1000) == 0


def test_a_model_that_becomes_a_little_slower_is_not_told() -> None:
    drift = learned()
    assert feed(drift, [USUAL_S * DRIFT_FACTOR] * 1000) == 0
    assert not drift.slow


@given(SCATTERED)
def test_times_that_scatter_within_the_factor_are_never_drift_and_those_beyond_it_are_told_once(
    scattered: bytes,
) -> None:
    drift = Drift()
    assert feed(drift, [USUAL_S * (1.0 + (DRIFT_FACTOR - 1.0) * byte / 255) for byte in scattered]) == 0
    beyond_s = USUAL_S * DRIFT_FACTOR * DRIFT_FACTOR * 1.01
    assert feed(drift, [beyond_s] * (WINDOW_INVOKES + RECOMPUTE_INVOKES)) == 1


def test_the_first_invokes_after_a_load_are_no_measure() -> None:
    """Were they one, more than half of what is learned here would be slow."""
    drift, half = Drift(), WINDOW_INVOKES // 2
    feed(drift, [SLOW_S] * SETTLING_INVOKES + [SLOW_S] * half + [USUAL_S] * half)
    assert feed(drift, [SLOW_S] * NOTICED) == 1


def test_what_was_learned_after_the_load_stays_the_measure() -> None:
    """A model that stopped sharing the device, and shares it again, has not become slow."""
    drift = learned()
    assert feed(drift, [USUAL_S / 2] * 500 + [USUAL_S] * 500) == 0


def test_nothing_is_told_while_the_usual_time_is_not_known() -> None:
    drift = Drift()
    assert feed(drift, [USUAL_S] * SETTLING_INVOKES + [USUAL_S * 100] * WINDOW_INVOKES) == 0
    assert not drift.slow


@given(st.integers(0, 10_000))
def test_hiccups_of_fewer_than_half_the_invokes_are_no_drift(offset: int) -> None:
    """As a second camera makes them, whose frames come between."""
    drift = learned()
    times_s = [1.0 if (offset + number) * 2 % 5 < 2 else USUAL_S for number in range(400)]
    assert feed(drift, times_s) == 0


def test_a_model_that_is_fast_again_is_not_slow_any_more_and_not_told_again() -> None:
    drift = learned()
    feed(drift, [SLOW_S] * NOTICED)
    assert feed(drift, [USUAL_S] * (WINDOW_INVOKES + RECOMPUTE_INVOKES)) == 0
    assert not drift.slow
    assert feed(drift, [SLOW_S] * NOTICED) == 0
    assert drift.slow


def test_after_a_load_what_is_usual_is_learned_anew_and_can_be_told_anew() -> None:
    """A lower level is slower by itself; that is no heat."""
    drift = learned()
    assert feed(drift, [SLOW_S] * NOTICED) == 1
    drift.reloaded()
    assert not drift.slow
    assert feed(drift, [USUAL_S * 3] * (LEARNING + 1000)) == 0
    assert feed(drift, [SLOW_S * 3] * NOTICED) == 1


@pytest.mark.parametrize("took_s", [-0.001, float("nan")])
def test_a_time_that_cannot_be_is_a_bug(took_s: float) -> None:
    with pytest.raises(AssertionError):
        Drift().observe(took_s)


def test_below_the_lowest_level_there_is_none() -> None:
    assert [slower(each) for each in PERFORMANCES] == [None, "low", "medium", "high"]
    with pytest.raises(ValueError, match="tuple"):
        slower("turbo")


def test_a_device_that_becomes_slow_goes_one_level_down_and_half_an_hour_later_back_up() -> None:
    device = Device("max")
    assert device.live(3600, slow=False) == "max"
    assert device.live(LOOK_S, slow=True) == "high"
    assert device.cooling.active
    assert device.live(COOLING_S - LOOK_S, slow=False) == "high"
    assert device.live(LOOK_S, slow=False) == "max"
    assert not device.cooling.active


def test_a_device_that_stays_slow_goes_down_a_level_each_five_minutes_and_no_faster() -> None:
    device = Device("max")
    device.live(STEP_INTERVAL_S, slow=False)
    for level in ("high", "medium", "low"):
        assert device.live(LOOK_S, slow=True) == level
        assert device.live(STEP_INTERVAL_S - LOOK_S, slow=True) == level
    assert device.live(10 * COOLING_S, slow=True) == "low"


def test_a_device_goes_back_up_level_by_level_and_not_above_what_is_configured() -> None:
    device = Device("high")
    device.live(3 * STEP_INTERVAL_S, slow=True)
    assert device.live(5 * COOLING_S, slow=False) == "high"
    assert device.steps == [("high", "medium"), ("medium", "low"), ("low", "medium"), ("medium", "high")]


def test_slowness_in_the_first_minutes_is_answered_when_they_are_over() -> None:
    """Another model that begins to share the device is told within a second of the start."""
    device = Device("max")
    device.live(2, slow=True)
    assert device.live(STEP_INTERVAL_S - 3, slow=False) == "max"
    assert device.live(LOOK_S, slow=False) == "high"


def test_drift_while_cooling_begins_the_half_hour_anew() -> None:
    device = Device("low")
    assert device.live(7200, slow=True) == "low"
    device = Device("medium")
    device.live(STEP_INTERVAL_S, slow=True)
    device.live(COOLING_S - 2, slow=False)
    device.live(LOOK_S, slow=True)
    assert device.live(COOLING_S - LOOK_S, slow=False) == "low"
    assert device.live(LOOK_S, slow=False) == "medium"


@pytest.mark.parametrize("sharing_from_s", [5, 400])
def test_a_second_model_on_the_device_costs_one_level_for_half_an_hour_and_no_more(sharing_from_s: int) -> None:
    """The whole rule together: each invoke takes twice as long from then on, whatever the level."""
    clock_s = {"low": 0.04, "medium": 0.02, "high": 0.014, "max": 0.01}
    now_s, drift, cooling = 0.0, Drift(), Cooling("max", 0.0)
    levels = ["max"]
    while now_s < 3 * 3600.0:
        for _ in range(30):
            drift.observe(clock_s[levels[-1]] * (2.0 if now_s >= sharing_from_s else 1.0))
        if drift.slow:
            cooling.slowed(now_s)
        now_s += LOOK_S
        level = cooling.choose(now_s)
        if level != levels[-1]:
            drift.reloaded()
            levels.append(level)
    assert levels == ["max", "high", "max"]


@given(
    st.sampled_from(PERFORMANCES),
    st.lists(st.tuples(st.sampled_from([1.0, 30.0, 299.0, 300.0, 1799.0, 1800.0, 5000.0]), st.booleans()), max_size=60),
)
@example("max", [(300.0, True)] * 20)
@example("max", [(300.0, True)] * 3 + [(1800.0, False)] * 20)
def test_whatever_is_told_the_level_moves_by_one_not_too_often_and_within_what_is_configured(
    configured: str, told: list[tuple[float, bool]]
) -> None:
    cooling, now_s, stepped_s, slowed_s = Cooling(configured, 0.0), 0.0, 0.0, 0.0
    place = PERFORMANCES.index(configured)
    for passes_s, slow in told:
        now_s += passes_s
        if slow:
            cooling.slowed(now_s)
            slowed_s = now_s
        before, place = place, PERFORMANCES.index(cooling.choose(now_s))
        assert place <= PERFORMANCES.index(configured)
        assert cooling.active == (place < PERFORMANCES.index(configured))
        if place < before:
            assert (before - place, slowed_s > stepped_s, now_s - stepped_s >= STEP_INTERVAL_S) == (1, True, True)
        if place > before:
            assert (place - before, now_s - max(slowed_s, stepped_s) >= COOLING_S) == (1, True)
        if place != before:
            stepped_s = now_s


def test_a_tiny_model_that_doubles_its_tenth_of_a_millisecond_is_not_taken_for_heat() -> None:
    drift = Drift()
    for _ in range(SETTLING_INVOKES + WINDOW_INVOKES):
        drift.observe(0.0001)
    assert not any(drift.observe(0.0001 + 0.9 * DRIFT_S_MIN) for _ in range(4 * WINDOW_INVOKES))
    assert any(drift.observe(0.0001 + 1.1 * DRIFT_S_MIN) for _ in range(4 * WINDOW_INVOKES))
