"""Predicting weights from the base's, through the scales; what encoder and decoder of ``tad1`` must do alike.

Integers, float64 division and floor, float32 products: every machine with IEEE 754 gets the same.
"""

from dataclasses import dataclass
from enum import IntFlag
from typing import NamedTuple

import numpy as np

from appliance.core.types import Array
from appliance.trust.delta.streams import Buffer
from appliance.trust.delta.tad_plan import Kind, Segment
from appliance.trust.delta.tad_scales import Scales, by_channel, ratios

FIXED_BITS = 16
"""A ratio of scales is a fixed-point number with so many bits behind the point."""
LEVELS = 32
"""Levels that channels are sorted into by how much they change; the encoder says which."""
COLUMN_ZERO = 16
"""What a column that adds nothing to a level is written as; columns are below ``LEVELS``, too."""
LIMIT_MAX = 255
RANK_MAX = 8
"""Highest rank of an update."""
FACTOR_MAX = 127
SHIFT_MAX = 12
"""Most that a factor of an update is shifted to the left: with RANK_MAX and FACTOR_MAX, 32 bits hold the sum."""
PLAIN, PRUNED, EDGE, BEYOND = 4, 5, 6, 7
"""Besides 0 to 3, which say how far from a whole number a rescaled weight is: not rescaled; below the limit of pruning;
at it; the next above it."""
CASES = 8
CONTEXTS = LEVELS * CASES
_NO_LIMITS = np.zeros(0, np.int32)
_LEVEL = np.zeros(1, np.uint8)
_NO_COLUMNS = np.zeros(0, np.uint8)
_NO_UPDATE = (np.zeros((0, 1), np.int32), np.zeros((0, 1), np.int32))


class Mode(IntFlag):
    """How one segment of weights is predicted, and whether what is left is coded: one byte of the delta."""

    CODED = 1
    """Something is left; without it the prediction is exact."""
    RESCALE = 2
    """Weights change with the ratio of the scales: all of them, or with FLAGS the channels that are flagged."""
    FLAGS = 4
    PRUNE = 8
    """Weights become zero up to a limit of ``|q|``: each channel has one, or the segment if it has one scale."""
    RAW = 16
    """The base says nothing: every weight is predicted to be zero."""
    CHANNELS = 32
    """Each channel has its level; without it the segment has one."""
    COLUMNS = 64
    """Each column adds to the levels of its elements."""
    UPDATE = 128
    """A matrix of low rank is added to the weights: training changes many of them in the same few directions."""


@dataclass(frozen=True, slots=True)
class Weights:
    """A segment of weights with all that its prediction needs."""

    segment: Segment
    mode: Mode
    zeros: tuple[int, int]
    """Zero point in the base, and in the result."""
    fixed: Array
    """int32 [1 or channels]: ratio of the base's scale to the result's in fixed point; 1 where none applies."""
    limits: Array
    """int32 [0, 1 or channels]: largest magnitude that pruning takes"""
    levels: Array
    """uint8 [1 or channels]"""
    columns: Array
    """uint8 [0 or columns]: what each adds to the level, and COLUMN_ZERO"""
    update: tuple[Array, Array]
    """int32 [rank, channels] and [rank, inner]: their product is added, in the fixed point of ratios."""


class Prediction(NamedTuple):
    """What a run of weights is predicted to be."""

    values: Array
    """int32: as numbers, zero point included."""
    contexts: Array
    """intp, below CONTEXTS: what is known about how wrong that may be."""
    flipped: Array
    """bool: what is left is written with its sign turned, so that one table serves both directions of rounding."""


