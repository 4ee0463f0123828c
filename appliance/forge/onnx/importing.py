"""The whole way of a foreign graph: judged, converted, quantised, each stage measured against the original."""

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from appliance.core.types import Array
from appliance.errors import ForgeError
from appliance.forge.calibration import check
from appliance.forge.environment import Environment, environment, existing, pinned
from appliance.forge.metrics import bootstrap
from appliance.forge.onnx.convert import convert
from appliance.forge.onnx.graph import Graph, Layout, device_shape, fixed_shape, layout_of, read
from appliance.forge.onnx.operators import Operator, judge, notes, refuse_unknown
from appliance.forge.onnx.stages import Change, Match, compare, match
from appliance.forge.process import Tell, silent
from appliance.forge.quantize import quantise
from appliance.forge.report import Estimate, Report, Step
from appliance.forge.run import Runner
from appliance.forge.steps import finish, step_of

EVALUATED_MAX = 200
"""Samples on which the stages are compared; more are thinned out evenly."""
MODEL_FILE = "model.tflite"
FLOAT_FILE = "model_float32.tflite"


@dataclass(frozen=True, slots=True)
class Plan:
    """What will be done with a graph, known before anything is converted."""

    graph: Graph
    operators: tuple[Operator, ...]
    input: str
    """Name of the one input that is fed."""
    layout: Layout
    shape: tuple[int, ...]
    """The input's, as the appliance feeds it: batch 1, channels last."""
    outputs: tuple[str, ...]
    """Tensors the graph is cut at; none: its own outputs."""
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Imported:
    """A graph that has become a model of the appliance."""

    int8: bytes
    float32: bytes
    changes: tuple[Change, ...]
    """First those of the converted float graph, then those of the INT8 one, each against the original."""
    outputs: Mapping[str, Match]
    """The original's output to the INT8 model's."""
    notes: tuple[str, ...]


def plan(
    model: Path,
    *,
    shapes: Mapping[str, tuple[int, ...]] | None = None,
    layout: Layout | None = None,
    outputs: Sequence[str] = (),
) -> Plan:
    """Read a graph and judge it; nothing is converted and no environment is needed.

    Args:
        model: the ONNX file.
        shapes: input to shape as ONNX has it, for inputs that leave sizes open.
        layout: where the input's channels stand, when its sizes suggest the wrong thing.
        outputs: tensors to end the graph with.

    Raises:
        ForgeError: it cannot be read, has several inputs or one that is no float32, leaves sizes open, or has
            operators that cannot be converted.
    """
    graph = read(model, outputs)
    operators = judge(graph)
    if len(graph.inputs) != 1:
        there = "; ".join(map(str, graph.inputs)) or "none"
        msg = (
            f"{model} has {len(graph.inputs)} inputs ({there}); the appliance feeds one: export it with the rest fixed"
        )
        raise ForgeError(msg)
    tensor = graph.inputs[0]
    if tensor.dtype != "float32":
        msg = f"the input {tensor} of {model} is no float32: export the float network, its quantisation is made here"
        raise ForgeError(msg)
    refuse_unknown(graph, operators)
    onnx_shape = fixed_shape(graph, tensor, shapes or {})
    stands = layout_of(onnx_shape, layout)
    shape = device_shape(onnx_shape, stands)
    told = list(notes(graph))
    if shape != onnx_shape:
        told.append(f"input {tensor.name}: {_text(onnx_shape)} becomes {_text(shape)}, channels last")
    return Plan(graph, operators, tensor.name, stands, shape, tuple(outputs), tuple(told))


def tools(folder: Path | None = None, *, tell: Tell = silent) -> Environment:
    """Give the environment with onnx2tf: the one in ``folder``, or the forge's own, made when it is not there yet.

    Raises:
        ForgeError: it cannot be made, or the one given lacks something.
    """
    requirements = pinned("onnx")
    if folder is None:
        return environment("onnx", requirements, tell=tell)
    return existing("onnx", folder, [each for each in requirements if each.startswith(_NEEDED)], tell=tell)


_NEEDED = ("onnx==", "onnx2tf==", "onnxruntime==", "onnxsim==", "tensorflow==", "tf_keras==", "numpy==")


