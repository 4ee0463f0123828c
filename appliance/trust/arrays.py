"""Arrays from bytes nobody has vouched for: ``.npy`` and ``.npz``, of a shape and dtype known beforehand.

NumPy's own readers evaluate a header and allocate what it claims. Here the header must match one pattern, the sizes
are compared with what is expected before anything is allocated, and pickles do not exist.
"""

import re
import struct
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO

import numpy as np

from appliance.core.types import Array
from appliance.errors import ModelError

HEADER_BYTES_MAX = 1024
"""Longest .npy header accepted; numpy.save writes 128 bytes for an ordinary array."""
_MAGIC = b"\x93NUMPY\x01\x00"  # format version 1.0 (NEP 1): magic, version, uint16 header length, header, data
_PREFIX_BYTES = len(_MAGIC) + 2
_HEADER = re.compile(
    rb"\{'descr': '(?P<descr>[<|][a-z][0-9]{1,2})', 'fortran_order': False, 'shape': \((?P<shape>[0-9, ]*)\), \}[ ]*\n"
)


@dataclass(frozen=True, slots=True)
class ArraySpec:
    """What an array must be."""

    shape: tuple[int, ...]
    dtype: np.dtype[np.generic]

    @property
    def size_bytes(self) -> int:
        """Bytes of the data alone."""
        return int(np.prod(self.shape, dtype=np.int64)) * self.dtype.itemsize

    def __str__(self) -> str:
        """Say shape and dtype."""
        return f"{self.dtype.name} {list(self.shape)}"


def read_npy(content: bytes, spec: ArraySpec, name: str) -> Array:
    """Read a ``.npy`` file (format 1.0, C order, little-endian) as a read-only view of ``content``.

    Raises:
        ModelError: it is no such file, or holds another shape or dtype than ``spec``, or a value that is not finite.
    """
    header_bytes = int.from_bytes(content[len(_MAGIC) : _PREFIX_BYTES], "little")
    start = _PREFIX_BYTES + header_bytes
    header = _HEADER.fullmatch(content[_PREFIX_BYTES:start]) if header_bytes <= HEADER_BYTES_MAX else None
    if not content.startswith(_MAGIC) or header is None:
        msg = f"{name}: not a plain .npy array; write it with numpy.save, in C order"
        raise ModelError(msg)
    shape = tuple(int(size) for size in header["shape"].split(b",") if size.strip())
    if header["descr"].decode() != spec.dtype.str or shape != spec.shape:
        msg = f"{name}: holds {header['descr'].decode()} {list(shape)}, but its tensor is {spec}"
        raise ModelError(msg)
    if len(content) - start != spec.size_bytes:
        msg = f"{name}: {len(content) - start} bytes of data where {spec} has {spec.size_bytes}; the file is damaged"
        raise ModelError(msg)
    array = np.frombuffer(content, dtype=spec.dtype, offset=start).reshape(spec.shape)
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        msg = f"{name}: holds NaN or infinity; every value must be finite"
        raise ModelError(msg)
    return array


def names_npz(content: bytes, name: str, *, entries_max: int) -> list[str]:
    """List the arrays of an ``.npz`` in the file's order. Raises ModelError when it is none, or has too many."""
    try:
        with zipfile.ZipFile(BytesIO(content)) as archive:
            entries = archive.namelist()
    except _BAD_ZIP as error:
        raise _damaged(name, error) from error
    if len(entries) > entries_max or len(set(entries)) < len(entries):
        msg = f"{name}: {len(entries)} entries; at most {entries_max} are taken, each name once"
        raise ModelError(msg)
    return [entry.removesuffix(".npy") for entry in entries]


def read_npz(content: bytes, specs: Mapping[str, ArraySpec], name: str) -> dict[str, Array]:
    """Read the arrays named in ``specs`` from an ``.npz`` file; no more is unpacked than they have bytes.

    Raises:
        ModelError: it is no such file, an array is missing, or one is not as specified.
    """
    arrays = {}
    try:
        with zipfile.ZipFile(BytesIO(content)) as archive:
            for key, spec in specs.items():
                packed = _unpack(archive, f"{key}.npy", spec.size_bytes + _PREFIX_BYTES + HEADER_BYTES_MAX, name)
                arrays[key] = read_npy(packed, spec, f"{name}: {key}")
    except _BAD_ZIP as error:
        raise _damaged(name, error) from error
    return arrays


def _unpack(archive: zipfile.ZipFile, entry: str, size_bytes_max: int, name: str) -> bytes:
    """Unpack one entry, bounded whatever the directory claims of its size."""
    if entry not in archive.NameToInfo:
        msg = f"{name}: has no array {entry.removesuffix('.npy')!r}"
        raise ModelError(msg)
    info = archive.getinfo(entry)
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        msg = f"{name}: {entry} is packed in a way numpy.savez does not use; write it with numpy.savez_compressed"
        raise ModelError(msg)
    with archive.open(info) as stream:
        return stream.read(size_bytes_max)


_BAD_ZIP = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    RuntimeError,  # encrypted, or features of zip that zipfile lacks
    ValueError,
    OverflowError,
    OSError,  # a seek before the start
)
"""What ``zipfile`` raises on bytes that are no zip archive."""


def _damaged(name: str, error: Exception) -> ModelError:
    return ModelError(f"{name}: not an .npz archive, or damaged: {error}")
