"""A memory store without a disk, which fails when it is told to."""

from collections.abc import Mapping

from appliance.core.features import FORGOTTEN
from appliance.errors import MemoryStoreError


class VolatileMemory:
    """Implements ``ports.MemoryStore`` in a dictionary."""

    def __init__(self) -> None:
        """Nothing is remembered yet, and nothing is wrong."""
        self.fault = ""
        """Why the store cannot be used; empty while it can."""
        self._entries: dict[tuple[str, str], bytes] = {}

    def load(self, owner: str) -> dict[str, bytes]:
        """Return every entry of ``owner``. Raises MemoryStoreError."""
        self._check()
        return {key: value for (of, key), value in self._entries.items() if of == owner}

    def save(self, owner: str, entries: Mapping[str, bytes]) -> None:
        """Write ``entries``; an empty value removes its entry. Raises MemoryStoreError."""
        self._check()
        for key, value in entries.items():
            self._entries[owner, key] = value
            if value == FORGOTTEN:
                del self._entries[owner, key]

    def close(self) -> None:
        """Nothing to let go."""

    def _check(self) -> None:
        if self.fault:
            raise MemoryStoreError(self.fault)
