"""What waits in the outbox: its values, and how one is written as a row and read back with suspicion."""

import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from appliance.core.types import Message, Priority
from appliance.outbox.errors import DamagedError


@dataclass(frozen=True, slots=True)
class Waiting:
    """One message that the broker has not acknowledged."""

    id: int
    """Greater than the id of every message added before it; the order of delivery."""
    topic: str
    payload: dict[str, object]
    """The JSON object that was added, for an alert with its ``seq``."""
    qos: int
    retain: bool
    boot_id: str
    """The boot in which it was added."""
    added_mono_s: float
    """Monotonic time of adding; means nothing in another boot."""
    attempts: int
    """Failed attempts so far."""


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A message that was given up, kept for a person to look at."""

    id: int
    topic: str
    payload: str
    """The JSON as it was stored."""
    reason: str
    attempts: int


@dataclass(frozen=True, slots=True)
class Depth:
    """How full the outbox is."""

    rows: int
    size_bytes: int
    """Topics and payloads of the waiting messages."""
    oldest_age_s: float
    """Age of the oldest waiting message, 0 when none waits; as of the last ``sync``. For a message of an earlier
    boot, how long this boot lasts: at least so old."""
    in_memory: int
    """Of ``rows``, those that the disk could not take: a kill would lose them."""
    dead_letters: int
    dropped: Mapping[str, int] = field(default_factory=dict)
    """Messages lost since this process started, by reason."""
    fault: str = ""
    """Why the disk cannot be written; empty while it can."""


@dataclass(frozen=True, slots=True)
class Row:
    """A message as it is stored."""

    id: int
    seq: int
    """For an alert its own sequence number, for telemetry that of the alert before it."""
    priority: Priority
    topic: bytes
    payload: bytes
    """JSON, ASCII."""
    qos: int
    retain: bool
    boot_id: str
    added_s: float
    attempts: int = 0

    @property
    def size_bytes(self) -> int:
        """What counts against ``size_bytes_max``."""
        return len(self.topic) + len(self.payload)

    def waiting(self) -> Waiting:
        """As the publisher sees it."""
        return Waiting(
            id=self.id,
            topic=self.topic.decode(),
            payload=json.loads(self.payload),
            qos=self.qos,
            retain=self.retain,
            boot_id=self.boot_id,
            added_mono_s=self.added_s,
            attempts=self.attempts,
        )


COLUMNS = "rows_added, bytes_added, crc, id, seq, priority, qos, retain, added_s, attempts, boot_id, topic, payload"
"""Of a message's row, in the order of ``to_values``."""
_TYPES = (int, int, int, int, int, int, int, int, float, int, bytes, bytes, bytes)


def encode(message: Message, *, seq: int, priority: Priority) -> bytes:
    """Return a message's payload as JSON; an alert's with its ``seq``."""
    assert isinstance(message.payload, Mapping), f"{message.topic}: only JSON objects wait in the outbox"
    payload = dict(message.payload)
    if priority is Priority.ALERT:
        payload["seq"] = seq
    return json.dumps(payload, separators=(",", ":"), allow_nan=False).encode()


def to_values(row: Row, rows_added: int, bytes_added: int) -> tuple[int | float | bytes, ...]:
    """Return a row's values in the order of ``COLUMNS``; the counts are what had been added with this row."""
    values = (
        row.id,
        row.seq,
        int(row.priority),
        row.qos,
        int(row.retain),
        row.added_s,
        row.attempts,
        row.boot_id.encode(),
        row.topic,
        row.payload,
    )
    return (rows_added, bytes_added, _crc((rows_added, bytes_added, *values)), *values)


def from_values(values: Sequence[Any]) -> Row:
    """Rebuild a row from its values.

    SQLite notices when its own structure is damaged, not when a byte of a value is: hence the checksum.

    Raises:
        DamagedError: the row is not what was written.
    """
    if len(values) != len(_TYPES) or any(type(value) is not kind for value, kind in zip(values, _TYPES, strict=True)):
        raise DamagedError("a row has values of the wrong type")
    rows_added, bytes_added, crc, id_, seq, priority, qos, retain, added_s, attempts, boot_id, topic, payload = values
    if _crc((rows_added, bytes_added, *values[3:])) != crc:
        msg = f"message {id_} is not what was written"
        raise DamagedError(msg)
    return Row(
        id=id_,
        seq=seq,
        priority=Priority(priority),
        topic=topic,
        payload=payload,
        qos=qos,
        retain=bool(retain),
        boot_id=boot_id.decode(),
        added_s=added_s,
        attempts=attempts,
    )


def _crc(values: tuple[int | float | bytes, ...]) -> int:
    return zlib.crc32(repr(values).encode())
