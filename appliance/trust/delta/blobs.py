"""Packed strings of bytes inside a delta: stored, LZMA1, deflate or bzip2, under one byte of header.

::

    method   1 byte     0..224 LZMA1, whose properties it is: (pb * 5 + lp) * 9 + lc; 225 stored; 226 deflate;
                        227 bzip2 in blocks of 100 kB, without its first four bytes
    size     varint     bytes that follow; absent when stored (they are as many as unpacked)
    packed   size

An empty string takes no byte at all: both sides know its size beforehand, as that of every string. Raw LZMA1 starts
with a byte that is always 0 and ends with what only marks the end: neither is sent. Whoever unpacks puts the byte back
in front, and reads zeros behind the end, as many as it takes.
"""

import bz2
import lzma
import zlib
from collections.abc import Callable

from appliance.trust.delta.streams import Reader, refuse

STORED = 225
DEFLATE = 226
BZIP2 = 227
BZIP2_START = b"BZh1"
"""What a bzip2 string starts with: its blocks are of 100 kB, so that less than 1 MB of memory unpacks it."""
PADDING_BYTES = 32
"""Zeros read behind a cut LZMA1 stream: more than liblzma looks ahead (20) and the five of the range decoder."""
CHUNK_BYTES = 65_536
"""How much is handed to a decompressor at once: it copies what it has not used yet."""
_DICTIONARY_BYTES_MIN = 4096  # the least that liblzma takes
_DICTIONARY_BYTES_MAX = 1 << 22


def lzma_filters(properties: int, size_bytes: int) -> list[dict[str, int]]:
    """Return liblzma's filter chain for a string of ``size_bytes`` (unpacked) under a properties byte below 225."""
    position, context = divmod(properties, 9)
    pb, lp = divmod(position, 5)
    dictionary = min(max(size_bytes, _DICTIONARY_BYTES_MIN), _DICTIONARY_BYTES_MAX)
    return [{"id": lzma.FILTER_LZMA1, "lc": context, "lp": lp, "pb": pb, "dict_size": dictionary}]


class Blob:
    """A packed string that is unpacked a piece at a time; memory is a dictionary of at most 4 MiB and the piece."""

    __slots__ = ("_left", "_pieces", "_unpack")

    def __init__(self, reader: Reader, size_bytes: int) -> None:
        """Read a blob.

        Args:
            reader: stands at its start, and is left at its end.
            size_bytes: what it unpacks to.

        Raises:
            BundleError: its header makes no sense.
        """
        self._left = size_bytes
        method = reader.byte() if size_bytes else STORED
        packed = reader.take(size_bytes if method == STORED else reader.number(reader.left))
        self._pieces = Reader(packed)
        self._unpack = _unpacker(method, size_bytes, self._pieces)

    def read(self, size_bytes: int) -> bytes:
        """Unpack the next so many bytes. Raises BundleError when there are not as many, or they are damaged."""
        if not 0 <= size_bytes <= self._left:
            refuse(f"{size_bytes} bytes wanted of a string that has {self._left} left")
        self._left -= size_bytes
        try:
            content = self._unpack(size_bytes)
        except (lzma.LZMAError, zlib.error, OSError, EOFError, MemoryError, ValueError) as error:
            refuse(f"a packed string: {error}")
        if len(content) != size_bytes:
            refuse(f"a packed string ends {size_bytes - len(content)} bytes too soon")
        return content


def unpack(reader: Reader, size_bytes: int) -> bytes:
    """Read a blob that unpacks to ``size_bytes``, whole. Raises BundleError when it does not."""
    return Blob(reader, size_bytes).read(size_bytes)


def _unpacker(method: int, size_bytes: int, packed: Reader) -> Callable[[int], bytes]:
    """Choose how to unpack: a function from a number of bytes to the next so many, or fewer at the end."""
    if method == STORED:
        return lambda wanted: bytes(packed.take(wanted))
    if method == DEFLATE:
        inflater = zlib.decompressobj(-zlib.MAX_WBITS)
        return lambda wanted: _inflated(inflater, packed, wanted)
    if method == BZIP2:
        unbzip2 = bz2.BZ2Decompressor()
        unbzip2.decompress(BZIP2_START)
        return lambda wanted: _decompressed(unbzip2, packed, wanted)
    if method > BZIP2:
        refuse(f"packing method {method} is not known")
    try:
        unlzma = lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=lzma_filters(method, size_bytes))
        unlzma.decompress(b"\0", 0)
    except lzma.LZMAError as error:
        refuse(f"packing method {method}: {error}")
    return lambda wanted: _decompressed(unlzma, packed, wanted)


def _inflated(inflater: "zlib._Decompress", packed: Reader, wanted: int) -> bytes:
    """Inflate up to ``wanted`` bytes."""
    pieces = []
    while wanted and (inflater.unconsumed_tail or packed.left):
        source = inflater.unconsumed_tail or packed.take(min(CHUNK_BYTES, packed.left))
        pieces.append(inflater.decompress(source, wanted))
        wanted -= len(pieces[-1])
    return b"".join(pieces)


def _decompressed(decompressor: lzma.LZMADecompressor | bz2.BZ2Decompressor, packed: Reader, wanted: int) -> bytes:
    """Decompress up to ``wanted`` bytes; behind the end of ``packed`` stand zeros."""
    pieces = []
    while wanted:
        source: bytes | memoryview = b""
        if decompressor.needs_input:
            source = packed.take(min(CHUNK_BYTES, packed.left)) or bytes(PADDING_BYTES)
        pieces.append(decompressor.decompress(source, wanted))
        wanted -= len(pieces[-1])
    return b"".join(pieces)
