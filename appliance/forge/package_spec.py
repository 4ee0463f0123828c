"""What is to be known of a model that its file does not tell, and whether file and spec can be one folder."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath

import numpy as np

from appliance.core.facts import DataCard, Limits, ModelMetric, ModelProvenance
from appliance.core.model import Dtype
from appliance.core.quant import quantise
from appliance.core.types import Array
from appliance.errors import ForgeError
from appliance.forge.goldens import Edge
from appliance.forge.run import IDENTIFIER
from appliance.trust.consistency import DECODERS, LABELS_FILE, MODEL_FILE
from appliance.trust.model import DESCRIPTION_FILE, GOLDEN_VECTORS_MAX

GOLDEN_FILE = "golden/golden.npz"


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


def check(spec: PackageSpec) -> None:
    """Find what is wrong with a spec before its model is opened.

    Raises:
        ForgeError: the bytes are no model, labels or golden inputs are missing, or a file would stand in another's
            place or outside the folder.
    """
    if spec.tflite[4:8] != IDENTIFIER:
        msg = "model.tflite: not a TFLite flatbuffer (no identifier TFL3 at byte 4); is it whole, and the right file?"
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
    _check_paths(spec)


def _check_paths(spec: PackageSpec) -> None:
    """Raise ForgeError unless every further file has a place of its own inside the folder."""
    taken = {MODEL_FILE, LABELS_FILE, GOLDEN_FILE, DESCRIPTION_FILE, *(set(spec.files) & set(spec.papers))}
    for path in [*spec.files, *spec.papers]:
        parts = PurePosixPath(path).parts
        if path in taken or not parts or ".." in parts or parts[0] == "/":
            msg = (
                f"{path!r}: a further file needs a path of its own inside the folder, and this one is taken or outside"
            )
            raise ForgeError(msg)


def check_input(edge: Edge) -> None:
    """Raise ForgeError for a float model."""
    if edge.input.dtype is Dtype.FLOAT32:
        msg = (
            f"model.tflite takes {edge.input.dtype.value} at {edge.input.name!r}: a float model is not packaged; "
            "make it full-integer INT8 first (appliance forge quantize)"
        )
        raise ForgeError(msg)


def positions(outputs: Mapping[str, tuple[int, ...] | str], edge: Edge) -> dict[str, int]:
    """Find each role among the model's outputs. Raises ForgeError unless each stands for one, and none is left."""
    there = ", ".join(f"{spec.name!r} {spec.dtype.value} {list(spec.shape)}" for spec in edge.outputs)
    found: dict[str, int] = {}
    for role, wanted in outputs.items():
        fitting = [
            at
            for at, spec in enumerate(edge.outputs)
            if (spec.name == wanted if isinstance(wanted, str) else spec.shape == tuple(wanted))
        ]
        if len(fitting) != 1:
            msg = (
                f"output {role!r}: {len(fitting)} outputs are {wanted!r}; the model has {there}: give the tensor's name"
            )
            raise ForgeError(msg)
        found[role] = fitting[0]
    if sorted(found.values()) != list(range(len(edge.outputs))):
        msg = f"the roles {list(outputs)} do not stand for each output once; the model has {there}"
        raise ForgeError(msg)
    return found


def tensors(inputs: Sequence[Array], edge: Edge) -> list[Array]:
    """Quantise normalised inputs as the device does.

    Raises:
        ForgeError: one has not the input's shape, or holds what is not finite.
    """
    for number, values in enumerate(map(np.asarray, inputs)):
        if values.shape != edge.input.shape or not np.isfinite(values).all():
            msg = (
                f"golden input {number} is {list(values.shape)}, or holds numbers that are not finite; the model "
                f"takes finite normalised floats of {list(edge.input.shape)}, batch included"
            )
            raise ForgeError(msg)
    return [quantise(np.asarray(values), edge.input) for values in inputs]
