"""What the outbox costs an SD card: bytes written for alerts that come and go."""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from appliance.adapters.metrics import PrometheusMeter
from appliance.bench.figure import Figure, Progress
from appliance.config import OutboxConfig
from appliance.core.types import Message
from appliance.outbox import Outbox
from appliance.ports import Clock, Meter
from appliance.sim.clock import ManualClock

ALERTS = 1000
SECONDS_BETWEEN = 1.0
"""Played on a clock that passes when told to: a thousand seconds of a device in a few of ours."""
PAYLOAD_SIZE_BYTES = 700
"""As large as an event of the person model."""
_IO = Path("/proc/self/io")


@dataclass(frozen=True, slots=True)
class Cost:
    """Bytes for the alerts of one measurement."""

    outbox_bytes: int
    """As the outbox counts them (``edge_disk_written_bytes_total``)."""
    kernel_bytes: int | None
    """As the kernel counts what this process sent towards the device (proc(5), ``write_bytes``); None where it does
    not. Nothing else should write meanwhile."""


def cost(
    folder: Path,
    clock: Clock,
    meter: Meter,
    *,
    alerts: int = 1000,
    acknowledge: bool = True,
    tick: Callable[[], None],
) -> Cost:
    """Add alerts one by one, each acknowledged at once if the broker is there, and count what is written.

    Args:
        folder: an empty one on the device that is asked about.
        clock: the outbox's.
        meter: the outbox's.
        alerts: how many.
        acknowledge: whether there is a broker.
        tick: called after each alert, to let the time to the next one pass; then the outbox is synced.
    """
    outbox = Outbox(folder / "outbox.db", OutboxConfig(), clock, meter)
    outbox.open()
    before, last = kernel_bytes(), 0
    for number in range(alerts):
        payload = {"seq": 0, "id": f"event-{number}"}
        outbox.add(
            [Message("edge/node/gate/event", payload | {"rest": "x" * (PAYLOAD_SIZE_BYTES - len(str(payload)))})]
        )
        if acknowledge:
            last = outbox.next_batch(last, 1)[0].id
            outbox.acknowledge([last])
        tick()
        outbox.sync()
    written_bytes = outbox.written_bytes
    outbox.close()
    after = kernel_bytes()
    return Cost(written_bytes, None if before is None or after is None else after - before)


def kernel_bytes() -> int | None:
    """Bytes that this process has sent towards storage devices so far."""
    try:
        lines = _IO.read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) for line in lines if line.startswith("write_bytes:")), None)


def measure(progress: Progress) -> list[Figure]:
    """Return the bytes for 1,000 alerts, one a sync, with a broker that acknowledges and without one."""
    return [_figure(progress, acknowledge=True), _figure(progress, acknowledge=False)]


def _figure(progress: Progress, *, acknowledge: bool) -> Figure:
    """Measure one of the two in the current folder: a temporary one is often in memory."""
    clock = ManualClock()
    told = 0

    def tick() -> None:
        nonlocal told
        told += 1
        clock.advance(SECONDS_BETWEEN)
        if told % 100 == 0:
            progress(f"alert {told} of {ALERTS}, {'with' if acknowledge else 'without'} a broker")

    with tempfile.TemporaryDirectory(prefix="appliance-bench-", dir=Path.cwd()) as folder:
        spent = cost(Path(folder), clock, PrometheusMeter(clock), alerts=ALERTS, acknowledge=acknowledge, tick=tick)
    name = "disk_bytes_per_1000_alerts" if acknowledge else "disk_bytes_per_1000_alerts_kept"
    what = "one a second, " + ("acknowledged at once" if acknowledge else "no broker")
    if spent.kernel_bytes is None:
        return Figure(name, float(spent.outbox_bytes), "bytes", note=f"{what}; as the outbox counts")
    return Figure(name, float(spent.kernel_bytes), "bytes", note=f"{what}; as the kernel counts, file system included")
