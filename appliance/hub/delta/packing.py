"""Writing what ``trust/delta/streams.py`` and ``trust/delta/blobs.py`` read: numbers, and packed strings of bytes."""

import bz2
import lzma
import zlib
from collections.abc import Callable, Iterator

from appliance.errors import BundleError
from appliance.trust.delta.blobs import BZIP2, BZIP2_START, DEFLATE, STORED, lzma_filters, unpack
from appliance.trust.delta.streams import Reader

PROPERTIES = ((3, 0, 0), (0, 0, 0), (3, 0, 2), (0, 2, 2), (1, 0, 0), (0, 0, 2), (4, 0, 0))
"""(lc, lp, pb) tried, likely ones first."""
LARGE_BYTES = 1 << 18
"""From here on only LZMA is tried, with one of the first two ``PROPERTIES``: each costs a second for a few MB."""
SAMPLE_BYTES = 1 << 17
"""From the middle of a large string; it tells which, and whether it is worth trying at all (a zip file is not)."""
SHRUNK_SHARE_MAX = 0.97
TRIMMED_BYTES_MAX = 1 << 16
"""Longer strings are not trimmed: ten bytes are nothing to them, and each try is an unpacking."""
_END_BYTES_MAX = 16  # end mark and flush are 11 at most


def varint(value: int) -> bytes:
    """Write a number that is not negative (``Reader.number``)."""
    assert value >= 0, "a varint has no sign"
    content = bytearray()
    while value > 0x7F:  # noqa: PLR2004 - seven bits a byte
        content.append(value & 0x7F | 0x80)
        value >>= 7
    content.append(value)
    return bytes(content)


def zigzag(value: int) -> bytes:
    """Write a number with its sign (``Reader.signed``)."""
    return varint(value << 1 if value >= 0 else (-value << 1) - 1)


def pack(content: bytes) -> bytes:
    """Pack a string as small as it goes, for ``blobs.unpack`` with its size."""
    return min(_packed(content), key=len)


def _packed(content: bytes) -> Iterator[bytes]:
    """Yield every way that is worth trying."""
    if not content:
        yield b""
        return
    yield bytes([STORED]) + content
    if len(content) >= LARGE_BYTES:
        yield from _packed_large(content)
        return
    deflater = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS, 9)
    deflated = deflater.compress(content) + deflater.flush()
    yield bytes([DEFLATE]) + _framed(deflated)
    yield bytes([BZIP2]) + _framed(bz2.compress(content, 1).removeprefix(BZIP2_START))
    for lc, lp, pb in PROPERTIES:
        yield _lzmaed(content, (pb * 5 + lp) * 9 + lc)


def _packed_large(content: bytes) -> Iterator[bytes]:
    """Yield what LZMA makes with the properties that are best for a sample; nothing where that hardly shrinks."""
    middle = len(content) // 2
    sample = content[middle : middle + SAMPLE_BYTES]
    tried = {(pb * 5 + lp) * 9 + lc: 0 for lc, lp, pb in PROPERTIES[:2]}
    for properties in tried:
        chain = {**lzma_filters(properties, len(sample))[0], "preset": 1}
        tried[properties] = len(lzma.compress(sample, lzma.FORMAT_RAW, filters=[chain]))
    best = min(tried, key=tried.__getitem__)
    if tried[best] < SHRUNK_SHARE_MAX * len(sample):
        yield _lzmaed(content, best)


def _lzmaed(content: bytes, properties: int) -> bytes:
    """Pack by LZMA1, without the first byte, and with as little of the end as unpacks."""
    (chain,) = lzma_filters(properties, len(content))
    chain["preset"] = 9 | lzma.PRESET_EXTREME
    packed = lzma.compress(content, lzma.FORMAT_RAW, filters=[chain])[1:]

    return bytes([properties]) + _framed(
        _trimmed(packed, lambda kept: _unpacks(bytes([properties]) + _framed(kept), content))
    )


def _framed(packed: bytes) -> bytes:
    return varint(len(packed)) + packed


def _trimmed(packed: bytes, unpacks: Callable[[bytes], bool]) -> bytes:
    """Cut as much of the end as still unpacks, with zeros in its place: of a short string also after rounding up."""
    if len(packed) > TRIMMED_BYTES_MAX:
        return packed
    best = packed
    for size in range(len(packed) - 1, max(len(packed) - _END_BYTES_MAX, 0) - 1, -1):
        kept = packed[:size]
        above = (int.from_bytes(kept, "big") + 1) % (1 << 8 * size)
        found = next((each for each in (kept, above.to_bytes(size, "big")) if unpacks(each)), None)
        if found is None:
            break
        best = found
    return best


def _unpacks(packed: bytes, content: bytes) -> bool:
    """Whether a cut string still unpacks to the whole."""
    try:
        return unpack(Reader(packed), len(content)) == content
    except BundleError:
        return False
