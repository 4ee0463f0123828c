"""TFLite on the CPU: ai-edge-litert, or tflite-runtime where that is what is installed.

Both have the same Interpreter; one code path serves both (decision 0001). This is the twin that answers when an
accelerator is lost, so it depends on nothing but the processor.

Only verified bytes may come here: a damaged flatbuffer can crash the process. Of files with a few flipped bits
tflite-runtime 2.14 does not survive every second, ai-edge-litert 2.3 one in thirty (measured).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Literal, Self

import numpy as np

from appliance.config import ModelConfig
from appliance.core.model import Model, TensorSpec
from appliance.core.types import Array, Outputs
from appliance.errors import BackendError, ModelError

Runtime = Literal["auto", "ai-edge-litert", "tflite-runtime"]
RUNTIMES: dict[str, str] = {
    "ai-edge-litert": "ai_edge_litert.interpreter",
    "tflite-runtime": "tflite_runtime.interpreter",
}
"""Package to the module of its Interpreter, the preferred first."""
SCALE_TOLERANCE = 1e-6
"""Relative; a scale is a float32 in the file and a decimal number in ``model.toml``."""
EDGE_TPU_OP = "edgetpu-custom-op"
"""The one op of a file that edgetpu_compiler has compiled."""

_Foreign = Any  # the runtimes ship no types
_Details = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class _Loaded:
    """An interpreter that agrees with its model's description."""

    interpreter: _Foreign
    model: Model
    """Kept: the interpreter reads the model's bytes where they are, without a copy of its own."""
    input_index: int
    output_indexes: Mapping[str, int]


class CpuBackend:
    """Implements ``ports.Backend`` in this process. It cannot hang, so it ignores the deadline."""

    name = "cpu"

    def __init__(self, *, threads: int = 1, xnnpack: bool = True, runtime: Runtime = "auto") -> None:
        """Choose how to run; nothing is loaded yet.

        Args:
            threads: for one invoke, 1 or more.
            xnnpack: False runs TFLite's own kernels alone: slower (4 to 5 times on x86-64), a second opinion.
            runtime: ``auto`` takes the first of ``RUNTIMES`` that is installed.
        """
        self._threads = threads
        self._xnnpack = xnnpack
        self._runtime = runtime
        self._loaded: _Loaded | None = None

    @classmethod
    def from_config(cls, config: ModelConfig) -> Self:
        """Make the backend that a model's configuration asks for."""
        return cls(threads=config.threads, xnnpack=config.xnnpack)

    def open(self, model: Model) -> None:
        """Load ``model`` and hold its tensors against its description.

        Raises:
            ModelError: the file is damaged, needs an op this runtime has not, or contradicts the description.
            BackendError: no runtime is installed, or there is not enough memory.
        """
        self.close()
        interpreter = self._interpreter(model)
        inputs, outputs = interpreter.get_input_details(), interpreter.get_output_details()
        if len(inputs) != 1:
            msg = f"{_name(model)}: model.tflite has {len(inputs)} inputs; the appliance feeds exactly one"
            raise ModelError(msg)
        _check(model, "input", model.input, inputs[0])
        self._loaded = _Loaded(interpreter, model, int(inputs[0]["index"]), _resolve(model, outputs))

    def invoke(self, tensor: Array, deadline_s: float) -> Outputs:  # noqa: ARG002 - as the class says
        """Run the model on ``tensor`` (shape and dtype of the input spec); returns copies of the raw outputs.

        Raises:
            BackendError: the runtime failed, or this backend is not open.
        """
        loaded = self._loaded
        if loaded is None:
            msg = "cpu: not open"
            raise BackendError(msg)
        spec = loaded.model.input
        assert tensor.shape == spec.shape, f"{tensor.shape} given, {spec.shape} wanted"
        assert tensor.dtype == spec.dtype.numpy, f"{tensor.dtype} given, {spec.dtype} wanted"
        interpreter = loaded.interpreter
        try:
            # One memcpy into the tensor. A view from interpreter.tensor() was measured and is not faster (7 us
            # either way for 300 x 300 x 3, 0.35 against 0.53 us for 12 values), and forbids invoke while it lives.
            interpreter.set_tensor(loaded.input_index, tensor)
            interpreter.invoke()
            return {role: interpreter.get_tensor(index) for role, index in loaded.output_indexes.items()}
        except (RuntimeError, ValueError) as error:
            msg = f"cpu: invoke failed: {_first_line(error)}"
            raise BackendError(msg) from error

    def invoke_bare(self) -> None:
        """Invoke on whatever the input tensor holds and copy nothing: what a bench holds the loop against."""
        assert self._loaded is not None, "open first"
        self._loaded.interpreter.invoke()

    def close(self) -> None:
        """Let the interpreter and its memory go. Idempotent."""
        self._loaded = None

    def _interpreter(self, model: Model) -> _Foreign:
        """Build an interpreter on the verified bytes."""
        module = load_runtime(self._runtime)
        resolver = module.OpResolverType
        kind = resolver.AUTO if self._xnnpack else resolver.BUILTIN_WITHOUT_DEFAULT_DELEGATES
        try:
            interpreter = module.Interpreter(
                model_content=model.tflite, num_threads=self._threads, experimental_op_resolver_type=kind
            )
            interpreter.allocate_tensors()
        except MemoryError as error:
            msg = f"cpu: not enough memory for {_name(model)}"
            raise BackendError(msg) from error
        except (RuntimeError, ValueError) as error:
            raise ModelError(_why_not(model, str(error))) from error
        return interpreter


