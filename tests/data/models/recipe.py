"""Write a model folder: what every recipe here does once its `.tflite` exists.

A recipe supplies a flatbuffer, the inputs for its golden vectors and the facts no file can tell (licence,
preprocessing, decoding). This module reads the rest out of the flatbuffer, runs the golden vectors and writes
`model.toml`.
The format is described in `models/README.md`. Real models are packaged by the forge; this keeps theirs as they were.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]

Foreign = Any  # an object of tensorflow or of a runtime: neither ships types

MODELS = Path(__file__).resolve().parent
MODEL_FILE = "model.tflite"
GOLDEN_FILE = "golden/golden.npz"
LABELS_FILE = "labels.txt"
HALF = 0.5


class RecipeError(Exception):
    """The recipe cannot be carried out; the message says what to do about it."""


@dataclass(frozen=True)
class Tensor:
    """One input or output of a `.tflite`, as its interpreter describes it."""

    index: int
    name: str
    shape: tuple[int, ...]
    dtype: str
    scale: float
    zero_point: int

    @classmethod
    def from_details(cls, details: Mapping[str, Any]) -> Tensor:
        """Read the dictionary that `get_input_details` and `get_output_details` give for a tensor."""
        scale, zero_point = details["quantization"]
        return cls(
            index=int(details["index"]),
            name=str(details["name"]),
            shape=tuple(int(size) for size in details["shape"]),
            dtype=np.dtype(details["dtype"]).name,
            scale=float(scale),
            zero_point=int(zero_point),
        )

    def quantise(self, values: Array) -> Array:
        """Turn normalised float values into this tensor's integers, of the same shape, saturating at both ends.

        Rounded half away from zero and then shifted, in float32, as TFLite and the appliance do. Pixels normalised by
        127.5 lie half-way between two steps, every one: NumPy's rounding to even would merge them in pairs.
        """
        if self.dtype == "float32":
            return values.astype(np.float32)
        limits = np.iinfo(self.dtype)
        steps = values.astype(np.float32) / np.float32(self.scale)
        whole = np.trunc(steps)
        whole += np.where(np.abs(steps - whole) >= HALF, np.sign(steps), np.float32(0))
        quantised: Array = np.clip(whole + self.zero_point, limits.min, limits.max).astype(self.dtype)
        return quantised

    def dequantise(self, steps: Array) -> Array:
        """Turn this tensor's integers into float32 of the same shape. Widened first: int8 minus int8 overflows."""
        if self.dtype == "float32":
            return steps
        return ((steps.astype(np.int32) - self.zero_point) * self.scale).astype(np.float32)

    def facts(self) -> dict[str, object]:
        """Give the keys that `model.toml` states for a tensor."""
        return {
            "name": self.name,
            "shape": list(self.shape),
            "dtype": self.dtype,
            "scale": self.scale,
            "zero_point": self.zero_point,
        }


class Runner:
    """A `.tflite` on the CPU, its outputs known by role."""

    def __init__(self, tflite: bytes, shapes: Mapping[str, tuple[int, ...]]) -> None:
        """Load a flatbuffer of one input.

        Args:
            tflite: the flatbuffer.
            shapes: role to output shape. The order of outputs differs between converters, so it is never relied upon.

        Raises:
            RecipeError: ai-edge-litert is missing, or an output is not what the recipe expects.
        """
        self._interpreter = _interpreter(tflite)
        self.input = Tensor.from_details(self._interpreter.get_input_details()[0])
        outputs = [Tensor.from_details(each) for each in self._interpreter.get_output_details()]
        self.outputs = {role: _with_shape(outputs, shape) for role, shape in shapes.items()}
        if len(self.outputs) != len(outputs):
            msg = f"the model has {len(outputs)} outputs, the recipe names {len(self.outputs)}"
            raise RecipeError(msg)

    def run(self, tensor: Array) -> dict[str, Array]:
        """Run one input of the model's own dtype and shape; gives role to raw output."""
        self._interpreter.set_tensor(self.input.index, tensor)
        self._interpreter.invoke()
        return {role: self._interpreter.get_tensor(out.index).copy() for role, out in self.outputs.items()}

    def values(self, normalised: Array) -> dict[str, Array]:
        """Run one normalised float input, batch included; gives role to dequantised output."""
        raw = self.run(self.input.quantise(normalised))
        return {role: self.outputs[role].dequantise(steps) for role, steps in raw.items()}


def _interpreter(tflite: bytes) -> Foreign:
    try:
        from ai_edge_litert.interpreter import Interpreter  # noqa: PLC0415 - so that --help works without it
    except ImportError as error:
        msg = "ai-edge-litert is not installed: make forge, and .venv-forge/bin/python"
        raise RecipeError(msg) from error
    interpreter = Interpreter(model_content=tflite, num_threads=1)
    interpreter.allocate_tensors()
    return interpreter


