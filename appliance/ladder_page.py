"""Prints what the code knows of Edge TPUs: ``python -m appliance.ladder_page --write docs/edge-tpu.md``."""

import re

from appliance.core import advice, recovery
from appliance.core.backoff import Backoff
from appliance.core.catalogue import FLAT, METRICS
from appliance.core.discovery import discovery
from appliance.core.identity import Identity
from appliance.core.recovery import RUNGS, SERVES, State
from appliance.pages import Page, table

TPU_METRIC = re.compile(r"edge_(tpu_|abandoned_workers|backend_active|failover|blind_seconds)")
"""Metrics that tell how Edge TPUs are, and what it means for the decisions."""
_EXAMPLE = Identity("edge", "NODE", "name", "", "", "", "homeassistant")
"""Stands for any device: its entities' ids are the same but for these two words."""
_ANYWHERE = "anywhere"
"""Stands in the diagram for most states."""
_CLASSES = {
    "serves": (SERVES, "fill:#2e7d32,color:#fff"),
    "tries": (RUNGS, "fill:#f9a825,color:#000"),
    "given_up": (advice.GIVEN_UP, "fill:#c62828,color:#fff"),
}
"""Colours of the diagram: the Edge TPU answers, the CPU answers meanwhile, the CPU answers until further notice."""


def ladder_diagram() -> str:
    """Return the recovery ladder as a Mermaid state diagram; events with the same effect share an arrow.

    An event that leads most states to the same one is drawn once, from *anywhere*.
    """
    arrows: dict[tuple[str, str], list[str]] = {}
    for state, event, after, _ in recovery.rows():
        events = arrows.setdefault((_ANYWHERE if _leads_most(event) else state, after), [])
        if event not in events:
            events.append(event)
    lines = [
        "```mermaid",
        "stateDiagram-v2",
        f"    [*] --> {State.OPENING.value}",
        *(f"    {state} --> {after}: {', '.join(events)}" for (state, after), events in arrows.items()),
    ]
    for name, (states, style) in _CLASSES.items():
        lines += [f"    classDef {name} {style}", f"    class {','.join(sorted(states))} {name}"]
    return "\n".join([*lines, "```"])


def ladder_table() -> str:
    """Return the recovery ladder as a table, and its bounds."""
    bounds = (
        f"Waits: {_span(recovery.RUNG_WAIT)} between two rungs, {_span(recovery.ROUND_WAIT)} between two rounds, "
        f"longer each time; what is plugged in is tried at once. It is given up after {recovery.ROUNDS_MAX} rounds "
        f"without a return that held {recovery.STABLE_S:g} s, or after {recovery.DFU_ROUNDS_MAX} in a row that ended "
        "in the bootloader. The counts survive a reboot."
    )
    return f"{table(('state', 'event', 'next state', 'what is done there'), recovery.rows())}\n\n{bounds}"


def advice_table() -> str:
    """Return what a technician is told, in the order in which the rows are tried."""
    return table(("when (the first that applies)", "advice"), advice.rows())


def entities_table() -> str:
    """Return the Home Assistant entities of Edge TPUs."""
    payload = discovery(_EXAMPLE, (), tpu=True).payload
    assert isinstance(payload, dict), "an announcement is JSON"
    rows = [
        [f"`{each[key]}`" for key in ("default_entity_id", "unique_id", "value_template")]
        for name, each in payload["components"].items()
        if name.startswith("tpu-")
    ]
    return table(("entity", "unique id", "reads from the status topic"), rows)


def metrics_table() -> str:
    """Return the measurements of Edge TPUs, with their keys on the metrics topic."""
    rows = []
    for metric in METRICS.values():
        if TPU_METRIC.match(metric.name):
            labels = f"{{{','.join(metric.labels)}}}" if metric.labels else ""
            keys = ", ".join(f"`{row.key}`" for row in FLAT if row.metric == metric.name)
            rows.append((f"`{metric.name}{labels}`", metric.kind.value, metric.help, keys or "-"))
    return table(("metric", "kind", "tells", "on the metrics topic"), rows)


PAGE = Page(
    "appliance.ladder_page",
    "docs/edge-tpu.md",
    {
        "diagram": ladder_diagram,
        "ladder": ladder_table,
        "advice": advice_table,
        "entities": entities_table,
        "metrics": metrics_table,
    },
)


def _leads_most(event: str) -> bool:
    """Tell whether an event leads more than half of the states to one and the same."""
    led = [row for row in recovery.rows() if row[1] == event]
    return len(led) > len(State) / 2 and len({row[2] for row in led}) == 1


def _span(wait: Backoff) -> str:
    """Return the bounds of a wait."""
    return f"{wait.min_s:g} to {wait.max_s:g} s"


if __name__ == "__main__":
    PAGE.main()
