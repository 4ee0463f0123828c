"""The outbox as the loop and the publisher use it."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from threading import Lock

from appliance.config import OutboxConfig
from appliance.core.types import Message, Priority
from appliance.errors import OutboxError
from appliance.outbox.disk import Disk
from appliance.outbox.memory import Memory
from appliance.outbox.row import DeadLetter, Depth, Row, Waiting, encode
from appliance.ports import Clock, Meter

ACKS_ROWS_MAX = 256
"""Acknowledgements that wait for the next ``sync`` before they are written anyway."""
ACKS_UNWRITTEN_MAX = 10_000
"""Acknowledgements kept while the disk cannot be written; a message beyond is sent once more later."""


def _nothing() -> None:
    """Nobody wants to be told of an addition."""


class Outbox:
    """Messages that the broker has not acknowledged. See the package for what it promises.

    ``add`` and ``depth`` are for any thread; all else is for the publisher's thread, and ``open`` and ``close`` for
    whoever owns that, while it does not run.

    Args:
        file: the database; its folder exists.
        limits: the bounds.
        clock: for ages and retries.
        meter: gets ``edge_spool_*`` and ``edge_disk_written_bytes_total``.
        on_add: called after each addition, on the thread that added; must not block.
        first_seq: the first alert's number, where the file does not know a later one.
    """

    def __init__(
        self,
        file: Path,
        limits: OutboxConfig,
        clock: Clock,
        meter: Meter,
        *,
        on_add: Callable[[], None] = _nothing,
        first_seq: int = 1,
    ) -> None:
        self._limits = limits
        self._clock = clock
        self._meter = meter
        self._on_add = on_add
        self._lock = Lock()
        """Held by whoever writes to the store or to what follows; never during an fsync."""
        self._disk = Disk(file, limits, self._lock, clock, meter)
        self._memory = Memory()
        self._acked: set[int] = set()
        """Stored messages that are acknowledged and not yet deleted."""
        self._attempts = (0, 0)
        """A message, and its failed attempts that the disk would not take."""
        self._seq, self._last_id = first_seq - 1, 0
        self._oldest: tuple[str, float] | None = None
        self._dropped: dict[str, int] = {}

    def open(self) -> None:
        """Get ready; a damaged file is set aside first. Unless it is, the backlog's size does not matter.

        Raises:
            UnavailableError: the disk cannot be used now.
            OutboxError: another process uses the file.
        """
        self._disk.open()
        self._seq, self._last_id = max(self._seq, self._disk.totals.seq), self._disk.totals.last_id
        self._look_for_oldest()
        self._report()

    def close(self) -> None:
        """Write what can be written and let the file go. Idempotent; never raises."""
        if not self._disk.is_open:
            return
        with self._lock:
            self._flush()
            self._drop({"unstored": len(self._memory)})
            self._memory.clear()
        self._disk.close()

    def add(self, messages: Sequence[Message], priority: Priority = Priority.ALERT) -> None:
        """Keep messages until the broker has them. Returns in microseconds, whatever broker and publisher do.

        Fills in the payload's ``seq`` for alerts: one more than for the alert before, also over restarts, so that a
        subscriber sees what was lost. Telemetry takes no number.

        Args:
            messages: payloads are JSON objects.
            priority: what is dropped first when there is no room.

        Raises:
            OutboxError: neither disk nor memory took all of them; the number of those lost is in the message.
        """
        if not messages:
            return
        with self._lock:
            assert self._disk.is_open, "not open"
            rejected = self._keep([self._row(message, priority) for message in messages])
        self._on_add()
        if rejected:
            msg = f"{rejected} of {len(messages)} messages lost: {self._disk.fault or 'too large'}"
            raise OutboxError(msg)

    def next_batch(self, after: int, limit: int) -> list[Waiting]:
        """Return at most ``limit`` messages with an id greater than ``after``, in order; reads no others."""
        with self._lock:
            if after >= self._last_id:
                return []
            in_memory = self._memory.rows(after)  # before looking at the disk, to which they may be on their way
            acked = frozenset(self._acked)
        rows = self._disk.read(lambda store: store.read(after, limit, acked), self._seq)
        if rows is None:
            return []
        newest = rows[-1].id if rows else after
        rows += [row for row in in_memory if row.id > newest]
        return [row.waiting() for row in rows[:limit]]

    def acknowledge(self, ids: Iterable[int]) -> None:
        """Forget messages that the broker took (PUBACK). On disk with the next ``sync`` or 256th, at the latest."""
        with self._lock:
            for id_ in ids:
                if self._memory.get(id_) is not None:
                    self._memory.remove([id_])
                elif id_ <= self._last_id and len(self._acked) < ACKS_UNWRITTEN_MAX:
                    self._acked.add(id_)
            if len(self._acked) >= ACKS_ROWS_MAX:
                self._flush()

    def failed_attempt(self, id: int, reason: str) -> bool:  # noqa: A002 - the word for it everywhere
        """Count that a message was tried in vain; at ``attempts_max`` it becomes a dead letter.

        Returns:
            Whether it was given up.
        """
        with self._lock:
            attempts = self._count_attempt(id)
            if attempts < self._limits.attempts_max:
                return False
            self._bury(id, f"{attempts} failed attempts, the last: {reason}", "attempts")
            return True

    def bury(self, id: int, reason: str) -> None:  # noqa: A002 - as above
        """Give a message up: the broker refused it for good. It becomes a dead letter."""
        with self._lock:
            self._bury(id, reason, "refused")

    def sync(self) -> None:
        """Write what waits to be written and have it on the disk; repair what is damaged. Blocks only its caller.

        While no message waits, the disk is left alone for up to 30 s: on an SD card every fsync costs wear.
        """
        with self._lock:
            self._flush()
            idle = self._rows() == 0
        self._disk.sync(self._seq, idle=idle)
        self._look_for_oldest()
        self._report()

    def dead_letters(self, limit: int) -> list[DeadLetter]:
        """Return the newest dead letters, at most ``limit``, newest first."""
        return self._disk.read(lambda store: store.dead_letters(limit), self._seq) or []

    @property
    def written_bytes(self) -> int:
        """Bytes brought to the disk since ``open``."""
        return self._disk.written_bytes

    def depth(self) -> Depth:
        """How full it is; touches no disk."""
        with self._lock:
            rows = self._rows()
            age_s = 0.0
            if self._oldest is not None and rows:
                boot_id, added_s = self._oldest
                age_s = self._clock.monotonic_s() - (added_s if boot_id == self._clock.boot_id else 0.0)
            return Depth(
                rows=rows,
                size_bytes=(self._disk.totals.size_bytes + self._memory.size_bytes) if rows else 0,
                oldest_age_s=max(0.0, age_s),
                in_memory=len(self._memory),
                dead_letters=self._disk.totals.dead_rows,
                dropped=self._losses(),
                fault=self._disk.fault,
            )

    def _row(self, message: Message, priority: Priority) -> Row:
        """Give a message its place in the order."""
        self._last_id += 1
        self._seq += priority is Priority.ALERT
        return Row(
            id=self._last_id,
            seq=self._seq,
            priority=priority,
            topic=message.topic.encode(),
            payload=encode(message, seq=self._seq, priority=priority),
            qos=message.qos,
            retain=message.retain,
            boot_id=self._clock.boot_id,
            added_s=self._clock.monotonic_s(),
        )

    def _keep(self, rows: list[Row]) -> int:
        """Store rows after those in memory, or put them there. Returns how many alerts were lost."""
        fitting = [row for row in rows if row.size_bytes <= self._limits.size_bytes_max]
        self._drop({"too_large": len(rows) - len(fitting)})
        waiting = [*self._memory.rows(), *fitting]
        if self._disk.totals.rows + len(waiting) > self._limits.rows_max:
            self._flush_acks()  # they make room without a loss
        dropped = self._disk.write(lambda store: store.insert(waiting, self._limits))
        rejected: list[Row] = []
        if dropped is not None:
            self._memory.clear()
            self._drop(dropped)
        else:
            unfit, older = self._memory.take(fitting)
            rejected = [row for row in unfit if row.priority is Priority.ALERT]
            self._drop({"unstored": len(rejected), "telemetry_full": older + len(unfit) - len(rejected)})
        if self._oldest is None and fitting:
            self._oldest = fitting[0].boot_id, fitting[0].added_s
        return len(rows) - len(fitting) + len(rejected)

    def _flush(self) -> None:
        """Write acknowledgements, and what is in memory, if the disk takes it."""
        self._flush_acks()
        if self._memory:
            self._keep([])

    def _flush_acks(self) -> None:
        if self._acked and self._disk.write(lambda store: store.remove(self._acked)) is not None:
            self._acked.clear()

    def _count_attempt(self, id_: int) -> int:
        """Count one failed attempt; returns how many there are, 0 when there is no such message."""
        row = self._memory.get(id_)
        if row is not None:
            self._memory.put(replace(row, attempts=row.attempts + 1))
            return row.attempts + 1
        unwritten = 1 + (self._attempts[1] if self._attempts[0] == id_ else 0)
        counted = self._disk.write(lambda store: store.count_attempt(id_, unwritten))
        self._attempts = (id_, unwritten) if counted is None else (0, 0)
        return unwritten if counted is None else counted

    def _bury(self, id_: int, reason: str, cause: str) -> None:
        """Make a dead letter of a message; when the disk does not take it, it is lost, and ``cause`` is counted."""
        letter = self._memory.get(id_) or id_
        buried = self._disk.write(lambda store: store.bury(letter, reason, self._limits.dead_letters_max))
        if buried is None:
            self._acked.add(id_)
            self._drop({cause: 1})
        self._memory.remove([id_])

    def _rows(self) -> int:
        """How many messages wait."""
        return max(0, self._disk.totals.rows - len(self._acked)) + len(self._memory)

    def _losses(self) -> dict[str, int]:
        return {**self._dropped, "damaged": self._disk.lost} if self._disk.lost else dict(self._dropped)

    def _drop(self, dropped: dict[str, int]) -> None:
        for reason, count in dropped.items():
            if count:
                self._dropped[reason] = self._dropped.get(reason, 0) + count
                self._meter.count("edge_spool_dropped_total", count, reason=reason)

    def _look_for_oldest(self) -> None:
        acked = frozenset(self._acked)
        found = self._disk.read(lambda store: store.oldest(acked), self._seq)
        with self._lock:
            self._oldest = found or next(((row.boot_id, row.added_s) for row in self._memory.rows()), None)

    def _report(self) -> None:
        depth = self.depth()
        self._meter.set("edge_spool_messages", depth.rows)
        self._meter.set("edge_spool_bytes", depth.size_bytes)
        self._meter.set("edge_spool_oldest_age_seconds", depth.oldest_age_s)
        self._meter.set("edge_spool_dead_letters", depth.dead_letters)
