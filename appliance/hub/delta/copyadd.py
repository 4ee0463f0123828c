"""Writes ``copy-add`` (``trust/delta/copyadd.py``): bsdiff's alignment, cut finer, and coded better."""

import lzma
import zlib
from collections.abc import Iterator
from typing import NamedTuple

import bsdiff4.core  # type: ignore[import-untyped]  # ships no types
import numpy as np
import numpy.typing as npt

from appliance.hub.delta.packing import pack, varint, zigzag
from appliance.trust.delta.copyadd import (
    COLUMNS,
    CONTROL_BYTES_MAX,
    IN_PLACE,
    JOINED,
    JOINED_BYTES_MAX,
    JUMPS,
)

GAPS_BYTES = (2, 4, 8, 16, 64)
"""Equal bytes between two changes from which on they are copied, not changed by 0: each is tried."""
STEPS_MAX = 200_000
FINALISTS = 3
"""Plans that are packed as well as it goes, of all that look good when they are packed quickly."""
LARGE_BYTES = 256 * 1024
"""Of the literals of the best plan: from here on it is the only one that is packed well. A second saved for each MB."""
_QUICK = [{"id": lzma.FILTER_LZMA1, "preset": 0}]

_COPIED, _CHANGED, _INSERTED = range(3)

Numbers = npt.NDArray[np.int64]
Bytes = npt.NDArray[np.uint8]


class Plan(NamedTuple):
    """A way to make the result."""

    flags: int
    control: bytes
    """The columns that are not all zeros, one after the other."""
    changes: bytes
    insertions: bytes


def encode(base: bytes, result: bytes) -> bytes:
    """Make the smallest copy-add."""
    plans = sorted(dict.fromkeys(_plans(base, result)), key=_quickly)
    finalists = plans[: 1 if len(plans[0].changes + plans[0].insertions) > LARGE_BYTES else FINALISTS]
    return min((payload for plan in finalists for payload in _payloads(plan)), key=len)


def _quickly(plan: Plan) -> int:
    """Return about the size that a plan will have, in bytes."""
    return sum(map(_quickly_packed, (plan.control, plan.changes, plan.insertions)))


def _quickly_packed(content: bytes) -> int:
    if len(content) > LARGE_BYTES:
        return len(zlib.compress(content, 1))
    return len(lzma.compress(content, lzma.FORMAT_RAW, filters=_QUICK))


def _payloads(plan: Plan) -> Iterator[bytes]:
    """Write a plan, joined where it is small, and not."""
    flags, control, changes, insertions = plan
    yield bytes([flags]) + varint(len(control)) + pack(control) + pack(changes) + pack(insertions)
    literals = changes + insertions
    if len(literals) <= JOINED_BYTES_MAX:
        yield bytes([flags | JOINED]) + varint(len(control)) + varint(len(literals)) + pack(control + literals)


def _plan(steps: Numbers, changes: Bytes, insertions: Bytes, flags: int = 0) -> Plan:
    """Make a plan of its steps: bytes copied, changed and inserted, and the jump in the base, [steps, 4]."""
    # What is only copied at the end need not be said, nor a jump behind the end.
    last = steps[-1:, :] * (1, 1, 1, 0) if steps[-1:, 1:3].any() else steps[:0]
    control = bytearray()
    for column, numbers in zip(COLUMNS, np.concatenate((steps[:-1], last)).T.tolist(), strict=True):
        if any(numbers):
            flags |= column
            control += b"".join(map(zigzag if column == JUMPS else varint, numbers))
    return Plan(flags, bytes(control), changes.tobytes(), insertions.tobytes())


def _plans(base: bytes, result: bytes) -> Iterator[Plan]:
    """Yield plans: all inserted; bsdiff's; and it with equal bytes cut out, what is left changed, or inserted."""
    control, differences = _aligned(base, result)
    new = np.frombuffer(result, np.uint8)
    yield _inserting(np.array([[0, 0, len(new), 0]]), new)
    yield from _short(_changing(np.column_stack((np.zeros(len(control), np.int64), control)), differences, new))
    for gap_bytes in GAPS_BYTES:
        rows = _cut(control, differences, gap_bytes)
        if len(rows) <= STEPS_MAX:
            yield from _short(_changing(rows, differences, new), _inserting(rows, new))


def _short(*plans: Plan) -> Iterator[Plan]:
    """Yield those whose columns a decoder takes."""
    yield from (plan for plan in plans if len(plan.control) <= CONTROL_BYTES_MAX)


def _aligned(base: bytes, result: bytes) -> tuple[Numbers, Bytes]:
    """Return bsdiff's control, [entries, 3] of bytes that differ little, bytes inserted, jump; and the differences."""
    raw, differences, _ = bsdiff4.core.diff(base, result)
    signed = np.frombuffer(raw, "<u8").reshape(-1, 3)
    sizes = (signed & np.uint64(2**63 - 1)).astype(np.int64)  # bsdiff writes sign and magnitude
    return np.where(signed >> np.uint64(63), -sizes, sizes), np.frombuffer(differences, np.uint8)


def _cut(control: Numbers, differences: Bytes, gap_bytes: int) -> Numbers:
    """Cut bsdiff's entries where ``gap_bytes`` and more did not change. Return rows as :func:`_changing` takes them."""
    stops = np.cumsum(control[:, 0])
    changed = np.flatnonzero(differences)
    entry = np.searchsorted(stops, changed, side="right")
    fresh = (np.diff(changed, prepend=-gap_bytes) >= gap_bytes) | (np.diff(entry, prepend=-1) > 0)
    begins, ends, within = changed[fresh], changed[np.roll(fresh, -1)] + 1, entry[fresh]
    reached = stops - control[:, 0]
    before = np.maximum(reached[within], np.concatenate(([0], ends))[: len(begins)])
    np.maximum.at(reached, within, ends)
    zeros = np.zeros_like(begins)
    islands = np.column_stack((begins - before, ends - begins, zeros, zeros))
    tails = np.column_stack((stops - reached, np.zeros_like(stops), control[:, 1:]))
    order = np.argsort(np.concatenate((2 * within, 2 * np.arange(len(stops)) + 1)), kind="stable")
    return _merged(np.concatenate((islands, tails))[order])


def _merged(rows: Numbers) -> Numbers:
    """Let a row that only inserts or jumps go up into the one before, where that one does neither."""
    rows = rows[rows.any(axis=1)]
    joins = np.zeros(len(rows), bool)
    joins[1:] = ~rows[1:, :2].any(axis=1) & ~rows[:-1, 2:].any(axis=1)
    rows[np.roll(joins, -1)] += rows[joins]
    return rows[~joins]


def _changing(rows: Numbers, differences: Bytes, new: Bytes) -> Plan:
    """Make a plan of rows: copied, changed, inserted, and how far the base moves on beyond copied and changed."""
    parts = _parts(rows)
    return _plan(rows, differences[parts[parts < _INSERTED] == _CHANGED], new[parts == _INSERTED])


def _inserting(rows: Numbers, new: Bytes) -> Plan:
    """Make a plan that inserts what others change: digits that change are more alike than their differences."""
    copied, changed, inserted, jumps = rows.T
    steps = np.column_stack((copied, np.zeros_like(changed), changed + inserted, jumps - inserted))
    return _plan(steps, new[:0], new[_parts(rows) != _COPIED], IN_PLACE)


def _parts(rows: Numbers) -> Bytes:
    """Tell of each byte of the result whether it is copied, changed or inserted."""
    return np.repeat(np.tile(np.arange(3, dtype=np.uint8), len(rows)), rows[:, :3].ravel())
