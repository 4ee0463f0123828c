"""A ``.tflite`` on this machine's CPU, its outputs known by role: what every step measures with."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from appliance.core import quant
from appliance.core.model import Dtype, TensorSpec
from appliance.core.types import Array
from appliance.errors import ForgeError
from appliance.forge.foreign import Foreign, load_library

IDENTIFIER = b"TFL3"
"""At byte 4 of every ``.tflite``."""


@dataclass(frozen=True, slots=True)
class Tensor:
    """One input or output of a ``.tflite``."""

    index: int
    """As the interpreter numbers it."""
    spec: TensorSpec

    @classmethod
    def from_details(cls, details: Mapping[str, Foreign]) -> Self:
        """Read the dictionary that ``get_input_details`` and ``get_output_details`` give for a tensor.

        Raises:
            ForgeError: of a type no model of the appliance has at its edges.
        """
        name, dtype = str(details["name"]), np.dtype(details["dtype"]).name
        if dtype not in set(Dtype):
            msg = f"tensor {name!r} is {dtype}; models of the appliance take and give {', '.join(Dtype)}"
            raise ForgeError(msg)
        scale, zero_point = details["quantization"]
        shape = tuple(int(size) for size in details["shape"])
        return cls(int(details["index"]), TensorSpec(name, shape, Dtype(dtype), float(scale), int(zero_point)))

    def quantise(self, normalised: Array) -> Array:
        """Turn normalised float values into this tensor's own, of the same shape, as the device does."""
        return quant.quantise(normalised, self.spec)

    def dequantise(self, raw: Array) -> NDArray[np.float32]:
        """Turn this tensor's values into float32 of the same shape."""
        return quant.dequantise(raw, self.spec)


class Runner:
    """A ``.tflite`` of one input, on one thread of the CPU."""

    def __init__(self, tflite: bytes, shapes: Mapping[str, tuple[int, ...]] | None = None) -> None:
        """Load a flatbuffer.

        Args:
            tflite: the flatbuffer.
            shapes: role to output shape; without it each output's role is its name. The order of outputs differs
                between converters, so it is never relied upon.

        Raises:
            ForgeError: the runtime is missing, the file is no model it can run, or an output is not what is expected.
        """
        self._interpreter = interpreter(tflite)
        inputs, outputs = _edges(self._interpreter)
        if len(inputs) != 1:
            msg = f"the model has {len(inputs)} inputs; the appliance feeds one"
            raise ForgeError(msg)
        self.input = inputs[0]
        self.outputs = _by_role(outputs, shapes)

    def run(self, tensor: Array) -> dict[str, Array]:
        """Run one input of the model's own dtype and shape; gives role to raw output."""
        self._interpreter.set_tensor(self.input.index, tensor)
        self._interpreter.invoke()
        return {role: self._interpreter.get_tensor(out.index).copy() for role, out in self.outputs.items()}

    def values(self, normalised: Array) -> dict[str, Array]:
        """Run one normalised float input, batch included; gives role to dequantised output."""
        raw = self.run(self.input.quantise(normalised))
        return {role: self.outputs[role].dequantise(steps) for role, steps in raw.items()}

    def each(self, normalised: Array) -> dict[str, Array]:
        """Run many: float ``[n, ...]`` without a batch of their own; gives role to float32 ``[n, ...]``."""
        rows = [self.values(one[np.newaxis]) for one in normalised]
        return {role: np.concatenate([row[role] for row in rows]) for role in self.outputs}


def interpreter(tflite: bytes) -> Foreign:
    """Load a flatbuffer into ai-edge-litert, one thread, tensors allocated.

    Raises:
        ForgeError: the runtime is missing, or the bytes are no model it can run.
    """
    runtime = load_library("ai_edge_litert.interpreter", "run models")
    if tflite[4:8] != IDENTIFIER:
        msg = f"this is no .tflite: {len(tflite)} bytes without its mark {IDENTIFIER.decode()} at byte 4"
        raise ForgeError(msg)
    try:
        loaded = runtime.Interpreter(model_content=tflite, num_threads=1)
        loaded.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        msg = f"the runtime cannot load this .tflite: {str(error).strip() or type(error).__name__}"
        raise ForgeError(msg) from error
    return loaded


def _edges(loaded: Foreign) -> tuple[list[Tensor], list[Tensor]]:
    """Return inputs and outputs. Raises ForgeError when a damaged file describes them as nothing that can be."""
    try:
        given, made = loaded.get_input_details(), loaded.get_output_details()
    except (ValueError, TypeError) as error:  # a name that is no UTF-8, a type that does not exist
        msg = f"this .tflite is damaged: {error}"
        raise ForgeError(msg) from error
    return [Tensor.from_details(each) for each in given], [Tensor.from_details(each) for each in made]


def _by_role(outputs: Sequence[Tensor], shapes: Mapping[str, tuple[int, ...]] | None) -> dict[str, Tensor]:
    """Find each role's output. Raises ForgeError unless each is found once and none is left."""
    if shapes is None:
        return {output.spec.name: output for output in outputs}
    found = {role: _with_shape(outputs, shape) for role, shape in shapes.items()}
    if len(found) != len(outputs):
        msg = f"the model has {len(outputs)} outputs, {len(found)} are named: {', '.join(shapes)}"
        raise ForgeError(msg)
    return found


def _with_shape(outputs: Sequence[Tensor], shape: tuple[int, ...]) -> Tensor:
    found = [output for output in outputs if output.spec.shape == tuple(shape)]
    if len(found) != 1:
        there = ", ".join(str(list(output.spec.shape)) for output in outputs)
        msg = f"{len(found)} outputs have the shape {list(shape)}, one is wanted; the model's are {there}"
        raise ForgeError(msg)
    return found[0]
