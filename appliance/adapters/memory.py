"""What extractors remember, in one SQLite file: each save is one transaction, so a power cut loses it whole or not.

A file that is damaged is set aside under another name and a new one begun: a history can be lived again.
"""

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from threading import Lock

from appliance.core.features import ENTRY_BYTES_MAX, FORGOTTEN
from appliance.errors import MemoryStoreError
from appliance.log import get

BUSY_TIMEOUT_S = 1.0
"""Longest wait for a foreign process that looks at the file."""
SCHEMA_VERSION = 1
PAGE_SIZE_BYTES = 1024
"""Small pages: an entry is some hundred bytes, and the log takes whole pages."""
DAMAGED_SUFFIX = ".damaged"
"""One damaged file is kept, the newest."""
_SCHEMA = f"""
PRAGMA page_size = {PAGE_SIZE_BYTES};
PRAGMA journal_mode = WAL;
PRAGMA synchronous = FULL;
CREATE TABLE IF NOT EXISTS entries (owner TEXT, key TEXT, value BLOB, PRIMARY KEY (owner, key)) WITHOUT ROWID;
PRAGMA user_version = {SCHEMA_VERSION};
"""
_SAVE = "INSERT INTO entries VALUES (?, ?, ?) ON CONFLICT (owner, key) DO UPDATE SET value = excluded.value"
_DAMAGED = (sqlite3.DatabaseError,)
_AWAY = (sqlite3.OperationalError,)
"""The file cannot be used now (locked, full, read-only); it is not damaged for that."""

_log = get(__name__)


class SqliteMemory:
    """Implements ``ports.MemoryStore``. For any thread."""

    def __init__(self, file: Path, *, size_bytes_max: int) -> None:
        """Touches nothing yet. The file grows to ``size_bytes_max`` at most; a save beyond it is refused."""
        self._file = file
        self._pages_max = max(8, size_bytes_max // PAGE_SIZE_BYTES)
        self._turn = Lock()
        self._open: sqlite3.Connection | None = None

    def load(self, owner: str) -> dict[str, bytes]:
        """Return every entry of ``owner``."""
        with self._using() as connection:
            rows = connection.execute("SELECT key, value FROM entries WHERE owner = ?", (owner,)).fetchall()
        return {key: value for key, value in rows if isinstance(key, str) and isinstance(value, bytes)}

    def save(self, owner: str, entries: Mapping[str, bytes]) -> None:
        """Write ``entries`` in one transaction; a value FORGOTTEN removes its entry."""
        assert all(len(value) <= ENTRY_BYTES_MAX for value in entries.values()), "an entry is too large"
        kept = [(owner, key, value) for key, value in entries.items() if value != FORGOTTEN]
        gone = [(owner, key) for key, value in entries.items() if value == FORGOTTEN]
        with self._using() as connection, connection:
            connection.executemany(_SAVE, kept)
            connection.executemany("DELETE FROM entries WHERE owner = ? AND key = ?", gone)

    def close(self) -> None:
        """Let the file go. Idempotent; never raises."""
        with self._turn:
            self._drop()

    @contextmanager
    def _using(self) -> Iterator[sqlite3.Connection]:
        """Lend the connection to one thread; what SQLite raises becomes MemoryStoreError."""
        with self._turn:
            try:
                yield self._connection()
            except _AWAY as error:
                self._drop()
                msg = f"{self._file}: cannot be used: {error}"
                raise MemoryStoreError(msg) from error
            except _DAMAGED as error:
                self._set_aside(error)
                msg = f"{self._file}: damaged ({error}); set aside as {self._file.name}{DAMAGED_SUFFIX}"
                raise MemoryStoreError(msg) from error
            except OSError as error:
                msg = f"{self._file}: {error}"
                raise MemoryStoreError(msg) from error

    def _connection(self) -> sqlite3.Connection:
        """Open the file, and make what is in it, at the first use."""
        if self._open is None:
            connection = sqlite3.connect(
                self._file, timeout=BUSY_TIMEOUT_S, isolation_level="IMMEDIATE", check_same_thread=False
            )
            try:
                connection.executescript(_SCHEMA)
                connection.execute(f"PRAGMA max_page_count = {self._pages_max}")
            except BaseException:
                connection.close()
                raise
            self._open = connection
        return self._open

    def _drop(self) -> None:
        """Close the connection; the next use opens another."""
        connection, self._open = self._open, None
        if connection is not None:
            try:
                connection.close()
            except sqlite3.Error as error:
                _log.warning("memory not closed cleanly", file=str(self._file), reason=str(error))

    def _set_aside(self, error: sqlite3.Error) -> None:
        """Make room for a new file; the log of the old one goes with it, it would be replayed into the new one."""
        self._drop()
        _log.error("memory is damaged and begins anew", file=str(self._file), reason=str(error))
        self._file.replace(self._file.with_name(self._file.name + DAMAGED_SUFFIX))
        for suffix in ("-wal", "-shm"):
            self._file.with_name(self._file.name + suffix).unlink(missing_ok=True)
