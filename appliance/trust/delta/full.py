"""``full-xz``: the whole result, packed; needs no base."""

from appliance.trust.delta.blobs import CHUNK_BYTES, Blob, lzma_filters
from appliance.trust.delta.streams import Buffer, Reader, Sink

_WORKING_BYTES = 1024 * 1024
"""Of a decompressor, and of the pieces on their way."""


def memory_bytes(size_bytes: int, base_bytes: int) -> int:  # noqa: ARG001 - every kind's signature
    """Bound what decoding allocates, in bytes, the base itself not counted: LZMA's window, and what is worked on."""
    return lzma_filters(0, size_bytes)[0]["dict_size"] + _WORKING_BYTES


def decode(payload: Buffer, base: Buffer, size_bytes: int, sink: Sink) -> None:  # noqa: ARG001 - every kind's signature
    """Unpack the result. Raises BundleError."""
    reader = Reader(payload)
    content = Blob(reader, size_bytes)
    reader.end()
    for start in range(0, size_bytes, CHUNK_BYTES):
        sink(start, content.read(min(CHUNK_BYTES, size_bytes - start)))
