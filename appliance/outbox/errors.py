"""The two ways in which the disk fails, one for each reaction. Both stay inside this package."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from appliance.errors import OutboxError

_DAMAGED = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_FORMAT, sqlite3.SQLITE_CONSTRAINT})
"""Primary codes. A broken constraint is among them: ids are given out in one place, so a second use of one means
that the file has not what was written."""
_UNREADABLE = frozenset(
    {
        sqlite3.SQLITE_IOERR_READ,
        sqlite3.SQLITE_IOERR_SHORT_READ,
        sqlite3.SQLITE_IOERR_CORRUPTFS,
    }
)
"""Extended codes: the medium does not give back what was written, and will not by waiting."""
_PRIMARY_MASK = 0xFF
_BUG = frozenset({sqlite3.SQLITE_ERROR, sqlite3.SQLITE_MISUSE, sqlite3.SQLITE_RANGE})


class UnavailableError(OutboxError):
    """The disk is full, read-only, or does not answer: keep the message in memory, try again later."""


class DamagedError(OutboxError):
    """The file is not what was written: set it aside, save what can be read, begin a new one."""


@contextmanager
def converting() -> Iterator[None]:
    """Convert what sqlite3 and the file system raise. The port between this package and SQLite.

    Raises:
        UnavailableError: the disk cannot be written or read now.
        DamagedError: the file is damaged.
    """
    try:
        yield
    except sqlite3.Error as error:
        code: int | None = getattr(error, "sqlite_errorcode", None)
        if code is None or code & _PRIMARY_MASK in _BUG:
            raise  # a mistake in this package, not in the field
        if code & _PRIMARY_MASK in _DAMAGED or code in _UNREADABLE:
            raise DamagedError(str(error)) from error
        raise UnavailableError(str(error)) from error
    except OSError as error:
        raise UnavailableError(error.strerror or str(error)) from error
