"""A bounded memory of packed entries: one for each card, terminal or the like; the least recently used goes first.

An entry is held as the very bytes that survive a restart. So what is computed after a restart cannot differ from what
would have been computed without one, and 20,000 entries cost what their bytes cost, not what objects would.
"""

from collections import OrderedDict
from collections.abc import Iterator, Mapping
from hashlib import blake2b
from struct import Struct
from zlib import crc32

KEY_BYTES = 8
"""A token's digest. Among 20,000 tokens two share one with a chance of 1e-11."""
_ENVELOPE = Struct("<BBI")
"""In front of an entry that is handed out: kind of book, version of the layout, CRC-32 of key and content."""
_USED = Struct("<Q")


def digest(token: str) -> bytes:
    """Return the key of a token. The token itself is kept nowhere."""
    return blake2b(token.encode(), digest_size=KEY_BYTES).digest()


class Book:
    """Entries of one kind. Each holds the same numbers, in the order of ``layout``."""

    def __init__(self, kind: str, version: int, layout: str, entries_max: int) -> None:
        """Make an empty book.

        Args:
            kind: one ASCII letter, first in the name of every entry that is handed out.
            version: of the layout, 0 to 255; entries of another version are left out at a restart.
            layout: as ``struct`` has it, without byte order and padding; booleans and strings are not foreseen.
            entries_max: at least 1.
        """
        self._kind, self._version, self._entries_max = kind, version, entries_max
        self._layout = Struct("<" + layout)
        self._entries: OrderedDict[bytes, bytes] = OrderedDict()
        """Key to when it was last used (a count) and its packed numbers, least recently used first."""
        self._used = 0
        self._changed: OrderedDict[bytes, None] = OrderedDict()
        self._forgotten: OrderedDict[bytes, None] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def read(self, key: bytes) -> tuple[float, ...] | None:
        """Return the numbers of an entry, or None when there is none."""
        entry = self._entries.get(key)
        return None if entry is None else self._layout.unpack_from(entry, _USED.size)

    def write(self, key: bytes, numbers: tuple[float, ...]) -> None:
        """Put an entry in as the one used last; when the book is full, the one unused for longest is forgotten."""
        self._used += 1
        self._entries[key] = _USED.pack(self._used) + self._layout.pack(*numbers)
        self._entries.move_to_end(key)
        self._changed[key] = None
        self._forgotten.pop(key, None)
        if len(self._entries) > self._entries_max:
            gone, _ = self._entries.popitem(last=False)
            self._changed.pop(gone, None)
            self._forget(gone)

    def changes(self, entries_max: int) -> Iterator[tuple[str, bytes]]:
        """Hand out at most ``entries_max`` entries that were written or forgotten, the longest waiting first."""
        for _ in range(entries_max):
            if self._forgotten:
                yield self._name(self._forgotten.popitem(last=False)[0]), b""
            elif self._changed:
                key, _ = self._changed.popitem(last=False)
                content = self._entries[key]
                yield self._name(key), _ENVELOPE.pack(ord(self._kind), self._version, crc32(key + content)) + content
            else:
                return

    def restore(self, entries: Mapping[str, bytes]) -> None:
        """Take entries back; of more than the book holds, those used last. What is damaged or not ours is left out."""
        sound = [
            (_USED.unpack_from(content)[0], key, content)
            for name, value in entries.items()
            if (key := self._key(name)) is not None and (content := self._content(key, value)) is not None
        ]
        sound.sort()
        for used, key, content in sound[-self._entries_max :]:
            self._entries[key] = content
            self._used = used
        for _, key, _ in sound[: -self._entries_max]:  # or it would come back at every start
            self._forget(key)

    def _forget(self, key: bytes) -> None:
        """Remember to hand out that an entry is gone; when nobody asks, the bound is worth more than that."""
        self._forgotten[key] = None
        if len(self._forgotten) > self._entries_max:
            self._forgotten.popitem(last=False)

    def _name(self, key: bytes) -> str:
        return self._kind + key.hex()

    def _key(self, name: str) -> bytes | None:
        """Return the key that a name stands for, None when it is not one of this book's."""
        try:
            key = bytes.fromhex(name[1:])
        except ValueError:
            return None
        return key if len(key) == KEY_BYTES and name == self._name(key) else None

    def _content(self, key: bytes, value: bytes) -> bytes | None:
        """Return what an envelope holds, None when it is damaged, of another version or another key's."""
        if len(value) != _ENVELOPE.size + _USED.size + self._layout.size:
            return None
        content = value[_ENVELOPE.size :]
        expected = (ord(self._kind), self._version, crc32(key + content))
        return content if _ENVELOPE.unpack_from(value) == expected else None
