"""Prints the plan of an update into the documentation: ``python -m appliance.plan_page --write docs/updates.md``."""

from appliance.pages import Page, table
from appliance.trust import plan
from appliance.trust.state import Stage

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
    return f"{table(head, plan.rows())}\n\n{bounds}"


def held_table() -> str:
    """Return what an update may wait for, as the status and Home Assistant tell it."""
    return table(("held", "means"), [(f"`{word}`", meaning) for word, meaning in plan.HELD_WORDS.items()])


PAGE = Page(
    "appliance.plan_page",
    "docs/updates.md",
    {
        "plan-diagram": plan_diagram,
        "plan-table": plan_table,
        "plan-held": held_table,
    },
)


if __name__ == "__main__":
    PAGE.main()
