"""Prints the plan of an update into the documentation: ``python -m appliance.plan_page --write docs/updates.md``.

As ``ladder_page`` does: between ``<!-- NAME:begin -->`` and ``<!-- NAME:end -->`` a page holds what ``BLOCKS[NAME]``
makes of the code; the rest is written by hand and left alone. Without ``--write`` the blocks are printed.
"""

import sys
from argparse import ArgumentParser
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from appliance.trust import plan
from appliance.trust.state import Stage

COMMAND = "python -m appliance.plan_page --write docs/updates.md"
_CLASSES = {
    "updater": (plan.UPDATER_STAGES, "fill:#1565c0,color:#fff"),
    "loop": (plan.LOOP_STAGES, "fill:#f9a825,color:#000"),
    "committed": ((Stage.COMMITTED,), "fill:#2e7d32,color:#fff"),
    "rollback": ((Stage.ROLLBACK,), "fill:#c62828,color:#fff"),
}
"""Colours of the diagram: who works on a stage, and how it ends."""


def plan_diagram() -> str:
    """Return the plan as a Mermaid state diagram; events with the same effect share an arrow."""
    arrows: dict[tuple[str, str], list[str]] = {}
    for stage, event, after, *_ in plan.rows():
        arrows.setdefault((stage, after), []).append(event)
    lines = ["```mermaid", "stateDiagram-v2", f"    [*] --> {Stage.IDLE.value}"]
    lines += [f"    {stage} --> {after}: {', '.join(events)}" for (stage, after), events in arrows.items()]
    for name, (stages, style) in _CLASSES.items():
        names = ",".join(stage.value for stage in stages)
        lines += [f"    classDef {name} {style}", f"    class {names} {name}"]
    return "\n".join([*lines, "```"])


def plan_table() -> str:
    """Return the plan as a table, and its bounds."""
    bounds = (
        f"An attempt that goes on as before for {plan.WRITES_MAX} records is given up; so is an apply that was begun "
        f"{plan.BEGINNINGS_MAX} times and never ended. A failure before the self-test is counted, and the next "
        f"attempt waits 1, 3, 7, ... runs, at most {plan.SKIP_RUNS_MAX}; after {plan.FAILURES_MAX} failures of one "
        "update (the device's own trouble, `delay`, is not held against it) the device waits for a newer one, for its "
        "publisher's `retry`, or for a stick. What failed its self-test or its trial is never tried again, but once "
        "where its publisher asks for it."
    )
    head = ("stage", "event", "next stage", "the candidate", "why")
    return f"{_table(head, plan.rows())}\n\n{bounds}"


def held_table() -> str:
    """Return what an update may wait for, as the status and Home Assistant tell it."""
    return _table(("held", "means"), [(f"`{word}`", meaning) for word, meaning in plan.HELD_WORDS.items()])


BLOCKS: dict[str, Callable[[], str]] = {
    "plan-diagram": plan_diagram,
    "plan-table": plan_table,
    "plan-held": held_table,
}
"""What a page may hold between markers of these names."""


def rewritten(page: str) -> str:
    """Return ``page`` with each of its blocks as the code has it now; every one of ``BLOCKS`` must be there, once."""
    for name, block in BLOCKS.items():
        begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
        before, _, rest = page.partition(begin)
        _, found, after = rest.partition(end)
        once = found and page.count(begin) == page.count(end) == 1
        assert once, f"the page must have one {begin} and after it one {end}"
        page = f"{before}{begin}\n\n{block()}\n\n{end}{after}"
    return page


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the blocks, or write them into a page."""
    parser = ArgumentParser(prog="python -m appliance.plan_page", description="Print the plan of an update.")
    parser.add_argument("--write", type=Path, metavar="PAGE", help="rewrite the blocks of this page, in place")
    page: Path | None = parser.parse_args(arguments).write
    if page is None:
        sys.stdout.write("\n\n".join(block() for block in BLOCKS.values()) + "\n")
        return
    page.write_text(rewritten(page.read_text(encoding="utf-8")), encoding="utf-8")


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table in Markdown."""
    lines = [[cell.replace("|", "\\|") for cell in line] for line in (head, *rows)]
    lines.insert(1, ["---"] * len(head))
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


if __name__ == "__main__":
    main()
