"""From an INT8 `.tflite` to a model folder that the appliance accepts: whole, or not at all.

What no file can tell (licence, preprocessing, decoding, where the data come from) stands in a ``PackageSpec``. The
rest is read from the flatbuffer or measured here: tensors, golden vectors from two runtimes with their tolerance,
latency and memory. Before anything is written the folder is held against the device's own rules (``trust``), so that
what this writes, ``appliance model verify`` accepts. The format is described in ``models/README.md``.
"""

import gzip
import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from rich.console import Console

from appliance.core.facts import DataCard, Facts, Limits, ModelMetric, ModelProvenance
from appliance.core.model import Dtype, Model
from appliance.core.quant import quantise
from appliance.core.types import Array
from appliance.errors import ForgeError, ModelError
from appliance.forge.card import CARD_FILE, write_card
from appliance.forge.description import description_toml
from appliance.forge.folder import put_folder
from appliance.forge.goldens import Edge, Goldens, SecondRuntime, look, make, tolerance
from appliance.forge.report import REPORT_FILE, Estimate, Report, Step
from appliance.trust.consistency import DECODERS, LABELS_FILE, MODEL_FILE
from appliance.trust.model import DESCRIPTION_FILE, GOLDEN_VECTORS_MAX, parse_description, verify

GOLDEN_FILE = "golden/golden.npz"
IDENTIFIER = b"TFL3"
"""At bytes 4 to 8 of every TFLite flatbuffer (tensorflow/compiler/mlir/lite/schema/schema.fbs)."""

Say = Callable[[str], None]
"""Is told what does not stop the packaging but should be known, a sentence each."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class PackageSpec:
    """Everything about a model that its file does not tell. ``models/README.md`` explains each key."""

    name: str
    version: str
    task: str
    description: str
    licence: str
    """SPDX name."""
    source: str
    tflite: bytes
    """Full-integer INT8 (or UINT8) at its input."""
    outputs: Mapping[str, tuple[int, ...] | str]
    """Role to the output's shape, or to its name where two outputs have one shape; in the order of ``model.toml``."""
    preprocess: Mapping[str, object]
    """``[preprocess]``: kind, mean, std, and what the kind needs. For a model with an extractor also ``features``."""
    decode: Mapping[str, object]
    """``[decode]``: kind, and its parameters."""
    extract: Mapping[str, object] | None = None
    """``[extract]``: kind, and its parameters; None where the frame itself is what is normalised."""
    golden_inputs: Sequence[Array]
    """Normalised floats ``(x - mean) / std``, each of the input's shape with the batch; at most 64, representative."""
    further_inputs: Sequence[Array] = ()
    """More of the same on which only the tolerance is measured; not kept."""
    tolerance_lsb: Mapping[str, int] | None = None
    """Role to the largest difference allowed; None: what is measured and a margin."""
    labels: Sequence[str] = ()
    """Detect and classify: what each score stands for, background not counted."""
    files: Mapping[str, bytes] = field(default_factory=dict)
    """Further files the device needs (``anchors.npy``, ``model_edgetpu.tflite``), by path."""
    papers: Mapping[str, bytes] = field(default_factory=dict)
    """Files for people, which the device does not read (``LICENSE``)."""
    limits: Limits = field(default_factory=Limits)
    metrics: Sequence[ModelMetric] = ()
    provenance: ModelProvenance | None = None
    data: DataCard | None = None


