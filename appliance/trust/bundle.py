"""The file that carries an update: which files it makes, from what, and what proves each.

Nothing in here is to be given a bundle before the SHA-256 of the *whole* of it was verified against signed metadata:
verify, then parse, then unpack. What is read here is nevertheless bounded and checked as if nobody had vouched for it,
because a publisher can be mistaken or robbed. ``docs/delta-format.md`` shows the format to a stranger.
"""

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from pydantic import TypeAdapter, ValidationError

from appliance.errors import BundleError
from appliance.trust import delta
from appliance.trust.delta import Buffer, Kind, Sink
from appliance.trust.delta.streams import Reader, refuse
from appliance.trust.description import RelativePath
from appliance.trust.manifest import BUNDLE_BYTES_MAX, DESCRIPTION, MEMORY_BYTES_MAX

MAGIC = b"EAUB"
FORMAT = 1
ID_BYTES = 32
"""Of a SHA-256."""
NO_BASE = bytes(ID_BYTES)
ENTRIES_MAX = 65
"""A description and the files that it may list."""
PATH_BYTES_MAX = 259
"""Four names of 64 characters and three slashes."""
RESULT_BYTES_MAX = BUNDLE_BYTES_MAX
"""Of all files together."""
BLOCK_HASH_BYTES = 4
"""First bytes of a block's SHA-256: they tell early, and where; that it is all right, only the whole SHA-256 tells."""
BLOCK_BITS = range(12, 27)
"""A block has 2 to the power of one of these bytes."""
KINDS = (Kind.COPY, Kind.FULL_XZ, Kind.COPY_ADD, Kind.SUB_XZ, Kind.TAD1)
"""By their number in a bundle."""

_PATH: TypeAdapter[str] = TypeAdapter(RelativePath)


@dataclass(frozen=True, slots=True)
class Entry:
    """A file that a bundle makes."""

    kind: Kind
    path: str
    base_path: str
    """The file of the base that it is made from; empty where it needs none."""
    size_bytes: int
    sha256: bytes
    payload_start: int
    """In the bundle."""
    payload_bytes: int
    block_bytes: int
    block_hashes: tuple[bytes, ...]
    """Of each block of the result; none where it has only one."""


@dataclass(frozen=True, slots=True)
class Header:
    """What a bundle says before its payloads."""

    base_id: str
    """Id of the model whose files it needs; empty where it needs none."""
    result_id: str
    memory_bytes: int
    """Address space that applying takes at most, beyond what a process has with everything loaded and mapped."""
    entries: tuple[Entry, ...]


def read_header(raw: Buffer) -> Header:
    """Read what a bundle makes.

    Args:
        raw: the whole bundle, verified.

    Raises:
        BundleError: it is none, or says what cannot be.
    """
    reader = Reader(raw)
    if bytes(reader.take(len(MAGIC))) != MAGIC or reader.byte() != FORMAT:
        raise BundleError("not a bundle, or one of a format that is not known here")
    base, result = bytes(reader.take(ID_BYTES)), bytes(reader.take(ID_BYTES))
    memory_bytes = reader.number(MEMORY_BYTES_MAX)
    block_bits = reader.byte()
    if block_bits not in BLOCK_BITS:
        refuse(f"blocks of 2 to the power of {block_bits} bytes")
    entries = [_entry(reader, 1 << block_bits) for _ in range(reader.number(ENTRIES_MAX))]
    start = len(raw) - reader.left
    for place, entry in enumerate(entries):
        entries[place] = replace(entry, payload_start=start)
        start += entry.payload_bytes
    if start != len(raw):
        refuse(f"a bundle of {len(raw)} bytes that tells of {start}")
    _check(entries, result, whole=base == NO_BASE)
    return Header("" if base == NO_BASE else base.hex(), result.hex(), memory_bytes, tuple(entries))


