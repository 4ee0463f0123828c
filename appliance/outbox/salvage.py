"""Saves what can be read of a damaged file into a new one, and puts that in its place."""

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

from appliance.outbox.database import (
    INSERT,
    PAGE_SIZE_BYTES,
    SCHEMA_VERSION,
    Totals,
    connect,
    create,
    read_totals,
    write_totals,
)
from appliance.outbox.errors import READING_ERRORS, DamagedError, converting
from appliance.outbox.files import fsync, fsync_folder, remove, salvaged, salvaging, swap, wal
from appliance.outbox.row import COLUMNS, Row, from_values, to_values

GAPS_MAX = 1000
"""Unreadable places of one file that are jumped over before the rest is given up."""
CHUNK_ROWS = 500
"""Rows of one transaction while saving."""
_ID_MAX = 2**62
_Schema = list[tuple[bytes, int, bytes]]
_DATABASE_SIZE_OFFSET = 28
"""Of the header's field "size in pages"; 0 there makes SQLite believe the file's length instead (SQLite file format,
section 1.3.8)."""
_READ = f"SELECT {COLUMNS} FROM messages WHERE id > ? ORDER BY id"  # noqa: S608 - constants
_DEAD_COLUMNS = "id, attempts, reason, topic, payload"


@dataclass(frozen=True, slots=True)
class Repaired:
    """What became of a damaged file."""

    aside: Path
    """Its name now."""
    rows: int
    """Messages saved from it."""
    lost: int
    """Messages that could not be read: the difference to what the file says it had, or, when it does not say, 1 for
    "some"."""


def repair(file: Path, rows_max: int, seq: int | None = None) -> Repaired:
    """Build a new file from what can be read of ``file``, then exchange the two.

    The damaged file stays in place until the new one is complete and on the disk, so that a kill or a power cut in
    between only means to begin again.

    Args:
        file: the damaged database, with no connection open.
        rows_max: how many messages may have waited, hence how many sequence numbers may be in the part that cannot
            be read; the sequence goes on beyond them. A number is never used twice; the gap that subscribers see
            says that messages may have been lost.
        seq: the last sequence number, where it is known.

    Raises:
        UnavailableError: the disk does not take it; try again later.
    """
    target = salvaging(file)
    with converting():
        remove(target)
        remove(_patched(file))
    create(target)
    with converting():
        rows, lost = _fill(file, target, rows_max, seq)
        remove(_patched(file))
        fsync(target)
        target.rename(salvaged(file))
        fsync_folder(file)
    aside = swap(file)
    assert aside is not None, "the salvaged file was there a moment ago"
    return Repaired(aside, rows, lost)


def _fill(file: Path, target: Path, rows_max: int, seq: int | None) -> tuple[int, int]:
    """Copy the readable rows of ``file`` into ``target``. Returns how many were saved and how many lost."""
    first_page = target.read_bytes()[:PAGE_SIZE_BYTES]
    with closing(connect(target, synchronous="FULL")) as destination:
        try:
            source = _open_damaged(file, first_page, _schema(destination))
        except _NothingReadableError:
            write_totals(destination, Totals(seq=_seq(0, seq, rows_max, 1)))
            return 0, 1
        with closing(source):
            known = _known_totals(source)
            reading = _Reading(source)
            totals = _copy(reading.rows(), destination)
            dead_rows = _copy_dead(source, destination)
        expected = totals.rows if known is None else known.rows
        lost = max(expected - totals.rows, 0) or int(not reading.complete or known is None)
        if known is not None:
            totals = replace(totals, seq=max(totals.seq, known.seq), last_id=max(totals.last_id, known.last_id))
        write_totals(destination, replace(totals, seq=_seq(totals.seq, seq, rows_max, lost), dead_rows=dead_rows))
    return totals.rows, lost


def _seq(found: int, known: int | None, rows_max: int, lost: int) -> int:
    """The sequence number to go on from: see ``repair``."""
    if known is not None:
        return known
    return found + rows_max if lost else found


class _NothingReadableError(Exception):
    """Not even the file's first page makes sense, nor does it with a good first page in its place."""


def _open_damaged(file: Path, first_page: bytes, schema: _Schema) -> sqlite3.Connection:
    """Connect to a damaged database for reading; where SQLite refuses it, to a copy that has a good first page.

    All our files begin with the same page (it holds the header and the schema), so that of a fresh file will do;
    it says nothing of the file's length, for a file may have lost its end.
    Raises _NothingReadableError when that does not help either, OSError when there is no room for the copy.
    """
    for candidate in (file, _patched(file)):
        if candidate is not file:
            _patch(file, first_page, candidate)
        with ExitStack() as stack:
            try:
                connection = stack.enter_context(closing(connect(candidate, synchronous="OFF", mode="ro")))
                (version,) = connection.execute("PRAGMA user_version").fetchone()
                connection.execute(f"EXPLAIN {_READ}", (0,))
                if _schema(connection) == schema or version > SCHEMA_VERSION:
                    stack.pop_all()
                    return connection
            except READING_ERRORS:
                continue
    raise _NothingReadableError


