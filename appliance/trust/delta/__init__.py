"""Deltas: how a file of a model is made from what the device has. NumPy and the standard library only.

Everything here reads bytes that nobody has vouched for but their signature: it raises BundleError or gives a result, in
bounded memory and time. Whether the result is the right one, its digest says. ``docs/delta-format.md`` is the format.
"""

from collections.abc import Callable, Mapping
from enum import StrEnum
from types import MappingProxyType

from appliance.errors import BundleError
from appliance.trust.delta import copyadd, full, sub, tad
from appliance.trust.delta.blobs import CHUNK_BYTES
from appliance.trust.delta.streams import Buffer, Sink

__all__ = ["MEMORY_BYTES", "SIZE_BYTES_MAX", "Buffer", "Kind", "Sink", "apply"]

SIZE_BYTES_MAX = 64 * 1024 * 1024
"""Largest result: the largest file that a model folder may have."""


class Kind(StrEnum):
    """How a result is made."""

    COPY = "copy"
    """It is the base."""
    FULL_XZ = "full-xz"
    COPY_ADD = "copy-add"
    SUB_XZ = "sub-xz"
    TAD1 = "tad1"


def _copy(payload: Buffer, base: Buffer, size_bytes: int, sink: Sink) -> None:
    """Copy the base. Raises BundleError: it has another size, or there is a payload, which nobody would look at."""
    if len(payload) or len(base) != size_bytes:
        msg = f"a copy of {len(base)} bytes is not {size_bytes}, or has a payload of {len(payload)}"
        raise BundleError(msg)
    old = memoryview(base)
    for start in range(0, size_bytes, CHUNK_BYTES):
        sink(start, old[start : start + CHUNK_BYTES])


_DECODERS: Mapping[Kind, Callable[[Buffer, Buffer, int, Sink], None]] = MappingProxyType(
    {
        Kind.COPY: _copy,
        Kind.FULL_XZ: full.decode,
        Kind.COPY_ADD: copyadd.decode,
        Kind.SUB_XZ: sub.decode,
        Kind.TAD1: tad.decode,
    }
)
MEMORY_BYTES: Mapping[Kind, Callable[[int, int], int]] = MappingProxyType(
    {
        Kind.COPY: full.memory_bytes,
        Kind.FULL_XZ: full.memory_bytes,
        Kind.COPY_ADD: copyadd.memory_bytes,
        Kind.SUB_XZ: full.memory_bytes,
        Kind.TAD1: tad.memory_bytes,
    }
)
"""What decoding allocates at most, in bytes, the base itself not counted: of the sizes of result and base."""


def apply(kind: Kind, payload: Buffer, base: Buffer, size_bytes: int, sink: Sink) -> None:
    """Make a result from a base.

    Args:
        kind: how.
        payload: what the kind says.
        base: may be a mapped file; empty where there is none.
        size_bytes: of the result, from 0 to ``SIZE_BYTES_MAX``.
        sink: is given each byte of the result once, in any order.

    Raises:
        BundleError: the payload is not one of this kind, does not fit the base, or makes another size.
    """
    if not 0 <= size_bytes <= SIZE_BYTES_MAX:
        msg = f"a result of {size_bytes} bytes; at most {SIZE_BYTES_MAX} are made"
        raise BundleError(msg)
    made = 0

    def counted(offset: int, content: bytes | memoryview) -> None:
        nonlocal made
        made += len(content)
        if not 0 <= offset <= offset + len(content) <= size_bytes or made > size_bytes:
            msg = f"{kind} makes more than {size_bytes} bytes"
            raise BundleError(msg)
        sink(offset, content)

    _DECODERS[kind](payload, base, size_bytes, counted)
    if made != size_bytes:
        msg = f"{kind} makes {made} bytes instead of {size_bytes}"
        raise BundleError(msg)
