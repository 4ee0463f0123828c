"""``package.toml``: what ``appliance forge package`` needs to know about a model, for people who write no Python.

Most of it are sections of ``model.toml`` under the same names (``models/README.md`` explains them). Paths are relative
to the file. An example stands in ``models/README.md``.
"""

import tomllib
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import Field, Strict, StringConstraints, ValidationError

from appliance.core.model import Task
from appliance.core.types import Array, FrameKind
from appliance.errors import ForgeError
from appliance.forge.goldens import look
from appliance.forge.package_spec import PackageSpec
from appliance.forge.run import IDENTIFIER
from appliance.forge.samples import InputSpec, read
from appliance.schema import Section, describe, key_lines
from appliance.trust.description import (
    DecodeSection,
    ExtractSection,
    Name,
    PreprocessSection,
    RelativePath,
    Steps,
    Text,
)
from appliance.trust.facts import DataSection, LimitsSection, Metrics, ProvenanceSection
from appliance.trust.model import DESCRIPTION_BYTES_MAX, FILE_BYTES_MAX, GOLDEN_VECTORS_MAX

GOLDEN_COUNT = 8
FURTHER_COUNT = 200

_PathText = Annotated[str, StringConstraints(min_length=1, max_length=500)]
_Size = Annotated[int, Strict(), Field(ge=1)]


class GoldenInputs(Section):
    """``[golden]``: where the inputs of the golden vectors are taken from."""

    inputs: _PathText
    """A folder of pictures, a recording, or an NPZ of normalised inputs: what ``forge quantize`` calibrates with."""
    key: Annotated[str, StringConstraints(min_length=1, max_length=64)] = "inputs"
    """The array in an NPZ."""
    count: Annotated[int, Strict(), Field(ge=1, le=GOLDEN_VECTORS_MAX)] = GOLDEN_COUNT
    """Golden vectors, spread evenly over the inputs."""
    further: Annotated[int, Strict(), Field(ge=0, le=900)] = FURTHER_COUNT
    """More inputs, on which only the tolerance is measured."""
    tolerance_lsb: dict[Name, Steps] | None = None
    """For each role; left out: what is measured and a margin."""


class PackageFile(Section):
    """A whole ``package.toml``."""

    name: Name
    version: Text
    task: Task
    description: Text
    licence: Text
    source: Text
    model: _PathText
    """The INT8 ``.tflite``."""
    labels: tuple[Text, ...] | _PathText = ()
    """Labels, or a file with one a line."""
    outputs: dict[Name, tuple[_Size, ...] | Text] = Field(min_length=1, max_length=8)
    """Role to the output's shape, or to its name."""
    preprocess: PreprocessSection
    extract: ExtractSection | None = None
    decode: DecodeSection
    golden: GoldenInputs
    files: dict[RelativePath, _PathText] = Field(default_factory=dict)
    """Further files of the folder that the device needs: where in it = where from."""
    papers: dict[RelativePath, _PathText] = Field(default_factory=dict)
    """The same for files that the device does not read."""
    limits: LimitsSection = LimitsSection()
    metrics: Metrics = ()
    provenance: ProvenanceSection | None = None
    data: DataSection | None = None


def read_spec(file: Path) -> PackageSpec:
    """Read a ``package.toml`` and the files it names.

    Raises:
        ForgeError: a file is missing or too large, or a key is unknown, missing or impossible; one line a fault, each
            with file, line and key path.
    """
    told = _parsed(file)
    here = file.parent
    tflite = _content(here / told.model)
    return PackageSpec(
        name=told.name,
        version=told.version,
        task=told.task.value,
        description=told.description,
        licence=told.licence,
        source=told.source,
        tflite=tflite,
        outputs=told.outputs,
        preprocess=_keys(told.preprocess),
        decode=_keys(told.decode),
        extract=None if told.extract is None else _keys(told.extract),
        **_golden(told, here, tflite),
        labels=_labels(told.labels, here),
        files={path: _content(here / source) for path, source in told.files.items()},
        papers={path: _content(here / source) for path, source in told.papers.items()},
        limits=told.limits.fact(),
        metrics=tuple(metric.fact() for metric in told.metrics),
        provenance=told.provenance.fact() if told.provenance else None,
        data=told.data.fact() if told.data else None,
    )


def _parsed(file: Path) -> PackageFile:
    """Parse and validate. Raises ForgeError."""
    raw = _content(file, DESCRIPTION_BYTES_MAX)
    try:
        text = raw.decode("utf-8")
        tree = tomllib.loads(text)
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        msg = f"{file}: not TOML: {error}"
        raise ForgeError(msg) from error
    try:
        return PackageFile.model_validate(tree)
    except ValidationError as error:
        faults = describe(error, str(file), tree=tree, lines=key_lines(text), hint="models/README.md")
        raise ForgeError(faults) from error


def _golden(told: PackageFile, here: Path, tflite: bytes) -> dict[str, Any]:
    """Choose golden and further inputs, evenly spread. Raises ForgeError."""
    wanted = told.golden
    if tflite[4:8] != IDENTIFIER:
        return {"golden_inputs": (), "tolerance_lsb": wanted.tolerance_lsb}  # refused by ``package``, in its words
    spec = InputSpec(
        shape=look(tflite).input.shape,
        kind=FrameKind(told.preprocess.kind),
        mean=told.preprocess.mean,
        std=told.preprocess.std,
        colour=getattr(told.preprocess, "colour", "rgb"),
        fit=getattr(told.preprocess, "fit", "stretch"),
        key=wanted.key,
    )
    rows = read(here / wanted.inputs, spec)
    if rows.ndim == 0 or len(rows) == 0:
        msg = f"{here / wanted.inputs}: holds no input; golden vectors need at least one"
        raise ForgeError(msg)
    chosen = np.unique(np.linspace(0, len(rows) - 1, wanted.count).astype(int))
    others = np.setdiff1d(np.arange(len(rows)), chosen)
    further = others[np.unique(np.linspace(0, len(others) - 1, wanted.further).astype(int))] if len(others) else others
    return {
        "golden_inputs": _batches(rows, chosen),
        "further_inputs": _batches(rows, further),
        "tolerance_lsb": wanted.tolerance_lsb,
    }


def _batches(rows: Array, chosen: Array) -> list[Array]:
    return [rows[index][np.newaxis] for index in chosen]


def _keys(section: Section) -> dict[str, object]:
    """Give a section's keys as a ``model.toml`` has them; what was left out stays out."""
    return section.model_dump(mode="json", exclude_unset=True)


def _labels(labels: tuple[str, ...] | str, here: Path) -> tuple[str, ...]:
    """Give the labels. Raises ForgeError when their file cannot be read."""
    if not isinstance(labels, str):
        return labels
    try:
        return tuple(_content(here / labels).decode("utf-8").removesuffix("\n").split("\n"))
    except UnicodeDecodeError as error:
        msg = f"{here / labels}: not UTF-8: {error}"
        raise ForgeError(msg) from error


def _content(file: Path, size_bytes_max: int = FILE_BYTES_MAX) -> bytes:
    """Read a bounded file. Raises ForgeError."""
    try:
        with file.open("rb") as stream:
            content = stream.read(size_bytes_max + 1)
    except OSError as error:
        msg = f"{file}: cannot be read: {error.strerror}; paths in package.toml are relative to it"
        raise ForgeError(msg) from error
    if len(content) > size_bytes_max:
        msg = f"{file}: larger than {size_bytes_max} bytes"
        raise ForgeError(msg)
    return content
