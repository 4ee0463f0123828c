"""A process of its own in which one encoder runs: bounded in time, because a foreign one may take hours (tufup#93)."""

import subprocess
import sys
from collections.abc import Callable, Mapping
from types import MappingProxyType

from appliance.hub.delta import copyadd, full, sub, tad
from appliance.trust.delta import Kind

INLINE_BYTES_MAX = 64 * 1024
"""Base and result that are no larger are encoded without a process: the worst takes a second."""
PROGRAM = ("-P", "-m", "appliance.hub.delta.box")
_LENGTH_BYTES = 8

Encode = Callable[[bytes, bytes], bytes | None]
ENCODERS: Mapping[Kind, Encode] = MappingProxyType(
    {Kind.TAD1: tad.encode, Kind.SUB_XZ: sub.encode, Kind.COPY_ADD: copyadd.encode, Kind.FULL_XZ: full.encode}
)
"""By kind, in the order in which they are tried: the whole last, for it is left out where it cannot win."""


def encode(kind: Kind, base: bytes, result: bytes, limit_s: float) -> bytes | None:
    """Return a payload of ``kind``; None where it has none, takes longer than ``limit_s`` or dies (of memory)."""
    if len(base) + len(result) <= INLINE_BYTES_MAX:
        return ENCODERS[kind](base, result)
    given = len(base).to_bytes(_LENGTH_BYTES, "little") + base + result
    try:
        done = subprocess.run(  # noqa: S603 - this very module
            [sys.executable, *PROGRAM, kind], input=given, capture_output=True, timeout=limit_s, check=True
        )
    except (subprocess.TimeoutExpired, subprocess.CalledProcessError):
        return None
    return done.stdout[1:] if done.stdout[:1] == _MADE else None


_MADE = b"+"
"""Comes before a payload; nothing at all comes where there is none."""


def main(kind: Kind) -> None:
    """Encode what stands in the standard input into the standard output."""
    given = sys.stdin.buffer.read()
    base_end = _LENGTH_BYTES + int.from_bytes(given[:_LENGTH_BYTES], "little")
    payload = ENCODERS[kind](given[_LENGTH_BYTES:base_end], given[base_end:])
    if payload is not None:
        sys.stdout.buffer.write(_MADE + payload)


if __name__ == "__main__":
    main(Kind(sys.argv[1]))
