"""The outbox's file while it is in use: every transaction there is."""

from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from threading import Lock

from appliance.config import OutboxConfig
from appliance.core.types import Priority
from appliance.outbox.bounds import make_room
from appliance.outbox.database import INSERT, REPLACE, Totals, connect, create, inspect, inspect_versions, write_totals
from appliance.outbox.errors import READING_ERRORS, DamagedError, UnavailableError, converting
from appliance.outbox.files import fsync_folder, remove, salvaging
from appliance.outbox.row import COLUMNS, DeadLetter, Row, from_values, to_values
from appliance.outbox.sync import WAL_BYTES_MAX, Syncer

REASON_CHARS_MAX = 200
_READ = f"SELECT {COLUMNS} FROM messages WHERE id > ? ORDER BY id"  # noqa: S608 - constants
_READ_ONE = f"SELECT {COLUMNS} FROM messages WHERE id = ?"  # noqa: S608 - constants
_SIZE = "length(topic) + length(payload)"
_DELETE = f"DELETE FROM messages WHERE id = ? RETURNING {_SIZE}"  # noqa: S608 - constants
_BURY = "INSERT OR REPLACE INTO dead_letters (id, attempts, reason, topic, payload) VALUES (?, ?, ?, ?, ?)"
_STORED = {
    Priority.TELEMETRY: f"SELECT id, {_SIZE} FROM messages WHERE priority = 1 ORDER BY id",  # noqa: S608 - constants
    # Asked only when no telemetry is left, so all that is there is alerts.
    Priority.ALERT: f"SELECT id, {_SIZE} FROM messages ORDER BY id",  # noqa: S608 - constants
}


