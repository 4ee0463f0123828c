"""A TFLite file opened and held against its description: for the CPU, and for the worker that owns an Edge TPU.

ai-edge-litert and tflite-runtime have the same Interpreter; one code path serves both (decision 0001).

Only verified bytes may come here: a damaged flatbuffer can crash the process. Of files with a few flipped bits
tflite-runtime 2.14 does not survive every second, ai-edge-litert 2.3 one in thirty (measured).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Literal

import numpy as np

from appliance.adapters.backends.tensors import Described, FileTensor, first_line, full_name, match
from appliance.core.model import TensorSpec
from appliance.core.types import Array, Outputs
from appliance.errors import BackendError, ModelError

Runtime = Literal["auto", "ai-edge-litert", "tflite-runtime"]
RUNTIMES: dict[str, str] = {
    "ai-edge-litert": "ai_edge_litert.interpreter",
    "tflite-runtime": "tflite_runtime.interpreter",
}
"""Package to the module of its Interpreter, the preferred first."""
EDGE_TPU_OP = "edgetpu-custom-op"
"""The one op of a file that edgetpu_compiler has compiled."""

Foreign = Any  # the runtimes ship no types
_Details = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Network:
    """An interpreter that agrees with its model's description."""

    interpreter: Foreign
    content: bytes
    """Kept: the interpreter reads the file's bytes where they are, without a copy of its own."""
    input: TensorSpec
    input_index: int
    output_indexes: Mapping[str, int]

    def invoke(self, tensor: Array) -> Outputs:
        """Run on ``tensor`` (shape and dtype of the input spec); returns copies of the raw outputs by role.

        Raises:
            RuntimeError, ValueError: as the runtime does.
        """
        assert tensor.shape == self.input.shape, f"{tensor.shape} given, {self.input.shape} wanted"
        assert tensor.dtype == self.input.dtype.numpy, f"{tensor.dtype} given, {self.input.dtype} wanted"
        # One memcpy into the tensor. A view from interpreter.tensor() was measured and is not faster (7 us
        # either way for 300 x 300 x 3, 0.35 against 0.53 us for 12 values), and forbids invoke while it lives.
        self.interpreter.set_tensor(self.input_index, tensor)
        self.interpreter.invoke()
        return {role: self.interpreter.get_tensor(index) for role, index in self.output_indexes.items()}


def load_runtime(runtime: Runtime = "auto") -> Foreign:
    """Import the interpreter module that ``runtime`` names, or the first that is installed. Raises BackendError."""
    names = list(RUNTIMES) if runtime == "auto" else [runtime]
    reasons = []
    for name in names:
        try:
            return import_module(RUNTIMES[name])
        except (ImportError, OSError) as error:  # OSError: a shared library of the package does not load
            reasons.append(f"{name}: {first_line(error)}")
    msg = f"no TFLite runtime ({'; '.join(reasons)}); pip install ai-edge-litert"
    raise BackendError(msg)


def open_network(
    model: Described,
    content: bytes,
    *,
    file: str = "model.tflite",
    module: Foreign,
    threads: int = 1,
    xnnpack: bool = True,
    delegates: Sequence[Foreign] = (),
) -> Network:
    """Build an interpreter on verified bytes, and hold its tensors against the description.

    Args:
        model: the description.
        content: the file's bytes.
        file: how messages name it.
        module: a runtime's interpreter module, from ``load_runtime``.
        threads: for one invoke, 1 or more.
        xnnpack: False runs TFLite's own kernels alone.
        delegates: what takes over part of the graph; loaded by the caller.

    Raises:
        ModelError: the file is damaged, needs an op this runtime has not, or contradicts the description.
        BackendError: there is not enough memory.
    """
    resolver = module.OpResolverType
    kind = resolver.AUTO if xnnpack else resolver.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    try:
        interpreter = module.Interpreter(
            model_content=content,
            num_threads=threads,
            experimental_op_resolver_type=kind,
            experimental_delegates=list(delegates) or None,
        )
        interpreter.allocate_tensors()
    except MemoryError as error:
        msg = f"not enough memory for {full_name(model)}"
        raise BackendError(msg) from error
    except (RuntimeError, ValueError) as error:
        raise ModelError(_why_not(model, file, str(error), delegated=bool(delegates))) from error
    inputs, outputs = interpreter.get_input_details(), interpreter.get_output_details()
    places = match(model, file, [_tensor(each) for each in inputs], [_tensor(each) for each in outputs])
    indexes = {role: int(outputs[place]["index"]) for role, place in places.items()}
    return Network(interpreter, content, model.input, int(inputs[0]["index"]), indexes)


def _why_not(model: Described, file: str, error: str, *, delegated: bool) -> str:
    """Say why the runtime refuses the file."""
    if EDGE_TPU_OP in error and delegated:
        return (
            f"{full_name(model)}: {file} is compiled for the Edge TPU, but its library takes over none of it: "
            "compile it for the version that is installed"
        )
    if EDGE_TPU_OP in error:
        return (
            f"{full_name(model)}: {file} is compiled for the Edge TPU and runs nowhere else; put the uncompiled file "
            "there, and the compiled one beside it as model_edgetpu.tflite"
        )
    return f"{full_name(model)}: the runtime refuses {file}: {error.splitlines()[0] if error else 'no reason given'}"


def _tensor(detail: _Details) -> FileTensor:
    """Read an interpreter's details of a tensor."""
    scale, zero_point = detail["quantization"]
    shape = tuple(int(size) for size in detail["shape"])
    return FileTensor(str(detail["name"]), shape, np.dtype(detail["dtype"]).name, (scale, zero_point))