def _entry(reader: Reader, block_bytes: int) -> Entry:
    """Read an entry; where its payload stands is not known yet. Raises BundleError."""
    number = reader.byte()
    if number >= len(KINDS):
        refuse(f"a kind {number}")
    kind, path, base_path = KINDS[number], _path(reader), _path(reader)
    if not path or (kind is Kind.FULL_XZ and base_path):
        refuse(f"{kind} of {path or 'no path'} from {base_path or 'itself'}")
    size_bytes, payload_bytes = reader.number(delta.SIZE_BYTES_MAX), reader.number(BUNDLE_BYTES_MAX)
    digest, blocks = bytes(reader.take(ID_BYTES)), -(-size_bytes // block_bytes)
    return Entry(
        kind=kind,
        path=path,
        base_path="" if kind is Kind.FULL_XZ else base_path or path,
        size_bytes=size_bytes,
        sha256=digest,
        payload_start=0,
        payload_bytes=payload_bytes,
        block_bytes=block_bytes,
        block_hashes=tuple(bytes(reader.take(BLOCK_HASH_BYTES)) for _ in range(blocks if blocks > 1 else 0)),
    )


def _path(reader: Reader) -> str:
    """Read a path, or none. Raises BundleError: it could leave its folder."""
    raw = bytes(reader.take(reader.number(PATH_BYTES_MAX)))
    try:
        return _PATH.validate_python(raw.decode("ascii")) if raw else ""
    except (UnicodeDecodeError, ValidationError):
        refuse(f"{raw!r:.80} is no path inside a model's folder")


def _check(entries: Sequence[Entry], result: bytes, *, whole: bool) -> None:
    """Raise BundleError unless the entries make one folder, with the description that was promised."""
    paths = {entry.path: entry for entry in entries}
    folders = {path[:place] for path in paths for place, letter in enumerate(path) if letter == "/"}
    if len(paths) < len(entries) or folders & paths.keys():
        refuse("two entries have one path")
    if sum(entry.size_bytes for entry in entries) > RESULT_BYTES_MAX:
        refuse(f"it makes more than {RESULT_BYTES_MAX} bytes")
    if DESCRIPTION not in paths or paths[DESCRIPTION].sha256 != result:
        refuse(f"it does not make the {DESCRIPTION} that it is for")
    if whole and any(entry.base_path for entry in entries):
        refuse("it names no base, but needs one")


def apply(bundle: Buffer, base_files: Mapping[str, Buffer], open_sink: Callable[[Entry], Sink]) -> None:
    """Make every file of a bundle, in the order of its entries.

    Nothing is proved here but sizes: hold what comes out against its entry, by :class:`Hashing` on the way and by
    :func:`check` over what the medium gives back.

    Args:
        bundle: the whole of it, verified; may be a mapped file.
        base_files: content of the base's files by path, verified against ``Header.base_id``; may be mapped.
        open_sink: is asked for a sink before each file; the one before has got all its bytes then.

    Raises:
        BundleError: the bundle is none, does not fit the base, or a payload is damaged.
    """
    content = memoryview(bundle)
    for entry in read_header(bundle).entries:
        if entry.base_path and entry.base_path not in base_files:
            refuse(f"{entry.path} is made from {entry.base_path}, which the base does not have")
        payload = content[entry.payload_start : entry.payload_start + entry.payload_bytes]
        base = base_files[entry.base_path] if entry.base_path else b""
        delta.apply(entry.kind, payload, base, entry.size_bytes, open_sink(entry))


class Digest:
    """The proof that a content is an entry's: block by block, then the whole."""

    def __init__(self, entry: Entry) -> None:
        self._entry = entry
        self._whole = hashlib.sha256()
        self._block = hashlib.sha256()
        self._size_bytes = 0

    def add(self, content: Buffer) -> None:
        """Take the next bytes. Raises BundleError at the first block that is wrong."""
        left = memoryview(content)
        self._whole.update(left)
        while left and self._entry.block_hashes:
            piece = left[: self._entry.block_bytes - self._size_bytes % self._entry.block_bytes]
            self._block.update(piece)
            self._size_bytes += len(piece)
            left = left[len(piece) :]
            if self._size_bytes % self._entry.block_bytes == 0 or self._size_bytes == self._entry.size_bytes:
                self._end_block()
        self._size_bytes += len(left)

    def _end_block(self) -> None:
        number = -(-self._size_bytes // self._entry.block_bytes) - 1
        got, self._block = self._block.digest()[:BLOCK_HASH_BYTES], hashlib.sha256()
        if got not in self._entry.block_hashes[number : number + 1]:
            msg = f"{self._entry.path}: block {number} of {self._entry.block_bytes} bytes is not what was signed"
            raise BundleError(msg)

    def end(self) -> None:
        """Say that this was all. Raises BundleError: it is not the entry's content."""
        if self._size_bytes != self._entry.size_bytes or self._whole.digest() != self._entry.sha256:
            msg = f"{self._entry.path}: {self._size_bytes} bytes with another sha256 than was signed"
            raise BundleError(msg)


class Hashing:
    """A sink that hands on what it is given and proves it on the way, as far as it comes in order."""

    def __init__(self, entry: Entry, sink: Sink) -> None:
        self._digest = Digest(entry)
        self._sink = sink
        self._reached: int | None = 0

    def __call__(self, offset: int, content: bytes | memoryview) -> None:
        """Take a piece of the result. Raises BundleError: it is wrong; it was not handed on."""
        if offset == self._reached:
            self._digest.add(content)
            self._reached += len(content)
        elif len(content):
            self._reached = None
        self._sink(offset, content)

    def end(self) -> bool:
        """Say that this was all: whether it was proved; else it came in another order, see :func:`check`.

        Raises:
            BundleError: it is not the entry's content.
        """
        if self._reached is not None:
            self._digest.end()
        return self._reached is not None


def check(entry: Entry, pieces: Iterable[Buffer]) -> None:
    """Prove a file that was made by what is read of it again. Raises BundleError: it is not what was signed."""
    digest = Digest(entry)
    for piece in pieces:
        digest.add(piece)
    digest.end()
