"""``forge compare``: metric against size against latency, of models that could stand in for one another.

Latency is measured here, in one run in which the models take turns; metrics are what their makers measured, with the
interval. So a comparison is fair where the metric was measured on the same data, and says on which it was.
"""

import gzip
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from rich.table import Column, Table

from appliance.core.facts import ModelMetric
from appliance.errors import ForgeError
from appliance.forge.folder import read_folder
from appliance.forge.goldens import look
from appliance.forge.latency import interleaved
from appliance.forge.lint import lint
from appliance.forge.report import Estimate, Report, float_name
from appliance.forge.run import IDENTIFIER
from appliance.trust.model import FILE_BYTES_MAX

REPEATS = 5
"""Of the whole timing: how far they differ tells what a ratio is worth on a machine that does other things too."""
MODELS_MIN, MODELS_MAX = 2, 12
"""More do not fit a chart that a person reads."""
QUANTISED = "quantize"
"""The step whose ``before`` are the figures of the float file it keeps."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A model that is compared."""

    label: str
    tflite: bytes
    metrics: dict[str, tuple[Estimate, str]]
    """Name to figure and the data it was measured on; the data is empty where only a report tells."""


@dataclass(frozen=True, slots=True)
class Compared:
    """A model's place among the others."""

    label: str
    size_bytes: int
    compressed_bytes: int
    """After gzip -9."""
    latency_s: float
    """Of one inference on this machine, one thread, interleaved with the others: the least of all repeats."""
    ratio: Estimate
    """Latency over the first model's: median, least and greatest of all repeats."""
    metric: Estimate
    data: str


def compare(paths: Sequence[Path], metric: str | None = None, *, repeats: int = REPEATS) -> tuple[str, list[Compared]]:
    """Measure models against one another.

    Args:
        paths: model folders, or ``.tflite`` files with a ``forge-report.json`` beside them.
        metric: its name; None takes the first that all of them have.
        repeats: of the timing, 1 or more; each takes some 0.3 s a model.

    Returns:
        The metric's name, and the models in the order given.

    Raises:
        ForgeError: fewer than two or too many, one cannot be read or run, or they have no metric in common.
    """
    if not MODELS_MIN <= len(paths) <= MODELS_MAX:
        msg = f"{len(paths)} models; give {MODELS_MIN} to {MODELS_MAX} to compare"
        raise ForgeError(msg)
    models = _told_apart([_candidate(path) for path in paths], paths)
    name = _common(models, metric)
    times_s = np.array([interleaved([model.tflite for model in models]) for _ in range(repeats)])
    ratios = times_s / times_s[:, :1]
    return name, [
        Compared(
            label=model.label,
            size_bytes=len(model.tflite),
            compressed_bytes=len(gzip.compress(model.tflite, 9, mtime=0)),
            latency_s=float(times_s[:, at].min()),
            ratio=Estimate(*(float(summary(ratios[:, at])) for summary in (np.median, np.min, np.max))),
            metric=model.metrics[name][0],
            data=model.metrics[name][1],
        )
        for at, model in enumerate(models)
    ]


def table(name: str, models: Sequence[Compared]) -> Table:
    """Draw the models, one a row; latency as a ratio to the first, for only ratios travel between machines."""
    drawn = Table(
        "model",
        Column("bytes", justify="right"),
        Column("gzip", justify="right"),
        Column(name, justify="right"),
        Column("one inference", justify="right"),
        Column("ratio [least, greatest]", justify="right"),
        Column("measured on", overflow="fold"),
    )
    for model in models:
        drawn.add_row(
            model.label,
            f"{model.size_bytes:,}",
            f"{model.compressed_bytes:,}",
            str(model.metric),
            f"{model.latency_s * 1e3:.4g} ms",
            f"x {model.ratio.value:.2f} [{model.ratio.low:.2f}, {model.ratio.high:.2f}]",
            model.data,
        )
    return drawn


def remarks(models: Sequence[Compared]) -> list[str]:
    """Say what makes the comparison less than fair."""
    data = sorted({model.data for model in models})
    said = []
    if len(data) > 1:
        said.append(
            f"the metric was not measured on the same data everywhere: {'; '.join(each or '?' for each in data)}"
        )
    best = max(models, key=lambda model: model.metric.value)
    beside = [each.label for each in models if each is not best and each.metric.high >= best.metric.low]
    if beside:
        said.append(f"the intervals of {', '.join(beside)} and {best.label} overlap: that one is better is not shown")
    return said


def _candidate(path: Path) -> Candidate:
    """Read a model folder or a ``.tflite``. Raises ForgeError."""
    if path.is_dir():
        model = read_folder(path)
        figures = {each.name: (_estimate(each), each.data) for each in model.facts.metrics}
        return Candidate(f"{model.name} {model.version}", model.tflite, figures)
    try:
        with path.open("rb") as stream:
            tflite = stream.read(FILE_BYTES_MAX)
    except OSError as error:
        msg = f"{path}: cannot be read: {error.strerror}; give model folders, or .tflite files beside their report"
        raise ForgeError(msg) from error
    if tflite[4:8] != IDENTIFIER:
        msg = f"{path}: {len(tflite)} bytes without the mark {IDENTIFIER.decode()} at byte 4: no .tflite file"
        raise ForgeError(msg)
    try:
        lint(tflite)  # tells a cut or damaged file as that; the runtime's words for it are of other things
        look(tflite)  # in a process of its own: a damaged file may not end this one
    except ForgeError as error:
        msg = f"{path}: {error}"
        raise ForgeError(msg) from error
    figures = {name: (estimate, "") for name, estimate in _reported(path).items()}
    return Candidate(path.stem, tflite, figures)


def _reported(path: Path) -> dict[str, Estimate]:
    """Return what the report beside a ``.tflite`` says of it, the latest step last. Raises ForgeError."""
    figures: dict[str, Estimate] = {}
    for step in Report.load(path.parent).steps:
        made = Path(step.made).name
        if made == path.name:
            figures |= step.after
        elif step.step == QUANTISED and float_name(made) == path.name:
            figures |= step.before
    return figures


def _told_apart(models: list[Candidate], paths: Sequence[Path]) -> list[Candidate]:
    """Give models of one name the path they came from instead."""
    labels = [model.label for model in models]
    return [
        replace(model, label=str(path)) if labels.count(model.label) > 1 else model
        for model, path in zip(models, paths, strict=True)
    ]


def _common(models: Sequence[Candidate], metric: str | None) -> str:
    """Choose the metric. Raises ForgeError when not all have it."""
    common = [name for name in models[0].metrics if all(name in model.metrics for model in models)]
    if metric is None and common:
        return common[0]
    if metric in common:
        return metric
    have = "; ".join(f"{model.label}: {', '.join(model.metrics) or 'none'}" for model in models)
    msg = f"not every model has {'a metric in common' if metric is None else f'the metric {metric!r}'} ({have})"
    raise ForgeError(msg)


def _estimate(metric: ModelMetric) -> Estimate:
    if metric.low is None or metric.high is None:
        return Estimate.exact(metric.value)
    return Estimate(metric.value, metric.low, metric.high)
