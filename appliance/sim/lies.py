"""Wrong numbers, for what stands in for hardware that gives some."""

import numpy as np

from appliance.core.types import Array

LIE_STEPS = 128
"""How far a lie is off in an integer tensor: half the range, in every element."""


def lie(values: Array) -> Array:
    """Give numbers that no tolerance allows."""
    if values.dtype.kind == "f":
        return np.asarray(-values - 1, dtype=values.dtype)
    return np.asarray(values.astype(np.int16) ^ LIE_STEPS).astype(values.dtype)
