"""Writing whole numbers for ``trust/delta/tad_numbers.py``, in the form that is smallest."""

from collections.abc import Iterator

import numpy as np

from appliance.core.types import Array
from appliance.hub.delta.packing import pack
from appliance.hub.delta.tad_symbols import coded
from appliance.trust.delta.rans import ORDER
from appliance.trust.delta.tad_numbers import DIRECT, LENGTH_OFFSET, NONE, PLANES_MAX


def write_numbers(values: Array, contexts: Array, contexts_count: int) -> bytes:
    """Write int64 numbers, whose contexts the decoder knows beforehand."""
    if not values.any():
        return bytes([NONE])
    zigzag = ((values << 1) ^ (values >> 63)).astype(np.uint64)
    return min(_written(zigzag, contexts, contexts_count), key=len)


def _written(zigzag: Array, contexts: Array, contexts_count: int) -> Iterator[bytes]:
    yield _planes(zigzag)
    yield _tokens(zigzag, contexts, contexts_count)


def _planes(zigzag: Array) -> bytes:
    """Write a plane of bytes at a time."""
    planes = zigzag.astype("<u8").view(np.uint8).reshape(-1, PLANES_MAX).T
    count = int(np.flatnonzero(planes.any(axis=1)).max()) + 1
    return bytes([count]) + b"".join(pack(each.tobytes()) for each in planes[:count])


def _tokens(zigzag: Array, contexts: Array, contexts_count: int) -> bytes:
    """Write a token each, and raw bits."""
    lengths = bit_lengths(zigzag)
    tokens = np.where(zigzag < DIRECT, zigzag.astype(np.int64), lengths + LENGTH_OFFSET)
    symbols = np.asarray(ORDER)[tokens]
    raw = np.where(zigzag < DIRECT, 0, lengths - 1)
    stream = coded(symbols, contexts, contexts_count)
    return bytes([0]) + stream + _bits(zigzag, raw)


def bit_lengths(values: Array) -> Array:
    """Return how many bits each number has: 0 for 0."""
    lengths = np.zeros(len(values), np.int64)
    left = values.copy()
    while left.any():
        lengths += left > 0
        left >>= np.uint64(1)
    return lengths


def _bits(values: Array, counts: Array) -> bytes:
    """Write so many of the lowest bits of each number, the lowest first."""
    starts = np.cumsum(counts) - counts
    bits = np.zeros(int(counts.sum()), np.uint8)
    for place in range(int(counts.max(initial=0))):
        longer = np.flatnonzero(counts > place)
        bits[starts[longer] + place] = (values[longer] >> np.uint64(place)) & np.uint64(1)
    return np.packbits(bits, bitorder="little").tobytes()
