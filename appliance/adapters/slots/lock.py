"""Locks between processes: the kernel lets go of one with its holder, however that ends."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event

from appliance.adapters.durable import FILE_MODE
from appliance.errors import StoreError

WAIT_S = 10.0
"""Longest wait: whoever holds one writes a few small files."""
POLL_S = 0.02
_FILE = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEVER = Event()


@contextmanager
def alone(file: Path) -> Iterator[None]:
    """Hold ``file`` against everybody else. Raises StoreError when that takes longer than ``WAIT_S``; OSError."""
    with _open(file, _FILE) as descriptor:
        _take(descriptor, fcntl.LOCK_EX, file)
        yield


@contextmanager
def together(file: Path) -> Iterator[None]:
    """Hold ``file`` against those who want it alone. Raises StoreError after ``WAIT_S``; OSError."""
    with _open(file, _FILE) as descriptor:
        _take(descriptor, fcntl.LOCK_SH, file)
        yield


@contextmanager
def claimed(folder: Path) -> Iterator[bool]:
    """Hold a folder, if nobody else does; say whether that is so. Raises OSError."""
    with _open(folder, _FOLDER) as descriptor:
        yield _taken(descriptor, fcntl.LOCK_EX)


@contextmanager
def _open(path: Path, flags: int) -> Iterator[int]:
    descriptor = os.open(path, flags, FILE_MODE)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _take(descriptor: int, how: int, file: Path) -> None:
    for _ in range(round(WAIT_S / POLL_S)):
        if _taken(descriptor, how):
            return
        _NEVER.wait(POLL_S)
    msg = f"{file}: held by another process for more than {WAIT_S:g} s"
    raise StoreError(msg)


def _taken(descriptor: int, how: int) -> bool:
    try:
        fcntl.flock(descriptor, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
