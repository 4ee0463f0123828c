"""Outboxes to try things on: real files, a clock and a meter in the test's hands."""

import resource
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from appliance.config import OutboxConfig
from appliance.core.types import Message, Priority
from appliance.outbox import Outbox, Waiting
from appliance.sim.clock import ManualClock
from appliance.sim.meter import RecordingMeter

FILE = "outbox.db"
BATCH_ROWS = 20


def alert(number: int, size_bytes: int = 100) -> Message:
    """An alert that is recognised by its number."""
    return Message("edge/node/gate/event", {"seq": 0, "number": number, "rest": "x" * max(0, size_bytes - 60)})


def telemetry(number: int) -> Message:
    """Telemetry that is recognised by its number."""
    return Message("edge/node/metrics/history", {"number": number}, qos=1)


@dataclass
class Bench:
    """A folder, a clock and a meter, and the outbox made of them."""

    folder: Path
    limits: OutboxConfig = field(default_factory=OutboxConfig)
    clock: ManualClock = field(default_factory=ManualClock)
    meter: RecordingMeter = field(default_factory=RecordingMeter)
    outboxes: list[Outbox] = field(default_factory=list)

    @property
    def file(self) -> Path:
        """The database."""
        return self.folder / FILE

    @property
    def wal(self) -> Path:
        """Its log."""
        return self.folder / f"{FILE}-wal"

    def open(self) -> Outbox:
        """A new outbox on the file."""
        outbox = Outbox(self.file, self.limits, self.clock, self.meter)
        outbox.open()
        self.outboxes.append(outbox)
        return outbox

    def reopen(self, outbox: Outbox) -> Outbox:
        """Close an outbox and open the file again."""
        outbox.close()
        return self.open()

    def killed(self, name: str = "killed") -> "Bench":
        """What a new process would find if this one were killed now: the files as they are, no lock held."""
        folder = self.folder / name
        folder.mkdir()
        for path in self.folder.glob(f"{FILE}*"):
            if not path.name.endswith(".lock"):
                shutil.copyfile(path, folder / path.name)
        return Bench(folder, self.limits, self.clock, RecordingMeter(), self.outboxes)

    def aside(self) -> list[Path]:
        """The files that were set aside."""
        return sorted(path for path in self.folder.glob(f"{FILE}.corrupt-*") if path.name[-4:] not in {"-wal", "-shm"})

    def close(self) -> None:
        """Close every outbox that was opened."""
        for outbox in self.outboxes:
            outbox.close()


@contextmanager
def bench(folder: Path, **limits: float) -> Iterator[Bench]:
    """A bench whose outboxes are closed in the end."""
    made = Bench(folder, OutboxConfig.model_validate(limits))
    try:
        yield made
    finally:
        made.close()


def add(outbox: Outbox, numbers: range, priority: Priority = Priority.ALERT) -> None:
    """Add one message for each number, one by one."""
    for number in numbers:
        outbox.add([alert(number) if priority is Priority.ALERT else telemetry(number)], priority)


def waiting(outbox: Outbox, after: int = 0) -> list[Waiting]:
    """All that waits, in batches as the publisher takes it."""
    found: list[Waiting] = []
    while batch := outbox.next_batch(found[-1].id if found else after, BATCH_ROWS):
        found += batch
    return found


def numbers(found: list[Waiting]) -> list[object]:
    """The numbers of messages."""
    return [message.payload["number"] for message in found]


def seqs(found: list[Waiting]) -> list[object]:
    """The sequence numbers of alerts."""
    return [message.payload["seq"] for message in found]


@contextmanager
def file_size_limit(size_bytes: int) -> Iterator[None]:
    """No file of this process can grow beyond ``size_bytes``: a full disk, for any user (setrlimit(2))."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)
