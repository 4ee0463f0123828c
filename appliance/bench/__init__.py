"""``appliance bench``: speed as ratios within one run, so that a noisy machine does not decide the outcome."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.table import Table

from appliance.bench import blindness, disk, failover, overhead, publish, report, returning, start, transactions, worker
from appliance.bench.figure import Figure, Progress
from appliance.bench.progress import telling
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
    with telling(console, f"{name} ...") as tell:
        try:
            figures = measure(lambda step: tell(f"{name}: {step}"))
        except BrokerError as error:
            table.add_row(name, "not taken", "", str(error))
            return []
    report.add(table, figures)
    return figures
