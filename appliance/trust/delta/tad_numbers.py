"""Whole numbers in a ``tad1`` delta: differences of scales, zero points and biases from what was predicted.

A number is written by its zigzag z (0, -1, 1, -2, ... are 0, 1, 2, 3, ...), in one of three forms::

    form 9      all are 0
    form 1..8   so many planes of bytes: a packed string of all lowest bytes, one of all next bytes, ...
    form 0      a token each, from a stream of symbols (``rans``), and raw bits:
                z < 16: token z; else token 11 + length of z in bits, and all its bits but the highest, lowest first
"""

import numpy as np

from appliance.core.types import Array
from appliance.trust.delta.blobs import unpack
from appliance.trust.delta.rans import ORDER, Decoder, read_tables
from appliance.trust.delta.streams import Reader, refuse

PLANES_MAX = 8
NONE = 9
DIRECT = 16
"""Zigzags below are their own token."""
LENGTH_OFFSET = 11
"""A longer one's token is its length in bits (5 to 64) and this."""
TOKENS = LENGTH_OFFSET + 65
_PLACES = np.argsort(np.asarray(ORDER))
"""Tokens by symbol: a token is written as the symbol that stands at its place of a table."""


def read_numbers(reader: Reader, contexts: Array, contexts_count: int) -> Array:
    """Read as many numbers as there are contexts.

    Args:
        reader: stands at their form.
        contexts: of each, what is known about it beforehand: a number below ``contexts_count``.
        contexts_count: how many contexts there are.

    Returns:
        int64

    Raises:
        BundleError: they are damaged.
    """
    form = reader.byte()
    if form > NONE:
        refuse(f"numbers of form {form} are not known")
    if form == NONE:
        return np.zeros(len(contexts), np.int64)
    zigzag = _planes(reader, len(contexts), form) if form else _tokens(reader, contexts, contexts_count)
    signed: Array = (zigzag >> np.uint64(1)).astype(np.int64) ^ -(zigzag & np.uint64(1)).astype(np.int64)
    return signed


def _planes(reader: Reader, count: int, planes: int) -> Array:
    """Read numbers a plane of bytes at a time. Returns their zigzags, uint64."""
    zigzag = np.zeros(count, np.uint64)
    for plane in range(planes):
        zigzag |= np.frombuffer(unpack(reader, count), np.uint8).astype(np.uint64) << np.uint64(8 * plane)
    return zigzag


def _tokens(reader: Reader, contexts: Array, contexts_count: int) -> Array:
    """Read numbers by tokens and raw bits. Returns their zigzags, uint64."""
    tables = read_tables(reader)
    shared = read_map(reader, contexts_count, tables.count)
    stream = Decoder(reader, tables, len(contexts))
    tokens = _PLACES[stream.decode(shared[contexts])]
    stream.end()
    if len(tokens) and int(tokens.max()) >= TOKENS:
        refuse("a number of more than 64 bits")
    lengths = np.where(tokens < DIRECT, 0, tokens - LENGTH_OFFSET - 1)
    zigzag = np.where(tokens < DIRECT, tokens.astype(np.uint64), np.uint64(1) << lengths.astype(np.uint64))
    return zigzag | _bits(reader, lengths)


def read_map(reader: Reader, contexts_count: int, tables_count: int) -> Array:
    """Read which table each context uses: nothing if there is one; else how many are said, and those packed.

    The others use table 0. Raises BundleError when there is no such table.
    """
    shared = np.zeros(contexts_count, np.uint8)
    if tables_count > 1:
        said = reader.number(contexts_count)
        shared[:said] = np.frombuffer(unpack(reader, said), np.uint8)
    if int(shared.max()) >= tables_count:
        refuse("a context's table is not there")
    return shared


def _bits(reader: Reader, lengths: Array) -> Array:
    """Read raw bits, so many for each number, the lowest first. Returns uint64."""
    ends = np.cumsum(lengths)
    total = int(ends[-1]) if len(ends) else 0
    bits = np.unpackbits(np.frombuffer(reader.take((total + 7) // 8), np.uint8), bitorder="little")
    values = np.zeros(len(lengths), np.uint64)
    for place in range(int(lengths.max(initial=0))):
        longer = np.flatnonzero(lengths > place)
        at = ends[longer] - lengths[longer] + place
        values[longer] |= bits[at].astype(np.uint64) << np.uint64(place)
    return values
