"""``appliance bench delta``: what an update of a model weighs, ours against other tools, in one run.

Pairs of real files (``models/updates``): each tool makes its patch, applies it, and counts only where the result is the
file that was wanted. Of ours also what applying costs a device.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.table import Column, Table

from appliance.bench import report
from appliance.bench.delta import ours, rivals
from appliance.bench.delta.chart import svg
from appliance.bench.delta.measured import Measured, figures
from appliance.bench.delta.pairs import Pair, read
from appliance.bench.delta.rivals import RIVALS
from appliance.bench.progress import telling

KB = 1000


def run(folder: Path, *, json_file: Path | None, chart: Path | None, console: Console) -> int:
    """Measure every pair of ``folder``; print tables, write JSON and chart when asked.

    Returns AIMS_REACHED or AIM_MISSED. Raises ConfigError when there are no pairs, BundleError when ours is not right.
    """
    pairs, measured = read(folder), list[Measured]()
    with telling(console, "measuring ...") as tell:
        for number, pair in enumerate(pairs, start=1):
            tell(f"{pair.name}, {number} of {len(pairs)} ...")
            measured.append(_measured(pair))
    held = figures(measured)
    aims = report.table()
    report.add(aims, held)
    for each in (_sizes(measured), _costs(measured), _pinned(measured), aims):
        console.print(each)
    for tool in RIVALS:
        faults = {patch.fault for each in measured for patch in each.others if patch.tool == tool and patch.fault}
        for fault in sorted(faults):
            console.print(f"{tool} is {fault}", style="yellow", soft_wrap=True)
    if json_file is not None:
        report.write(json_file, held)
        document = json.loads(json_file.read_text())
        document["pairs"] = [_told(each) for each in measured]
        json_file.write_text(json.dumps(document, indent=2) + "\n")
    if chart is not None:
        chart.write_text(svg(measured))
    return report.code(held)


def _measured(pair: Pair) -> Measured:
    return Measured(
        pair=pair,
        ours=ours.measure(pair),
        others=tuple(rivals.measure(tool, pair.base, pair.result) for tool in RIVALS),
        pinned=ours.pinned(pair),
    )


def _sizes(measured: Sequence[Measured]) -> Table:
    """One row a pair: every tool in KB, ours first and the smallest in bold."""
    tools = ["ours", *RIVALS]
    table = Table(
        Column("pair", no_wrap=True), *(Column(tool, justify="right") for tool in tools), "of xz", "best / ours"
    )
    table.title, table.title_justify = "what an update weighs, in KB (1000 bytes)", "left"
    for each in measured:
        least = min(size for size in each.size_by_tool.values() if size is not None)
        cells = [_cell(size, least) for size in each.size_by_tool.values()]
        share, over = each.ours.size_bytes / each.whole_bytes, each.over(each.best.tool) or 0.0
        table.add_row(each.pair.name, *cells, f"{share:.1%}", f"{over:.2f}")
    return table


def _cell(size_bytes: int | None, least_bytes: int) -> str:
    if size_bytes is None:
        return "-"
    told = f"{size_bytes / KB:,.1f}" if size_bytes >= 10 * KB else f"{size_bytes / KB:.3f}"
    return f"[bold]{told}[/bold]" if size_bytes == least_bytes else told


def _costs(measured: Sequence[Measured]) -> Table:
    """What ours is made of, and what making and applying it costs."""
    names = ("kind", "bundle KB", "encode s", "apply CPU s", "apply MiB", "bytes changed")
    table = Table(Column("pair", no_wrap=True), *(Column(name, justify="right") for name in names), "what it is")
    table.title, table.title_justify = "ours: what it costs", "left"
    for each in measured:
        of = each.ours
        told = (of.kind, f"{of.bundle_bytes / KB:,.1f}", f"{of.took_s:.1f}", f"{of.apply_cpu_s:.2f}")
        memory, changed = f"{of.apply_peak_bytes / 2**20:.1f}", f"{each.pair.changed:.0%}"
        table.add_row(each.pair.name, *told, memory, changed, each.pair.stored.what)
    return table


def _pinned(measured: Sequence[Measured]) -> Table:
    """What pinning the weights' scales saves, where there is anything to pin."""
    table = Table(
        Column("pair", no_wrap=True), *(Column(name, justify="right") for name in ("ours", "pinned", "bsdiff4"))
    )
    table.title, table.title_justify = "scales pinned before the delta is made, in KB", "left"
    for each in measured:
        if each.pinned is not None:
            sizes = (each.ours.size_bytes, each.pinned.ours_bytes, each.pinned.bsdiff4_bytes)
            table.add_row(each.pair.name, *(_cell(size, 0) for size in sizes))
    return table


def _told(measured: Measured) -> dict[str, object]:
    """The JSON form of one pair."""
    return {
        "pair": asdict(measured.pair.stored),
        "ours": asdict(measured.ours),
        "others": [asdict(each) for each in measured.others],
        "pinned": None if measured.pinned is None else asdict(measured.pinned),
    }
