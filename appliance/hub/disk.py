"""Files of a hub: written whole or not at all, on the disk before anything rests on them; one publisher at a time."""

import fcntl
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from appliance.errors import HubError

LOCK = ".lock"
"""Held by the publisher at work; the system frees it when that process ends, however it ends."""


@contextmanager
def locked(hub: Path) -> Iterator[None]:
    """Be the only one that writes into a hub.

    Raises:
        HubError: another publisher is at work in it, or the folder cannot be written.
    """
    try:
        stream = (hub / LOCK).open("a+", encoding="ascii")
    except OSError as error:
        msg = f"{hub}: cannot be written: {error.strerror}; `appliance hub init {hub}` makes a hub"
        raise HubError(msg) from error
    with stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            stream.seek(0)
            who = stream.read().strip() or "unknown"
            msg = f"{hub}: another publisher is at work here (process {who}); run this again when it has ended"
            raise HubError(msg) from error
        stream.truncate(0)
        stream.write(f"{os.getpid()}\n")
        stream.flush()
        yield


def write(file: Path, content: bytes) -> None:
    """Put a file in place in one step, its parents made. Raises HubError when the disk refuses."""
    scratch = file.with_name(f".{file.name[:200]}.new")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        _write(scratch, content)
        scratch.rename(file)
        sync(file.parent)
    except OSError as error:
        raise _refused(file, error) from error


def write_folder(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write a folder's files, by their paths in it, in place of what an earlier attempt left. Raises HubError."""
    try:
        remove(folder)
        for path, content in files.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            _write(folder / path, content)
        for each in {(folder / path).parent for path in files}:
            sync(each)
    except OSError as error:
        raise _refused(folder, error) from error


def move(source: Path, target: Path) -> None:
    """Give a folder its name, in one step. Raises HubError when the disk refuses."""
    try:
        source.rename(target)
        sync(target.parent)
    except OSError as error:
        raise _refused(target, error) from error


def remove(folder: Path) -> None:
    """Remove a folder that may not be there. Raises OSError."""
    if folder.exists():
        shutil.rmtree(folder)


def flush(stream: BinaryIO) -> None:
    """See to it that what was written is on the disk. Raises OSError."""
    stream.flush()
    os.fsync(stream.fileno())


def sync(folder: Path) -> None:
    """See to it that a folder's names are on the disk. Raises OSError."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write(file: Path, content: bytes) -> None:
    with file.open("wb") as stream:
        stream.write(content)
        flush(stream)


def _refused(path: Path, error: OSError) -> HubError:
    return HubError(f"{path}: cannot be written: {error.strerror}; nothing was signed; mend the disk, run this again")
