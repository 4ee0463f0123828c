"""From an INT8 `.tflite` to a model folder that the appliance accepts: whole, or not at all.

What no file can tell (licence, preprocessing, decoding, where the data come from) stands in a ``PackageSpec``. The
rest is read from the flatbuffer or measured here: tensors, golden vectors from two runtimes with their tolerance,
latency and memory. Before anything is written the folder is held against the device's own rules (``trust``), so that
what this writes, ``appliance model verify`` accepts. The format is described in ``models/README.md``.
"""

import gzip
import hashlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from rich.console import Console

from appliance.core.facts import Facts, ModelMetric
from appliance.core.model import Model
from appliance.errors import ForgeError, ModelError
from appliance.forge.card import CARD_FILE, PACKAGE, write_card
from appliance.forge.description import description_toml
from appliance.forge.folder import put_folder
from appliance.forge.goldens import Edge, Goldens, SecondRuntime, look, make, tolerance
from appliance.forge.lint import LintReport, lint
from appliance.forge.package_spec import GOLDEN_FILE, PackageSpec, check, check_input, positions, tensors
from appliance.forge.report import REPORT_FILE, Estimate, Report, Step
from appliance.trust.consistency import LABELS_FILE, MODEL_FILE
from appliance.trust.description import Description
from appliance.trust.model import DESCRIPTION_FILE, parse_description, verify
from appliance.trust.networks import networks_of

__all__ = ["PackageSpec", "package"]

HEAD = ("name", "version", "task", "description", "licence", "source")
"""Keys of ``model.toml`` before its first section, after ``schema``."""

Say = Callable[[str], None]
"""Is told what does not stop the packaging but should be known, a sentence each."""


def package(
    spec: PackageSpec,
    root: Path,
    *,
    report: Report | None = None,
    second_runtime: SecondRuntime = "managed",
    say: Say | None = None,
    force: bool = False,
) -> Path:
    """Write ``<root>/<name>/<version>/``, and the generated part of the card ``<root>/<name>/README.md``.

    Args:
        spec: the model.
        root: the folder that holds models by name.
        report: the steps that led to the model; this one is added and saved, and a copy goes into the folder.
        second_runtime: where tflite-runtime 2.14 is: ``managed`` makes an environment once and keeps it; a Path is a
            Python that has it; ``none`` leaves it out, and the folder says that it was left out.
        say: is told what should be known; stderr by default.
        force: replace a version that is there with another model. The same model is always packaged again.

    Returns:
        The folder.

    Raises:
        ForgeError: the model or the spec cannot be used, this version is there with another model, or the disk
            refuses; what was there before is still there.
    """
    check(spec)
    if not force:
        _require_free(root / spec.name / spec.version, spec.tflite)
    edge = look(spec.tflite)
    check_input(edge)
    roles = positions(spec.outputs, edge)
    inputs, further = tensors(spec.golden_inputs, edge), tensors(spec.further_inputs, edge)
    files = {MODEL_FILE: spec.tflite, **spec.files, GOLDEN_FILE: b""}
    if spec.labels:
        files[LABELS_FILE] = ("\n".join(spec.labels) + "\n").encode()
    # Once without goldens: what is wrong with the spec is told before anything long is begun.
    _check_networks(files)
    _parsed(_description(spec, edge, roles, files, spec.tolerance_lsb or dict.fromkeys(roles, 0), Goldens.none()))
    goldens = make(spec.tflite, inputs, further, roles, second_runtime)
    files[GOLDEN_FILE] = goldens.npz()
    allowed = tolerance(goldens.measured_lsb, spec.tolerance_lsb)
    toml = _description(spec, edge, roles, files, allowed, goldens)
    model = _verified(_parsed(toml), files)
    linted = lint(spec.tflite)
    notes = (*_measured(spec, edge, goldens, second_runtime), *_mapped(linted))
    for sentence in notes:
        (say or _on_stderr)(sentence)
    papers = dict(spec.papers)
    if report is not None:
        report.add(_step(model, linted, notes))
        papers[REPORT_FILE] = report.content()
    folder = root / model.name / model.version
    put_folder(folder, {**files, **papers, DESCRIPTION_FILE: toml})
    write_card(model, folder.parent / CARD_FILE, report)
    if report is not None:
        report.save()
    return folder


