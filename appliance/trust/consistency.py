"""Whether the parts of a model's description fit one another: task, decoder, tensors, preprocessing, files.

The rules stand in tables. A new decoder adds a row to ``DECODERS``.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from appliance.core.features import names_of
from appliance.core.model import Task
from appliance.trust.description import Description
from appliance.trust.extract import extract_of

MODEL_FILE = "model.tflite"
EDGETPU_FILE = "model_edgetpu.tflite"
"""Optional: the same network, compiled for the Edge TPU."""
ONNX_FILE = "model.onnx"
"""Optional: the same network, for ONNX Runtime."""
LABELS_FILE = "labels.txt"
COLOURS = 3

Fault = tuple[str, str]
"""Key path, and what is wrong with it and would be right."""
Shape = tuple[int | str, ...]
"""Expected sizes; a letter stands for any size, the same letter for the same size in all tensors of the model."""


@dataclass(frozen=True, slots=True)
class DecoderRule:
    """What a decoder asks of the rest of the description."""

    task: Task
    outputs: Mapping[str, Shape]
    kinds: frozenset[str] = frozenset({"image", "window", "record"})
    """Preprocessing that it can follow."""
    labels: bool = False
    """Whether ``labels.txt`` names what it finds; else the decoder's own ``label`` does."""


_IMAGE = frozenset({"image"})
DECODERS: Mapping[str, DecoderRule] = MappingProxyType(
    {
        "ssd_raw": DecoderRule(Task.DETECT, {"boxes": (1, "N", 4), "scores": (1, "N", "C")}, _IMAGE, labels=True),
        "ssd_postprocessed": DecoderRule(
            Task.DETECT,
            {"boxes": (1, "N", 4), "classes": (1, "N"), "scores": (1, "N"), "count": (1,)},
            _IMAGE,
            labels=True,
        ),
        "classify": DecoderRule(Task.CLASSIFY, {"scores": (1, "C")}, labels=True),
        "anomaly": DecoderRule(Task.ANOMALY, {"reconstruction": ()}),  # as the input: see _reconstruction
        "score": DecoderRule(Task.SCORE, {"score": (1, 1)}),
    }
)
INPUTS: Mapping[str, Shape] = MappingProxyType(
    {"image": (1, "H", "W", COLOURS), "window": (1, "L", "C"), "record": (1, "F")}
)
"""The input tensor's shape by kind of preprocessing; that of a record where an extractor makes features."""
EXTRACT_KINDS: Mapping[str, str] = MappingProxyType({"card_history": "record", "beats": "window", "spectrum": "window"})
"""The kind of frame that an extractor takes."""


def faults(description: Description) -> Iterator[Fault]:
    """Yield every contradiction in ``description``; nothing when it is consistent."""
    for rule in _RULES:
        yield from rule(description)


def _task(description: Description) -> Iterator[Fault]:
    kind = description.decode.kind
    if DECODERS[kind].task is not description.task:
        fitting = " or ".join(name for name, rule in DECODERS.items() if rule.task is description.task)
        yield "decode.kind", f"{kind} is not for the task {description.task}; use {fitting}, or correct task"


def _roles(description: Description) -> Iterator[Fault]:
    wanted = sorted(DECODERS[description.decode.kind].outputs)
    given = sorted(output.role for output in description.outputs)
    if given != wanted:
        yield "outputs", f"the roles are {given}; {description.decode.kind} needs exactly {wanted}"
    names = [output.name for output in description.outputs]
    if len(set(names)) < len(names):
        yield "outputs", f"two outputs have one name ({names}); each stands for its own tensor"


def _output_shapes(description: Description) -> Iterator[Fault]:
    expected = DECODERS[description.decode.kind].outputs
    sizes: dict[str, int] = {}
    for index, output in enumerate(description.outputs):
        shape = expected.get(output.role)
        if shape and not _fits(output.shape, shape, sizes):
            yield f"outputs.{index}.shape", f"is {list(output.shape)}; {output.role} has {_say(shape, sizes)}"


def _reconstruction(description: Description) -> Iterator[Fault]:
    for index, output in enumerate(description.outputs):
        if output.role == "reconstruction" and output.shape != description.input.shape:
            wanted = f"a reconstruction has the input's shape {list(description.input.shape)}"
            yield f"outputs.{index}.shape", f"is {list(output.shape)}; {wanted}"


