"""Is a window of samples a signal at all? Asked before the model is: it would judge a loose lead with confidence."""

from dataclasses import dataclass

import numpy as np

from appliance.core.types import Array

_SAMPLES_TO_BE_FLAT = 2
"""A single sample has no range to be flat in."""


@dataclass(frozen=True, slots=True)
class SignalLimits:
    """What a good signal keeps to. Values are in the sensor's unit; None does not limit."""

    flat_range_min: float = 0.0
    """A channel whose maximum minus minimum is at or under this is a flat line."""
    value_min: float | None = None
    value_max: float | None = None
    out_of_range_max: float = 0.0
    """Fraction of a channel's samples, 0 to 1, that may lie outside value_min..value_max."""
    gap_s_max: float | None = None
    """Longest time between two samples."""


def signal_fault(window: Array, times_s: Array | None, limits: SignalLimits) -> str:
    """Say why a window is no signal; empty when it is one.

    Args:
        window: float32 ``[n, channels]``, n at least 1.
        times_s: ``[n]`` monotonic seconds at which the samples came into being, or None when not known.
        limits: what a good signal keeps to.

    Returns:
        The first that applies, to any channel: ``flat line``, ``out of range``, ``gap``, ``not a number``
        (NaN or infinity among the samples), or ``""``.
    """
    samples = np.asarray(window, dtype=np.float64)  # wide enough that no range of float32 values overflows
    if _flat(samples, limits.flat_range_min):
        return "flat line"
    if _outside(samples, limits) > limits.out_of_range_max:
        return "out of range"
    if times_s is not None and limits.gap_s_max is not None and not (np.diff(times_s) <= limits.gap_s_max).all():
        return "gap"
    return "" if np.isfinite(samples).all() else "not a number"


def _flat(samples: Array, range_min: float) -> bool:
    """Say whether a channel hardly moves; one that holds NaN is not called flat."""
    if len(samples) < _SAMPLES_TO_BE_FLAT:
        return False
    with np.errstate(invalid="ignore"):  # infinity minus infinity is NaN, and not flat
        return bool((samples.max(axis=0) - samples.min(axis=0) <= range_min).any())


def _outside(samples: Array, limits: SignalLimits) -> float:
    """Return the largest fraction of any channel's samples that lies outside the range."""
    outside = np.zeros(samples.shape, np.bool_)
    if limits.value_min is not None:
        outside |= samples < limits.value_min
    if limits.value_max is not None:
        outside |= samples > limits.value_max
    return float(outside.mean(axis=0).max())
