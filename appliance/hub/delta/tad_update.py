"""What a fine-tune changes in many weights at once: a matrix of low rank, fitted to the difference of two versions."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from appliance.core.types import Array
from appliance.hub.delta.tad_symbols import entropy_bits
from appliance.trust.delta.tad_plan import Segment
from appliance.trust.delta.tad_scales import by_channel
from appliance.trust.delta.tad_weights import FACTOR_MAX, FIXED_BITS, RANK_MAX, SHIFT_MAX, Weights

RANKS = (1, 2, 4, RANK_MAX)
AMPLITUDES = (3.0, 90.0)
"""Least and most that the largest factors of a component are rounded to."""
ELEMENTS_MIN = 12
"""Elements to each factor, from which on an update can pay."""
TABLE_BITS = 64
_POWERS = 4  # subspace iterations: the first few components need no more
_SEED = 5
_TINY = 1e-12


@dataclass(frozen=True, slots=True)
class Update:
    """An update as it is written."""

    shifts: Array
    """int32 [rank]"""
    rows: Array
    """int32 [rank, channels]"""
    columns: Array
    """int32 [rank, inner]"""

    @property
    def bits(self) -> float:
        """Estimate what it takes, in bits: the entropy of the factors, and a table."""
        factors = np.concatenate([self.rows.ravel(), self.columns.ravel()])
        return float(entropy_bits(np.bincount(factors + FACTOR_MAX))) + TABLE_BITS


def updates(segment: Segment, weights: Weights, base: bytes, result: bytes) -> Iterator[Update]:
    """Yield updates of rising rank that bring a segment of the base closest to the result."""
    count, factors = segment.result[1], segment.channels + segment.inner
    if segment.inner == 1 or segment.channels * segment.inner != count or count < ELEMENTS_MIN * factors:
        return
    components = min(RANK_MAX, segment.channels, segment.inner)
    difference = _difference(segment, weights, base, result)
    left, strengths, right = _decomposed(difference, components)
    for rank in (each for each in RANKS if each <= components and each * factors <= count):
        noise = max(float((difference**2).sum() - (strengths[:rank] ** 2).sum()), 1.0) / count
        amplitudes = np.sqrt(1.5 * strengths[:rank] ** 2 / (factors * noise)).clip(*AMPLITUDES)
        yield _quantised(left[:, :rank].T, strengths[:rank], right[:rank], amplitudes)


def _quantised(left: Array, strengths: Array, right: Array, amplitudes: Array) -> Update:
    """Round components to whole factors.

    An error of rounding costs ``log2(e) / 2`` bits for each ``noise`` of its energy, and halving it a bit for each
    factor; the amplitudes given are where both are even, for factors whose largest is three times their spread.
    """
    peaks = np.abs(left).max(axis=1, keepdims=True), np.abs(right).max(axis=1, keepdims=True)
    product = strengths * peaks[0][:, 0] * peaks[1][:, 0] * (1 << FIXED_BITS)
    shifts = np.floor(np.log2(np.maximum(product / amplitudes**2, 1.0))).clip(0, SHIFT_MAX)
    size = np.sqrt(product / 2.0**shifts)[:, None]
    rows, columns = (
        np.rint(each / np.maximum(peak, _TINY) * size).clip(-FACTOR_MAX, FACTOR_MAX).astype(np.int32)
        for each, peak in zip((left, right), peaks, strict=True)
    )
    return Update(shifts.astype(np.int32), rows, columns)


def _difference(segment: Segment, weights: Weights, base: bytes, result: bytes) -> Array:
    """Return the difference that prediction leaves, before rounding, float64 ``[channels, inner]``."""
    dtype = np.int8 if segment.signed else np.uint8
    count = segment.result[1]
    old = np.frombuffer(base, dtype, count, segment.base[0]).astype(np.float64) - weights.zeros[0]
    new = np.frombuffer(result, dtype, count, segment.result[0]).astype(np.float64) - weights.zeros[1]
    predicted = old * by_channel(weights.fixed, segment, 0, count) / (1 << FIXED_BITS)
    return (new - predicted).reshape(segment.channels, segment.inner)


def _decomposed(matrix: Array, components: int) -> tuple[Array, Array, Array]:
    """Return the strongest singular components, by subspace iteration."""
    space = matrix @ np.random.default_rng(_SEED).standard_normal((matrix.shape[1], components))
    for _ in range(_POWERS):
        space = matrix @ (matrix.T @ np.linalg.qr(space)[0])
    basis = np.linalg.qr(space)[0]
    left, strengths, right = np.linalg.svd(basis.T @ matrix, full_matrices=False)
    return basis @ left, strengths, right