def _input(description: Description) -> Iterator[Fault]:
    kind, shape = description.preprocess.kind, description.input.shape
    if kind not in DECODERS[description.decode.kind].kinds:
        yield "preprocess.kind", f"{description.decode.kind} cannot follow {kind}; it needs image"
    wanted = INPUTS["record" if description.extract else kind]
    if not _fits(shape, wanted, {}):
        yield "input.shape", f"is {list(shape)}; {kind} needs {_say(wanted, {})}"


def _extract(description: Description) -> Iterator[Fault]:
    section = description.extract
    if section is None:
        if description.preprocess.kind == "window" and description.preprocess.features:
            yield "preprocess.features", "a window has no named features unless [extract] makes some of it"
        return
    wanted = EXTRACT_KINDS[section.kind]
    if description.preprocess.kind != wanted:
        yield "preprocess.kind", f"{section.kind} takes {wanted}, not {description.preprocess.kind}"
        return
    names = list(names_of(extract_of(section)))
    if list(getattr(description.preprocess, "features", ())) != names:
        yield "preprocess.features", f"{section.kind} with these settings gives exactly {names}, in this order"


def _normalisation(description: Description) -> Iterator[Fault]:
    channels = description.input.shape[-1]
    for key in ("mean", "std"):
        given = len(getattr(description.preprocess, key))
        if given != channels:
            yield f"preprocess.{key}", f"has {given} entries; the input's last dimension is {channels}"
    features = getattr(description.preprocess, "features", ())
    if features and len(features) != channels:
        yield "preprocess.features", f"has {len(features)} names; the input's last dimension is {channels}"
    if len(set(features)) < len(features):
        yield "preprocess.features", "names a feature twice; each name stands for one place in the input"


def _files(description: Description) -> Iterator[Fault]:
    needed = {MODEL_FILE: "every model has it", description.golden.file: "golden.file names it"}
    anchors = getattr(description.decode, "anchors", None)
    if anchors is not None:
        needed[anchors] = "decode.anchors names it"
    if DECODERS[description.decode.kind].labels:
        needed[LABELS_FILE] = f"{description.decode.kind} needs labels"
    for path, why in needed.items():
        if path not in description.files:
            yield "files", f"does not list {path!r} ({why}); add it with its sha256"


def _golden(description: Description) -> Iterator[Fault]:
    roles = sorted(output.role for output in description.outputs)
    tolerance, measured = description.golden.tolerance_lsb, description.golden.measured_lsb
    if sorted(tolerance) != roles:
        yield "golden.tolerance_lsb", f"is given for {sorted(tolerance)}; the outputs are {roles}"
    if measured and sorted(measured) != roles:
        yield "golden.measured_lsb", f"is given for {sorted(measured)}; the outputs are {roles}"
    for role in sorted(set(tolerance) & set(measured)):
        if measured[role] > tolerance[role]:
            yield (
                "golden.tolerance_lsb",
                f"allows {role} {tolerance[role]} steps, less than the {measured[role]} measured",
            )


def _metrics(description: Description) -> Iterator[Fault]:
    told = [(metric.name, metric.data) for metric in description.metrics]
    for index, figure in enumerate(told):
        if figure in told[:index]:
            yield f"metrics.{index}.name", f"is told twice of {figure[1]!r}; which value is right?"


_RULES: tuple[Callable[[Description], Iterator[Fault]], ...] = (
    _task,
    _roles,
    _output_shapes,
    _reconstruction,
    _input,
    _extract,
    _normalisation,
    _files,
    _golden,
    _metrics,
)


def _fits(shape: tuple[int, ...], wanted: Shape, sizes: dict[str, int]) -> bool:
    """Compare sizes; ``sizes`` learns what a letter stands for from the first tensor that has it."""
    if len(shape) != len(wanted):
        return False
    return all(
        size == (sizes.setdefault(want, size) if isinstance(want, str) else want)
        for size, want in zip(shape, wanted, strict=True)
    )


def _say(wanted: Shape, sizes: Mapping[str, int]) -> str:
    """Write a shape, with the sizes that are known."""
    return "[" + ", ".join(str(sizes.get(want, want)) if isinstance(want, str) else str(want) for want in wanted) + "]"
