"""Reading a delta's payload: a cursor over bytes that nobody vouches for, bounds checked before every step."""

from collections.abc import Callable
from mmap import mmap
from typing import NoReturn

from appliance.errors import BundleError

Buffer = bytes | bytearray | memoryview | mmap
"""What payloads and base files come in; a base may be mapped instead of read."""
Sink = Callable[[int, bytes | memoryview], None]
"""Takes an offset in the result and what stands there; each byte of the result is given exactly once, in any order."""
VARINT_BYTES_MAX = 10
"""Longest number read: 70 bits."""


def refuse(what: str) -> NoReturn:
    """Raise BundleError: the payload breaks its own format."""
    msg = f"damaged delta: {what}"
    raise BundleError(msg)


class Reader:
    """A cursor over a payload. Every method raises BundleError where the payload ends too soon, or says too much."""

    __slots__ = ("_at", "_view")

    def __init__(self, content: Buffer) -> None:
        self._view = memoryview(content)
        self._at = 0

    @property
    def left(self) -> int:
        """Bytes not read yet."""
        return len(self._view) - self._at

    def take(self, size_bytes: int) -> memoryview:
        """Read so many bytes, as a view."""
        if not 0 <= size_bytes <= self.left:
            refuse(f"{size_bytes} bytes wanted where {self.left} are left")
        self._at += size_bytes
        return self._view[self._at - size_bytes : self._at]

    def byte(self) -> int:
        """Read one byte."""
        return self.take(1)[0]

    def number(self, most: int) -> int:
        """Read a number from 0 to ``most`` (LEB128: 7 bits a byte, lowest first, high bit: more follow)."""
        value = 0
        for position in range(VARINT_BYTES_MAX):
            byte = self.byte()
            value |= (byte & 0x7F) << (7 * position)
            if byte < 0x80:  # noqa: PLR2004 - the high bit, as said above
                if value > most:
                    refuse(f"{value} where at most {most} is possible")
                return value
        refuse(f"a number longer than {VARINT_BYTES_MAX} bytes")

    def signed(self, most: int) -> int:
        """Read a number from ``-most`` to ``most`` (zigzag: 0, -1, 1, -2, ... are 0, 1, 2, 3, ...)."""
        value = self.number(2 * most)
        return (value >> 1) ^ -(value & 1)

    def rest(self) -> memoryview:
        """Read all that is left."""
        return self.take(self.left)

    def end(self) -> None:
        """Raise BundleError unless all was read."""
        if self.left:
            refuse(f"{self.left} bytes too many")
