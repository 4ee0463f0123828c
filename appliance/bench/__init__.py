"""``appliance bench``: speed as ratios within one run, so that a noisy machine does not decide the outcome."""

import json
import os
import platform
from collections.abc import Callable
from pathlib import Path

from rich.console import Console
from rich.table import Column, Table

from appliance import __version__
from appliance.bench import disk, overhead, publish, start, transactions
from appliance.bench.figure import Figure, Progress
from appliance.errors import BrokerError, ConfigError

MEASUREMENTS: dict[str, Callable[[Progress], list[Figure]]] = {
    "loop_overhead": overhead.measure,
    "publish": publish.measure,
    "transactions": transactions.measure,
    "start": start.measure,
    "disk": disk.measure,
}
AIMS_REACHED, AIM_MISSED = 0, 1


def run(*, only: tuple[str, ...], json_file: Path | None, console: Console) -> int:
    """Take the measurements named (all when none is), print them as a table, write them as JSON when asked.

    Returns AIMS_REACHED or AIM_MISSED. Raises ConfigError for an unknown name. A measurement whose broker is not
    there is told as not taken.
    """
    unknown = sorted(set(only) - MEASUREMENTS.keys())
    if unknown:
        message = f"--only {unknown[0]}: no such measurement; there are {', '.join(MEASUREMENTS)}"
        raise ConfigError(message)
    table = Table(
        Column("measurement", no_wrap=True),
        "value",
        "aim",
        "",
        title=f"appliance {__version__} on {_machine()}",
        title_justify="left",
    )
    figures: list[Figure] = []
    for name in only or tuple(MEASUREMENTS):
        with console.status(f"{name} ...") as status:
            try:
                figures += _taken(name, lambda step, name=name: status.update(f"{name}: {step}"), table)  # type: ignore[misc]  # the default binds the loop's name
            except BrokerError as error:
                table.add_row(name, "not taken", "", str(error))
    console.print(table)
    if json_file is not None:
        json_file.write_text(json.dumps(_document(figures), indent=2) + "\n")
    return AIMS_REACHED if all(figure.reached for figure in figures) else AIM_MISSED


def _taken(name: str, progress: Progress, table: Table) -> list[Figure]:
    """Take one measurement and add its rows."""
    figures = MEASUREMENTS[name](progress)
    for figure in figures:
        verdict = "" if not figure.aim else ("[green]reached[/green]" if figure.reached else "[red]missed[/red]")
        remark = " ".join(part for part in (verdict, figure.note) if part)
        table.add_row(figure.name, f"{figure.value:,.4g} {figure.unit}", figure.aim, remark)
    return figures


def _document(figures: list[Figure]) -> dict[str, object]:
    """The JSON form: one object a figure, by name."""
    return {
        "version": __version__,
        "machine": _machine(),
        "figures": {
            figure.name: {
                "value": figure.value,
                "unit": figure.unit,
                "aim": figure.aim or None,
                "reached": figure.reached,
                "note": figure.note,
            }
            for figure in figures
        },
    }


def _machine() -> str:
    """What this was measured on."""
    return f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
