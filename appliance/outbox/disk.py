"""The store as long as the disk behaves, and what is done when it does not."""

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from threading import Lock
from typing import TypeVar

from appliance import log
from appliance.config import OutboxConfig
from appliance.errors import OutboxError
from appliance.outbox.database import Totals
from appliance.outbox.errors import DamagedError, UnavailableError
from appliance.outbox.files import claim, swap
from appliance.outbox.salvage import repair
from appliance.outbox.store import Store
from appliance.outbox.sync import WAL_CHECKPOINT_BYTES
from appliance.ports import Clock, Meter

T = TypeVar("T")

RETRY_INTERVAL_S = 1.0
"""After the disk failed, how long it is left alone."""
SETTLE_INTERVAL_S = 30.0
"""How long what was written may stay off the disk while no message waits: there is nothing to lose then, and what a
power cut undoes is only sent once more."""
_FAULT = "outbox"
_log = log.get(__name__)


class Disk:
    """Runs transactions on the store; sets the file aside when it is damaged.

    ``write`` is called with ``lock`` held, by any thread; ``open``, ``read``, ``sync`` and ``close`` without it, by
    one thread.
    """

    def __init__(self, file: Path, limits: OutboxConfig, lock: Lock, clock: Clock, meter: Meter) -> None:
        self._file = file
        self._limits = limits
        self._lock = lock
        self._clock = clock
        self._meter = meter
        self._faults = log.FaultLog(_log, clock.monotonic_s)
        self._store: Store | None = None
        self._claim: int | None = None
        self._totals = Totals()
        self._retry_s = self._synced_s = clock.monotonic_s()
        self._damage = ""
        self._noted_bytes = 0
        self.written_bytes = 0
        """Bytes written since ``open``; see ``Syncer.written_bytes``."""
        self.fault = ""
        """Why the disk cannot be used; empty when it can."""
        self.lost = 0
        """Messages lost with damaged files."""

    @property
    def totals(self) -> Totals:
        """Of the store, or of the last one while there is none."""
        if self._store is not None:
            self._totals = self._store.totals
        return self._totals

    @property
    def is_open(self) -> bool:
        """Between ``open`` and ``close``."""
        return self._claim is not None

    def open(self) -> None:
        """Claim and open the file, repairing it when it is damaged. Raises OutboxError, UnavailableError among them."""
        assert self._claim is None, "open already"
        try:
            self._claim = claim(self._file)
            swap(self._file)  # of a repair that was interrupted
            try:
                self._store = Store(self._file, self._lock)
            except DamagedError as error:
                self._damage = str(error)
                self._repair(seq=None)
        except OutboxError as error:
            self.close()
            msg = f"{self._file}: {error}"
            raise type(error)(msg) from error

    def close(self) -> None:
        """Let the file go. Idempotent; never raises."""
        self._totals = self.totals
        store, self._store = self._store, None
        if store is not None:
            with suppress(UnavailableError, DamagedError):  # then the log has it still
                store.syncer.sync()
            store.close()
        if self._claim is not None:
            os.close(self._claim)
            self._claim = None

    def write(self, action: Callable[[Store], T]) -> T | None:
        """Run a transaction; None when the disk did not take it, or failed so recently that it is not asked."""
        if self._store is None or self._damage or (self.fault and self._clock.monotonic_s() < self._retry_s):
            return None
        try:
            result = action(self._store)
        except UnavailableError as error:
            self._retry_s = self._clock.monotonic_s() + RETRY_INTERVAL_S
            self._failed(str(error))
        except DamagedError as error:
            self._damage = str(error)
            self._failed(self._damage)
        else:
            self._works()
            return result
        return None

    def read(self, action: Callable[[Store], T], seq: int) -> T | None:
        """Run a query; None when the disk does not answer. A damaged file is repaired, and asked again.

        Args:
            action: the query.
            seq: the last sequence number given out.
        """
        if self._damage and not self._repaired(seq):
            return None
        assert self._store is not None, "not open"
        try:
            try:
                return action(self._store)
            except DamagedError as error:
                self._damage = str(error)
                return action(self._store) if self._repaired(seq) else None
        except UnavailableError as error:
            self._failed(str(error))
        except DamagedError as error:  # at once again: the next call repairs it
            self._damage = str(error)
        return None

    def sync(self, seq: int, *, idle: bool) -> None:
        """Have what was written on the disk, unless it may wait (``idle``: no message waits)."""
        now_s = self._clock.monotonic_s()
        store = self._store
        if store is not None and not self._damage:
            short = store.syncer.wal_bytes() < WAL_CHECKPOINT_BYTES
            settled = idle and short and now_s < self._synced_s + SETTLE_INTERVAL_S
            if not self.fault and (not store.syncer.due or settled):
                return
        self._synced_s = now_s
        # A full disk may have room again once the log has been copied into the database.
        if self.read(lambda store: store.syncer.sync(checkpoint=bool(self.fault)), seq) is not None:
            self._note_written()

    def _note_written(self) -> None:
        assert self._store is not None, "was asked a moment ago"
        fresh_bytes = self._store.syncer.written_bytes - self._noted_bytes
        self._noted_bytes += fresh_bytes
        self.written_bytes += fresh_bytes
        self._meter.count("edge_disk_written_bytes_total", fresh_bytes)

    def _repaired(self, seq: int) -> bool:
        """Repair the file unless that failed a moment ago; says whether the store can be used."""
        if self._store is None and self._clock.monotonic_s() < self._retry_s:
            return False
        try:
            self._repair(seq)
        except OutboxError as error:
            self._retry_s = self._clock.monotonic_s() + RETRY_INTERVAL_S
            self._failed(f"{self._damage}; cannot be repaired: {error}")
            return False
        self._works()
        return True

    def _repair(self, seq: int | None) -> None:
        """Set the file aside and go on with what could be read of it; meanwhile writers find no store."""
        with self._lock:
            before = self.totals
            store, self._store = self._store, None
        if store is not None:
            store.close()
        result = repair(self._file, self._limits.rows_max, seq)
        fresh = Store(self._file, self._lock)
        lost = result.lost if seq is None else max(0, before.rows - result.rows)
        _log.error(
            "outbox damaged, set aside",
            reason=self._damage,
            aside=str(result.aside),
            messages_saved=result.rows,
            messages_lost=lost,
        )
        with self._lock:
            self._store, self._damage, self._noted_bytes = fresh, "", 0
            self.lost += lost
        self._meter.count("edge_spool_dropped_total", lost, reason="damaged")

    def _failed(self, reason: str) -> None:
        self.fault = reason
        self._faults.failed(_FAULT, reason, file=str(self._file))

    def _works(self) -> None:
        self.fault = ""
        self._faults.recovered(_FAULT, file=str(self._file))