def package(
    spec: PackageSpec,
    root: Path,
    *,
    report: Report | None = None,
    second_runtime: SecondRuntime = "managed",
    say: Say | None = None,
) -> Path:
    """Write ``<root>/<name>/<version>/``, and the generated part of the card ``<root>/<name>/README.md``.

    Args:
        spec: the model.
        root: the folder that holds models by name.
        report: the steps that led to the model; this one is added and saved, and a copy goes into the folder.
        second_runtime: where tflite-runtime 2.14 is: ``managed`` makes an environment once and keeps it; a Path is a
            Python that has it; ``none`` leaves it out, and the folder says that it was left out.
        say: is told what should be known; stderr by default.

    Returns:
        The folder.

    Raises:
        ForgeError: the model or the spec cannot be used, or the disk refuses; what was there before is still there.
    """
    tell = say or _on_stderr
    _check_bytes(spec.tflite)
    edge = look(spec.tflite)
    _check_spec(spec, edge)
    roles = _positions(spec.outputs, edge)
    goldens = _goldens(spec, edge, roles, second_runtime)
    files = {MODEL_FILE: spec.tflite, **spec.files, GOLDEN_FILE: goldens.npz()}
    if spec.labels:
        files[LABELS_FILE] = ("\n".join(spec.labels) + "\n").encode()
    toml = _description(spec, edge, roles, goldens, files)
    model = _verified(toml, files)
    notes = tuple(_notes(spec, edge, goldens, second_runtime))
    for sentence in notes:
        tell(sentence)
    papers = dict(spec.papers)
    if report is not None:
        report.add(_step(model, notes))
        papers[REPORT_FILE] = report.content()
    folder = root / model.name / model.version
    put_folder(folder, {**files, **papers, DESCRIPTION_FILE: toml})
    write_card(model, folder.parent / CARD_FILE, report)
    if report is not None:
        report.save()
    return folder


def _on_stderr(sentence: str) -> None:
    Console(stderr=True).print(sentence, highlight=False, markup=False, soft_wrap=True)


def _check_bytes(tflite: bytes) -> None:
    """Raise ForgeError unless these bytes claim to be a TFLite model."""
    if tflite[4:8] != IDENTIFIER:
        msg = "model.tflite: not a TFLite flatbuffer (no identifier TFL3 at byte 4); is it whole, and the right file?"
        raise ForgeError(msg)


def _check_spec(spec: PackageSpec, edge: Edge) -> None:
    """Raise ForgeError for what can be said better here than by the description's rules."""
    if edge.input.dtype is Dtype.FLOAT32:
        msg = (
            f"model.tflite takes {edge.input.dtype.value} at {edge.input.name!r}: a float model is not packaged; "
            "make it full-integer INT8 first (appliance forge quantize)"
        )
        raise ForgeError(msg)
    rule = DECODERS.get(str(spec.decode.get("kind")))
    if rule is None:
        msg = f"decode.kind is {spec.decode.get('kind')!r}; choose one of {', '.join(DECODERS)}"
        raise ForgeError(msg)
    if rule.labels and not spec.labels:
        msg = f"labels are missing: {spec.decode['kind']} needs a name for each score, background left out"
        raise ForgeError(msg)
    if not 1 <= len(spec.golden_inputs) <= GOLDEN_VECTORS_MAX:
        msg = f"{len(spec.golden_inputs)} golden inputs; give 1 to {GOLDEN_VECTORS_MAX} that are like what comes in use"
        raise ForgeError(msg)


def _positions(outputs: Mapping[str, tuple[int, ...] | str], edge: Edge) -> dict[str, int]:
    """Find each role among the model's outputs. Raises ForgeError."""
    there = ", ".join(f"{spec.name!r} {spec.dtype.value} {list(spec.shape)}" for spec in edge.outputs)
    positions = {}
    for role, wanted in outputs.items():
        found = [
            at
            for at, spec in enumerate(edge.outputs)
            if (spec.name == wanted if isinstance(wanted, str) else spec.shape == tuple(wanted))
        ]
        if len(found) != 1:
            msg = f"output {role!r}: {len(found)} outputs are {wanted!r}; the model has {there}: give the tensor's name"
            raise ForgeError(msg)
        positions[role] = found[0]
    if sorted(positions.values()) != list(range(len(edge.outputs))):
        msg = f"roles {list(outputs)} do not stand for each output once; the model has {there}"
        raise ForgeError(msg)
    return positions


