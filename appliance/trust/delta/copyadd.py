"""``copy-add``: pieces of the base, copied, or copied and changed, and new pieces between them.

::

    flags    1 byte   which columns there are: 1 copied, 2 changed, 4 inserted, 8 jumps; 16 in place; 32 joined
    control  varint   size of the columns, in bytes
    literals varint   only when joined: size of the changes and insertions together, in bytes
    packed            joined: columns, changes, insertions, as one packed string; else each as one

A column holds a number for each step, all columns as many. A step copies ``copied`` bytes of the base from where it
stands, adds the next ``changed`` bytes of the changes to as many bytes of the base, modulo 256, and puts the next
``inserted`` bytes of the insertions; then it jumps ahead in the base, or back (zigzag). In place, inserted bytes stand
for as many of the base, which are passed over. What is missing behind the last step is copied.
"""

from array import array
from collections.abc import Iterator
from io import BytesIO
from typing import NamedTuple

from appliance.trust.delta import full
from appliance.trust.delta.blobs import CHUNK_BYTES, Blob
from appliance.trust.delta.streams import Buffer, Reader, Sink, refuse
from appliance.trust.delta.sub import added

COPIED, CHANGED, INSERTED, JUMPS = COLUMNS = (1, 2, 4, 8)
IN_PLACE = 16
JOINED = 32
FLAGS_END = 64
CONTROL_BYTES_MAX = 256 * 1024
"""Of the columns, unpacked. A list of steps that is longer costs more than it saves."""
NUMBER_BYTES = 24
"""Of memory for each number of the columns: itself, a zero beside it, and room to grow."""
JOINED_BYTES_MAX = 64 * 1024
"""Of literals that are joined to the columns: so many are held in memory."""


class Steps(NamedTuple):
    """The columns, each with a number a step."""

    copied: memoryview
    changed: memoryview
    inserted: memoryview
    jumps: memoryview


class _Opened(NamedTuple):
    """A payload whose columns are read."""

    steps: Steps
    changes: Blob | BytesIO
    insertions: Blob | BytesIO
    in_place: bool


def memory_bytes(size_bytes: int, base_bytes: int) -> int:
    """Bound what decoding allocates, in bytes, the base itself not counted: two packed strings, and the columns."""
    return 2 * full.memory_bytes(size_bytes, base_bytes) + NUMBER_BYTES * CONTROL_BYTES_MAX


def decode(payload: Buffer, base: Buffer, size_bytes: int, sink: Sink) -> None:
    """Make the result, in its order. Raises BundleError."""
    start, held = 0, bytearray()
    for piece in _pieces(Reader(payload), memoryview(base), size_bytes):
        held += piece
        if len(held) >= CHUNK_BYTES:
            sink(start, bytes(held))
            start, held = start + len(held), bytearray()
    sink(start, bytes(held))


def _pieces(reader: Reader, base: memoryview, size_bytes: int) -> Iterator[Buffer]:
    """Yield the result, at most ``CHUNK_BYTES`` at once. Raises BundleError."""
    steps, changes, insertions, in_place = _opened(reader, len(base), size_bytes)
    at = done = 0
    for copied, changed, inserted, jump in zip(*steps, strict=True):
        done += copied + changed + inserted
        if done > size_bytes:
            refuse(f"its steps make more than {size_bytes} bytes")
        yield from _slices(base, at, copied)
        for piece in _slices(base, at + copied, changed):
            yield added(changes.read(len(piece)), piece)
        for size in _portions(inserted):
            yield insertions.read(size)
        at += copied + changed + inserted * in_place + ((jump >> 1) ^ -(jump & 1))
    yield from _slices(base, at, size_bytes - done)


def _opened(reader: Reader, base_bytes: int, size_bytes: int) -> _Opened:
    """Read all but the literals. Raises BundleError."""
    flags = reader.byte()
    if flags >= FLAGS_END:
        refuse(f"copy-add flags {flags}")
    control_bytes = reader.number(CONTROL_BYTES_MAX)
    joined_bytes = reader.number(JOINED_BYTES_MAX) if flags & JOINED else 0
    control = Blob(reader, control_bytes + joined_bytes)
    steps = _steps(flags, Reader(control.read(control_bytes)), 2 * (base_bytes + size_bytes))
    changed, inserted = sum(steps.changed), sum(steps.inserted)
    if changed + inserted > size_bytes or (flags & JOINED and changed + inserted != joined_bytes):
        refuse(f"{changed} bytes are changed and {inserted} inserted, of {size_bytes}")
    changes, insertions = (
        BytesIO(control.read(size)) if flags & JOINED else Blob(reader, size) for size in (changed, inserted)
    )
    reader.end()
    return _Opened(steps, changes, insertions, in_place=bool(flags & IN_PLACE))


def _steps(flags: int, control: Reader, most: int) -> Steps:
    """Read the columns; one that is not there is all zeros. Raises BundleError."""
    numbers = array("q")
    while control.left:
        numbers.append(control.number(most))
    there = [column for column in COLUMNS if flags & column]
    count, odd = divmod(len(numbers), len(there)) if there else (0, len(numbers))
    if odd:
        refuse(f"{len(numbers)} numbers do not fill {len(there)} columns")
    zeros, views = memoryview(array("q", bytes(8 * count))), memoryview(numbers)
    columns = {column: views[place * count : (place + 1) * count] for place, column in enumerate(there)}
    return Steps(*(columns.get(column, zeros) for column in COLUMNS))


def _slices(base: memoryview, start: int, size_bytes: int) -> Iterator[memoryview]:
    """Yield a piece of the base, in portions. Raises BundleError: the base has no such piece."""
    if size_bytes and not 0 <= start <= start + size_bytes <= len(base):
        refuse(f"bytes {start} to {start + size_bytes} of a base that has {len(base)}")
    for portion in _portions(size_bytes):
        yield base[start : start + portion]
        start += portion


def _portions(size_bytes: int) -> Iterator[int]:
    """Cut a number of bytes into what is handled at once."""
    while size_bytes:
        portion = min(size_bytes, CHUNK_BYTES)
        yield portion
        size_bytes -= portion
