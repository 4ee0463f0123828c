"""Affine quantisation both ways, as TFLite does it: ``real = (quantised - zero_point) * scale``."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from appliance.core.model import Dtype, TensorSpec
from appliance.core.types import Array, as_float32
from appliance.errors import FrameError

PIXEL_VALUES = 256
"""Distinct values of a uint8 pixel."""


def quantise(real: Array, spec: TensorSpec) -> Array:
    """Turn real values into the tensor's own, saturating at the ends of its dtype.

    As TFLite's ``AffineQuantize`` (tensorflow/lite/kernels/internal/reference/quantize.h): divided in float32,
    rounded half away from zero, and only then shifted by the zero point. Float tensors pass through.

    Args:
        real: any shape; infinities saturate, NaN is refused before (an ``assert`` here).
        spec: the tensor to quantise for.

    Returns:
        An array of the same shape in ``spec.dtype``.
    """
    values = as_float32(real)
    if spec.dtype is Dtype.FLOAT32:
        return values
    assert not np.isnan(values).any(), "NaN has no quantised value"
    low, high = _limits(spec)
    with np.errstate(over="ignore"):  # a quotient beyond float32 is infinite, and saturates
        steps = values / np.float32(spec.scale)
    steps = np.clip(steps, low - spec.zero_point, high - spec.zero_point)
    whole = np.trunc(steps)
    # Adding 0.5 before truncating would round 0.49999997 up: the sum is not exact. This difference is.
    whole = whole + np.where(np.abs(steps - whole) >= 0.5, np.sign(steps), np.float32(0))  # noqa: PLR2004 - one half
    return np.asarray(whole + np.float32(spec.zero_point)).astype(spec.dtype.numpy)


def dequantise(quantised: Array, spec: TensorSpec) -> NDArray[np.float32]:
    """Turn a tensor's values into the real values they stand for; float tensors pass through uncopied.

    The values are widened before the zero point is subtracted: in their own dtype the difference would wrap.
    """
    values = as_float32(quantised)
    if spec.dtype is Dtype.FLOAT32:
        return values
    return as_float32((values - np.float32(spec.zero_point)) * np.float32(spec.scale))


def normalise(values: Array, mean: Sequence[float], std: Sequence[float]) -> NDArray[np.float32]:
    """Return ``(values - mean) / std`` in float32; the last axis of ``values`` is as long as ``mean`` and ``std``.

    What is not finite, or leaves float32 on the way, comes out as infinity or NaN.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        return as_float32((as_float32(values) - as_float32(np.asarray(mean))) / as_float32(np.asarray(std)))


def lookup_table(mean: Sequence[float], std: Sequence[float], spec: TensorSpec) -> Array:
    """Return what each uint8 pixel value becomes: ``[256, channels]`` in ``spec.dtype``.

    Row x is ``quantise(normalise(x))``, so that a picture is normalised and quantised by one look-up a value,
    with no float picture in between.
    """
    pixels = np.arange(PIXEL_VALUES, dtype=np.float32)[:, np.newaxis]
    return quantise(normalise(pixels, mean, std), spec)


def least_reaching(real_min: float, spec: TensorSpec) -> float:
    """Return the least value of the tensor that stands for ``real_min`` or more: a threshold, moved to its domain.

    When none does, a value above all of the dtype. For float tensors ``real_min`` itself.
    """
    if spec.dtype is Dtype.FLOAT32:
        return real_min
    low, high = _limits(spec)
    reals = dequantise(np.arange(low, high + 1), spec).astype(np.float64)
    return low + int(np.searchsorted(reals, real_min))


def finite(values: Array, role: str) -> Array:
    """Return an output as it is. Raises FrameError when it holds NaN or infinity: such a frame was not judged."""
    if not np.isfinite(values).all():
        msg = f"the model's output {role!r} holds NaN or infinity; finite numbers are wanted"
        raise FrameError(msg)
    return values


def _limits(spec: TensorSpec) -> tuple[int, int]:
    """Return the least and the greatest value of an integer tensor."""
    bounds = np.iinfo(spec.dtype.value)
    return int(bounds.min), int(bounds.max)
