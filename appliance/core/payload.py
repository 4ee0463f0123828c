"""How a message's payload becomes bytes."""

import json
from collections.abc import Mapping


def encode(payload: Mapping[str, object] | str | None) -> bytes:
    """Encode a payload for MQTT: an object as compact JSON, a word as UTF-8, None as no bytes at all.

    Raises ValueError for NaN and infinity, which are not JSON: a number that is not known is left out or null.
    """
    if payload is None:
        return b""
    if isinstance(payload, str):
        return payload.encode()
    return json.dumps(payload, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
