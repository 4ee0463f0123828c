"""``forge-report.json``: what each step of the forge did to a model, and what it cost.

One file a folder, one entry a step. What a newer forge wrote beyond what this one knows stays in the file.
"""

import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from math import isfinite
from pathlib import Path
from typing import Any, Self

from rich.console import Group
from rich.table import Column, Table

from appliance.errors import ForgeError

REPORT_FILE = "forge-report.json"
SCHEMA = 1
SIZE_BYTES_MAX = 16 << 20
"""A report is a few kilobytes; a larger file is something else."""

Json = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Estimate:
    """A measured figure with its 95 % interval; ``low`` and ``high`` equal ``value`` where none was measured."""

    value: float
    low: float
    high: float

    @classmethod
    def exact(cls, value: float) -> Self:
        """A figure that was counted, not sampled."""
        return cls(value, value, value)

    def __str__(self) -> str:
        if self.low == self.high == self.value:
            return f"{self.value:.4g}"
        return f"{self.value:.4f} [{self.low:.4f}, {self.high:.4f}]"


@dataclass(frozen=True, slots=True)
class Step:
    """What one step made of a model. None where it was not measured."""

    step: str
    """The command's name: quantize, prune, distill, import-onnx, package ..."""
    made: str
    """The file or folder that came out, relative to the report's folder where it lies there."""
    size_bytes: int
    compressed_bytes: int
    """After gzip -9: what a download costs."""
    before: Mapping[str, Estimate] = field(default_factory=dict)
    """Metric to figure for what went in, on the same data as ``after``."""
    after: Mapping[str, Estimate] = field(default_factory=dict)
    latency_ratio: float | None = None
    """Time of one inference after over before, interleaved on one machine; below 1 is faster."""
    operators: int | None = None
    operators_edgetpu: int | None = None
    """How many of them the Edge TPU compiler's documented rules let map."""
    notes: tuple[str, ...] = ()
    command: str = ""
    """What reproduces the step."""

    @classmethod
    def from_json(cls, entry: Json) -> Self:
        """Read one entry, leaving out keys of a newer forge. Raises KeyError, TypeError, ValueError."""
        return cls(
            step=str(entry["step"]),
            made=str(entry["made"]),
            size_bytes=int(entry["size_bytes"]),
            compressed_bytes=int(entry["compressed_bytes"]),
            before=_estimates(entry.get("before", {})),
            after=_estimates(entry.get("after", {})),
            latency_ratio=_optional(entry, "latency_ratio", float),
            operators=_optional(entry, "operators", int),
            operators_edgetpu=_optional(entry, "operators_edgetpu", int),
            notes=tuple(str(note) for note in entry.get("notes", ())),
            command=str(entry.get("command", "")),
        )

    def to_json(self) -> dict[str, Any]:
        """Give the entry as JSON's types."""
        entry = asdict(self)
        entry["notes"] = list(self.notes)
        return entry


def _estimates(entry: Mapping[str, Json]) -> dict[str, Estimate]:
    return {
        str(name): Estimate(*(float(figure[key]) for key in ("value", "low", "high"))) for name, figure in entry.items()
    }


def _optional(entry: Json, key: str, kind: type[Any]) -> Any:  # noqa: ANN401 - int or float, as `kind` says
    value = entry.get(key)
    return None if value is None else kind(value)


class Report:
    """The steps of one folder, in the order they were made."""

    def __init__(self, folder: Path, content: Mapping[str, Any] | None = None) -> None:
        """An empty report for a folder, unless ``content`` (the file's JSON) is given."""
        self.folder = folder
        self._content: dict[str, Any] = {"schema": SCHEMA, "steps": [], **({} if content is None else content)}
        self._steps = [Step.from_json(entry) for entry in self._content["steps"]]

    @property
    def file(self) -> Path:
        """Where it is kept."""
        return self.folder / REPORT_FILE

    @property
    def steps(self) -> tuple[Step, ...]:
        """Every step so far, oldest first."""
        return tuple(self._steps)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read a folder's report; an empty one when it has none yet.

        Raises:
            ForgeError: there is a file of that name that is no report.
        """
        file = folder / REPORT_FILE
        try:
            if file.stat().st_size > SIZE_BYTES_MAX:
                msg = f"{file} is larger than {SIZE_BYTES_MAX >> 20} MiB and no report: move it away"
                raise ForgeError(msg)
            return cls(folder, json.loads(file.read_text("utf-8")))
        except FileNotFoundError:
            return cls(folder)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            msg = f"{file} cannot be read as a forge report ({error!r}): mend it or move it away"
            raise ForgeError(msg) from error

    def add(self, step: Step) -> None:
        """Append a step; ``save`` puts it on disk."""
        figures = [*step.before.values(), *step.after.values()]
        assert all(isfinite(figure.value) for figure in figures), "a figure that is not finite was not measured"
        self._steps.append(step)
        self._content["steps"] = [*self._content["steps"], step.to_json()]

    def content(self) -> bytes:
        """Give the file's content."""
        return (json.dumps(self._content, indent=2, allow_nan=False) + "\n").encode()

    def save(self) -> None:
        """Write the file whole or not at all. Raises ForgeError when the folder cannot be written."""
        write_whole(self.file, self.content())


def write_whole(file: Path, content: bytes) -> None:
    """Write a file beside its place and rename it there, making its folder when needed.

    Raises:
        ForgeError: it cannot be written; whatever stood there is as it was.
    """
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=file.parent, prefix=f".{file.name}.", delete=False) as beside:
            try:
                beside.write(content)
                beside.flush()
                os.fchmod(beside.fileno(), 0o644)  # a temporary file is its owner's alone; a model is everybody's
                Path(beside.name).replace(file)
            except BaseException:
                Path(beside.name).unlink(missing_ok=True)
                raise
    except OSError as error:
        msg = f"{file} cannot be written: {error.strerror or error}"
        raise ForgeError(msg) from error


def float_name(made: str) -> str:
    """Give the name of the float file that ``quantize`` keeps beside the INT8 one."""
    return f"{made.removesuffix('.tflite').removesuffix('.int8')}.float32.tflite"


def table(report: Report) -> Group:
    """Draw what each step made and, below, what that did to each metric."""
    made = Table(
        "step",
        Column("made", overflow="fold"),
        Column("bytes", justify="right"),
        Column("gzip", justify="right"),
        Column("latency", justify="right"),
        Column("Edge TPU", justify="right"),
        title=str(report.file),
        title_justify="left",
    )
    measured = Table(
        "step",
        Column("made", overflow="fold"),
        "metric",
        Column("before", justify="right"),
        Column("after", justify="right"),
    )
    for step in report.steps:
        made.add_row(
            step.step,
            step.made,
            f"{step.size_bytes:,}",
            f"{step.compressed_bytes:,}",
            "" if step.latency_ratio is None else f"x {step.latency_ratio:.2f}",
            "" if step.operators_edgetpu is None else f"{step.operators_edgetpu} of {step.operators}",
        )
        for name in dict.fromkeys([*step.before, *step.after]):
            measured.add_row(step.step, step.made, name, str(step.before.get(name, "")), str(step.after.get(name, "")))
    return Group(made, measured) if measured.row_count else Group(made)