def _with_shape(outputs: Sequence[Tensor], shape: tuple[int, ...]) -> Tensor:
    found = [output for output in outputs if output.shape == shape]
    if len(found) != 1:
        msg = f"{len(found)} outputs of shape {list(shape)} among {[list(output.shape) for output in outputs]}"
        raise RecipeError(msg)
    return found[0]


@dataclass(frozen=True)
class Model:
    """Everything a model folder says, before it is written. Each field is explained in `models/README.md`."""

    name: str
    version: str
    task: str
    description: str
    licence: str
    source: str
    tflite: bytes
    output_shapes: Mapping[str, tuple[int, ...]]  # role -> shape, in the order model.toml lists them
    preprocess: Mapping[str, object]
    decode: Mapping[str, object]
    tolerance_lsb: Mapping[str, int]
    golden_inputs: Sequence[Array]  # normalised floats, one model input each
    labels: Sequence[str] = ()
    files: Mapping[str, bytes] = field(default_factory=dict)  # further files the device needs
    papers: Mapping[str, bytes] = field(default_factory=dict)  # files for people, not listed in [files]: a licence


def write_folder(model: Model, models_root: Path) -> Path:
    """Write `<models_root>/<name>/<version>/` whole or not at all; gives its path."""
    runner = Runner(model.tflite, model.output_shapes)
    files = {MODEL_FILE: model.tflite, **model.files, GOLDEN_FILE: _golden(model, runner)}
    if model.labels:
        files[LABELS_FILE] = ("\n".join(model.labels) + "\n").encode()
    toml = _model_toml(model, runner, files).encode()
    folder = models_root / model.name / model.version
    _replace_folder(folder, {**files, **model.papers, "model.toml": toml})
    for path in sorted(each for each in folder.rglob("*") if each.is_file()):
        print(f"  {path.stat().st_size:>9,} bytes  {path.relative_to(models_root)}")
    return folder


def _golden(model: Model, runner: Runner) -> bytes:
    arrays: dict[str, Array] = {}
    for index, normalised in enumerate(model.golden_inputs):
        tensor = runner.input.quantise(normalised)
        arrays[f"input_{index}"] = tensor
        arrays |= {f"{role}_{index}": raw for role, raw in runner.run(tensor).items()}
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]  # its keyword `allow_pickle` confuses the checker
    return buffer.getvalue()


def _model_toml(model: Model, runner: Runner, files: Mapping[str, bytes]) -> str:
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in sorted(files.items())}
    head = {key: getattr(model, key) for key in ("name", "version", "task", "description", "licence", "source")}
    outputs = [("[[outputs]]", {"role": role, **runner.outputs[role].facts()}) for role in model.output_shapes]
    sections: list[tuple[str, Mapping[str, object]]] = [
        ("[files]", digests),
        ("[input]", runner.input.facts()),
        ("[preprocess]", model.preprocess),
        *outputs,
        ("[decode]", model.decode),
        ("[golden]", {"file": GOLDEN_FILE}),
        ("[golden.tolerance_lsb]", model.tolerance_lsb),
    ]
    blocks = [_lines({"schema": 1, **head})]
    blocks += [f"{title}\n{_lines(keys)}" for title, keys in sections]
    return "\n\n".join(blocks) + "\n"


def _lines(keys: Mapping[str, object]) -> str:
    # JSON's strings, numbers, booleans and flat lists are TOML's; a key is quoted when it is a path.
    return "\n".join(f"{_key(key)} = {json.dumps(value)}" for key, value in keys.items())


def _key(key: str) -> str:
    return key if key.replace("_", "").isalnum() else json.dumps(key)


def _replace_folder(folder: Path, files: Mapping[str, bytes]) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as scratch:
        whole = Path(scratch) / "new"
        for name, content in files.items():
            path = whole / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        if folder.exists():  # a folder cannot be renamed over one that has files
            folder.rename(Path(scratch) / "old")
        whole.rename(folder)


def arguments(description: str, default_out: Path = MODELS) -> argparse.ArgumentParser:
    """Give the command line that every recipe has; one with more options adds them."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument(
        "--out", type=Path, default=default_out, help="where to write <name>/<version>/ (default: beside the recipe)"
    )
    return parser


def carry_out(build: Callable[[], None]) -> int:
    """Build, or say in one line why not; gives the exit status."""
    try:
        build()
    except RecipeError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def roc_auc(scores: Array, positive: Array) -> float:
    """Give the chance that a random positive outscores a random negative (ties count half).

    Args:
        scores: float [n], higher is more positive.
        positive: bool [n].
    """
    values, ties = np.unique(scores, return_inverse=True)
    counts = np.bincount(ties, minlength=len(values))
    ranks = np.cumsum(counts) - (counts - 1) / 2  # of each distinct score, from 1, averaged over its ties
    n_positive, n_negative = int(positive.sum()), int((~positive).sum())
    return float((ranks[ties][positive].sum() - n_positive * (n_positive + 1) / 2) / (n_positive * n_negative))