def _goldens(spec: PackageSpec, edge: Edge, roles: Mapping[str, int], second: SecondRuntime) -> Goldens:
    """Quantise the inputs as the device does, and replay them. Raises ForgeError."""
    raw: list[Array] = []
    for number, values in enumerate([*spec.golden_inputs, *spec.further_inputs]):
        array = np.asarray(values)
        if array.shape != edge.input.shape or not np.isfinite(array).all():
            msg = (
                f"golden input {number} is {list(array.shape)}, perhaps with numbers that are not finite; the model "
                f"takes finite normalised floats of {list(edge.input.shape)}, batch included"
            )
            raise ForgeError(msg)
        raw.append(quantise(array, edge.input))
    count = len(spec.golden_inputs)
    return make(spec.tflite, raw[:count], raw[count:], roles, second)


def _description(
    spec: PackageSpec, edge: Edge, roles: Mapping[str, int], goldens: Goldens, files: Mapping[str, bytes]
) -> bytes:
    """Write ``model.toml``."""
    head = {key: getattr(spec, key) for key in ("name", "version", "task", "description", "licence", "source")}
    facts = Facts(
        limits=spec.limits,
        metrics=tuple(spec.metrics),
        provenance=spec.provenance,
        data=spec.data,
        measured_lsb=goldens.measured_lsb,
        runtimes=goldens.runtimes,
    )
    return description_toml(
        head=head,
        files={path: hashlib.sha256(content).hexdigest() for path, content in sorted(files.items())},
        tensors={"input": edge.input, **{role: edge.outputs[at] for role, at in roles.items()}},
        sections={"preprocess": spec.preprocess, "extract": spec.extract, "decode": spec.decode},
        golden_file=GOLDEN_FILE,
        tolerance_lsb=tolerance(goldens.measured_lsb, spec.tolerance_lsb),
        facts=facts,
    )


def _verified(toml: bytes, files: Mapping[str, bytes]) -> Model:
    """Hold the folder against the device's rules before it exists. Raises ForgeError."""
    try:
        return verify(parse_description(toml), files)
    except ModelError as error:
        msg = f"the appliance would not accept this folder:\n{error}"
        raise ForgeError(msg) from error


def _notes(spec: PackageSpec, edge: Edge, goldens: Goldens, second: SecondRuntime) -> Iterator[str]:
    """Say what was measured against the limits, and what is missing."""
    yield (
        f"{spec.name} {spec.version}: here an invoke takes {goldens.latency_ms:.3g} ms (one thread) and adds "
        f"{goldens.memory_bytes:,} bytes of memory; runtimes differ by {dict(goldens.measured_lsb)} steps"
    )
    limit = spec.limits.memory_bytes_max
    if limit is not None and goldens.memory_bytes > limit:
        yield f"warning: limits.memory_bytes_max is {limit:,}, less than that; raise it, or shrink the model"
    if edge.dynamic:
        yield "warning: a tensor's size is left open in the file (a dynamic batch?); the Edge TPU's compiler refuses it"
    if second == "none":
        yield "warning: tflite-runtime was left out; the tolerance rests on one runtime with two sets of kernels"
    if not spec.metrics:
        yield "warning: no metrics; nobody can tell how good this model is"


def _step(model: Model, notes: tuple[str, ...]) -> Step:
    """Give the report's entry."""
    made = model.facts.provenance
    return Step(
        step="package",
        made=f"{model.name}/{model.version}",
        size_bytes=len(model.tflite),
        compressed_bytes=len(gzip.compress(model.tflite, 9, mtime=0)),
        after={each.name: _estimate(each) for each in model.facts.metrics},
        notes=notes,
        command=made.made_by if made else "",
    )


def _estimate(metric: ModelMetric) -> Estimate:
    if metric.low is None or metric.high is None:
        return Estimate.exact(metric.value)
    return Estimate(metric.value, metric.low, metric.high)
