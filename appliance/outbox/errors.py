"""The two ways in which the disk fails, one for each reaction. Only the first is seen outside, and only at ``open``."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from appliance.errors import OutboxError

_DAMAGED = frozenset(
    {
        sqlite3.SQLITE_CORRUPT,
        sqlite3.SQLITE_NOTADB,
        sqlite3.SQLITE_FORMAT,
        sqlite3.SQLITE_TOOBIG,
        sqlite3.SQLITE_CONSTRAINT,
        sqlite3.SQLITE_ERROR,
    }
)
"""Primary codes. A broken constraint is among them: ids are given out in one place, so a second use of one means
that the file has not what was written. So is the general error (``unsupported file format``, ``no such column``): our
statements are constants, hence it is the file that they do not fit."""
_UNREADABLE = frozenset(
    {
        sqlite3.SQLITE_IOERR_READ,
        sqlite3.SQLITE_IOERR_SHORT_READ,
        sqlite3.SQLITE_IOERR_CORRUPTFS,
    }
)
"""Extended codes: the medium does not give back what was written, and will not by waiting."""
_PRIMARY_MASK = 0xFF
READING_ERRORS = (sqlite3.Error, UnicodeDecodeError, MemoryError)
"""What reading a damaged file raises. The second: SQLite quotes the damage in its message, and the sqlite3 module
takes that for UTF-8. The third: a damaged schema or length asks for memory that nobody has."""
_BUG = frozenset({sqlite3.SQLITE_MISUSE, sqlite3.SQLITE_RANGE})


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
        primary = None if code is None else code & _PRIMARY_MASK
        if primary is None or primary in _BUG:
            raise
        if primary in _DAMAGED or code in _UNREADABLE:
            raise DamagedError(str(error)) from error
        raise UnavailableError(str(error)) from error
    except (UnicodeDecodeError, MemoryError) as error:
        msg = f"what SQLite makes of it is a {type(error).__name__}"
        raise DamagedError(msg) from error
    except OSError as error:
        raise UnavailableError(error.strerror or str(error)) from error
