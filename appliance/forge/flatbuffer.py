"""A ``.tflite`` as typed values: operators, tensors and constants, read without a runtime.

The layout is TFLite's schema (tensorflow/lite/schema/schema.fbs); the accessors generated from it come with
ai-edge-litert. A file from outside is not trusted: every count and index is checked, and whatever else is wrong with
it ends as a ForgeError.
"""

import struct
from collections.abc import Callable, Mapping

import numpy as np

from appliance.errors import ForgeError
from appliance.forge.foreign import Foreign, load_library
from appliance.forge.graph import Graph, GraphOperator, GraphTensor, Option, Quantisation

IDENTIFIER = b"TFL3"
"""At bytes 4 to 8 of every ``.tflite``."""
ENTRIES_MAX = 100_000
"""Tensors, operators or buffers of one graph; the largest seen have some 3,000."""
RANK_MAX = 16
"""Dimensions of one tensor; TFLite's kernels take up to 8."""
SUBGRAPHS_MAX = 1_000
OPERANDS_MAX = 4_096
"""Inputs or outputs of one operator or graph."""

_DAMAGE = (struct.error, IndexError, ValueError, TypeError, KeyError, AttributeError, OverflowError)
"""What the accessors raise when offsets lead astray."""


def read(tflite: bytes) -> Graph:
    """Read a flatbuffer.

    Raises:
        ForgeError: it is no ``.tflite``, is damaged or larger than the bounds here, or ai-edge-litert is missing.
    """
    schema = _schema(tflite)
    try:
        return _Reader(schema, tflite).graph()
    except _DAMAGE as error:
        msg = f"this .tflite is damaged: {_said(error)}; make or fetch it again"
        raise ForgeError(msg) from error


def inline_buffers(tflite: bytes) -> bytes:
    """Move constants that lie behind the flatbuffer into it, as parsers of before 2023 expect them.

    The Edge TPU compiler and older runtimes see empty weights otherwise. Bytes without such constants come back as
    they are.

    Args:
        tflite: a ``.tflite`` whose buffers may have ``offset`` and ``size`` (litert-quantizer writes such).

    Raises:
        ForgeError: it is no ``.tflite``, is damaged, or keeps constants in another file.
    """
    graph = read(tflite)
    if not any(tensor.outside for tensor in graph.tensors):
        return tflite
    if any(tensor.outside and tensor.data is None for tensor in graph.tensors):
        msg = "constants of this .tflite lie in another file; export it as one file"
        raise ForgeError(msg)
    schema, builders = _schema(tflite), load_library("flatbuffers", "write .tflite files")
    try:
        model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(tflite, 0))
        for buffer in model.buffers:
            if buffer.size:
                buffer.data = np.frombuffer(tflite[buffer.offset : buffer.offset + buffer.size], np.uint8)
                buffer.offset = buffer.size = 0
        builder = builders.Builder(len(tflite))
        builder.Finish(model.Pack(builder), file_identifier=IDENTIFIER)
        return bytes(builder.Output())
    except _DAMAGE as error:
        msg = f"this .tflite cannot be written anew: {_said(error)}"
        raise ForgeError(msg) from error


def _schema(tflite: bytes) -> Foreign:
    if tflite[4:8] != IDENTIFIER:
        msg = f"this is no .tflite: {len(tflite)} bytes without the mark {IDENTIFIER.decode()} at byte 4"
        raise ForgeError(msg)
    return load_library("ai_edge_litert.schema_py_generated", "read .tflite files")


