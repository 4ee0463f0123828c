"""Reading how weights are predicted, and what is left of them, from a ``tad1`` delta."""

from collections.abc import Iterator, Sequence
from itertools import compress
from typing import Any

import numpy as np

from appliance.core.types import Array
from appliance.trust.delta.blobs import Blob, unpack
from appliance.trust.delta.rans import Decoder, read_tables
from appliance.trust.delta.streams import Reader, refuse
from appliance.trust.delta.tad_numbers import read_map, read_numbers
from appliance.trust.delta.tad_plan import Kind, Segment
from appliance.trust.delta.tad_scales import Scales
from appliance.trust.delta.tad_weights import (
    CONTEXTS,
    FACTOR_MAX,
    LEVELS,
    LIMIT_MAX,
    RANK_MAX,
    SHIFT_MAX,
    Mode,
    Weights,
    weights_of,
)

BLOCK = 65_536
"""Weights made at a time."""
RANS, PACKED = 0, 1
"""How what is left is coded: by ``rans``, or as one packed string."""
Piece = tuple[Weights, int, int]
"""Elements from the first number to the second, of a segment."""


def read_weights(reader: Reader | None, segments: Sequence[Segment], scales: Scales) -> list[Weights]:
    """Read how each segment of weights is predicted: packed strings of modes, flags, thresholds and levels.

    Args:
        reader: None where the delta does not say: then weights are the base's.
        segments: those of weights.
        scales: all are known.

    Raises:
        BundleError: it makes no sense.
    """
    modes = [Mode(each) for each in (unpack(reader, len(segments)) if reader else bytes(len(segments)))]
    reader = reader or Reader(b"")
    counts = [len(scales.both(Kind.SCALE, each.tensor)[1]) for each in segments]
    flagged = sum(count for mode, count in zip(modes, counts, strict=True) if Mode.FLAGS in mode)
    flags = Reader(np.unpackbits(np.frombuffer(unpack(reader, (flagged + 7) // 8), np.uint8)).tobytes())
    limits = _limits(reader, [limits_count(*each) for each in zip(segments, modes, counts, strict=True)])
    rows = [each.channels if Mode.CHANNELS in mode else 1 for each, mode in zip(segments, modes, strict=True)]
    columns = [each.depth if Mode.COLUMNS in mode else 0 for each, mode in zip(segments, modes, strict=True)]
    coded = [Mode.CODED in mode for mode in modes]
    row, column = (_levels(reader, sum(compress(each, coded))) for each in (rows, columns))
    updates = _updates(reader, [each for each, mode in zip(segments, modes, strict=True) if Mode.UPDATE in mode])
    found = []
    for segment, mode, count, *wanted in zip(segments, modes, counts, rows, columns, strict=True):
        details: dict[str, Any] = {"chosen": np.ones(count, np.uint8), "limits": limits.pop(0)}
        if Mode.FLAGS in mode:
            details["chosen"] = np.frombuffer(flags.take(count), np.uint8)
        if Mode.CODED in mode:
            details["levels"], details["columns"] = (
                np.frombuffer(source.take(size), np.uint8) for source, size in zip((row, column), wanted, strict=True)
            )
        if Mode.UPDATE in mode:
            details["update"] = updates.pop(0)
        found.append(weights_of(segment, mode, scales, **details))
    return found


def _levels(reader: Reader, count: int) -> Reader:
    content = unpack(reader, count)
    if max(content, default=0) >= LEVELS:
        refuse("a level is not known")
    return Reader(content)


def limits_count(segment: Segment, mode: Mode, scales_count: int) -> int:
    """Return how many limits of pruning a segment has."""
    return (segment.channels if scales_count > 1 else 1) if Mode.PRUNE in mode else 0


def _limits(reader: Reader, counts: Sequence[int]) -> list[Array]:
    """Read the limits of pruning of each segment: as numbers, where there are any."""
    total = sum(counts)
    limits = read_numbers(reader, np.zeros(total, np.intp), 1) if total else np.zeros(0, np.int64)
    if total and not 0 <= int(limits.min()) <= int(limits.max()) <= LIMIT_MAX:
        refuse("a limit of pruning is too high")
    return np.split(limits.astype(np.int32), np.cumsum(counts)[:-1]) if counts else []


def _updates(reader: Reader, segments: Sequence[Segment]) -> list[tuple[Array, Array]]:
    """Read updates: packed ranks, packed shifts, and as numbers all factors: of each segment rows, then columns."""
    ranks = list(unpack(reader, len(segments)))
    sizes = [rank * (each.channels + each.inner) for rank, each in zip(ranks, segments, strict=True)]
    fits = all(size <= each.result[1] for size, each in zip(sizes, segments, strict=True))
    if not fits or not all(1 <= rank <= RANK_MAX for rank in ranks):
        refuse("an update's rank is too high, or none")
    shift = np.frombuffer(unpack(reader, sum(ranks)), np.uint8).astype(np.int32)
    factors = read_numbers(reader, np.zeros(sum(sizes), np.intp), 1) if segments else np.zeros(0, np.int64)
    within = -FACTOR_MAX <= int(factors.min(initial=0)) <= int(factors.max(initial=0)) <= FACTOR_MAX
    if not within or int(shift.max(initial=0)) > SHIFT_MAX:
        refuse("an update is too large")
    found = []
    for each, rank, size in zip(segments, ranks, sizes, strict=True):
        rows, columns = np.split(factors[:size].astype(np.int32), [rank * each.channels])
        found.append((rows.reshape(rank, -1) << shift[:rank, None], columns.reshape(rank, -1)))
        factors, shift = factors[size:], shift[rank:]
    return found


class Symbols:
    """What is left of the coded weights, a block at a time."""

    def __init__(self, reader: Reader, coded: Sequence[Weights]) -> None:
        """Read the coder and what it needs beforehand. Raises BundleError when it makes no sense."""
        form = reader.byte()
        if form > PACKED:
            refuse(f"weights of form {form} are not known")
        count = sum(each.segment.result[1] for each in coded)
        self._packed = Blob(reader, count) if form == PACKED else None
        if form == RANS:
            tables = read_tables(reader)
            self._map = read_map(reader, CONTEXTS, tables.count)
            self._stream = Decoder(reader, tables, count)
        self.block = BLOCK if form == PACKED else BLOCK - BLOCK % self._stream.lanes

    def read(self, contexts: Array) -> Array:
        """Read a symbol for each context, uint8. Raises BundleError when there are not as many."""
        if self._packed:
            return np.frombuffer(self._packed.read(len(contexts)), np.uint8)
        return self._stream.decode(self._map[contexts])

    def end(self) -> None:
        """Raise BundleError unless all was read."""
        if not self._packed:
            self._stream.end()


def blocks(weights: Sequence[Weights], size: int) -> Iterator[list[Piece]]:
    """Cut segments into blocks of ``size`` elements, all but the last, across their ends."""
    block: list[Piece] = []
    room = size
    for each in weights:
        start, count = 0, each.segment.result[1]
        while start < count:
            end = min(start + room, count)
            block.append((each, start, end))
            room -= end - start
            start = end
            if not room:
                yield block
                block, room = [], size
    if block:
        yield block
