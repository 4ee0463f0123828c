"""``sub-xz``: what must be added, modulo 256, to the base's byte at the same place, packed.

Where bsdiff finds no alignment any more, because most bytes changed, this one still has it: a graph that is converted
again keeps its layout.
"""

import numpy as np

from appliance.trust.delta.blobs import CHUNK_BYTES, Blob
from appliance.trust.delta.streams import Buffer, Reader, Sink


def decode(payload: Buffer, base: Buffer, size_bytes: int, sink: Sink) -> None:
    """Unpack the differences and add the base; behind its end stand zeros. Raises BundleError."""
    reader = Reader(payload)
    differences = Blob(reader, size_bytes)
    reader.end()
    old = memoryview(base)
    for start in range(0, size_bytes, CHUNK_BYTES):
        sink(start, added(differences.read(min(CHUNK_BYTES, size_bytes - start)), old[start:]))


def added(differences: bytes, base: memoryview) -> bytes:
    """Add the start of ``base`` to the differences, byte by byte modulo 256; what it has less counts as zeros."""
    result = np.frombuffer(differences, np.uint8).copy()
    old = np.frombuffer(base[: len(result)], np.uint8)
    result[: len(old)] += old
    return result.tobytes()
