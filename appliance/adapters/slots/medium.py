"""Reads a file back as its medium gives it: what the page cache holds proves nothing of a memory card.

One device in some thousands was found with files of the right size and wrong content (ostree#1778).
"""

import errno
import fcntl
import hashlib
import mmap
import os
from collections.abc import Callable, Iterator
from pathlib import Path

CHUNK_BYTES = 1024 * 1024
Blocks = Callable[[Path], Iterator[bytes]]
"""Yields a file's content in pieces. Raises OSError."""


def blocks(file: Path) -> Iterator[bytes]:
    """Yield a file's content past the page cache; it must be synced. Raises OSError.

    Where the file system refuses direct reads (tmpfs), the cache is asked to let go of the file, which is all there is.
    """
    descriptor = _open(file)
    try:
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        _set_direct(descriptor, on=True)
        with mmap.mmap(-1, CHUNK_BYTES) as buffer:  # aligned, as direct reads want it
            place, count = 0, CHUNK_BYTES
            while count == CHUNK_BYTES:
                count = _read(descriptor, buffer, place)
                place += count
                yield buffer[:count]
    finally:
        os.close(descriptor)


def cached(file: Path) -> Iterator[bytes]:
    """Yield a file's content, from wherever the kernel has it. Raises OSError."""
    with os.fdopen(_open(file), "rb") as stream:
        while piece := stream.read(CHUNK_BYTES):
            yield piece


def digest(file: Path, read: Blocks, size_bytes: int | None = None) -> str:
    """Return the SHA-256 of a file, or of its first ``size_bytes`` bytes. Raises OSError."""
    found = hashlib.sha256()
    left = size_bytes
    for piece in read(file):
        found.update(piece if left is None else piece[:left])
        left = None if left is None else max(0, left - len(piece))
    return found.hexdigest()


def _open(file: Path) -> int:
    return os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)


def _read(descriptor: int, buffer: mmap.mmap, place: int) -> int:
    try:
        return os.preadv(descriptor, [buffer], place)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
    _set_direct(descriptor, on=False)  # it took the flag, but not for this read
    return os.preadv(descriptor, [buffer], place)


def _set_direct(descriptor: int, *, on: bool) -> None:
    flags = fcntl.fcntl(descriptor, fcntl.F_GETFL)
    try:
        fcntl.fcntl(descriptor, fcntl.F_SETFL, flags | os.O_DIRECT if on else flags & ~os.O_DIRECT)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
