"""Writes ``full-xz`` (``trust/delta/full.py``)."""

from appliance.hub.delta.packing import pack


def encode(base: bytes, result: bytes) -> bytes:  # noqa: ARG001 - every kind's signature
    """Pack the whole result."""
    return pack(result)