def load_runtime(runtime: Runtime = "auto") -> _Foreign:
    """Import the interpreter module that ``runtime`` names, or the first that is installed. Raises BackendError."""
    names = list(RUNTIMES) if runtime == "auto" else [runtime]
    reasons = []
    for name in names:
        try:
            return import_module(RUNTIMES[name])
        except (ImportError, OSError) as error:  # OSError: a shared library of the package does not load
            reasons.append(f"{name}: {_first_line(error)}")
    msg = f"cpu: no TFLite runtime ({'; '.join(reasons)}); pip install ai-edge-litert"
    raise BackendError(msg)


def _why_not(model: Model, error: str) -> str:
    """Say why the runtime refuses the file."""
    if EDGE_TPU_OP in error:
        return (
            f"{_name(model)}: model.tflite is compiled for the Edge TPU and runs nowhere else; put the uncompiled file "
            "there, and the compiled one beside it as model_edgetpu.tflite"
        )
    return f"{_name(model)}: the runtime refuses model.tflite: {error.splitlines()[0] if error else 'no reason given'}"


def _resolve(model: Model, details: Sequence[_Details]) -> dict[str, int]:
    """Find each role's tensor by name, else as the only one of its shape and dtype. Converters order them freely."""
    if len(details) != len(model.outputs):
        msg = f"{_name(model)}: model.tflite has {len(details)} outputs, model.toml describes {len(model.outputs)}"
        raise ModelError(msg)
    indexes = {}
    for role, spec in model.outputs.items():
        found = [detail for detail in details if detail["name"] == spec.name]
        if len(found) != 1:
            found = [detail for detail in details if _kind(detail) == (spec.shape, spec.dtype.value)]
        if len(found) != 1:
            there = ", ".join(f"{detail['name']!r} {_say(*_kind(detail))}" for detail in details)
            msg = (
                f"{_name(model)}: output {role!r} cannot be told apart: model.toml names {spec.name!r} "
                f"{_say(spec.shape, spec.dtype.value)}, model.tflite has {there}"
            )
            raise ModelError(msg)
        _check(model, f"output {role!r}", spec, found[0])
        indexes[role] = int(found[0]["index"])
    if len(set(indexes.values())) < len(indexes):
        msg = f"{_name(model)}: two roles of model.toml lead to one tensor of model.tflite; correct the outputs' names"
        raise ModelError(msg)
    return indexes


def _check(model: Model, what: str, spec: TensorSpec, detail: _Details) -> None:
    """Raise ModelError unless the file's tensor is what the description says."""
    scale, zero_point = detail["quantization"]
    there = f"{_say(*_kind(detail))}, scale {scale!r}, zero_point {zero_point}"
    told = f"{_say(spec.shape, spec.dtype.value)}, scale {spec.scale!r}, zero_point {spec.zero_point}"
    same = _kind(detail) == (spec.shape, spec.dtype.value) and zero_point == spec.zero_point
    if not same or not math.isclose(scale, spec.scale, rel_tol=SCALE_TOLERANCE):
        msg = f"{_name(model)}: {what}: model.tflite has {there}; model.toml says {told}"
        raise ModelError(msg)


def _kind(detail: _Details) -> tuple[tuple[int, ...], str]:
    """Shape and dtype of a tensor of the file."""
    return tuple(int(size) for size in detail["shape"]), np.dtype(detail["dtype"]).name


def _say(shape: tuple[int, ...], dtype: str) -> str:
    return f"{dtype} {list(shape)}"


def _name(model: Model) -> str:
    return f"{model.name} {model.version}"


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