def weights_of(
    segment: Segment,
    mode: Mode,
    scales: Scales,
    *,
    chosen: Array,
    limits: Array = _NO_LIMITS,
    levels: Array = _LEVEL,
    columns: Array = _NO_COLUMNS,
    update: tuple[Array, Array] = _NO_UPDATE,
) -> Weights:
    """Put together what a segment's prediction needs.

    Args:
        segment: the weights.
        mode: how they are predicted.
        scales: all are known.
        chosen: uint8, 1 for channels that are rescaled.
        limits: int32, of pruning.
        levels: uint8, of the channels or of the segment.
        columns: uint8, of the columns, where they have any.
        update: int32, the two factors of what is added.
    """
    before, after = scales.both(Kind.SCALE, segment.tensor)
    growth = np.ones(1)
    if Mode.RESCALE in mode and len(after):
        growth = np.where(chosen, ratios(before, after), 1.0)
    return Weights(
        segment=segment,
        mode=mode,
        zeros=zero_points(*scales.both(Kind.ZERO, segment.tensor), signed=segment.signed),
        fixed=fixed_point(growth),
        limits=limits,
        levels=levels,
        columns=columns,
        update=update,
    )


def fixed_point(growth: Array) -> Array:
    """Round ratios to fixed point, int32."""
    return np.floor(growth * (1 << FIXED_BITS) + 0.5).astype(np.int32)


def zero_points(before: Array, after: Array, *, signed: bool) -> tuple[int, int]:
    """Return the zero points of a tensor, clipped to what its type holds; 0 where there is none."""
    low, high = value_range(signed=signed)
    old, new = (min(max(int(each[0]), low), high) if len(each) else 0 for each in (before, after))
    return old, new


def value_range(*, signed: bool) -> tuple[int, int]:
    """Return the least and the most that a weight can be."""
    return (-128, 127) if signed else (0, 255)


def predict(weights: Weights, base: Buffer, start: int, end: int) -> Prediction:
    """Predict elements ``start`` to ``end`` of a segment."""
    segment, (before, after) = weights.segment, weights.zeros
    count = end - start
    q = np.zeros(count, np.int32)
    known = min(max(segment.base[1] - start, 0), count)
    if known and Mode.RAW not in weights.mode:
        dtype = np.int8 if segment.signed else np.uint8
        q[:known] = np.frombuffer(base, dtype, known, segment.base[0] + start)
        q[:known] -= before
    fixed = by_channel(weights.fixed, segment, start, end)
    values, contexts, flipped = _rescaled(q, fixed, update_of(weights, start, end))
    if len(weights.limits):
        size, limit = np.abs(q), by_channel(weights.limits, segment, start, end)
        values[size <= limit] = 0
        flipped[size <= limit + 1] = False
        for beyond, case in ((1, BEYOND), (0, EDGE)):
            contexts[size == limit + beyond] = case
        contexts[size < limit] = PRUNED
    values += after
    np.clip(values, *value_range(signed=segment.signed), out=values)
    return Prediction(values, contexts * LEVELS + levels_of(weights, start, end), flipped)


def levels_of(weights: Weights, start: int, end: int) -> Array:
    """Return the level of each element, intp: its channel's, and what its column adds."""
    levels = by_channel(weights.levels, weights.segment, start, end).astype(np.intp)
    if len(weights.columns):
        column = weights.columns[np.arange(start, end) % len(weights.columns)].astype(np.intp)
        levels = np.clip(levels + column - COLUMN_ZERO, 0, LEVELS - 1)
    return levels


def update_of(weights: Weights, start: int, end: int) -> Array | None:
    """Return what the update adds to each element, in fixed point, int32; None where there is none."""
    rows, columns = weights.update
    if not len(rows):
        return None
    row, column = np.divmod(np.arange(start, end), weights.segment.inner)
    row %= weights.segment.channels
    added = np.zeros(end - start, np.int32)
    for each, other in zip(rows, columns, strict=True):
        added += each[row] * other[column]
    return added


def _rescaled(q: Array, fixed: Array, update: Array | None) -> tuple[Array, Array, Array]:
    """Rescale, update, round half up; return values, cases by the distance to them, whether they were rounded up."""
    exact = q * fixed if update is None else q * fixed + update
    values = (exact + (1 << (FIXED_BITS - 1))) >> FIXED_BITS
    beyond = exact - (values << FIXED_BITS)
    case = np.minimum(np.abs(beyond) >> (FIXED_BITS - 3), PLAIN - 1).astype(np.intp)
    if update is None:
        case[fixed == 1 << FIXED_BITS] = PLAIN
    return values, case, beyond < 0
