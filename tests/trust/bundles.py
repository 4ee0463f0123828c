"""Bundles for tests, written by hand, with whatever is wrong in them."""

import hashlib
from dataclasses import dataclass

from appliance.hub.delta.packing import varint
from appliance.trust.bundle import FORMAT, KINDS, MAGIC, NO_BASE
from appliance.trust.delta import Kind
from appliance.trust.delta.blobs import STORED

TOML = b'name = "x"\n'
TOML_ID = hashlib.sha256(TOML).digest()
BLOCK_BITS = 12


@dataclass(frozen=True, slots=True)
class Part:
    """An entry and its payload as they are written; by default a sound one."""

    path: bytes = b"model.toml"
    content: bytes = TOML
    kind: int = KINDS.index(Kind.FULL_XZ)
    base_path: bytes = b""
    size_bytes: int | None = None
    sha256: bytes | None = None
    payload: bytes | None = None
    blocks: tuple[bytes, ...] | None = None

    def written(self) -> tuple[bytes, bytes]:
        """Return the entry and the payload."""
        payload = bytes([STORED]) * bool(self.content) + self.content if self.payload is None else self.payload
        size_bytes = len(self.content) if self.size_bytes is None else self.size_bytes
        names = b"".join(varint(len(name)) + name for name in (self.path, self.base_path))
        blocks = hashes(self.content) if self.blocks is None else self.blocks
        sizes = varint(size_bytes) + varint(len(payload))
        digest = self.sha256 or hashlib.sha256(self.content).digest()
        return bytes([self.kind]) + names + sizes + digest + b"".join(blocks), payload


def hashes(content: bytes) -> tuple[bytes, ...]:
    """Hash every block, where there is more than one."""
    step = 1 << BLOCK_BITS
    starts = range(0, len(content), step) if len(content) > step else ()
    return tuple(hashlib.sha256(content[start : start + step]).digest()[:4] for start in starts)


def written(
    *parts: Part,
    base_id: bytes = NO_BASE,
    result_id: bytes = TOML_ID,
    start: bytes = MAGIC + bytes([FORMAT]),
    block_bits: int = BLOCK_BITS,
    count: int | None = None,
) -> bytes:
    """Write a bundle."""
    entries, payloads = zip(*(part.written() for part in parts), strict=True) if parts else ((), ())
    head = start + base_id + result_id + varint(1 << 20) + bytes([block_bits])
    return b"".join((head, varint(len(parts) if count is None else count), *entries, *payloads))