class Store:
    """One open database. Every method may raise UnavailableError and DamagedError.

    Methods that write are called with ``lock`` held, by any thread; ``read``, ``oldest``, ``dead_letters`` and
    ``syncer.sync`` without it, by the publisher's thread only.
    """

    def __init__(self, file: Path, lock: Lock) -> None:
        """Open ``file``; make it when there is none. Reads a few pages, whatever the backlog."""
        self.totals = Totals()
        self.commits = 0
        self._lock = lock
        self._tail = 0
        """Id of the last message that is there, 0 when it was deleted: then nothing is known of the last."""
        self._open = ExitStack()
        with ExitStack() as opening, converting():
            if not file.exists():
                _make(file)
            inspect_versions(file)
            # First opened is last closed: SQLite copies the log at the last closing, and only this one fsyncs.
            checkpointing = opening.enter_context(closing(connect(file, synchronous="FULL")))
            self._writing = opening.enter_context(closing(connect(file, synchronous="OFF")))
            self._reading = opening.enter_context(closing(connect(file, synchronous="OFF")))
            self.totals = inspect(self._writing)
            (self._tail,) = self._writing.execute("SELECT id FROM messages ORDER BY id DESC LIMIT 1").fetchone() or (0,)
            self.syncer = opening.enter_context(
                closing(
                    Syncer(file, lock, lambda: self.commits, reading=self._reading, checkpointing=checkpointing),
                )
            )
            fsync_folder(file)  # the log's name too must survive a power cut
            self._open = opening.pop_all()

    def close(self) -> None:
        """Copy the log into the database, which is then one file, and let it go. Never raises."""
        with suppress(UnavailableError, DamagedError), converting():
            self._open.close()

    def insert(self, rows: Sequence[Row], limits: OutboxConfig) -> dict[str, int]:
        """Store rows, newer than all that are there; what must make room for them is dropped.

        Returns:
            How many messages were dropped, by reason.
        """
        if self.syncer.wal_bytes() > WAL_BYTES_MAX:
            msg = f"the log is longer than {WAL_BYTES_MAX} bytes: sync was not called"
            raise UnavailableError(msg)
        with self._transaction():
            room = make_room(self.totals.rows, self.totals.size_bytes, rows, limits, self._stored)
            self._delete(room.remove)
            for row in room.keep:
                self.totals = replace(
                    self.totals,
                    seq=max(self.totals.seq, row.seq),
                    last_id=row.id,
                    rows_added=self.totals.rows_added + 1,
                    bytes_added=self.totals.bytes_added + row.size_bytes,
                )
                values = to_values(row, self.totals.rows_added, self.totals.bytes_added)
                self._writing.execute(INSERT, values)
                self._tail = row.id
        return room.dropped

    def remove(self, ids: Collection[int]) -> int:
        """Delete messages; ids that are not there do not matter. Returns how many ids there were."""
        with self._transaction():
            self._delete(ids)
        return len(ids)

    def count_attempt(self, id_: int, count: int = 1) -> int:
        """Count failed attempts; returns how many there are now, 0 when there is no such message."""
        with self._transaction():
            values = self._writing.execute(_READ_ONE, (id_,)).fetchone()
            if values is None:
                return 0
            row = from_values(values)
            row = replace(row, attempts=row.attempts + count)
            self._writing.execute(REPLACE, to_values(row, *values[:2]))
        return row.attempts

    def bury(self, letter: int | Row, reason: str, dead_letters_max: int) -> bool:
        """Move a message to the dead letters, of which the oldest make room.

        Args:
            letter: the id of a stored message, or a message that is not stored.
            reason: why; cut to 200 characters.
            dead_letters_max: how many are kept.

        Returns:
            Whether there was such a message.
        """
        with self._transaction():
            row = letter if isinstance(letter, Row) else self._get(letter)
            if row is None:
                return False
            self._delete([row.id])
            reason_bytes = reason[:REASON_CHARS_MAX].encode(errors="replace")
            self._writing.execute(_BURY, (row.id, row.attempts, reason_bytes, row.topic, row.payload))
            dead_rows = self.totals.dead_rows + 1
            while dead_rows > dead_letters_max:
                self._writing.execute("DELETE FROM dead_letters WHERE id = (SELECT MIN(id) FROM dead_letters)")
                dead_rows -= 1
            self.totals = replace(self.totals, dead_rows=dead_rows)
            write_totals(self._writing, self.totals)
        return True

    def _get(self, id_: int) -> Row | None:
        values = self._writing.execute(_READ_ONE, (id_,)).fetchone()
        return None if values is None else from_values(values)

    def read(self, after: int, limit: int, skip: Collection[int] = ()) -> list[Row]:
        """Return at most ``limit`` rows with an id greater than ``after``, in order, without those of ``skip``."""
        rows: list[Row] = []
        commits, last = self.commits, after
        with converting(), closing(self._reading.execute(_READ, (after,))) as cursor:
            for values in cursor:
                if len(rows) == limit:
                    return rows
                row = from_values(values)
                if row.id <= last:
                    raise DamagedError("ids go back")
                last = row.id
                if last not in skip:
                    rows.append(row)
        with self._lock:
            if self.commits == commits:
                self._check_end(last, skip)
        return rows

    def _check_end(self, last: int, skip: Collection[int]) -> None:
        """Check that what was read to the end was all: SQLite does not notice when a branch of the tree is missing."""
        if self._tail > last or (last == 0 and self.totals.rows > len(skip)):
            raise DamagedError("messages are missing")

    def oldest(self, skip: Collection[int] = ()) -> tuple[str, float] | None:
        """Return boot and monotonic time at which the oldest message was added, None when there is none."""
        rows = self.read(0, 1, skip)
        return (rows[0].boot_id, rows[0].added_s) if rows else None

    def dead_letters(self, limit: int) -> list[DeadLetter]:
        """Return the newest dead letters, at most ``limit``, newest first."""
        with converting():
            found = self._reading.execute(
                "SELECT id, attempts, reason, topic, payload FROM dead_letters ORDER BY id DESC LIMIT ?", (limit,)
            ).fetchall()
        return [
            DeadLetter(id=id_, topic=_text(topic), payload=_text(payload), reason=_text(reason), attempts=attempts)
            for id_, attempts, reason, topic, payload in found
        ]

    def _stored(self, priority: Priority) -> Iterator[tuple[int, int]]:
        with closing(self._writing.execute(_STORED[priority])) as cursor:
            for id_, size_bytes in cursor:
                yield id_, _number(size_bytes)

    def _delete(self, ids: Iterable[int]) -> None:
        before = self.totals
        for id_ in ids:
            found = self._writing.execute(_DELETE, (id_,)).fetchone()
            self._tail = 0 if id_ == self._tail else self._tail
            if found is not None:
                self.totals = replace(
                    self.totals,
                    rows_removed=self.totals.rows_removed + 1,
                    bytes_removed=self.totals.bytes_removed + _number(found[0]),
                )
        if self.totals != before:
            write_totals(self._writing, self.totals)

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """Commit what happens inside, or leave file and totals as they were."""
        before, tail = self.totals, self._tail
        with converting():
            try:
                self._writing.execute("BEGIN IMMEDIATE")
                yield
                self._writing.execute("COMMIT")
                self.commits += 1
            except BaseException:
                self.totals, self._tail = before, tail
                with suppress(*READING_ERRORS):  # SQLite has already rolled back when the disk was full
                    self._writing.execute("ROLLBACK")
                raise


def _make(file: Path) -> None:
    """Make an empty database; under its name it is complete."""
    fresh = salvaging(file)
    remove(fresh)
    create(fresh)
    fresh.rename(file)


def _number(value: object) -> int:
    """Check what is computed from values without looking at their checksum."""
    if type(value) is not int:
        raise DamagedError("a message has values of the wrong type")
    return value


def _text(value: object) -> str:
    """Show a dead letter's value to a person, whatever became of it."""
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)
