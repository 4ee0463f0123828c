"""``appliance bench --soak MINUTES``: a whole appliance under random faults, and what it holds in the end.

Nothing may be lost and nothing may grow: not a decision, not a process, not an open file, not memory.
"""

import secrets
from functools import partial
from pathlib import Path

from rich.console import Console

from appliance.bench import report
from appliance.bench.soak.chart import draw
from appliance.bench.soak.soaking import soak
from appliance.bench.soak.verdict import figures_of

SEEDS = 2**32


def run(*channels: str, minutes: float, seed: int | None, json_file: Path | None, console: Console) -> int:
    """Soak ``channels`` (default: all) for ``minutes``; print lines, figures and a chart, write JSON when asked.

    Returns AIMS_REACHED, or AIM_MISSED when anything was lost or has grown. The same ``seed`` draws the same faults;
    without one, chance draws it.
    """
    seed = secrets.randbelow(SEEDS) if seed is None else seed
    told = f"[bold]soak[/bold] for {minutes:g} min with seed {seed}"
    console.print(f"{told}; --seed {seed} draws the same faults again", highlight=False)
    tell = partial(console.print, style="dim", highlight=False, soft_wrap=True)
    soaked = soak(minutes, seed, tell, *channels)
    figures = figures_of(soaked)
    table = report.table()
    report.add(table, figures)
    console.print(table)
    for reason in soaked.reasons:
        console.print(f"lost: {reason}", style="red", highlight=False, markup=False, soft_wrap=True)
    console.print(draw(soaked.by_slice, soaked.marks, minutes))
    if json_file is not None:
        report.write(json_file, figures)
    return report.code(figures)
