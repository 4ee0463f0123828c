"""Makes bundles (``trust/bundle.py``): the smallest delta for each file, applied and proved before anybody sees it."""

import hashlib
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

from appliance.errors import BundleError, HubError
from appliance.hub import delta
from appliance.hub.delta.packing import varint
from appliance.hub.progress import Progress
from appliance.trust import bundle
from appliance.trust.bundle import BLOCK_HASH_BYTES, FORMAT, KINDS, MAGIC, NO_BASE, Entry, Hashing
from appliance.trust.delta import MEMORY_BYTES, Kind, Sink
from appliance.trust.manifest import DESCRIPTION

BLOCK_BITS = 19
"""512 KiB: a model of some MB gets a handful of block hashes, 4 bytes each."""
SLACK_BYTES = 8 * 1024 * 1024
"""Of the memory bound: what an allocator holds beside what it gave out."""
MEMORY_STEP_BYTES = 1024 * 1024
WORK = "files of the bundle"
"""What progress is told of."""


def silent(_what: str, _done: int, _total: int) -> None:
    """Tell nobody."""


@dataclass(frozen=True, slots=True)
class Row:
    """A file in the table of a bundle."""

    path: str
    kind: Kind
    payload_bytes: int
    result_bytes: int
    base_bytes: int
    """Of the file that it is made from; 0 where there is none."""
    sizes: Mapping[Kind, int]
    """Bytes of the payload of each kind that was tried."""


@dataclass(frozen=True, slots=True, eq=False)
class Built:
    """A bundle that was applied and proved."""

    content: bytes
    entries: tuple[Row, ...]
    memory_bytes: int
    """Address space that applying takes at most, beyond what a process has with everything loaded and mapped."""


def build(
    base: Mapping[str, bytes] | None,
    result: Mapping[str, bytes],
    *,
    progress: Progress = silent,
    limit_s: float = delta.LIMIT_S,
    kinds: Collection[Kind] = delta.KINDS,
) -> Built:
    """Make the smallest bundle from one model's folder to another.

    Args:
        base: content by path of what devices have, with its ``model.toml``; None for the whole.
        result: content by path of what they shall have, with its ``model.toml``.
        progress: is told of each file.
        limit_s: for each kind of each file.
        kinds: of which one is chosen.

    Raises:
        HubError: the bundle cannot be made, or does not give ``result``.
    """
    rows, heads, payloads = [], [], []
    for number, (path, content) in enumerate(sorted(result.items())):
        progress(WORK, number, len(result))
        source = _source(base or {}, path)
        old = (base or {}).get(source)
        encoded = delta.encode(old, content, limit_s=limit_s, kinds=kinds)
        rows.append(Row(path, encoded.kind, len(encoded.payload), len(content), len(old or b""), encoded.sizes))
        named = "" if encoded.kind is Kind.FULL_XZ or source == path else source
        heads.append(_head(encoded.kind, path, named, content, len(encoded.payload)))
        payloads.append(encoded.payload)
    memory_bytes = _memory_bytes(rows)
    base_id = hashlib.sha256(base[DESCRIPTION]).digest() if base else NO_BASE
    result_id = hashlib.sha256(result[DESCRIPTION]).digest()
    head = MAGIC + bytes([FORMAT]) + base_id + result_id + varint(memory_bytes) + bytes([BLOCK_BITS])
    made = b"".join((head, varint(len(heads)), *heads, *payloads))
    progress(WORK, len(result), len(result))
    try:
        proved = unpack(made, base) == dict(result)
    except BundleError as error:
        msg = f"the bundle cannot be applied: {error}"
        raise HubError(msg) from error
    if not proved:
        raise HubError("the bundle makes something else; this is a fault of an encoder, report it")
    return Built(made, tuple(rows), memory_bytes)


def unpack(content: bytes, base: Mapping[str, bytes] | None) -> dict[str, bytes]:
    """Do with a bundle what a device does, in memory. Return content by path.

    Raises:
        BundleError: it is none, does not fit the base, or makes something else than it says.
    """
    made: dict[str, bytearray] = {}

    def open_sink(entry: Entry) -> Sink:
        file = made[entry.path] = bytearray(entry.size_bytes)

        def write(offset: int, piece: bytes | memoryview) -> None:
            file[offset : offset + len(piece)] = piece

        return Hashing(entry, write)

    bundle.apply(content, base or {}, open_sink)
    for entry in bundle.read_header(content).entries:
        bundle.check(entry, [made[entry.path]])
    return {path: bytes(file) for path, file in made.items()}


def _source(base: Mapping[str, bytes], path: str) -> str:
    """Choose the file of the base that is most like one: of the same path, else the first with the same ending."""
    alike = (each for each in sorted(base) if PurePosixPath(each).suffix == PurePosixPath(path).suffix)
    return path if path in base else next(alike, path)


def _head(kind: Kind, path: str, base_path: str, content: bytes, payload_bytes: int) -> bytes:
    """Write an entry."""
    names = b"".join(varint(len(name.encode())) + name.encode() for name in (path, base_path))
    sizes = varint(len(content)) + varint(payload_bytes)
    return bytes([KINDS.index(kind)]) + names + sizes + hashlib.sha256(content).digest() + b"".join(_blocks(content))


def _blocks(content: bytes) -> Iterator[bytes]:
    """Yield the hash of each block, where there is more than one."""
    block_bytes = 1 << BLOCK_BITS
    if len(content) > block_bytes:
        for start in range(0, len(content), block_bytes):
            yield hashlib.sha256(content[start : start + block_bytes]).digest()[:BLOCK_HASH_BYTES]


def _memory_bytes(rows: Iterable[Row]) -> int:
    """Bound what applying takes: the decoder of one file after the other."""
    most = max(MEMORY_BYTES[row.kind](row.result_bytes, row.base_bytes) for row in rows)
    return -(-(most + SLACK_BYTES) // MEMORY_STEP_BYTES) * MEMORY_STEP_BYTES
