"""The SQLite file: its schema, how it is connected to, made, and looked at before it is used."""

import sqlite3
import zlib
from dataclasses import astuple, dataclass, fields, replace
from pathlib import Path
from typing import Literal

from appliance.outbox.errors import READING_ERRORS, DamagedError, converting
from appliance.outbox.files import fsync, fsync_folder
from appliance.outbox.row import COLUMNS, from_values

APPLICATION_ID = 0x45444745
"""Says in the file's header whose it is (``EDGE``)."""
SCHEMA_VERSION = 1
PAGE_SIZE_BYTES = 1024
"""The log takes whole pages, so small ones write less. For 1000 alerts of 700 bytes, one a second (``cost.py``): with
1024 bytes 3.3 MB when each is acknowledged at once and 8.4 MB when none is; with 4096 bytes 12.6 and 10.7 MB; with 512
3.9 and 7.4 MB, but most alerts would then take two pages and more."""
CACHE_SIZE_BYTES = 512 * 1024
"""Of each connection."""
BUSY_TIMEOUT_S = 0.25
"""Longest wait for a foreign process that has the file locked; our own writers take turns before they come here."""
_MAGIC = b"SQLite format 3\x00"
_VERSIONS = b"\x02\x02"
"""What follows the page's size in the header: to write the file one must know of logs, and to read it (SQLite file
format, section 1.3.3). With anything else SQLite works without a log, or does not write."""

SCHEMA = f"""
PRAGMA page_size = {PAGE_SIZE_BYTES};
PRAGMA journal_mode = WAL;
BEGIN;
PRAGMA application_id = {APPLICATION_ID};
PRAGMA user_version = {SCHEMA_VERSION};
CREATE TABLE messages (id INTEGER PRIMARY KEY, rows_added, bytes_added, crc, seq, priority, qos, retain, added_s,
    attempts, boot_id, topic, payload);
CREATE INDEX telemetry ON messages (id) WHERE priority = 1;
CREATE TABLE dead_letters (id INTEGER PRIMARY KEY, attempts, reason, topic, payload);
CREATE TABLE state (one INTEGER PRIMARY KEY, seq, last_id, rows_added, bytes_added, rows_removed, bytes_removed,
    dead_rows, crc);
COMMIT;
"""
"""Every row carries how much had been added when it was, the row of ``state`` the same and how much was removed, as
of the last removal. So adding writes one page, not two, and how much waits is known from the last row and the state,
without counting.

It is short so that header and schema fill no more than the first page: ``salvage`` puts a fresh one in the place of one
that is damaged. Declarations of types would not protect anything: SQLite does not check them when it reads.
"""


@dataclass(frozen=True, slots=True)
class Totals:
    """What the file has seen since it was made. Counts up only."""

    seq: int = 0
    """Of the last alert."""
    last_id: int = 0
    rows_added: int = 0
    bytes_added: int = 0
    rows_removed: int = 0
    bytes_removed: int = 0
    dead_rows: int = 0
    """How many dead letters there are (the one that also counts down)."""

    @property
    def rows(self) -> int:
        """How many wait."""
        return self.rows_added - self.rows_removed

    @property
    def size_bytes(self) -> int:
        """Their size."""
        return self.bytes_added - self.bytes_removed


_TOTALS_COLUMNS = ", ".join(field.name for field in fields(Totals))


_VALUES = f"({COLUMNS}) VALUES ({', '.join('?' * (COLUMNS.count(',') + 1))})"
INSERT = f"INSERT INTO messages {_VALUES}"
"""Takes ``row.to_values``; so does ``REPLACE``."""
REPLACE = f"REPLACE INTO messages {_VALUES}"


def connect(
    file: Path, *, synchronous: Literal["OFF", "FULL"], mode: Literal["rw", "rwc", "ro"] = "rw"
) -> sqlite3.Connection:
    """Connect, without beginning transactions on its own and without ever checkpointing on its own.

    Text comes back as bytes: a damaged one must not fail in a decoder that we do not see.

    Raises:
        READING_ERRORS: callers are inside ``converting``.
    """
    connection = sqlite3.connect(
        f"{file.absolute().as_uri()}?mode={mode}",
        uri=True,
        timeout=BUSY_TIMEOUT_S,
        isolation_level=None,
        check_same_thread=False,
    )
    connection.text_factory = bytes
    try:
        for pragma in (
            f"synchronous = {synchronous}",
            "wal_autocheckpoint = 0",
            f"cache_size = -{CACHE_SIZE_BYTES // 1024}",
            "cell_size_check = ON",  # a damaged page is found when read, not when it has led somewhere
            "secure_delete = OFF",  # Debian builds with it on: every deleted row would be written once more, as zeros
        ):
            connection.execute(f"PRAGMA {pragma}")
    except READING_ERRORS:
        connection.close()
        raise
    return connection


