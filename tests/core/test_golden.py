"""Golden vectors: what counts as the same answer."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from appliance.core.golden import FLOAT_LSB, GoldenReport, combine, compare
from appliance.core.types import Array


def _report(got: Array, wanted: Array, tolerance_lsb: int = 0) -> GoldenReport:
    return compare({"scores": got}, {"scores": wanted}, {"scores": tolerance_lsb})


@given(npst.arrays(st.sampled_from([np.int8, np.uint8]), npst.array_shapes(max_dims=3)))
def test_equal_integers_are_zero_steps_apart(values: Array) -> None:
    difference = _report(values.copy(), values).roles["scores"]
    assert (difference.max_lsb, difference.mean_lsb) == (0.0, 0.0)
    assert difference.passed


@given(st.data(), st.sampled_from([np.int8, np.uint8]), st.integers(0, 64))
def test_integers_pass_up_to_the_tolerance_and_not_one_step_beyond(
    data: st.DataObject, dtype: type[np.int8 | np.uint8], tolerance_lsb: int
) -> None:
    low, high = np.iinfo(dtype).min, np.iinfo(dtype).max
    # Both ends of the range, where a difference in the dtype itself would wrap around.
    pair = st.integers(low, high) | st.sampled_from([low, high])
    one, other = data.draw(pair), data.draw(pair)
    report = _report(np.array([[0, one]], dtype), np.array([[0, other]], dtype), tolerance_lsb)
    assert report.roles["scores"].max_lsb == abs(one - other)
    assert report.roles["scores"].mean_lsb == abs(one - other) / 2
    assert report.passed == (abs(one - other) <= tolerance_lsb)


def test_the_ends_of_the_range_are_255_steps_apart() -> None:
    report = _report(np.array([-128], np.int8), np.array([127], np.int8), 64)
    assert report.roles["scores"].max_lsb == 255.0
    assert not report.passed


@pytest.mark.parametrize("magnitude", [1e-3, 1.0, 1e4])
@pytest.mark.parametrize(("steps", "passed"), [(0.0, True), (1.9, True), (2.1, False), (-2.1, False)])
def test_floats_are_counted_in_fractions_of_their_largest_magnitude(
    magnitude: float, steps: float, *, passed: bool
) -> None:
    wanted = np.array([0.5, -1.0, 0.0], np.float32) * np.float32(magnitude)
    got = wanted + np.float32(steps * FLOAT_LSB * magnitude) * np.array([0, 0, 1], np.float32)
    assert _report(got, wanted, 2).passed is passed


def test_floats_that_must_all_be_zero_have_a_step_of_their_own() -> None:
    zeros = np.zeros(3, np.float32)
    assert _report(zeros, zeros).passed
    assert not _report(zeros + np.float32(0.1), zeros, 64).passed


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_not_a_number_never_passes(value: float) -> None:
    wanted = np.array([1.0, 2.0], np.float32)
    report = _report(np.array([1.0, value], np.float32), wanted, 64)
    assert not report.passed
    assert report.roles["scores"].max_lsb == math.inf


@pytest.mark.parametrize(
    "got",
    [np.zeros((1, 3), np.uint8), np.zeros(3, np.int8), np.zeros((1, 4), np.int8), np.zeros((1, 3), np.float32)],
    ids=["other sign", "other rank", "other size", "other kind"],
)
def test_a_tensor_of_another_shape_or_dtype_never_passes(got: Array) -> None:
    report = _report(got, np.zeros((1, 3), np.int8), 64)
    assert not report.passed
    assert "of another shape or dtype" in report.faults()


def test_a_missing_role_never_passes_and_is_named() -> None:
    values = np.zeros(1, np.int8)
    report = compare({"boxes": values}, {"boxes": values, "scores": values}, {"boxes": 0, "scores": 64})
    assert not report.passed
    assert report.faults().startswith("scores is missing")
    assert "boxes" not in report.faults()


def _detections(count: int, junk: float) -> dict[str, Array]:
    return {
        "boxes": np.concatenate([np.ones((1, 2, 4)), np.full((1, 3, 4), junk)], axis=1).astype(np.float32),
        "scores": np.concatenate([np.ones((1, 2)), np.full((1, 3), junk)], axis=1).astype(np.float32),
        "count": np.array([count], np.float32),
    }


def test_slots_past_the_count_are_not_compared_and_slots_within_it_are() -> None:
    tolerance = {"boxes": 1, "scores": 1, "count": 0}
    assert compare(_detections(2, math.nan), _detections(2, 0.0), tolerance).passed
    assert not compare(_detections(3, 7.0), _detections(3, 0.0), tolerance).passed
    assert compare(_detections(0, math.nan), _detections(0, 0.0), tolerance).passed


def test_another_count_never_passes() -> None:
    report = compare(_detections(3, 0.0), _detections(2, 0.0), {"boxes": 1, "scores": 1, "count": 0})
    assert report.faults().startswith("count is")


def test_several_vectors_sum_up_to_the_worst_of_them() -> None:
    zeros = np.zeros((1, 2), np.int8)
    worse = np.array([[0, 6]], np.int8)
    combined = combine([_report(zeros, zeros, 5), _report(worse, zeros, 5)])
    assert combined.roles["scores"].max_lsb == 6.0
    assert combined.roles["scores"].mean_lsb == 1.5
    assert combined.faults() == "scores is 6 steps off (allowed: 5)"
    assert str(combined) == combined.faults()


def test_no_vectors_prove_nothing() -> None:
    assert not combine([]).passed
