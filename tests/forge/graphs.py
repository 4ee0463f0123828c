"""Graphs for tests, put together from TFLite's own schema: no converter writes most of what a rule is about."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import flatbuffers  # type: ignore[import-untyped]  # comes with ai-edge-litert, without types
import numpy as np
from ai_edge_litert import schema_py_generated as schema

Foreign = Any  # the schema ships no types
IDENTIFIER = b"TFL3"
NUMPY_TYPES = {"INT8": np.int8, "UINT8": np.uint8, "INT32": np.int32, "INT64": np.int64, "FLOAT32": np.float32}
RELU = 1
LAST_SMALL_CODE = 127


@dataclass
class GraphBuilder:
    """Collects tensors and operators; ``flatbuffer`` gives the file."""

    tensors: list[Foreign] = field(default_factory=list)
    buffers: list[Foreign] = field(default_factory=lambda: [schema.BufferT()])
    codes: list[Foreign] = field(default_factory=list)
    operators: list[Foreign] = field(default_factory=list)
    inputs: list[int] = field(default_factory=list)
    outputs: list[int] = field(default_factory=list)
    subgraphs: int = 1

    def tensor(
        self,
        shape: Sequence[int],
        dtype: str = "INT8",
        *,
        values: Sequence[float] | None = None,
        scales: Sequence[float] | None = None,
        zero_point: int = 0,
        signature: Sequence[int] | None = None,
    ) -> int:
        """Add a tensor; with values it is a constant (one value fills it). 8-bit tensors get a scale unless told."""
        tensor = schema.TensorT()
        tensor.name, tensor.shape, tensor.type = f"t{len(self.tensors)}", list(shape), getattr(schema.TensorType, dtype)
        tensor.buffer = 0
        if signature is not None:
            tensor.shapeSignature = list(signature)
        if values is not None:
            buffer = schema.BufferT()
            array = np.full(shape, values[0]) if len(values) == 1 else np.array(values).reshape(shape)
            buffer.data = np.frombuffer(array.astype(NUMPY_TYPES[dtype]).tobytes(), np.uint8)
            self.buffers.append(buffer)
            tensor.buffer = len(self.buffers) - 1
        if scales is None:
            scales = (0.5,) if dtype in {"INT8", "UINT8"} else ()
        if scales:
            tensor.quantization = schema.QuantizationParametersT()
            tensor.quantization.scale = list(scales)
            tensor.quantization.zeroPoint = [zero_point] * len(scales)
        self.tensors.append(tensor)
        return len(self.tensors) - 1

    def source(self, shape: Sequence[int], dtype: str = "INT8", **more: Foreign) -> int:
        """Add an input of the graph."""
        self.inputs.append(self.tensor(shape, dtype, **more))
        return self.inputs[-1]

    def constant(self, values: Sequence[float], dtype: str = "INT32") -> int:
        """Add a vector of whole numbers: axes, sizes, paddings."""
        return self.tensor((len(values),), dtype, values=values, scales=())

    def operator(
        self,
        name: str,
        inputs: Sequence[int],
        output: Sequence[int] | int,
        *,
        version: int = 1,
        options: tuple[str, Mapping[str, Foreign]] | None = None,
        custom: str = "",
    ) -> int:
        """Add an operator; its output is given as an index or as the shape of a new INT8 tensor. Gives the output."""
        made = output if isinstance(output, int) else self.tensor(output)
        code = schema.OperatorCodeT()
        code.builtinCode, code.version = getattr(schema.BuiltinOperator, name), version
        code.deprecatedBuiltinCode = min(code.builtinCode, LAST_SMALL_CODE)
        code.customCode = custom or None
        operator = schema.OperatorT()
        operator.opcodeIndex, operator.inputs, operator.outputs = len(self.codes), list(inputs), [made]
        if options is not None:
            table, values = options
            operator.builtinOptionsType = getattr(schema.BuiltinOptions, table)
            operator.builtinOptions = getattr(schema, f"{table}T")()
            for key, value in values.items():
                assert hasattr(operator.builtinOptions, key), key
                setattr(operator.builtinOptions, key, value)
        self.codes.append(code)
        self.operators.append(operator)
        return made

    def ending(self, *outputs: int) -> Self:
        """Name the graph's outputs."""
        self.outputs.extend(outputs)
        return self

    def flatbuffer(self) -> bytes:
        """Give the ``.tflite``."""
        graph = schema.SubGraphT()
        graph.tensors, graph.operators = self.tensors, self.operators
        graph.inputs, graph.outputs = self.inputs, self.outputs
        model = schema.ModelT()
        model.version, model.operatorCodes, model.buffers = 3, self.codes, self.buffers
        model.subgraphs = [graph] * self.subgraphs
        builder = flatbuffers.Builder(1024)
        builder.Finish(model.Pack(builder), file_identifier=IDENTIFIER)
        return bytes(builder.Output())


def dense(builder: GraphBuilder, source: int, *, units: int = 4, features: int = 4, **more: Foreign) -> int:
    """Add a dense layer on rows of ``features``."""
    weights = builder.tensor((units, features), values=(1,))
    bias = builder.tensor((units,), "INT32", values=(0,), scales=(0.25,))
    more = {"version": 4, "options": ("FullyConnectedOptions", {}), **more}
    return builder.operator("FULLY_CONNECTED", (source, weights, bias), (1, units), **more)


def convolution(builder: GraphBuilder, source: int, *, channels: int = 4, **options: Foreign) -> int:
    """Add a 1x1 convolution on [1, 4, 4, channels]."""
    weights = builder.tensor((4, 1, 1, channels), values=(1,))
    bias = builder.tensor((4,), "INT32", values=(0,), scales=(0.25,))
    table = {"strideW": 1, "strideH": 1, **options}
    inputs = (source, weights, bias)
    return builder.operator("CONV_2D", inputs, (1, 4, 4, 4), version=3, options=("Conv2DOptions", table))


def outside(tflite: bytes) -> bytes:
    """Move a file's constants behind the flatbuffer, as litert-quantizer writes them."""
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(tflite, 0))
    moved = [buffer for buffer in model.buffers if buffer.data is not None and len(buffer.data)]
    data = [bytes(buffer.data) for buffer in moved]
    for buffer, each in zip(moved, data, strict=True):
        buffer.data, buffer.offset, buffer.size = None, 1, len(each)
    start = len(_packed(model))  # the offsets' values do not change the length
    for buffer, each in zip(moved, data, strict=True):
        buffer.offset, start = start, start + len(each)
    return _packed(model) + b"".join(data)


def _packed(model: Foreign) -> bytes:
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), file_identifier=IDENTIFIER)
    return bytes(builder.Output())
