"""Writing streams of symbols for ``trust/delta/rans.py``: which contexts share a table, the tables, the words."""

from dataclasses import dataclass

import numpy as np

from appliance.core.types import Array
from appliance.hub.delta.packing import pack, varint
from appliance.trust.delta.rans import (
    LANES_MAX,
    ORDER,
    PRECISION_BITS,
    STATE_MIN,
    STEPS_MAX,
    SYMBOLS,
    TABLES_MAX,
    TOTAL,
    count_of,
    frequencies,
)

STEPS = 2_500
"""Symbols of a lane: a lane costs two bytes, and a step of all lanes together a few microseconds."""
SHARE = 10
"""Streams of which states take more than one part in so many get as few lanes as a decoder takes."""
_STATE_BYTES = 4
_ORDER = np.asarray(ORDER)
_TABLE_BITS, _CODE_BITS = 24, 4  # of a table beside its codes, and of a code: what packing leaves of them


@dataclass(frozen=True, slots=True)
class Shared:
    """Tables, and which context uses which."""

    tables: Array
    """int64 [tables, 256]: frequencies by symbol"""
    written: bytes
    """As ``read_tables`` reads them."""
    used: Array
    """uint8 [contexts]"""


def histograms(contexts: Array, symbols: Array, contexts_count: int) -> Array:
    """Count symbols by context, int64 ``[contexts_count, 256]``."""
    joined = contexts.astype(np.int64) * SYMBOLS + symbols
    return np.bincount(joined, minlength=contexts_count * SYMBOLS).reshape(contexts_count, SYMBOLS)


def entropy_bits(counts: Array) -> Array:
    """Return what symbols of these counts take under tables of their own, in bits, along the last axis."""
    total = counts.sum(axis=-1, dtype=np.float64)
    each = counts * np.log2(np.maximum(counts, 1))
    bits: Array = total * np.log2(np.maximum(total, 1)) - each.sum(axis=-1)
    return bits


def table_bits(counts: Array) -> Array:
    """Estimate what tables of these counts take, in bits."""
    present = counts[..., _ORDER] > 0
    last = SYMBOLS - 1 - present[..., ::-1].argmax(axis=-1)
    return np.where(present.any(axis=-1), _TABLE_BITS + _CODE_BITS * (last + 1), 0)


def share(counts: Array) -> Shared:
    """Let contexts share tables where that costs less than tables of their own.

    Starts from a table for each context, and joins the two whose joint table saves most, as long as one does.
    """
    used = np.flatnonzero(counts.sum(axis=1))
    groups = [[int(each)] for each in used] or [[0]]
    rows = counts[used] if len(used) else counts[:1]
    rows, groups = _joined(rows, groups)
    mapped = np.zeros(len(counts), np.uint8)
    for table, group in enumerate(groups):
        mapped[group] = table
    return _written(rows, mapped)


def _joined(rows: Array, groups: list[list[int]]) -> tuple[Array, list[list[int]]]:
    """Join groups greedily."""
    cost = entropy_bits(rows) + table_bits(rows)
    saved = np.full((len(rows), len(rows)), -np.inf)
    for each in range(len(rows)):
        saved[each, each + 1 :] = _saved(rows, cost, each)[each + 1 :]
    alive = np.ones(len(rows), bool)
    while alive.sum() > 1:
        first, second = divmod(int(saved.argmax()), len(rows))
        if saved[first, second] <= 0 and alive.sum() <= TABLES_MAX:
            break
        rows[first] += rows[second]
        groups[first] += groups[second]
        alive[second] = False
        saved[second, :] = saved[:, second] = -np.inf
        cost[first] = entropy_bits(rows[first]) + table_bits(rows[first])
        fresh = np.where(alive, _saved(rows, cost, first), -np.inf)
        saved[first, first + 1 :], saved[:first, first] = fresh[first + 1 :], fresh[:first]
    return rows[alive], [group for group, lives in zip(groups, alive, strict=True) if lives]


def _saved(rows: Array, cost: Array, each: int) -> Array:
    """Return what joining one row with each other saves, in bits."""
    joint = rows + rows[each]
    saved: Array = cost + cost[each] - entropy_bits(joint) - table_bits(joint)
    return saved


def _written(rows: Array, mapped: Array) -> Shared:
    """Write tables."""
    placed = rows[:, _ORDER]
    lasts = [int(np.flatnonzero(each).max(initial=0)) for each in placed]
    codes = [code_of(each[: last + 1]) for each, last in zip(placed, lasts, strict=True)]
    counts = np.zeros_like(rows)
    for row, code in zip(counts, codes, strict=True):
        row[_ORDER[: len(code)]] = count_of(code)
    packed = pack(bytes(lasts)) + pack(np.concatenate(codes).astype(np.uint8).tobytes())
    return Shared(np.stack([frequencies(each) for each in counts]), varint(len(rows)) + packed, mapped)


def code_of(counts: Array) -> Array:
    """Return the codes nearest to counts, the inverse of ``count_of``; none that is present becomes 0."""
    shift = np.maximum(np.frexp(counts.astype(np.float64))[1] - 4, 0)
    mantissa = np.floor(counts / 2.0**shift + 0.5).astype(np.int64)  # 16 is 8 of the next exponent, and its code too
    return np.where(counts < 16, counts, 8 * shift + mantissa)  # noqa: PLR2004 - see count_of


def _written_map(shared: Shared) -> bytes:
    """Write which table each context uses, for ``read_map``."""
    content = shared.used.tobytes().rstrip(b"\0")
    return varint(len(content)) + pack(content) if len(shared.tables) > 1 else b""


def encode(symbols: Array, tables: Array, shared: Shared) -> bytes:
    """Write a stream for ``Decoder``: the table of each symbol is given."""
    lanes = min(max(len(symbols) // STEPS, 1), LANES_MAX)
    stream = _interleaved(symbols, tables, shared, lanes)
    if _STATE_BYTES * lanes * SHARE < len(stream):
        return stream
    return _interleaved(symbols, tables, shared, min(-(-len(symbols) // STEPS_MAX), LANES_MAX))


def _interleaved(symbols: Array, tables: Array, shared: Shared, lanes: int) -> bytes:
    """Write a stream of so many lanes."""
    count = len(symbols)
    frequency = shared.tables[tables, symbols].astype(np.uint64)
    start = (np.cumsum(shared.tables, axis=1) - shared.tables)[tables, symbols].astype(np.uint64)
    states = np.full(lanes, STATE_MIN, np.uint64)
    words: list[Array] = []
    for first in range((count - 1) // lanes * lanes, -1, -lanes):
        each = slice(first, min(first + lanes, count))
        state = states[: each.stop - first]
        full = state >= frequency[each] << np.uint64(32 - PRECISION_BITS)
        words.append((state[full] & np.uint64(0xFFFF)).astype("<u2"))
        state = np.where(full, state >> np.uint64(16), state)
        quotient, remainder = np.divmod(state, frequency[each])
        states[: each.stop - first] = quotient * np.uint64(TOTAL) + remainder + start[each]
    written = np.concatenate([np.zeros(0, "<u2"), *words[::-1]]).astype("<u2")
    return varint(lanes) + varint(len(written)) + states.astype("<u4").tobytes() + written.tobytes()


def coded(symbols: Array, contexts: Array, contexts_count: int) -> bytes:
    """Write tables, map and stream of symbols with contexts, as small as sharing makes them."""
    shared = share(histograms(contexts, symbols, contexts_count))
    stream = encode(symbols, shared.used[contexts], shared)
    return shared.written + _written_map(shared) + stream
