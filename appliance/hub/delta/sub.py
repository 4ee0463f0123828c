"""Writes ``sub-xz`` (``trust/delta/sub.py``)."""

import numpy as np

from appliance.hub.delta.packing import pack


def encode(base: bytes, result: bytes) -> bytes:
    """Pack the differences to the base, byte by byte modulo 256; behind its end stand zeros."""
    differences = np.frombuffer(result, np.uint8).copy()
    shared = min(len(base), len(result))
    differences[:shared] -= np.frombuffer(base, np.uint8, shared)
    return pack(differences.tobytes())
