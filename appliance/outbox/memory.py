"""Messages that the disk could not take: few, in order, and gone with the process."""

from collections.abc import Iterable, Sequence

from appliance.core.types import Priority
from appliance.outbox.row import Row

MEMORY_ROWS_MAX = 1000
MEMORY_SIZE_BYTES_MAX = 4_000_000


class Memory:
    """A bounded queue. Not thread-safe: the outbox's lock guards it."""

    def __init__(self) -> None:
        self._rows: dict[int, Row] = {}
        self.size_bytes = 0

    def __len__(self) -> int:
        return len(self._rows)

    def rows(self, after: int = 0) -> list[Row]:
        """Return the rows with an id greater than ``after``, oldest first."""
        return [row for row in self._rows.values() if row.id > after]

    def get(self, id_: int) -> Row | None:
        """Return one row, or None when it is not here."""
        return self._rows.get(id_)

    def put(self, row: Row) -> None:
        """Replace the row of the same id."""
        assert row.id in self._rows, row.id
        self._rows[row.id] = row

    def take(self, incoming: Sequence[Row]) -> tuple[list[Row], int]:
        """Append what fits; an alert makes room for itself at the cost of telemetry.

        Returns:
            The rows that did not fit, and how many older telemetry rows were dropped.
        """
        rejected, dropped = [], 0
        for row in incoming:
            if row.priority is Priority.ALERT:
                dropped += self._drop_telemetry_for(row)
            if self._fits(row):
                self._rows[row.id] = row
                self.size_bytes += row.size_bytes
            else:
                rejected.append(row)
        return rejected, dropped

    def remove(self, ids: Iterable[int]) -> None:
        """Forget rows; ids that are not here do not matter."""
        for id_ in ids:
            row = self._rows.pop(id_, None)
            if row is not None:
                self.size_bytes -= row.size_bytes

    def clear(self) -> None:
        """Forget all."""
        self._rows.clear()
        self.size_bytes = 0

    def _fits(self, row: Row) -> bool:
        return len(self._rows) < MEMORY_ROWS_MAX and self.size_bytes + row.size_bytes <= MEMORY_SIZE_BYTES_MAX

    def _drop_telemetry_for(self, alert: Row) -> int:
        if self._fits(alert):
            return 0
        victims = []
        for row in list(self._rows.values()):
            if row.priority is Priority.TELEMETRY and not self._fits(alert):
                victims.append(row.id)
                self.remove([row.id])
        return len(victims)
