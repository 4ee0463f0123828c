"""Making deltas: every kind is tried, what it makes is applied and compared, the smallest is taken."""

import lzma
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from appliance.errors import BundleError, HubError
from appliance.hub.delta import box
from appliance.trust.delta import SIZE_BYTES_MAX, Kind, apply

KINDS = tuple(box.ENCODERS)
"""Every kind but a copy."""
LIMIT_S = 300.0
"""For each kind; one that takes longer is left out."""

SMALL_BYTES = 64 * 1024
"""Of a result: up to here every kind is tried, which takes no second."""


@dataclass(frozen=True, slots=True)
class Encoded:
    """The smallest way from a base to a result."""

    kind: Kind
    payload: bytes
    sizes: Mapping[Kind, int]
    """Bytes of the payload of each kind that was made."""


def encode(base: bytes | None, result: bytes, *, limit_s: float = LIMIT_S, kinds: Collection[Kind] = KINDS) -> Encoded:
    """Make the smallest delta that was seen to make ``result`` of ``base``; of the whole where there is no base.

    Args:
        base: what the device has; None where it has nothing like it.
        result: what it shall have.
        limit_s: for each kind.
        kinds: that are tried, where there is a base and it is another file.

    Raises:
        HubError: the result is too large, or no kind made it.
    """
    if len(result) > SIZE_BYTES_MAX:
        msg = f"{len(result)} bytes; a file of a model has at most {SIZE_BYTES_MAX}"
        raise HubError(msg)
    if base == result:
        return Encoded(Kind.COPY, b"", {Kind.COPY: 0})
    payloads: dict[Kind, bytes] = {}
    for kind in kinds if base is not None else (Kind.FULL_XZ,):
        if kind is not Kind.FULL_XZ or _may_win(result, payloads.values()):
            payload = box.encode(kind, base or b"", result, limit_s)
            payloads |= {} if payload is None else {kind: payload}
    for kind, payload in sorted(payloads.items(), key=lambda each: len(each[1])):
        if applies(kind, payload, base or b"", result):
            return Encoded(kind, payload, {each: len(payloads[each]) for each in payloads})
    msg = f"no kind of delta makes these {len(result)} bytes within {limit_s:g} s"
    raise HubError(msg)


def _may_win(result: bytes, others: Iterable[bytes]) -> bool:
    """Whether packing the whole can be smaller than what was made: not when it is twice as large, packed quickly."""
    least = min(map(len, others), default=len(result))
    return len(result) < SMALL_BYTES or least * 2 > len(lzma.compress(result, preset=0))


def applies(kind: Kind, payload: bytes, base: bytes, result: bytes) -> bool:
    """Whether the device's decoder makes exactly ``result``."""
    made = bytearray(len(result))

    def sink(offset: int, content: bytes | memoryview) -> None:
        made[offset : offset + len(content)] = content

    try:
        apply(kind, payload, base, len(result), sink)
    except BundleError:
        return False
    return made == result
