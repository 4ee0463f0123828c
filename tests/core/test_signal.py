"""The signal gate: a lead that fell off must not reach the model."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from appliance.core.signal import SignalLimits, signal_fault
from appliance.core.types import Array

LIMITS = SignalLimits(flat_range_min=0.5, value_min=-10.0, value_max=10.0, out_of_range_max=0.25, gap_s_max=1.0)
EVEN_S = (0.0, 1.0, 2.0, 3.0)


@pytest.mark.parametrize(
    ("samples", "times_s", "fault"),
    [
        ((0.0, 1.0, 2.0, 1.0), EVEN_S, ""),
        ((0.0, 0.5, 0.0, 0.5), EVEN_S, "flat line"),  # at the limit
        ((0.0, 0.501, 0.0, 0.5), EVEN_S, ""),
        ((0.0, 1.0, 2.0, 11.0), EVEN_S, ""),  # a quarter is outside: at the limit
        ((0.0, 1.0, 11.0, 11.0), EVEN_S, "out of range"),
        ((0.0, 1.0, -11.0, -11.0), EVEN_S, "out of range"),
        ((0.0, 10.0, -10.0, 10.0), EVEN_S, ""),  # both limits belong to the range
        ((0.0, 1.0, 2.0, 1.0), (0.0, 1.0, 2.001, 3.0), "gap"),
        ((0.0, 1.0, 2.0, 1.0), (0.0, 1.0, float("nan"), 3.0), "gap"),
        ((0.0, 1.0, float("nan"), 1.0), EVEN_S, "not a number"),
        ((0.0, 1.0, float("inf"), 1.0), EVEN_S, "not a number"),
        ((float("inf"),) * 4, EVEN_S, "out of range"),
        ((float("nan"),) * 4, EVEN_S, "not a number"),
        ((3e38, -3e38, 3e38, 0.0), EVEN_S, "out of range"),
        ((11.0, 11.0, 11.0, 11.0), (0.0, 5.0, 6.0, 7.0), "flat line"),  # the first that applies
        ((11.0, 0.0, 11.0, 11.0), (0.0, 5.0, 6.0, 7.0), "out of range"),
        ((1.0, float("nan"), 5.0, 7.0), (0.0, 5.0, 6.0, 7.0), "gap"),
    ],
)
def test_the_first_fault_that_applies_is_told(
    samples: tuple[float, ...], times_s: tuple[float, ...], fault: str
) -> None:
    assert signal_fault(np.array(samples, np.float32)[:, np.newaxis], np.array(times_s), LIMITS) == fault


@pytest.mark.parametrize("channel", [0, 1, 2])
@pytest.mark.parametrize(
    ("bad", "fault"),
    [
        ((3.0,) * 4, "flat line"),
        ((11.0, 0.0, 11.0, 0.0), "out of range"),
        ((0.0, 5.0, float("nan"), 0.0), "not a number"),
    ],
)
def test_one_bad_channel_of_three_is_enough(channel: int, bad: tuple[float, ...], fault: str) -> None:
    window = np.tile(np.array([[0.0], [4.0], [2.0], [4.0]], np.float32), (1, 3))
    window[:, channel] = bad
    assert signal_fault(window, None, LIMITS) == fault


def test_without_times_or_without_a_limit_there_is_no_gap() -> None:
    window = np.array([[0.0], [5.0]], np.float32)
    assert signal_fault(window, None, SignalLimits(gap_s_max=0.1)) == ""
    assert signal_fault(window, np.array([0.0, 99.0]), SignalLimits()) == ""


def test_a_single_sample_is_no_flat_line() -> None:
    assert signal_fault(np.array([[3.0]], np.float32), np.array([0.0]), LIMITS) == ""


def test_without_a_range_no_value_is_outside_it() -> None:
    assert signal_fault(np.array([[3e38], [-3e38]], np.float32), None, SignalLimits()) == ""


def expected_fault(window: Array, times_s: list[float], limits: SignalLimits) -> str:
    """Say it in the words of the limits, sample by sample."""
    channels = [[float(value) for value in column] for column in window.T]
    if any(len(c) > 1 and max(c) - min(c) <= limits.flat_range_min for c in channels if not any(v != v for v in c)):  # noqa: PLR0124 - NaN differs from itself
        return "flat line"
    low, high = limits.value_min, limits.value_max
    for column in channels:
        outside = sum((low is not None and v < low) or (high is not None and v > high) for v in column)
        if outside / len(column) > limits.out_of_range_max:
            return "out of range"
    gaps = [later - earlier for earlier, later in pairwise(times_s)]
    if limits.gap_s_max is not None and any(gap > limits.gap_s_max for gap in gaps):
        return "gap"
    return "not a number" if any(v != v for c in channels for v in c) else ""  # noqa: PLR0124 - as above


@given(
    window=hnp.arrays(
        np.float32,
        st.tuples(st.integers(1, 6), st.integers(1, 3)),
        elements=st.sampled_from([0.0, 1.0, 2.0, 3.0, float("nan")]),
    ),
    steps_s=st.lists(st.sampled_from([0.0, 0.5, 1.0]), min_size=6, max_size=6),
    limits=st.builds(
        SignalLimits,
        flat_range_min=st.sampled_from([0.0, 1.0]),
        value_min=st.sampled_from([None, 0.0, 1.0]),
        value_max=st.sampled_from([None, 2.0, 3.0]),
        out_of_range_max=st.sampled_from([0.0, 0.5, 1.0]),
        gap_s_max=st.sampled_from([None, 0.5, 1.0]),
    ),
)
def test_windows_are_judged_as_the_limits_say(window: Array, steps_s: list[float], limits: SignalLimits) -> None:
    times_s = np.cumsum(steps_s)[: len(window)]
    assert signal_fault(window, times_s, limits) == expected_fault(window, times_s.tolist(), limits)