def import_onnx(
    planned: Plan,
    calibration: Array,
    converter: Environment,
    *,
    evaluation: Array | None = None,
    edgetpu: bool = True,
    tell: Tell = silent,
) -> Imported:
    """Convert, quantise and measure.

    Args:
        planned: by ``plan``.
        calibration: normalised float32 ``[n, *planned.shape[1:]]``, of the kind the device will see.
        converter: by ``tools``.
        evaluation: as ``calibration``: what the stages are compared on, best data that calibrated nothing. None: the
            calibration's own.
        edgetpu: write hard-swish, hard-sigmoid and unequal strides in operators that the Edge TPU has. It costs some
            accuracy, which the comparison shows.
        tell: is told each step.

    Raises:
        ForgeError: the data do not fit, or a stage fails; the message says which.
    """
    inputs = check(calibration, planned.shape)
    samples = _evaluated(inputs if evaluation is None else check(evaluation, planned.shape))
    with tempfile.TemporaryDirectory(prefix="forge-onnx-") as scratch:
        converted = convert(
            converter,
            planned.graph.path,
            samples,
            Path(scratch),
            name=planned.input,
            layout=planned.layout,
            outputs=planned.outputs,
            edgetpu=edgetpu,
            tell=tell,
        )
        tell(f"quantising with {len(inputs)} inputs")
        made = quantise(converted.saved_model, inputs, shape=planned.shape)
    tell(f"comparing the stages on {len(samples)} inputs")
    in_float, in_int8 = (Runner(each).each(samples) for each in (made.float32, made.int8))
    reference = converted.reference
    matches = match(reference, in_int8)
    changes = (
        *compare("float", reference, in_float, match(reference, in_float)),
        *compare("int8", reference, in_int8, matches),
    )
    return Imported(made.int8, made.float32, changes, matches, (*made.notes, *_layouts(matches)))


def save(imported: Imported, planned: Plan, folder: Path, *, command: str = "") -> Report:
    """Write the model, its float self and the report into a folder; each file whole or not at all.

    Args:
        imported: by ``import_onnx``.
        planned: what it was made by.
        folder: where to; files of other names in it are left alone.
        command: what makes it again.

    Raises:
        ForgeError: the folder cannot be written, or holds a report that cannot be read.
    """
    entry = step(imported, planned, command=command)
    return finish(entry, {folder / FLOAT_FILE: imported.float32, folder / MODEL_FILE: imported.int8}, folder)


def step(imported: Imported, planned: Plan, *, command: str = "") -> Step:
    """Give the report's entry; arguments as ``save``."""
    figures: dict[str, dict[str, Estimate]] = {"float": {}, "int8": {}}
    for change in imported.changes:
        figures[change.stage][f"{change.output} correlation"] = Estimate.exact(change.correlation)
        figures[change.stage][f"{change.output} mean error"] = Estimate.exact(change.mean_error)
        figures[change.stage][f"{change.output} largest error"] = Estimate.exact(change.max_error)
        if change.agreement is not None:
            figures[change.stage][f"{change.output} same class"] = _share(change.agreement)
    return step_of(
        "import-onnx",
        MODEL_FILE,
        imported.int8,
        parent=imported.float32,
        before=figures["float"],
        after=figures["int8"],
        notes=(
            f"{planned.graph.path.name}: figures are against the original on onnxruntime, before: converted to float",
            *planned.notes,
            *imported.notes,
        ),
        command=command,
    )


def _share(agreement: NDArray[np.bool_]) -> Estimate:
    """Give the share of samples that agree, with its interval."""
    return bootstrap(lambda right, _: float(right.mean()), agreement, np.zeros(len(agreement), np.int8))


def _evaluated(samples: Array) -> Array:
    if len(samples) <= EVALUATED_MAX:
        return samples
    return samples[np.linspace(0, len(samples) - 1, EVALUATED_MAX).astype(np.intp)]


def _layouts(matches: Mapping[str, Match]) -> tuple[str, ...]:
    """Say which outputs have their channels elsewhere than the original."""
    moved = [output for output, each in matches.items() if each.is_moved]
    return tuple(f"output {output}: channels moved to the end" for output in moved)


def _text(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape))