def _said(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__


class _Reader:
    """Reads one file; its methods raise what is in ``_DAMAGE``."""

    def __init__(self, schema: Foreign, tflite: bytes) -> None:
        self._schema = schema
        self._raw = tflite
        self._model = schema.Model.GetRootAs(tflite, 0)
        self._types = _names(schema.TensorType)
        self._builtins = _names(schema.BuiltinOperator)
        self._options = _names(schema.BuiltinOptions)
        self._buffers = _count(self._model.BuffersLength())
        self._codes = _count(self._model.OperatorCodesLength())

    def graph(self) -> Graph:
        """Read the first subgraph."""
        subgraphs = _count(self._model.SubgraphsLength(), SUBGRAPHS_MAX)
        if not subgraphs:
            msg = "it holds no graph"
            raise ValueError(msg)
        main = self._model.Subgraphs(0)
        tensors = tuple(self._tensor(main.Tensors(index), index) for index in range(_count(main.TensorsLength())))
        operators = range(_count(main.OperatorsLength()))
        return Graph(
            tensors,
            tuple(self._operator(main.Operators(index), index, len(tensors)) for index in operators),
            _indices(main.InputsLength, main.Inputs, len(tensors)),
            _indices(main.OutputsLength, main.Outputs, len(tensors)),
            subgraphs,
            _count(self._model.SignatureDefsLength()),
        )

    def _tensor(self, tensor: Foreign, index: int) -> GraphTensor:
        data, outside = self._constant(tensor.Buffer())
        name = tensor.Name()
        return GraphTensor(
            index,
            "" if name is None else name.decode("utf-8", "replace"),
            _vector(tensor.ShapeLength, tensor.Shape, RANK_MAX),
            _vector(tensor.ShapeSignatureLength, tensor.ShapeSignature, RANK_MAX),
            self._types.get(tensor.Type(), f"TYPE_{tensor.Type()}"),
            _quantisation(tensor.Quantization()),
            data,
            outside or tensor.ExternalBuffer() > 0,
            bool(tensor.IsVariable()),
        )

    def _constant(self, index: int) -> tuple[bytes | None, bool]:
        """Give a buffer's bytes (None when it is empty), and whether they lie outside the flatbuffer."""
        if index >= self._buffers:
            msg = f"a tensor names buffer {index} of {self._buffers}"
            raise ValueError(msg)
        buffer = self._model.Buffers(index)
        offset, size = buffer.Offset(), buffer.Size()
        if size:  # schema.fbs: offset 1 stands for "not yet known", 0 for none
            if offset + size > len(self._raw):
                msg = f"buffer {index} lies at {offset} to {offset + size} of {len(self._raw)} bytes: the file is cut"
                raise ValueError(msg)
            return self._raw[offset : offset + size], True
        if not buffer.DataLength():
            return None, False
        return buffer.DataAsNumpy().tobytes(), False

    def _operator(self, operator: Foreign, index: int, tensors: int) -> GraphOperator:
        if operator.OpcodeIndex() >= self._codes:
            msg = f"operator {index} names code {operator.OpcodeIndex()} of {self._codes}"
            raise ValueError(msg)
        code = self._model.OperatorCodes(operator.OpcodeIndex())
        number = max(code.BuiltinCode(), code.DeprecatedBuiltinCode())  # the older field ends at 127
        custom = code.CustomCode()
        return GraphOperator(
            index,
            self._builtins.get(number, f"BUILTIN_{number}"),
            number,
            "" if custom is None else custom.decode("utf-8", "replace"),
            code.Version(),
            _indices(operator.InputsLength, operator.Inputs, tensors),
            _indices(operator.OutputsLength, operator.Outputs, tensors),
            self._options_of(operator),
        )

    def _options_of(self, operator: Foreign) -> Mapping[str, Option]:
        kind, table = self._options.get(operator.BuiltinOptionsType(), "NONE"), operator.BuiltinOptions()
        if kind == "NONE" or table is None:
            return {}
        options = getattr(self._schema, kind)()
        options.Init(table.Bytes, table.Pos)
        read = vars(getattr(self._schema, f"{kind}T").InitFromObj(options))
        return {name: option for name, value in read.items() if (option := _option(value)) is not None}


def _option(value: Foreign) -> Option | None:
    if isinstance(value, bool | int | float):
        return value
    if isinstance(value, np.ndarray) and value.ndim == 1 and value.size <= ENTRIES_MAX:
        return tuple(int(each) for each in value)
    return None


def _quantisation(table: Foreign) -> Quantisation | None:
    if table is None or not table.ScaleLength():
        return None
    _count(table.ScaleLength())
    zeros = table.ZeroPointAsNumpy().tolist() if _count(table.ZeroPointLength()) else []
    return Quantisation(tuple(table.ScaleAsNumpy().tolist()), tuple(zeros), table.QuantizedDimension())


def _vector(length: Callable[[], int], item: Callable[[int], Foreign], most: int) -> tuple[Foreign, ...]:
    return tuple(item(index) for index in range(_count(length(), most)))


def _indices(length: Callable[[], int], item: Callable[[int], Foreign], tensors: int) -> tuple[int, ...]:
    found = _vector(length, item, OPERANDS_MAX)
    if any(not -1 <= index < tensors for index in found):
        msg = f"an operator or the graph names a tensor beyond the {tensors} there are"
        raise ValueError(msg)
    return found


def _count(number: int, most: int = ENTRIES_MAX) -> int:
    if not 0 <= number <= most:
        msg = f"it claims {number} entries where {most} are the most"
        raise ValueError(msg)
    return number


def _names(enum: Foreign) -> dict[int, str]:
    return {value: name for name, value in vars(enum).items() if isinstance(value, int)}
