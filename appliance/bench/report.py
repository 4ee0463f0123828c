"""What the benches print and write: a row a figure, and the same as JSON."""

import json
import os
import platform
from collections.abc import Iterable
from pathlib import Path

from rich.table import Column, Table

from appliance import __version__
from appliance.bench.figure import Figure

AIMS_REACHED, AIM_MISSED = 0, 1


def table() -> Table:
    """Return the head of the table."""
    return Table(
        Column("measurement", no_wrap=True),
        "value",
        "aim",
        "",
        title=f"appliance {__version__} on {_machine()}",
        title_justify="left",
    )


def add(rows: Table, figures: Iterable[Figure]) -> None:
    """Add a row for each figure."""
    for figure in figures:
        verdict = "" if not figure.aim else ("[green]reached[/green]" if figure.reached else "[red]missed[/red]")
        remark = " ".join(part for part in (verdict, figure.note) if part)
        value = f"{figure.value:,}" if isinstance(figure.value, int) else f"{figure.value:,.4g}"
        rows.add_row(figure.name, f"{value} {figure.unit}", figure.aim, remark)


def write(file: Path, figures: Iterable[Figure]) -> None:
    """Write the figures as JSON: one object a figure, by name."""
    told = {
        figure.name: {
            "value": figure.value,
            "unit": figure.unit,
            "aim": figure.aim or None,
            "reached": figure.reached,
            "note": figure.note,
        }
        for figure in figures
    }
    document = {"version": __version__, "machine": _machine(), "figures": told}
    file.write_text(json.dumps(document, indent=2) + "\n")


def code(figures: Iterable[Figure]) -> int:
    """Return AIMS_REACHED or AIM_MISSED."""
    return AIMS_REACHED if all(figure.reached for figure in figures) else AIM_MISSED


def _machine() -> str:
    """What this was measured on."""
    return f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
