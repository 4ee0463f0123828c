"""``appliance bench``: speed as ratios within one run, so that a noisy machine does not decide the outcome."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from threading import Lock

from rich.console import Console
from rich.table import Table

from appliance.adapters.clock import SystemClock
from appliance.bench import blindness, disk, failover, overhead, publish, report, returning, start, transactions, worker
from appliance.bench.figure import Figure, Progress
from appliance.errors import BrokerError, ConfigError

MEASUREMENTS: dict[str, Callable[[Progress], list[Figure]]] = {
    "loop_overhead": overhead.measure,
    "publish": publish.measure,
    "transactions": transactions.measure,
    "start": start.measure,
    "disk": disk.measure,
    "worker_overhead": worker.measure,
    "return_s": returning.measure,
    "failover": failover.measure,
    "blind_as_empty": blindness.measure,
}
LINE_INTERVAL_S = 5.0
"""Where there is no terminal, a line of progress at most this often."""


def run(*, only: tuple[str, ...], json_file: Path | None, console: Console, faults: int = failover.FAULTS) -> int:
    """Take the measurements named (all when none is), print them as a table, write them as JSON when asked.

    ``faults`` of each kind are injected by ``failover``. Returns AIMS_REACHED or AIM_MISSED. Raises ConfigError for an
    unknown name. A measurement whose broker is not there is told as not taken.
    """
    unknown = sorted(set(only) - MEASUREMENTS.keys())
    if unknown:
        message = f"--only {unknown[0]}: no such measurement; there are {', '.join(MEASUREMENTS)}"
        raise ConfigError(message)
    measurements = MEASUREMENTS | {
        "failover": partial(failover.measure, faults=faults),
        "blind_as_empty": partial(blindness.measure, faults=faults),
    }
    table = report.table()
    figures: list[Figure] = []
    for name in only or tuple(MEASUREMENTS):
        figures += _taken(name, measurements[name], table, console)
    console.print(table)
    if json_file is not None:
        report.write(json_file, figures)
    return report.code(figures)


def _taken(name: str, measure: Callable[[Progress], list[Figure]], table: Table, console: Console) -> list[Figure]:
    """Take one measurement and add its rows."""
    with console.status(f"{name} ...") as status:
        tell = _Lines(console) if not console.is_terminal else status.update
        try:
            figures = measure(lambda step: tell(f"{name}: {step}"))
        except BrokerError as error:
            table.add_row(name, "not taken", "", str(error))
            return []
    report.add(table, figures)
    return figures


class _Lines:
    """Progress for a file or a pipe: now and then a line. For any thread."""

    def __init__(self, console: Console) -> None:
        self._console, self._clock, self._lock = console, SystemClock(), Lock()
        self._told_s = self._clock.monotonic_s()

    def __call__(self, line: str) -> None:
        """Print ``line``, unless one was printed a moment ago."""
        with self._lock:
            if self._clock.monotonic_s() - self._told_s >= LINE_INTERVAL_S:
                self._told_s = self._clock.monotonic_s()
                self._console.print(line, style="dim", highlight=False, soft_wrap=True)
