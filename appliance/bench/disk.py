"""Bytes written to disk for each 1,000 alerts that were stored, delivered and acknowledged."""

import resource
import tempfile
from pathlib import Path

from appliance.adapters.clock import SystemClock
from appliance.adapters.metrics import PrometheusMeter
from appliance.bench.figure import Figure, Progress
from appliance.config import OutboxConfig
from appliance.core.types import Message
from appliance.outbox import Outbox

ALERTS = 5000
PER_SYNC = 25
"""Alerts between two syncs: a busy second."""
BLOCK_BYTES = 512
"""getrusage counts blocks of this size."""
PAYLOAD: dict[str, object] = {f"key_{number}": "x" * 20 for number in range(20)}
"""About 600 bytes of JSON, as an event is."""


def measure(progress: Progress) -> list[Figure]:
    """Return what the kernel wrote for this process, and what the outbox counted itself."""
    clock = SystemClock()
    meter = PrometheusMeter(clock)
    with tempfile.TemporaryDirectory(prefix="appliance-bench-", dir=Path.cwd()) as folder:
        outbox = Outbox(Path(folder) / "outbox.db", OutboxConfig(), clock, meter)
        outbox.open()
        before = resource.getrusage(resource.RUSAGE_SELF).ru_oublock
        for number in range(0, ALERTS, PER_SYNC):
            if number % 1000 == 0:
                progress(f"alert {number} of {ALERTS}")
            for _ in range(PER_SYNC):
                outbox.add([Message("edge/bench/bench/event", PAYLOAD)])
            outbox.acknowledge([waiting.id for waiting in outbox.next_batch(0, PER_SYNC)])
            outbox.sync()
        outbox.close()
        written_bytes = (resource.getrusage(resource.RUSAGE_SELF).ru_oublock - before) * BLOCK_BYTES
    return [
        Figure(
            "disk_bytes_per_1000_alerts",
            written_bytes / ALERTS * 1000,
            "bytes",
            note=f"stored and acknowledged, synced after each {PER_SYNC}",
        )
    ]