def create(file: Path) -> None:
    """Make an empty outbox, complete and on the disk when this returns, readable by its owner only.

    Raises:
        UnavailableError: the disk does not take it.
    """
    with converting():
        file.touch(mode=0o600)
        connection = connect(file, synchronous="FULL", mode="rw")
        try:
            connection.executescript(SCHEMA)
            write_totals(connection, Totals())
        finally:
            connection.close()
        fsync(file)
        fsync_folder(file)


def inspect_versions(file: Path) -> None:
    """Look whether SQLite will use a log. Only while nothing is connected: closing a file gives up all locks on it.

    Raises:
        DamagedError: it will not.
        OSError: callers are inside ``converting``.
    """
    with file.open("rb") as stream:
        magic, _, versions = stream.read(len(_MAGIC)), stream.read(2), stream.read(len(_VERSIONS))
    if magic == _MAGIC and versions != _VERSIONS:  # what is no database at all SQLite says itself
        msg = f"the header's versions are {versions.hex(' ')}, not {_VERSIONS.hex(' ')}"
        raise DamagedError(msg)


def inspect(connection: sqlite3.Connection) -> Totals:
    """Look whether this is an outbox that we know, reading a few pages whatever the backlog, and return its totals.

    Raises:
        DamagedError: it is not, or is of a later version (then its rows are saved into a new file like those of a
            damaged one, and it is kept aside: nothing is destroyed by going back to an older release).
        READING_ERRORS: callers are inside ``converting``.
    """
    for pragma, expected in (("application_id", APPLICATION_ID), ("user_version", SCHEMA_VERSION)):
        (found,) = connection.execute(f"PRAGMA {pragma}").fetchone()
        if found != expected:
            msg = f"{pragma} is {found}, not {expected}"
            raise DamagedError(msg)
    names = {name for (name,) in connection.execute("SELECT name FROM sqlite_schema")}
    if not names >= {b"messages", b"telemetry", b"dead_letters", b"state"}:
        raise DamagedError("a table is missing")
    totals = read_totals(connection)
    if min(totals.rows, totals.size_bytes, totals.dead_rows) < 0:
        msg = f"the totals contradict one another: {totals}"
        raise DamagedError(msg)
    for values in connection.execute(f"SELECT {COLUMNS} FROM messages ORDER BY id LIMIT 1"):  # noqa: S608 - constants
        from_values(values)
    return totals


def read_totals(connection: sqlite3.Connection) -> Totals:
    """Put the totals together from the row of ``state`` and the last message.

    Raises:
        DamagedError: one of them is not what was written.
        READING_ERRORS: callers are inside ``converting``.
    """
    state = connection.execute(f"SELECT {_TOTALS_COLUMNS}, crc FROM state").fetchone()  # noqa: S608 - constants
    if state is None or any(type(value) is not int for value in state) or _crc(Totals(*state[:-1])) != state[-1]:
        raise DamagedError("the totals are not what was written")
    totals = Totals(*state[:-1])
    last = connection.execute(f"SELECT {COLUMNS} FROM messages ORDER BY id DESC LIMIT 1").fetchone()  # noqa: S608 - constants
    if last is None:
        return totals
    row, (rows_added, bytes_added) = from_values(last), last[:2]
    return replace(
        totals,
        seq=max(totals.seq, row.seq),
        last_id=max(totals.last_id, row.id),
        rows_added=max(totals.rows_added, rows_added),
        bytes_added=max(totals.bytes_added, bytes_added),
    )


def write_totals(connection: sqlite3.Connection, totals: Totals) -> None:
    """Write the row of ``state``; within the caller's transaction.

    Raises:
        READING_ERRORS: callers are inside ``converting``.
    """
    connection.execute(
        f"INSERT OR REPLACE INTO state (one, {_TOTALS_COLUMNS}, crc) VALUES (1, ?, ?, ?, ?, ?, ?, ?, ?)",  # noqa: S608 - constants
        (*astuple(totals), _crc(totals)),
    )


def _crc(totals: Totals) -> int:
    return zlib.crc32(repr(astuple(totals)).encode())
