"""``appliance bench models``: what each model of this repository costs and what it is worth, in one run.

Metrics of INT8 beside float and beside other judges of the same examples, sizes, and how long an inference takes on
three runtimes with one and two threads, all in turns.
"""

import gzip
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Column, Table

from appliance.adapters.model_folder import read_model
from appliance.bench import transactions
from appliance.bench.figure import Figure
from appliance.bench.models.chart import svg
from appliance.bench.models.latency import ROUNDS, Candidate, Timed, measure
from appliance.bench.models.people import judge_people, labels_of
from appliance.bench.models.quality import FLOAT, TEST, Quality, evaluation_of, judge
from appliance.bench.progress import telling
from appliance.core.model import Model
from appliance.errors import BrokerError, ConfigError, ForgeError
from appliance.forge.environment import environment

INT8_ONNX = "int8.onnx"
"""The INT8 network as ONNX with quantise and dequantise nodes, made by ``models/to_onnx.py``; optional."""
THREADS = (1, 2)
RUNTIMES = {
    "tflite-runtime": ("tflite-runtime==2.14.0", "numpy==1.26.4"),
    "onnxruntime": ("onnxruntime==1.28.0", "numpy==2.4.6"),  # later ones report to their maker: decision 0016
}
"""What is not part of the appliance, and the environment it is measured in."""
NOT_COMMITTED = "not committed"
"""Said of a detector's float network: too large for the repository, its recipe writes it."""
AIMS_REACHED, AIM_MISSED = 0, 1


@dataclass(frozen=True, slots=True)
class Size:
    """Bytes of one model."""

    model: str
    int8_bytes: int
    float32_bytes: int | None
    int8_compressed_bytes: int
    """After gzip -9: what a download takes."""


@dataclass(frozen=True, slots=True)
class Result:
    """What one run measured."""

    qualities: tuple[Quality, ...]
    sizes: tuple[Size, ...]
    times: tuple[Timed, ...]

    @property
    def reached(self) -> bool:
        """Whether quantisation cost no model more than its aim allows."""
        return all(quality_reached(quality) for quality in self.qualities)


def run(root: Path, *, json_file: Path | None, chart: Path | None, rounds: int | None, console: Console) -> int:
    """Measure every model under ``root`` that has held-out examples; print tables, write JSON and chart when asked.

    Returns AIMS_REACHED or AIM_MISSED. Raises ConfigError when there is none, ModelError when one is not sound.
    """
    folders = _folders(root)
    with telling(console, "judging ...") as tell:
        models = {folder: read_model(folder) for folder in folders}
        qualities: list[Quality] = []
        for folder, model in models.items():
            tell(f"judging {model.name} by its held-out examples ...")
            qualities += judge_people(folder, model) if labels_of(folder) else judge(folder, model)
        pythons = _pythons(console)
        tell(f"timing {len(models)} models on {len(pythons)} runtimes, in turns ...")
        candidates = [each for folder, model in models.items() for each in _candidates(folder, model, pythons)]
        times = measure(candidates, pythons, rounds=rounds or ROUNDS)
        decisions = _decisions(tell)
    result = Result(tuple(qualities), tuple(_size(folder, model) for folder, model in models.items()), tuple(times))
    for table in (_quality_table(result.qualities), _size_table(result.sizes), _time_table(result.times)):
        console.print(table)
    for figure in decisions:
        console.print(
            f"fraud in the loop: {figure.name} {figure.value:.3g} {figure.unit} {figure.note}", soft_wrap=True
        )
    if json_file is not None:
        in_the_loop = [asdict(figure) for figure in decisions]
        json_file.write_text(json.dumps({**_document(result), "fraud_in_the_loop": in_the_loop}, indent=2) + "\n")
    if chart is not None:
        chart.write_text(svg(result.times))
    return AIMS_REACHED if result.reached else AIM_MISSED


def _decisions(tell: Callable[[str], None]) -> list[Figure]:
    """From a terminal's request to the fraud model's decision, over a real broker; nothing where there is none."""
    tell("asking the fraud model over MQTT ...")
    try:
        return transactions.measure(lambda step: tell(f"asking the fraud model over MQTT: {step}"))
    except BrokerError as error:
        return [Figure("not measured", 0.0, "", note=str(error))]


def quality_reached(quality: Quality) -> bool:
    """Whether INT8 lost no more than allowed against float."""
    return quality.loss is None or quality.loss_max is None or quality.loss.value <= quality.loss_max


def _folders(root: Path) -> list[Path]:
    """The newest version of each model with held-out examples."""
    newest = {file.parents[1]: file.parent for file in sorted(root.glob("*/*/model.toml"))}
    folders = [each for each in newest.values() if labels_of(each) or (evaluation_of(each) / TEST).is_file()]
    if not folders:
        msg = f"{root}: no model with an evaluation/ folder; give the models of a clone of the repository"
        raise ConfigError(msg)
    return folders


