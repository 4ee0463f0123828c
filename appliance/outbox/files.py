"""The files around the database: made durable, claimed, set aside and put in place."""

import fcntl
import os
from pathlib import Path

from appliance.errors import OutboxError
from appliance.outbox.errors import converting

SET_ASIDE_MAX = 3
"""Damaged files that are kept; the oldest goes first."""
_PARTS = ("-wal", "-shm", "")
"""What belongs to a database, the database last: a log must never stay behind and meet another database."""


def fsync(file: Path) -> None:
    """Have a file's content on the disk. Raises OSError."""
    descriptor = os.open(file, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def fsync_folder(file: Path) -> None:
    """Have a file's name on the disk. Raises OSError."""
    fsync(file.parent)


def wal(file: Path) -> Path:
    """The write-ahead log of a database."""
    return file.with_name(f"{file.name}-wal")


def claim(file: Path) -> int:
    """Become the only process that uses the outbox; returns the descriptor to close when done.

    Raises:
        OutboxError: another process uses it, or the folder cannot be written.
    """
    lock = file.with_name(f"{file.name}.lock")
    with converting():
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        raise OutboxError("in use by another process; only one appliance may run on a state_dir") from error
    return descriptor


def salvaging(file: Path) -> Path:
    """Where a new file is being built from a damaged one; worth nothing until it is renamed."""
    return file.with_name(f"{file.name}.new")


def salvaged(file: Path) -> Path:
    """A new file that is complete and waits for its place."""
    return file.with_name(f"{file.name}.salvaged")


def swap(file: Path) -> Path | None:
    """Set the database aside and put the salvaged one in its place; finish a swap that was interrupted.

    Whatever the moment of a power cut, calling this again ends in the same state. Returns the name that the damaged
    file has now, or None when there was nothing to do.

    Raises:
        UnavailableError: the disk does not take it.
    """
    with converting():
        if not salvaged(file).exists():
            return None
        taken = [number for number, _ in set_aside(file)]
        aside = file.with_name(f"{file.name}.corrupt-{max(taken, default=0) + 1}")
        for part in _PARTS:
            source = file.with_name(file.name + part)
            if source.exists():
                source.rename(aside.with_name(aside.name + part))
        fsync_folder(file)
        salvaged(file).rename(file)
        fsync_folder(file)
        for _, old in set_aside(file)[:-SET_ASIDE_MAX]:
            remove(old)
    return aside


def set_aside(file: Path) -> list[tuple[int, Path]]:
    """The damaged files with their numbers, oldest first."""
    prefix = f"{file.name}.corrupt-"
    found = {}
    for path in file.parent.glob(f"{prefix}*"):
        number = path.name.removeprefix(prefix).split("-")[0]
        if number.isdecimal():
            found[int(number)] = path.with_name(prefix + number)
    return sorted(found.items())


def remove(file: Path) -> None:
    """Delete a database and what belongs to it. Raises OSError."""
    for part in _PARTS:
        file.with_name(file.name + part).unlink(missing_ok=True)
