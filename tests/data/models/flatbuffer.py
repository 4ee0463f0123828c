"""Two tiny `.tflite` files that no converter writes, put together from TFLite's own schema.

`python tests/data/models/flatbuffer.py` in an environment with ai-edge-litert writes, beside itself:

- `edgetpu-op.tflite`: int8 [1, 4] through one custom op called `edgetpu-custom-op`, as edgetpu_compiler leaves it.
- `twins.tflite`: float32 [1, 2] to `minus` (-x) and `plus` (|x|), two outputs of one shape and dtype.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import flatbuffers  # type: ignore[import-untyped]  # comes with ai-edge-litert, without types
from ai_edge_litert import schema_py_generated as schema

HERE = Path(__file__).resolve().parent
Foreign = Any  # the schema ships no types


@dataclass(frozen=True)
class Tensor:
    """A tensor's name, shape, TFLite type and quantisation (scale 0 for none)."""

    name: str
    shape: tuple[int, ...]
    dtype: int
    scale: float = 0.0
    zero_point: int = 0

    def build(self) -> Foreign:
        """Give the schema's object."""
        tensor = schema.TensorT()
        tensor.name, tensor.shape, tensor.type, tensor.buffer = self.name, list(self.shape), self.dtype, 0
        if self.scale:
            tensor.quantization = schema.QuantizationParametersT()
            tensor.quantization.scale, tensor.quantization.zeroPoint = [self.scale], [self.zero_point]
        return tensor


def op_code(builtin: int, custom: str | None = None) -> Foreign:
    """Name an operator."""
    code = schema.OperatorCodeT()
    code.builtinCode, code.version = builtin, 1
    code.deprecatedBuiltinCode = min(builtin, 127)  # the older field has a byte
    code.customCode = custom
    return code


def write(file: Path, tensors: list[Tensor], codes: list[Foreign], operators: list[tuple[int, int, int]]) -> None:
    """Write a model; an operator is (index of its code, index of its input, index of its output)."""
    graph = schema.SubGraphT()
    graph.tensors = [tensor.build() for tensor in tensors]
    graph.inputs, graph.outputs, graph.operators = [0], [output for _, _, output in operators], []
    for code, source, output in operators:
        operator = schema.OperatorT()
        operator.opcodeIndex, operator.inputs, operator.outputs = code, [source], [output]
        graph.operators.append(operator)
    model = schema.ModelT()
    model.version, model.operatorCodes, model.subgraphs, model.buffers = 3, codes, [graph], [schema.BufferT()]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    file.write_bytes(bytes(builder.Output()))
    print(f"{file.name}: {file.stat().st_size} bytes")


def main() -> None:
    """Write both files."""
    types, builtin = schema.TensorType, schema.BuiltinOperator
    write(
        HERE / "edgetpu-op.tflite",
        [Tensor("x", (1, 4), types.INT8, 0.5), Tensor("y", (1, 4), types.INT8, 0.5)],
        [op_code(builtin.CUSTOM, "edgetpu-custom-op")],
        [(0, 0, 1)],
    )
    write(
        HERE / "twins.tflite",
        [Tensor(name, (1, 2), types.FLOAT32) for name in ("x", "minus", "plus")],
        [op_code(builtin.NEG), op_code(builtin.ABS)],
        [(0, 0, 1), (1, 0, 2)],
    )


if __name__ == "__main__":
    main()
