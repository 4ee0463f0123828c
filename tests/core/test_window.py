"""Windows and quantiles."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.core.window import Window, quantile, quantiles

VALUES = st.lists(st.floats(-1e6, 1e6) | st.sampled_from([0.0, 1.0]), max_size=60)
QS = st.floats(0.0, 1.0) | st.sampled_from([0.0, 0.5, 0.95, 0.99, 1.0])


@pytest.mark.parametrize(
    ("values", "q", "expected"),
    [
        ([], 0.5, None),
        ([7.0], 0.0, 7.0),
        ([7.0], 1.0, 7.0),
        ([1.0, 2.0], 0.5, 1.0),
        ([1.0, 2.0], 0.51, 2.0),
        ([1.0, 2.0, 3.0], 0.5, 2.0),
        ([float(n) for n in range(1, 101)], 0.95, 95.0),
        ([float(n) for n in range(1, 101)], 0.99, 99.0),
        ([float(n) for n in range(1, 101)], 1.0, 100.0),
    ],
)
def test_a_quantile_is_the_nearest_rank(values: list[float], q: float, expected: float | None) -> None:
    assert quantile(values, q) == expected


@given(VALUES, QS)
def test_a_quantile_is_the_smallest_value_that_enough_others_do_not_exceed(values: list[float], q: float) -> None:
    found = quantile(sorted(values), q)
    if not values:
        assert found is None
        return
    assert found in values
    enough = math.ceil(q * len(values))
    assert sum(value <= found for value in values) >= enough
    assert sum(value < found for value in values) < max(1, enough)


@given(VALUES, st.integers(1, 20))
def test_a_window_holds_the_newest_observations_in_order(values: list[float], size_max: int) -> None:
    window = Window(size_max)
    for value in values:
        window.add(value)
    assert window.values() == values[-size_max:]
    assert len(window) == min(len(values), size_max)
    assert window.quantile(0.5) == quantile(sorted(values[-size_max:]), 0.5)


@given(VALUES)
def test_several_quantiles_are_those_taken_one_by_one(values: list[float]) -> None:
    qs = (0.5, 0.95, 0.99)
    expected = [quantile(sorted(values), q) for q in qs] if values else []
    assert quantiles(values, qs) == expected


@pytest.mark.parametrize("q", [-0.01, 1.01])
def test_a_quantile_outside_zero_to_one_is_a_bug(q: float) -> None:
    with pytest.raises(AssertionError):
        quantile([1.0], q)


def test_a_window_for_nothing_is_a_bug() -> None:
    with pytest.raises(AssertionError):
        Window(0)
