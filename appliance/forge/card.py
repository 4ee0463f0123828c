"""The model card's generated part: what ``model.toml`` and the forge's report say, in Markdown.

A card (``models/<name>/README.md``) is written by a person: what the model is for, and what it misses. Between two
marks stands what a machine knows better, and every packaging writes it anew; everything else in the card stays.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

from appliance.core.facts import Facts, ModelMetric
from appliance.core.model import Model
from appliance.errors import ForgeError
from appliance.forge.report import Report, Step, write_whole

CARD_FILE = "README.md"
BEGIN = "<!-- forge: begin; `appliance forge card` writes what stands from here to the end mark -->"
END = "<!-- forge: end -->"
CARD_BYTES_MAX = 1 << 20
PACKAGE = "package"
"""The step that writes the folder, as reports name it."""


def write_card(model: Model, card: Path, report: Report | None = None) -> None:
    """Write the generated part into a card; a card that is not there yet begins with the model's description.

    Args:
        model: as read from its folder.
        card: the file.
        report: the steps that led to the model, where they are known.

    Raises:
        ForgeError: the card cannot be read or written, or its marks are not one pair in order.
    """
    part = generated(model, report.steps if report else ())
    try:
        with card.open("rb") as stream:
            text = stream.read(CARD_BYTES_MAX).decode("utf-8")
    except FileNotFoundError:
        text = f"# {model.name}\n\n{model.description}\n"
    except (OSError, UnicodeDecodeError) as error:
        msg = f"{card}: cannot be read as a model card: {error}"
        raise ForgeError(msg) from error
    try:
        write_whole(card, replaced(text, part).encode())
    except ValueError as error:
        msg = f"{card}: {error}"
        raise ForgeError(msg) from error


def replaced(text: str, part: str) -> str:
    """Give a card with its generated part replaced, or added at the end when there is none.

    Raises:
        ValueError: there is one mark without the other, several, or the end before the beginning.
    """
    marks = text.count(BEGIN), text.count(END)
    if marks == (0, 0):
        return f"{text.rstrip()}\n\n{part}"
    begin, end = text.find(BEGIN), text.find(END)
    if marks != (1, 1) or end < begin:
        msg = f"has {marks[0]} marks of beginning and {marks[1]} of end; leave one pair, in order, or none: {BEGIN}"
        raise ValueError(msg)
    return text[:begin] + part.rstrip("\n") + text[end + len(END) :]


def generated(model: Model, steps: Sequence[Step] = ()) -> str:
    """Give the generated part, marks included."""
    blocks = [
        BEGIN,
        f"## {model.name} {model.version} in figures",
        *_metrics(model.facts.metrics),
        *_costs(model),
        *_origin(model),
        *_steps(steps),
        END,
    ]
    return "\n\n".join(blocks) + "\n"


def _metrics(metrics: Sequence[ModelMetric]) -> Iterator[str]:
    """Yield the table of metrics, or that there is none."""
    if not metrics:
        yield "No metric was measured: nobody can tell how good this model is."
        return
    rows = [[each.name, str(each), each.data, f"`{each.command}`"] for each in metrics]
    yield _table(["metric", "value [95 % interval]", "measured on", "command"], rows)


def _costs(model: Model) -> Iterator[str]:
    """Yield what it costs to run, and how far runtimes differ."""
    shape = " x ".join(str(size) for size in model.input.shape)
    rows = [
        ["size", f"{len(model.tflite):,} bytes"],
        ["input", f"{model.input.dtype.value} {shape}"],
        ["sha256 of `model.tflite`", f"`{model.sha256}`"],
        *_limits(model.facts),
    ]
    tolerance, measured = model.golden.tolerance_lsb, model.facts.measured_lsb
    for role, steps in tolerance.items():
        seen = f", {measured[role]} were measured" if role in measured else ""
        rows.append([f"tolerance of `{role}`", f"{steps} steps{seen}"])
    if model.facts.runtimes:
        rows.append(["runtimes compared", ", ".join(model.facts.runtimes)])
    yield _table(["what", "how much"], rows)


def _limits(facts: Facts) -> Iterator[list[str]]:
    limits = facts.limits
    if limits.latency_ms_max is not None:
        yield ["latency limit", f"{limits.latency_ms_max:g} ms an invoke on {limits.latency_on}"]
    if limits.memory_bytes_max is not None:
        yield ["memory limit", f"{limits.memory_bytes_max:,} bytes for weights and working memory"]


def _origin(model: Model) -> Iterator[str]:
    """Yield what the model was made of, and with what."""
    rows = [["source", model.source], ["licence", model.licence]]
    made = model.facts.provenance
    if made is not None:
        rows += [["training data", made.training_data], ["licence of the data", made.data_licence]]
        rows += [["made by", f"`{made.made_by}`"]]
        rows += [["seeds", ", ".join(map(str, made.seeds))]] if made.seeds else []
        tools = ", ".join(f"{name} {version}" for name, version in made.toolchain.items())
        rows += [["made with", tools]] if tools else []
    data = model.facts.data
    if data is not None:
        rows += [["the data", data.what], ["where they come from", data.source], ["what is not in them", data.missing]]
    yield _table(["about", "it is said"], rows)


def _steps(steps: Sequence[Step]) -> Iterator[str]:
    """Yield what each step of the forge cost, but for packaging: what it measured stands above."""
    rows = []
    for step in steps:
        if step.step == PACKAGE:
            continue
        figures = [
            f"{name}: {before} → {after}" if (before := step.before.get(name)) else f"{name}: {after}"
            for name, after in step.after.items()
        ]
        latency = "" if step.latency_ratio is None else f"x {step.latency_ratio:.2f}"
        mapped = "" if step.operators_edgetpu is None else f"{step.operators_edgetpu} of {step.operators}"
        cells = [step.step, f"{step.size_bytes:,}", f"{step.compressed_bytes:,}", "; ".join(figures), latency, mapped]
        rows.append([*cells, f"`{step.command}`" if step.command else ""])
    if rows:
        yield _table(["step", "bytes", "gzip", "metric", "latency", "Edge TPU", "command"], rows)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Draw a table; a bar or a line break in a cell would end the cell."""
    cells = [[" ".join(cell.replace("|", "\\|").split()) for cell in row] for row in rows]
    lines = [f"| {' | '.join(row)} |" for row in [head, ["---"] * len(head), *cells]]
    return "\n".join(lines)
