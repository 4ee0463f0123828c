"""Keeps what extractors remember: hands it back at the start, saves what changed now and then, and at the end.

After a power cut at most ``interval_s`` of memory is missing, which makes a history shorter and never wrong.
"""

from collections.abc import Mapping
from threading import Event, Lock

from appliance.core.features import Extractor
from appliance.core.types import Array, Frame
from appliance.errors import MemoryStoreError
from appliance.log import FaultLog, get
from appliance.ports import Clock, MemoryStore, Meter

ENTRIES_A_TURN = 256
"""Entries that are encoded while the loop waits for its extractor: under 5 ms."""
PENDING_ENTRIES_MAX = 100_000
"""Entries of one channel that wait for a disk that cannot be written; the oldest go first."""

_log = get(__name__)


class Remembering:
    """An extractor that its channel and the keeper share."""

    def __init__(self, extractor: Extractor) -> None:
        """Take turns on ``extractor``, which is used by nobody else."""
        self._extractor = extractor
        self._turn = Lock()
        self.names = extractor.names
        self.words = extractor.words

    def __call__(self, frame: Frame) -> tuple[Array, ...]:
        """Extract, as ``Extractor`` says."""
        with self._turn:
            return self._extractor(frame)

    def changes(self, entries_max: int) -> dict[str, bytes]:
        """Hand out what changed."""
        with self._turn:
            return self._extractor.changes(entries_max)

    def restore(self, entries: Mapping[str, bytes]) -> None:
        """Take back what was handed out."""
        with self._turn:
            self._extractor.restore(entries)


class Keeper:
    """The thread that saves. Owners are channels."""

    def __init__(
        self,
        store: MemoryStore,
        extractors: Mapping[str, Extractor],
        clock: Clock,
        meter: Meter,
        faults: FaultLog,
        *,
        interval_s: float,
    ) -> None:
        """Nothing is read yet."""
        self._store, self._extractors = store, extractors
        self._clock, self._meter, self._faults = clock, meter, faults
        self._interval_s = interval_s
        self._pending: dict[str, dict[str, bytes]] = {owner: {} for owner in extractors}

    def open(self) -> None:
        """Hand back what was saved. A store that cannot be read costs the memory, not the start."""
        for owner, extractor in self._extractors.items():
            try:
                entries = self._store.load(owner)
            except MemoryStoreError as error:
                self._faults.failed("memory", str(error))
                continue
            extractor.restore(entries)
            _log.info("remembered", channel=owner, entries=len(entries))

    def run(self, stop: Event) -> None:
        """Save what changed, each interval, until ``stop`` is set."""
        while not self._clock.wait(stop, self._interval_s):
            self.save()

    def save(self) -> None:
        """Save what changed since the last time. What cannot be written waits for the next time, bounded."""
        for owner, extractor in self._extractors.items():
            pending = self._pending[owner]
            while changes := extractor.changes(ENTRIES_A_TURN):
                pending |= changes
                if len(changes) < ENTRIES_A_TURN:
                    break
            self._bound(owner, pending)
            if not pending:
                continue
            try:
                self._store.save(owner, pending)
            except MemoryStoreError as error:
                self._faults.failed("memory", str(error))
                continue
            self._faults.recovered("memory")
            self._meter.count("edge_memory_saved_total", float(len(pending)), channel=owner)
            pending.clear()

    def close(self) -> None:
        """Save once more and let the store go. After the channels have ended."""
        self.save()
        self._store.close()

    def _bound(self, owner: str, pending: dict[str, bytes]) -> None:
        """Forget the oldest entries beyond the bound, and count them."""
        surplus = list(pending)[: max(0, len(pending) - PENDING_ENTRIES_MAX)]
        for key in surplus:
            del pending[key]
        if surplus:
            self._meter.count("edge_memory_dropped_total", float(len(surplus)), channel=owner)
