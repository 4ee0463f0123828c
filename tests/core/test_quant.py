"""Affine quantisation: exact to half a step, saturating, never wrapping."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.core.model import Dtype, TensorSpec
from appliance.core.quant import dequantise, finite, least_reaching, lookup_table, normalise, quantise
from appliance.core.types import Array
from appliance.errors import FrameError
from tests.core.described import FLOAT32, LIMITS, all_values, quantised_specs

ROUNDING = Fraction(1, 10_000)
"""What float32 division may add to an error, as a part of a step (128 steps at 2**-24 each, and then some)."""


def spec_of(dtype: Dtype, scale: float, zero_point: int) -> TensorSpec:
    return TensorSpec("input", (1, 1), dtype, scale, zero_point)


@given(spec=quantised_specs(), steps=st.floats(-400, 400))
def test_a_real_value_is_at_most_half_a_step_off_or_at_the_end_it_lies_beyond(spec: TensorSpec, steps: float) -> None:
    real = np.float32(steps * spec.scale)
    low, high = LIMITS[spec.dtype]
    exact = Fraction(float(real)) / Fraction(float(np.float32(spec.scale))) + spec.zero_point
    nearest = min(max(exact, Fraction(low)), Fraction(high))
    quantised = quantise(np.array([real]), spec)
    assert quantised.dtype == spec.dtype.numpy
    assert abs(Fraction(int(quantised[0])) - nearest) <= Fraction(1, 2) + ROUNDING


@given(spec=quantised_specs())
def test_every_value_of_a_tensor_survives_the_way_to_real_and_back(spec: TensorSpec) -> None:
    values = all_values(spec)
    np.testing.assert_array_equal(quantise(dequantise(values, spec), spec), values)


@given(spec=quantised_specs())
def test_dequantising_never_wraps_around(spec: TensorSpec) -> None:
    expected = [(value - spec.zero_point) * spec.scale for value in all_values(spec).tolist()]
    np.testing.assert_allclose(dequantise(all_values(spec), spec), expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("real", "zero_point", "expected"),
    [
        (0.5, 0, 1),
        (1.5, 0, 2),
        (2.5, 0, 3),
        (-0.5, 0, -1),
        (-2.5, 0, -3),
        (0.5, 1, 2),  # the zero point is added after rounding: half to even of 1.5 would agree, of 2.5 below not
        (0.5, 2, 3),
        (-0.5, 1, 0),
        (float(np.nextafter(np.float32(0.5), np.float32(0))), 0, 0),  # adding 0.5 in float32 gives 1.0
        (float(np.nextafter(np.float32(-0.5), np.float32(0))), 0, 0),
    ],
)
def test_halves_are_rounded_away_from_zero_as_tflite_does(real: float, zero_point: int, expected: int) -> None:
    assert quantise(np.array([real]), spec_of(Dtype.INT8, 1.0, zero_point)).tolist() == [expected]


@pytest.mark.parametrize(("dtype", "zero_point"), [(d, z) for d, ends in LIMITS.items() for z in (*ends, 17)])
@pytest.mark.parametrize("scale", [1e-4, 1.0, 10.0])
def test_what_lies_beyond_the_ends_saturates(dtype: Dtype, zero_point: int, scale: float) -> None:
    beyond = np.array([-np.inf, -3e38, -1e5, 1e5, 3e38, np.inf], np.float32)
    low, high = LIMITS[dtype]
    assert quantise(beyond, spec_of(dtype, scale, zero_point)).tolist() == [low] * 3 + [high] * 3


def test_float_tensors_pass_through_uncopied() -> None:
    values = np.array([[0.25, -7.0]], np.float32)
    assert quantise(values, FLOAT32) is values
    assert dequantise(values, FLOAT32) is values


@given(
    spec=quantised_specs() | st.just(FLOAT32),
    mean=st.lists(st.floats(-300, 300, width=32), min_size=3, max_size=3),
    std=st.lists(st.floats(2**-7, 300, width=32), min_size=3, max_size=3),
)
def test_one_look_up_equals_normalising_and_quantising(spec: TensorSpec, mean: list[float], std: list[float]) -> None:
    table = lookup_table(mean, std, spec)
    assert table.shape == (256, 3)
    assert table.dtype == spec.dtype.numpy
    for channel in range(3):
        pixels = np.arange(256, dtype=np.uint8)
        real = normalise(pixels[:, np.newaxis], mean[channel : channel + 1], std[channel : channel + 1])
        np.testing.assert_allclose(
            real[:, 0], (pixels - np.float64(mean[channel])) / std[channel], rtol=1e-5, atol=1e-6
        )
        np.testing.assert_array_equal(table[:, channel], quantise(real[:, 0], spec))


@given(spec=quantised_specs(), steps=st.integers(-2, 257) | st.floats(-2, 257))
def test_a_threshold_means_the_same_in_the_quantised_domain(spec: TensorSpec, steps: float) -> None:
    values: Array = all_values(spec)
    reals = dequantise(values, spec).astype(np.float64)
    near = float((np.float32(steps) + values[0] - np.float32(spec.zero_point)) * np.float32(spec.scale))
    np.testing.assert_array_equal(values >= least_reaching(near, spec), reals >= near)


def test_a_threshold_on_a_float_tensor_is_itself() -> None:
    assert least_reaching(0.3, FLOAT32) == 0.3


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
def test_an_output_that_is_not_finite_is_an_error_that_names_it(wrong: float) -> None:
    with pytest.raises(FrameError, match="output 'boxes' holds NaN or infinity"):
        finite(np.array([0.0, wrong]), "boxes")
