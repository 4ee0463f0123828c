"""How long an Edge TPU may take for an answer: ten times what is slow for it, within bounds."""

import math
from collections.abc import Sequence
from itertools import chain, repeat

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.core.deadline import (
    DEADLINE_CEILING_S,
    DEADLINE_FLOOR_S,
    ENOUGH_INVOKES,
    FACTOR,
    RECOMPUTE_INVOKES,
    WINDOW_INVOKES,
    InvokeDeadline,
)

TIMES_S = st.floats(0.0, 0.3) | st.sampled_from([0.0, 0.004, 0.01, 0.02, 0.2, 5.0, math.inf])
RUNS = st.lists(st.tuples(TIMES_S, st.integers(1, 130)), max_size=8)
"""Times, each with how many invokes took so long; together up to four windows."""


def spread(runs: Sequence[tuple[float, int]]) -> list[float]:
    return list(chain.from_iterable(repeat(took_s, count) for took_s, count in runs))


def after(took_s: Sequence[float]) -> float:
    deadline = InvokeDeadline()
    for each_s in took_s:
        deadline.observe(each_s)
    return deadline.deadline_s


def expected(took_s: Sequence[float]) -> float:
    """The rule as it is written down: ten times the p99 of the window when it was last looked at, clipped."""
    if len(took_s) < ENOUGH_INVOKES:
        return DEADLINE_CEILING_S
    looked = len(took_s) - (len(took_s) - ENOUGH_INVOKES) % RECOMPUTE_INVOKES
    window = sorted(took_s[:looked][-WINDOW_INVOKES:])
    rank = next(rank for rank in range(1, len(window) + 1) if rank >= 0.99 * len(window))
    return min(max(FACTOR * window[rank - 1], DEADLINE_FLOOR_S), DEADLINE_CEILING_S)


@given(RUNS)
def test_the_deadline_is_ten_times_the_slowest_hundredth_of_the_newest_invokes_within_bounds(
    runs: list[tuple[float, int]],
) -> None:
    took_s = spread(runs)
    deadline = InvokeDeadline()
    assert deadline.deadline_s == DEADLINE_CEILING_S
    for count, each_s in enumerate(took_s, start=1):
        deadline.observe(each_s)
        if count % 7 == 0 or count == len(took_s):
            assert deadline.deadline_s == expected(took_s[:count])


def test_until_the_model_is_known_the_deadline_is_the_longest() -> None:
    assert after([0.02] * (ENOUGH_INVOKES - 1)) == DEADLINE_CEILING_S
    assert after([0.02] * ENOUGH_INVOKES) == pytest.approx(0.2)


@pytest.mark.parametrize(("took_s", "deadline_s"), [(0.001, DEADLINE_FLOOR_S), (0.03, 0.3), (0.5, DEADLINE_CEILING_S)])
def test_a_fast_model_has_the_floor_and_a_slow_one_the_ceiling(took_s: float, deadline_s: float) -> None:
    assert after([took_s] * WINDOW_INVOKES) == pytest.approx(deadline_s)


@pytest.mark.parametrize(("hiccups", "deadline_s"), [(2, 0.2), (3, 1.5)])
def test_two_hiccups_in_a_window_do_not_loosen_the_deadline(hiccups: int, deadline_s: float) -> None:
    took_s = [0.02] * WINDOW_INVOKES + [0.15] * hiccups + [0.02] * RECOMPUTE_INVOKES
    assert after(took_s) == pytest.approx(deadline_s)


def test_what_has_left_the_window_is_forgotten() -> None:
    assert after([0.15] * 100 + [0.02] * (WINDOW_INVOKES + RECOMPUTE_INVOKES)) == pytest.approx(0.2)


def test_a_device_that_slows_down_bit_by_bit_misses_no_deadline() -> None:
    """Warm, at a lower clock, with more models beside it: it is slow, and not stalled."""
    deadline = InvokeDeadline()
    for number in range(2000):
        took_s = 0.015 * 1.001**number
        assert took_s < deadline.deadline_s
        deadline.observe(took_s)


@given(st.floats(0.001, 60.0), RUNS)
def test_a_configured_deadline_is_what_counts_whatever_was_observed(
    fixed_s: float, runs: list[tuple[float, int]]
) -> None:
    deadline = InvokeDeadline(fixed_s)
    for took_s in spread(runs):
        deadline.observe(took_s)
    assert deadline.deadline_s == fixed_s


@pytest.mark.parametrize("took_s", [-0.001, math.nan])
def test_a_time_that_cannot_be_is_a_bug(took_s: float) -> None:
    with pytest.raises(AssertionError):
        InvokeDeadline().observe(took_s)


@pytest.mark.parametrize("fixed_s", [0.0, -1.0, math.nan])
def test_a_configured_deadline_that_nobody_could_meet_is_a_bug(fixed_s: float) -> None:
    with pytest.raises(AssertionError):
        InvokeDeadline(fixed_s)