def _pythons(console: Console) -> dict[str, Path]:
    """An interpreter for each runtime: this one for LiteRT, environments made once for the others."""
    pythons = {"ai-edge-litert": Path(sys.executable)}
    for name, requirements in RUNTIMES.items():
        try:
            made = environment(name, requirements, tell=lambda line: console.print(line, style="dim", soft_wrap=True))
            pythons[name] = made.python
        except ForgeError as error:
            console.print(f"{name} is not measured: {error}", style="yellow", soft_wrap=True)
    return pythons


def _candidates(folder: Path, model: Model, pythons: dict[str, Path]) -> list[Candidate]:
    """Every form of a model on every runtime that is there, by threads."""
    evaluation = evaluation_of(folder)
    files = {
        ("ai-edge-litert", "int8"): folder / "model.tflite",
        ("ai-edge-litert", "float32"): evaluation / FLOAT,
        ("tflite-runtime", "int8"): folder / "model.tflite",
        ("tflite-runtime", "float32"): evaluation / FLOAT,
        ("onnxruntime", "int8"): evaluation / INT8_ONNX,
    }
    return [
        Candidate(model.name, form, runtime, threads, file)
        for (runtime, form), file in files.items()
        for threads in THREADS
        if runtime in pythons and file.is_file()
    ]


def _size(folder: Path, model: Model) -> Size:
    float_file = evaluation_of(folder) / FLOAT
    return Size(
        model=model.name,
        int8_bytes=len(model.tflite),
        float32_bytes=float_file.stat().st_size if float_file.is_file() else None,
        int8_compressed_bytes=len(gzip.compress(model.tflite, 9, mtime=0)),
    )


def _quality_table(qualities: Sequence[Quality]) -> Table:
    """One row a judge; what quantisation cost stands in the row of INT8."""
    table = Table(Column("model", no_wrap=True), "metric", "judge", "value", "95 % interval", "lost", "")
    table.title, table.title_justify = "what it is worth", "left"
    for quality in qualities:
        for judge_name, estimate in quality.by_judge.items():
            lost, verdict = _loss(quality) if judge_name == "int8" else ("", "")
            interval = f"{estimate.low:.3f} to {estimate.high:.3f}"
            told = (judge_name, f"{estimate.value:.3f}", interval, lost, verdict)
            first = judge_name == next(iter(quality.by_judge))
            table.add_row(*((quality.model, quality.metric) if first else ("", "")), *told)
        table.add_section()
    return table


def _loss(quality: Quality) -> tuple[str, str]:
    """Say what INT8 lost against float, and whether that is within its aim."""
    if quality.loss is None or quality.loss_max is None:
        return "", ""
    verdict = "[green]reached[/green]" if quality_reached(quality) else "[red]missed[/red]"
    loss = quality.loss
    told = f"{loss.value:+.4f} ({loss.low:+.4f} to {loss.high:+.4f})"
    return told, f"{verdict} (<= {quality.loss_max:g})"


def _size_table(sizes: Sequence[Size]) -> Table:
    table = Table(Column("model", no_wrap=True), "INT8", "compressed", "float32", "INT8 / float32")
    table.title, table.title_justify = "what it weighs", "left"
    for each in sizes:
        whole = each.float32_bytes
        ratio = "" if whole is None else f"{each.int8_bytes / whole:.2f}"
        float32 = NOT_COMMITTED if whole is None else f"{whole:,}"
        table.add_row(each.model, f"{each.int8_bytes:,}", f"{each.int8_compressed_bytes:,}", float32, ratio)
    return table


def _time_table(times: Sequence[Timed]) -> Table:
    table = Table(Column("model", no_wrap=True), "form", "runtime", "threads", "ms", "of LiteRT INT8, 1 thread", "")
    table.title, table.title_justify = "one inference on this machine (least of all rounds, in turns)", "left"
    first = {each.candidate.model: each.took_s for each in reversed(times) if _is_reference(each)}
    for each in times:
        reference, took_s = first.get(each.candidate.model), each.took_s
        told = "" if took_s is None else f"{took_s * 1e3:.4g}"
        ratio = "" if took_s is None or not reference else f"{took_s / reference:.2f}"
        one = each.candidate
        table.add_row(one.model, one.form, one.runtime, str(one.threads), told, ratio, each.fault)
    return table


def _is_reference(timed: Timed) -> bool:
    one = timed.candidate
    return (one.form, one.runtime, one.threads) == ("int8", "ai-edge-litert", 1)


def _document(result: Result) -> dict[str, object]:
    """The JSON form."""
    times = [
        {**{key: value for key, value in asdict(each.candidate).items() if key != "file"}, "took_s": each.took_s,
         "fault": each.fault}
        for each in result.times
    ]  # fmt: skip
    return {
        "qualities": [asdict(each) for each in result.qualities],
        "sizes": [asdict(each) for each in result.sizes],
        "times": times,
    }