def _require_free(folder: Path, tflite: bytes) -> None:
    """Raise ForgeError when the folder holds another model: devices know a version by one digest for good."""
    there = folder / MODEL_FILE
    try:
        same = there.stat().st_size == len(tflite) and there.read_bytes() == tflite
    except OSError:  # nothing there, or nothing that could be a model
        return
    if not same:
        msg = (
            f"{folder} holds another model of this version: give this one a higher version, or, if no device has had "
            "the other, replace it with --force (force=True)"
        )
        raise ForgeError(msg)


def _on_stderr(sentence: str) -> None:
    Console(stderr=True).print(sentence, highlight=False, markup=False, soft_wrap=True)


def _description(
    spec: PackageSpec,
    edge: Edge,
    roles: Mapping[str, int],
    files: Mapping[str, bytes],
    tolerance_lsb: Mapping[str, int],
    goldens: Goldens,
) -> bytes:
    """Write ``model.toml``."""
    facts = Facts(
        limits=spec.limits,
        metrics=tuple(spec.metrics),
        provenance=spec.provenance,
        data=spec.data,
        measured_lsb=goldens.measured_lsb,
        runtimes=goldens.runtimes,
    )
    return description_toml(
        head={key: getattr(spec, key) for key in HEAD},
        files={path: hashlib.sha256(content).hexdigest() for path, content in sorted(files.items())},
        tensors={"input": edge.input, **{role: edge.outputs[at] for role, at in roles.items()}},
        sections={"preprocess": spec.preprocess, "extract": spec.extract, "decode": spec.decode},
        golden_file=GOLDEN_FILE,
        tolerance_lsb=tolerance_lsb,
        facts=facts,
    )


def _parsed(toml: bytes) -> Description:
    """Hold a description against the device's rules. Raises ForgeError."""
    try:
        return parse_description(toml)
    except ModelError as error:
        msg = f"the appliance would not accept this description:\n{error}"
        raise ForgeError(msg) from error


def _check_networks(files: Mapping[str, bytes]) -> None:
    """Hold the files of the backends against the device's rules. Raises ForgeError."""
    try:
        networks_of(files)
    except ModelError as error:
        msg = f"the appliance would not accept this folder: {error}"
        raise ForgeError(msg) from error


def _verified(description: Description, files: Mapping[str, bytes]) -> Model:
    """Hold the folder's files against the device's rules before the folder exists. Raises ForgeError."""
    try:
        return verify(description, files)
    except ModelError as error:
        msg = f"the appliance would not accept this folder: {error}"
        raise ForgeError(msg) from error


def _measured(spec: PackageSpec, edge: Edge, goldens: Goldens, second: SecondRuntime) -> Iterator[str]:
    """Say what was measured, against the limits, and what is missing."""
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


def _mapped(report: LintReport) -> Iterator[str]:
    """Say what of the model an Edge TPU would run. What stays on the CPU is no fault: the model runs there anyway."""
    if report.complete:
        yield f"an Edge TPU may run all {len(report.operators)} operators (by the compiler's documented rules)"
        return
    kept = next((operator for operator in report.operators if not operator.mapped), None)
    why = f"; the first: {kept.sentence}" if kept else ""
    yield f"warning: an Edge TPU would run {report.mapped} of {len(report.operators)} operators{why}"


def _step(model: Model, linted: LintReport, notes: tuple[str, ...]) -> Step:
    """Give the report's entry."""
    made = model.facts.provenance
    return Step(
        step=PACKAGE,
        made=f"{model.name}/{model.version}",
        size_bytes=len(model.tflite),
        compressed_bytes=len(gzip.compress(model.tflite, 9, mtime=0)),
        after={each.name: _estimate(each) for each in model.facts.metrics},
        operators=len(linted.operators),
        operators_edgetpu=linted.mapped,
        notes=notes,
        command=made.made_by if made else "",
    )


def _estimate(metric: ModelMetric) -> Estimate:
    if metric.low is None or metric.high is None:
        return Estimate.exact(metric.value)
    return Estimate(metric.value, metric.low, metric.high)
