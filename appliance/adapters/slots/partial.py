"""A bundle that is being received: a file, and a note beside it of how much of it is certainly on the medium.

After a power cut a file may be longer than what was synced, by bytes that nobody wrote; so its length proves nothing,
and what is behind the noted length is cut off before more is added.
"""

import hashlib
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

from appliance.adapters import durable
from appliance.adapters.slots import medium
from appliance.errors import StateError
from appliance.trust.stored import NOTE_BYTES_MAX, read_note, write_note

SYNC_BYTES = 256 * 1024
TAG_CHARACTERS_MAX = 256
"""A longer name of a version is not kept: what is there is then not gone on with."""

Writing = Callable[[], AbstractContextManager[None]]
"""Surrounds each write: the store's lock, and OSError becomes StoreError."""


class DiskPartial:
    """Implements ``ports.Partial``."""

    def __init__(self, file: Path, writing: Writing) -> None:
        """Look at what is there of ``file``. Raises OSError."""
        self._file = file
        self._note = file.with_suffix(".tag")
        self._writing = writing
        self._tag, self._synced_bytes = self._noted()
        self._written_bytes = self._synced_bytes

    @property
    def size_bytes(self) -> int:
        """Bytes that are certainly on the medium."""
        return self._synced_bytes

    @property
    def tag(self) -> str:
        """What the server called this version of the file; may be empty."""
        return self._tag or ""

    @property
    def file(self) -> Path:
        """Where it is."""
        return self._file

    def begin(self, tag: str) -> None:
        """Start from nothing."""
        tag = tag if len(tag) <= TAG_CHARACTERS_MAX else ""
        with self._writing():
            self._write_note(tag, 0)
            durable.replace(self._file, b"")
        self._tag, self._written_bytes, self._synced_bytes = tag, 0, 0

    def append(self, content: bytes) -> None:
        """Add bytes after ``begin``, or to what was there."""
        assert self._tag is not None, "begin comes first"
        for start in range(0, len(content), SYNC_BYTES):
            piece = content[start : start + SYNC_BYTES]
            with self._writing():
                durable.write_at(self._file, piece, self._written_bytes)
            self._written_bytes += len(piece)
            if self._written_bytes - self._synced_bytes >= SYNC_BYTES:
                self.sync()

    def sync(self) -> None:
        """Return once everything appended is on the medium. What it refused has to be appended again."""
        if self._written_bytes == self._synced_bytes:
            return
        written_bytes, self._written_bytes = self._written_bytes, self._synced_bytes
        with self._writing():
            durable.sync(self._file)
            self._write_note(self.tag, written_bytes)
        self._written_bytes = self._synced_bytes = written_bytes

    def digest(self) -> str:
        """Return the SHA-256 of what the medium holds."""
        self.sync()
        if not self._synced_bytes:
            return hashlib.sha256().hexdigest()
        with durable.converting(self._file):
            return medium.digest(self._file, medium.blocks, self._synced_bytes)

    def remove(self) -> None:
        """Let it go. Idempotent."""
        with self._writing():
            durable.remove(self._note)  # first: without a note the file is worth nothing
            durable.remove(self._file)
            self._tag, self._written_bytes, self._synced_bytes = None, 0, 0

    def _write_note(self, tag: str, size_bytes: int) -> None:
        durable.replace(self._note, write_note({"tag": tag, "size_bytes": size_bytes}))

    def _noted(self) -> tuple[str | None, int]:
        """Return the tag, None where nothing was begun, and the length that can be relied on."""
        raw = durable.read(self._note, NOTE_BYTES_MAX)
        try:
            note = read_note(raw or b"")
            there_bytes = self._file.stat().st_size
        except (StateError, FileNotFoundError):
            return None, 0
        tag, size_bytes = note.get("tag"), note.get("size_bytes")
        if not isinstance(tag, str) or not isinstance(size_bytes, int) or not 0 <= size_bytes <= there_bytes:
            return None, 0
        return tag, size_bytes
