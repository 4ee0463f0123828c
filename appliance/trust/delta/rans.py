"""Range asymmetric numeral systems: bytes from static tables, interleaved over lanes that NumPy steps together.

The coder of J. Duda (arXiv:1311.2540) in the form of F. Giesen's "Interleaved entropy coders" (arXiv:1402.3392):
32-bit states, 16-bit words, frequencies of 14 bits. Symbol i of a stream belongs to lane i mod K. All is integer
arithmetic.

Residuals are bytes modulo 256, and small ones are likely: tables list symbols in the order 0, 255, 1, 254, 2, ...
(0, -1, 1, -2, 2, ...), as *counts*, which both sides turn into frequencies by the same rule.
"""

from dataclasses import dataclass

import numpy as np

from appliance.core.types import Array
from appliance.trust.delta.blobs import unpack
from appliance.trust.delta.streams import Reader, refuse

PRECISION_BITS = 14
TOTAL = 1 << PRECISION_BITS
"""What the frequencies of a table sum to."""
SYMBOLS = 256
STATE_MIN = 1 << 16
"""A state below takes in a word; every lane starts encoding here, and so ends decoding here."""
TABLES_MAX = 64
"""Most tables of a stream: a table costs 16 KiB of memory."""
LANES_MAX = 512
STEPS_MAX = 16_384
"""Most symbols of a lane, but for streams of ``LANES_MAX``: a step takes as long for one lane as for many."""
_LOW, _PRECISION, _WORD = np.uint32(TOTAL - 1), np.uint32(PRECISION_BITS), np.uint32(16)
ORDER = tuple((-(index >> 1) - 1) % SYMBOLS if index & 1 else index >> 1 for index in range(SYMBOLS))
"""Symbols by their place in a table: 0, 255, 1, 254, ..., 128."""


def count_of(codes: Array) -> Array:
    """Return what a count's one-byte code stands for: 0 to 15 itself, else ``(8 + code % 8) << (code // 8 - 1)``."""
    wide = codes.astype(np.int64)
    counts: Array = np.where(wide < 16, wide, (8 + wide % 8) << np.maximum(wide // 8 - 1, 0))  # noqa: PLR2004 - as said above
    return counts


def frequencies(counts: Array) -> Array:
    """Scale a table's counts to sum to ``TOTAL``, none that is present to less than 1.

    Each count is scaled and rounded down. What is missing then goes to the most frequent symbol; while there is too
    much, the most frequent symbol (the lowest of equals) gives up what is needed, but at most half of itself. A table
    without counts is one of symbol 0 alone.
    """
    total = int(counts.sum())
    if total == 0:
        return np.where(np.arange(len(counts)) == 0, TOTAL, 0)
    scaled = np.where(counts > 0, np.maximum(counts * TOTAL // total, 1), 0)
    missing = TOTAL - int(scaled.sum())
    while missing:
        most = int(scaled.argmax())
        change = max(missing, -int(scaled[most] // 2)) if missing < 0 else missing
        scaled[most] += change
        missing -= change
    return scaled


@dataclass(frozen=True, slots=True)
class Tables:
    """The tables of a stream, flat: entry ``256 t + s`` is symbol s of table t."""

    frequency: Array
    """uint32 [tables x 256]"""
    start: Array
    """uint32 [tables x 256]: sum of the frequencies of the symbols before."""
    symbol: Array
    """uint8 [tables x 16384]: the symbol by the state's low bits."""
    count: int


def tables_of(counts: Array) -> Tables:
    """Build tables from counts ``[tables, 256]`` by symbol."""
    rows = np.stack([frequencies(each) for each in counts])
    symbol = np.concatenate([np.repeat(np.arange(SYMBOLS, dtype=np.uint8), each) for each in rows])
    start = np.cumsum(rows, axis=1) - rows
    return Tables(rows.astype(np.uint32).ravel(), start.astype(np.uint32).ravel(), symbol, len(rows))


def read_tables(reader: Reader) -> Tables:
    """Read a stream's tables: how many, the place of the last symbol of each, the codes of the counts up to there.

    Raises:
        BundleError: they make no sense.
    """
    tables = reader.number(TABLES_MAX)
    if not tables:
        refuse("a stream without tables")
    lasts = list(unpack(reader, tables))
    codes = Reader(unpack(reader, sum(lasts) + tables))
    counts = np.zeros((tables, SYMBOLS), np.int64)
    for row, last in zip(counts, lasts, strict=True):
        row[list(ORDER[: last + 1])] = count_of(np.frombuffer(codes.take(last + 1), np.uint8))
    return tables_of(counts)


class Decoder:
    """One stream, decoded a block at a time."""

    __slots__ = ("_at", "_states", "_tables", "_words", "lanes")

    def __init__(self, reader: Reader, tables: Tables, count: int) -> None:
        """Read a stream of ``count`` symbols: lanes, size in words, the lanes' states (uint32), words (uint16).

        Raises:
            BundleError: it is damaged, or has too few lanes.
        """
        self.lanes = reader.number(LANES_MAX)
        if not self.lanes or (self.lanes < LANES_MAX and count > STEPS_MAX * self.lanes):
            refuse(f"{count} symbols in {self.lanes} lanes")
        words = reader.number(reader.left // 2)
        self._states = np.frombuffer(reader.take(4 * self.lanes), "<u4").astype(np.uint32)
        self._words = np.frombuffer(reader.take(2 * words), "<u2")
        self._tables = tables
        self._at = 0

    def decode(self, tables: Array) -> Array:
        """Decode the next symbols.

        Args:
            tables: the table of each symbol, each below ``Tables.count``. Every call but the last asks for a multiple
                of ``lanes``.

        Returns:
            The symbols, uint8.

        Raises:
            BundleError: the stream ends too soon.
        """
        symbols = np.empty(len(tables), np.uint8)
        rows = tables.astype(np.intp)
        slots, rows = rows << PRECISION_BITS, rows << 8
        by_slot, frequency, starts = self._tables.symbol, self._tables.frequency, self._tables.start
        for first in range(0, len(symbols), self.lanes):
            lanes = slice(first, min(first + self.lanes, len(symbols)))
            state = self._states[: lanes.stop - first]
            low = state & _LOW
            symbol = by_slot.take(slots[lanes] + low)
            symbols[lanes] = symbol
            entry = rows[lanes] + symbol
            state = frequency.take(entry) * (state >> _PRECISION) + low - starts.take(entry)
            hungry = (state < STATE_MIN).nonzero()[0]
            if hungry.size:
                state[hungry] = (state[hungry] << _WORD) | self._more(hungry.size)
            self._states[: lanes.stop - first] = state
        return symbols

    def _more(self, count: int) -> Array:
        """Read so many words."""
        words = self._words[self._at : self._at + count]
        if len(words) < count:
            refuse("a stream of symbols ends too soon")
        self._at += count
        return words

    def end(self) -> None:
        """Raise BundleError unless the stream ends here: every word used, every state where encoding started."""
        if self._at != len(self._words) or bool((self._states != STATE_MIN).any()):
            refuse("a stream of symbols does not end where it should")
