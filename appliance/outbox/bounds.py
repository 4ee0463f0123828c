"""Which messages make room for others. Pure."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from appliance.config import OutboxConfig
from appliance.core.types import Priority
from appliance.outbox.row import Row

Stored = Callable[[Priority], Iterable[tuple[int, int]]]
"""Ids and sizes of the stored rows of one priority, oldest first."""


@dataclass(frozen=True, slots=True)
class Room:
    """What has to go so that the rest fits."""

    remove: tuple[int, ...]
    """Ids of stored rows."""
    keep: tuple[Row, ...]
    """The incoming rows that fit."""
    dropped: dict[str, int]
    """How many messages were lost, by reason: ``telemetry_full``, ``alert_full``."""


def make_room(rows: int, size_bytes: int, incoming: Sequence[Row], limits: OutboxConfig, stored: Stored) -> Room:
    """Decide what is dropped: telemetry before alerts, of each the oldest first, and no more than needed.

    Args:
        rows: how many are stored.
        size_bytes: their size.
        incoming: rows to be stored, in order, newer than the stored ones.
        limits: ``rows_max`` and ``size_bytes_max`` count.
        stored: gives the stored rows; only asked when something must go, and read no further than needed.
    """
    remove: list[int] = []
    refuse: set[int] = set()
    dropped: dict[str, int] = {}
    rows += len(incoming)
    size_bytes += sum(row.size_bytes for row in incoming)
    if rows <= limits.rows_max and size_bytes <= limits.size_bytes_max:
        return Room((), tuple(incoming), dropped)
    for priority in sorted(Priority, reverse=True):
        fresh = [(row.id, row.size_bytes) for row in incoming if row.priority is priority]
        for gone, victims in ((remove, stored(priority)), (refuse, fresh)):
            for id_, size in victims:
                if rows <= limits.rows_max and size_bytes <= limits.size_bytes_max:
                    break
                gone.append(id_) if isinstance(gone, list) else gone.add(id_)
                rows -= 1
                size_bytes -= size
                reason = f"{priority.name.lower()}_full"
                dropped[reason] = dropped.get(reason, 0) + 1
    return Room(tuple(remove), tuple(row for row in incoming if row.id not in refuse), dropped)
