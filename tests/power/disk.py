"""A disk in memory, served through FUSE, that logs every write and every flush: ``python -m tests.power.disk``.

It has two files: ``disk``, which a loop device is laid over, and ``marks``: what is written there goes into the log
between the writes, so that a program can say what it has been promised by then. The log holds, for each event, a letter
(``w`` write, ``f`` flush, ``m`` mark), two numbers (place and length in bytes), and the content.
"""

import errno
import stat
import struct
import sys
from pathlib import Path
from typing import Any

from fuse import FUSE, FuseOSError, Operations  # type: ignore[import-untyped]  # fusepy ships no types

HEAD = struct.Struct("<cQI")
DISK, MARKS = "disk", "marks"
Attributes = dict[str, int]


class LoggedDisk(Operations):  # type: ignore[misc]  # fusepy ships no types
    """One disk and its log. Calls come one at a time."""

    def __init__(self, image: Path, log: Path, flip: bytes) -> None:
        """Start with ``image``; where ``flip`` is not empty, the first write that contains it is stored wrongly."""
        self._content = bytearray(image.read_bytes())
        self._log = log.open("wb")
        self._flip = flip

    def getattr(self, path: str, _fh: int | None = None) -> Attributes:
        """As stat(2)."""
        if path == "/":
            return {"st_mode": stat.S_IFDIR | 0o700, "st_nlink": 2}
        if path not in (f"/{DISK}", f"/{MARKS}"):
            raise FuseOSError(errno.ENOENT)
        size_bytes = len(self._content) if path == f"/{DISK}" else 0
        return {"st_mode": stat.S_IFREG | 0o600, "st_nlink": 1, "st_size": size_bytes}

    def readdir(self, _path: str, _fh: int) -> list[str]:
        """Names of the two files."""
        return [".", "..", DISK, MARKS]

    def read(self, path: str, size: int, offset: int, _fh: int) -> bytes:
        """As pread(2)."""
        return bytes(self._content[offset : offset + size]) if path == f"/{DISK}" else b""

    def write(self, path: str, data: bytes, offset: int, _fh: int) -> int:
        """As pwrite(2), and into the log."""
        if path == f"/{MARKS}":
            self._note(b"m", 0, data)
            return len(data)
        if self._flip and self._flip in data:
            place = data.index(self._flip)
            data = data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]
            self._flip = b""
        self._content[offset : offset + len(data)] = data
        self._note(b"w", offset, data)
        return len(data)

    def truncate(self, _path: str, _length: int, _fh: int | None = None) -> int:
        """A disk keeps its size."""
        return 0

    def fsync(self, _path: str, _datasync: int, _fh: int) -> int:
        """Into the log: everything before it is on the medium."""
        self._note(b"f", 0, b"")
        return 0

    def flush(self, _path: str, _fh: int) -> int:
        """Of close(2): says nothing of the medium."""
        return 0

    def destroy(self, _path: str) -> None:
        """The end: the log is whole."""
        self._log.close()

    def _note(self, kind: bytes, place: int, content: bytes) -> None:
        self._log.write(HEAD.pack(kind, place, len(content)))
        self._log.write(content)


def main(arguments: list[str]) -> Any:  # noqa: ANN401 - what fusepy returns is not looked at
    """Serve until it is unmounted: mount point, image to start with, log, content to store wrongly (in hex)."""
    point, image, log, flip = arguments
    disk = LoggedDisk(Path(image), Path(log), bytes.fromhex(flip))
    return FUSE(disk, point, foreground=True, nothreads=True, direct_io=True, fsname="power-cut-rig")


if __name__ == "__main__":
    main(sys.argv[1:])