def _schema(connection: sqlite3.Connection) -> _Schema:
    """Tables and where they are in the file."""
    return connection.execute("SELECT name, rootpage, sql FROM sqlite_schema ORDER BY rowid").fetchall()


def _patched(file: Path) -> Path:
    return file.with_name(f"{file.name}.patched")


def _patch(file: Path, first_page: bytes, copy: Path) -> None:
    shutil.copyfile(file, copy)
    if wal(file).exists():
        shutil.copyfile(wal(file), wal(copy))
    page = bytearray(first_page)
    page[_DATABASE_SIZE_OFFSET : _DATABASE_SIZE_OFFSET + 4] = bytes(4)
    with copy.open("r+b") as stream:
        stream.write(page)


def _known_totals(source: sqlite3.Connection) -> Totals | None:
    try:
        with converting():
            return read_totals(source)
    except (*READING_ERRORS, DamagedError):
        return None


class _Reading:
    """Reads the rows of a damaged table in order of id, jumping over what cannot be read."""

    def __init__(self, source: sqlite3.Connection) -> None:
        self._source = source
        self.complete = True

    def rows(self) -> Iterator[Row]:
        """Yield every readable row, each with a greater id than the one before."""
        after: int | None = 0
        for _ in range(GAPS_MAX):
            try:
                for row in self._run(after):
                    after = row.id
                    yield row
            except (*READING_ERRORS, DamagedError):
                self.complete = False
                after = self._jump(after)
            else:
                return
            if after is None:
                return

    def _run(self, after: int | None) -> Iterator[Row]:
        """Yield rows until one cannot be read. Raises sqlite3.Error or DamagedError there."""
        last = after or 0
        with closing(self._source.execute(_READ, (last,))) as cursor:
            for values in cursor:
                row = from_values(values)
                if row.id <= last:
                    raise DamagedError("ids go back")
                last = row.id
                yield row

    def _jump(self, after: int | None) -> int | None:
        """The smallest id, as far as damage is in one piece, after which a row can be read; None when there is none.

        Doubles the step until a read works or meets the table's end, then bisects: some 120 reads at most.
        """
        low, step = after or 0, 1
        while self._readable_after(low + step) is False:
            step *= 2
            if step > _ID_MAX:
                return None
        low, high = low + step // 2, low + step
        while high - low > 1:
            middle = (low + high) // 2
            if self._readable_after(middle) is False:
                low = middle
            else:
                high = middle
        return high if self._readable_after(high) else None

    def _readable_after(self, after: int) -> bool | None:
        """Whether the row after this id can be read; None when there is no such row."""
        try:
            return True if next(self._run(after), None) is not None else None
        except (*READING_ERRORS, DamagedError):
            return False


def _copy(rows: Iterator[Row], destination: sqlite3.Connection) -> Totals:
    totals = Totals()
    while chunk := list(islice(rows, CHUNK_ROWS)):
        destination.execute("BEGIN")
        for row in chunk:
            totals = Totals(
                seq=max(totals.seq, row.seq),
                last_id=row.id,
                rows_added=totals.rows_added + 1,
                bytes_added=totals.bytes_added + row.size_bytes,
            )
            destination.execute(INSERT, to_values(row, totals.rows_added, totals.bytes_added))
        destination.execute("COMMIT")
    return totals


def _copy_dead(source: sqlite3.Connection, destination: sqlite3.Connection) -> int:
    """Copy the dead letters up to the first that cannot be read: they are for people, not for the broker."""
    try:
        dead = source.execute(f"SELECT {_DEAD_COLUMNS} FROM dead_letters ORDER BY id").fetchall()  # noqa: S608 - constants
    except READING_ERRORS:
        return 0
    destination.execute("BEGIN")
    destination.executemany(
        f"INSERT OR IGNORE INTO dead_letters ({_DEAD_COLUMNS}) VALUES (?, ?, ?, ?, ?)",  # noqa: S608 - constants
        dead,
    )
    destination.execute("COMMIT")
    (rows,) = destination.execute("SELECT COUNT(*) FROM dead_letters").fetchone()
    assert isinstance(rows, int)
    return rows
