"""When what was written reaches the disk, without the loop ever waiting for it.

A commit copies pages into the write-ahead log through the kernel: done in microseconds, and safe from a kill. Safe
from a power cut is what was fsynced, which takes an SD card up to seconds; so the connections that write run with
``synchronous = OFF`` and never fsync, and the publisher's thread does it here, holding no lock meanwhile.

Two things have to be seen to by hand for that. SQLite would start the log anew, from its beginning, with the first
write after a checkpoint that was complete, and relies on an fsync there to keep the old frames from being taken for
new ones (https://sqlite.org/src/info/ff5be73dee). So the log is never started anew by a writer: a reader's snapshot,
taken before the checkpoint, forbids it, and is given up only under the writers' lock, in the moment in which the log is
cut to length zero. And the checkpoint that copies must not be the one that cuts, as that one locks writers out.
"""

import os
import sqlite3
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from threading import Lock

from appliance.outbox.database import PAGE_SIZE_BYTES
from appliance.outbox.errors import converting
from appliance.outbox.files import wal

WAL_CHECKPOINT_BYTES = 4 * 1024 * 1024
"""A longer log is copied into the database. Messages that were acknowledged before cost nothing then."""
WAL_BLOCKING_BYTES = 4 * WAL_CHECKPOINT_BYTES
"""A longer log is cut even if writers must wait for the disk: they were too busy for a gap to be found."""
WAL_BYTES_MAX = 4 * WAL_BLOCKING_BYTES
"""A longer log is not written: whoever should call ``sync`` does not."""
TRIES_MAX = 3
"""Checkpoints that are tried in a row to find a moment in which nobody wrote."""


class Syncer:
    """Brings a store's log to the disk. For the publisher's thread, which also owns the two connections.

    Args:
        file: the database.
        lock: held by whoever writes.
        commits: how many transactions have been committed; asked with the lock held.
        reading: the publisher's connection; has no transaction open between calls.
        checkpointing: a connection with ``synchronous = FULL`` that is used for nothing else.
    """

    def __init__(
        self,
        file: Path,
        lock: Lock,
        commits: Callable[[], int],
        *,
        reading: sqlite3.Connection,
        checkpointing: sqlite3.Connection,
    ) -> None:
        self._lock = lock
        self._commits = commits
        self._reading = reading
        self._checkpointing = checkpointing
        # Read-only is enough for an fsync. SQLite's own locks are not on this file, so closing it frees none.
        self._descriptor = os.open(wal(file), os.O_RDONLY | os.O_CLOEXEC)
        self._synced_commits = commits()
        self._seen_bytes = self.wal_bytes()
        self.written_bytes = 0
        """Bytes handed to the disk since the store was opened: the log, and what was copied from it (at most: a page
        that is several times in the log is copied once)."""
        self._copied_frames = 0

    def close(self) -> None:
        """Let the log go."""
        os.close(self._descriptor)

    def wal_bytes(self) -> int:
        """Length of the log."""
        return os.fstat(self._descriptor).st_size

    @property
    def due(self) -> bool:
        """Whether something was committed that a power cut would take away."""
        return self._commits() != self._synced_commits

    def sync(self, *, checkpoint: bool = False) -> bool:
        """Have everything that was committed before the call on the disk; blocks nobody else.

        Args:
            checkpoint: copy the log into the database however short it is.

        Returns:
            True, always: so that a caller can tell success from an answer that never came.

        Raises:
            UnavailableError: the disk did not take it.
            DamagedError: found while copying.
        """
        with converting():
            commits = self._commits()
            os.fdatasync(self._descriptor)
            self._synced_commits = commits
            self._note_written()
            if checkpoint or self.wal_bytes() >= WAL_CHECKPOINT_BYTES:
                self._checkpoint()
        return True

    def _note_written(self) -> None:
        length = self.wal_bytes()
        self.written_bytes += max(0, length - self._seen_bytes)
        self._seen_bytes = length

    def _checkpoint(self) -> None:
        for _ in range(TRIES_MAX):
            if self._copy_and_cut():
                return
        if self.wal_bytes() >= WAL_BLOCKING_BYTES:
            with self._lock:
                self._cut()

    def _copy_and_cut(self) -> bool:
        """Copy the log into the database; cut it if nobody wrote meanwhile, and say so."""
        with ExitStack() as snapshot:
            with self._lock:
                self._reading.execute("BEGIN")
                snapshot.callback(self._reading.execute, "ROLLBACK")
                self._reading.execute("SELECT one FROM state").fetchone()
                before = self._commits()
            _, frames, copied = self._checkpointing.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
            (pages,) = self._checkpointing.execute("PRAGMA page_count").fetchone()
            self.written_bytes += min(copied - self._copied_frames, pages) * PAGE_SIZE_BYTES
            self._copied_frames = copied
            with self._lock:
                snapshot.close()
                if self._commits() != before or copied != frames:
                    return False
                return self._cut()

    def _cut(self) -> bool:
        """Cut the log to length zero, with the lock held. Only what was written since the copying is still copied."""
        busy, _, _ = self._checkpointing.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        if busy:
            return False
        self._seen_bytes = self._copied_frames = 0
        return True
