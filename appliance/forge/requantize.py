"""A float ``.tflite`` made INT8 without the network it came from, and without tensorflow (litert-quantizer).

The quantiser is told four things it does not do by itself: take the least and the greatest value seen (its own moving
average forgets extremes, and what lies beyond then saturates), one scale a dense layer's weights, no open dimensions,
and weights inside the file. So told, it is as near to the float network as tensorflow's converter is.
"""

import io
import warnings
from collections.abc import Sequence
from contextlib import redirect_stderr
from pathlib import Path

import numpy as np

from appliance.core.model import Dtype
from appliance.core.types import Array
from appliance.errors import ForgeError
from appliance.forge.calibration import check
from appliance.forge.flatbuffer import inline_buffers
from appliance.forge.foreign import Foreign, load_library
from appliance.forge.progress import Progress, silent
from appliance.forge.quantize import Quantised
from appliance.forge.run import Runner

SIGNATURE = "serving_default"
BITS = 8


def quantise_tflite(path: Path, calibration: Sequence[Array] | Array, *, progress: Progress = silent) -> Quantised:
    """Quantise a float flatbuffer; arguments and errors as ``quantize.quantise``."""
    try:
        content = path.read_bytes()
    except OSError as error:
        msg = f"{path} cannot be read: {error.strerror}"
        raise ForgeError(msg) from error
    runner = Runner(content)
    if runner.input.spec.dtype is not Dtype.FLOAT32:
        msg = f"{path} is quantised already: its input is {runner.input.spec.dtype}; a float .tflite is wanted"
        raise ForgeError(msg)
    if runner.input.spec.shape[0] != 1:
        msg = f"{path} takes {runner.input.spec.shape[0]} inputs at once; the appliance and the Edge TPU take 1"
        raise ForgeError(msg)
    inputs = check(calibration, runner.input.spec.shape)
    model, name = _prepared(content)
    with warnings.catch_warnings(action="ignore", category=UserWarning):  # that keeping every tensor costs memory
        int8 = inline_buffers(_quantised(model, name, inputs, progress))
    made = Runner(int8)
    floats = [each.spec.name for each in (made.input, *made.outputs.values()) if each.spec.dtype is Dtype.FLOAT32]
    if floats:
        msg = f"{path}: {', '.join(floats)} stayed float: an operator at that end has no INT8 form; cut it off"
        raise ForgeError(msg)
    return Quantised(int8, content, ("quantised from a float .tflite by litert-quantizer",))


def _quantised(model: bytes, name: str, inputs: Array, progress: Progress) -> bytes:
    """Calibrate and quantise a prepared flatbuffer whose input has this name in its signature."""
    quantizer = load_library("litert_quantizer.quantizer", "quantise a .tflite")
    types = load_library("litert_quantizer.qtyping", "quantise a .tflite")
    calibrator = load_library("litert_quantizer.calibrator", "quantise a .tflite")
    tool = quantizer.Quantizer(model)
    tool.add_static_config(".*", types.TFLOperationName.ALL_SUPPORTED, BITS, BITS)
    tool.add_static_config(
        ".*", types.TFLOperationName.FULLY_CONNECTED, BITS, BITS, weight_granularity=types.QuantGranularity.TENSORWISE
    )
    seen = calibrator.Calibrator(model, num_threads=1, qsv_update_func=_widened)
    recipe = tool._recipe_manager  # noqa: SLF001 - the calibrator wants it, and only Quantizer.calibrate passes it
    try:
        for number, one in enumerate(inputs):
            with redirect_stderr(io.StringIO()):  # a bar of its own for each input
                seen.calibrate({SIGNATURE: [{name: one[np.newaxis]}]}, recipe)
            progress("calibrating", number + 1, len(inputs))
        made = tool.quantize(seen.get_model_qsvs(), enable_progress_bar=False, enable_progress_report=False)
    except (ValueError, RuntimeError, KeyError) as error:  # RuntimeError also for operators that it lacks
        msg = f"litert-quantizer cannot quantise this .tflite: {error}"
        raise ForgeError(msg) from error
    return bytes(made.quantized_model)


def _widened(known: Foreign, new: Foreign) -> Foreign:
    """Join two ranges, each ``{"min": array, "max": array}``."""
    if not known:
        return new
    return {"min": np.minimum(known["min"], new["min"]), "max": np.maximum(known["max"], new["max"])}


def _prepared(content: bytes) -> tuple[bytes, str]:
    """Return the flatbuffer with fixed sizes and a signature of one input, and that input's name in it."""
    schema = load_library("ai_edge_litert.schema_py_generated", "read a .tflite")
    flatbuffers = load_library("flatbuffers", "write a .tflite")
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(inline_buffers(content), 0))
    graph = model.subgraphs[0]
    if len(model.subgraphs) > 1:
        msg = f"the .tflite has {len(model.subgraphs)} subgraphs; one is wanted (no loops, no branches)"
        raise ForgeError(msg)
    for tensor in graph.tensors:
        tensor.shapeSignature = None  # sizes are what the interpreter allocates: batch 1
    _widen_halves(schema, model)
    signature = schema.SignatureDefT()
    signature.signatureKey = SIGNATURE.encode()
    signature.inputs = [_entry(schema, "input", graph.inputs[0])]
    signature.outputs = [_entry(schema, f"output_{index}", each) for index, each in enumerate(graph.outputs)]
    signature.subgraphIndex = 0
    model.signatureDefs = [signature]
    builder = flatbuffers.Builder(len(content))
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output()), "input"


def _entry(schema: Foreign, name: str, index: int) -> Foreign:
    entry = schema.TensorMapT()
    entry.name, entry.tensorIndex = name.encode(), int(index)
    return entry


def _widen_halves(schema: Foreign, model: Foreign) -> None:
    """Turn float16 weights into float32 and drop the operators that did so at run time."""
    graph = model.subgraphs[0]
    halves: dict[int, int] = {}
    for operator in graph.operators:
        code = model.operatorCodes[operator.opcodeIndex]
        if max(code.builtinCode, code.deprecatedBuiltinCode) == schema.BuiltinOperator.DEQUANTIZE:
            source = graph.tensors[operator.inputs[0]]
            data = model.buffers[source.buffer].data
            if source.type == schema.TensorType.FLOAT16 and data is not None:
                halves[int(operator.inputs[0])] = int(operator.outputs[0])
                wide = schema.BufferT()
                wide.data = np.asarray(data, np.uint8).view(np.float16).astype(np.float32).view(np.uint8)
                graph.tensors[operator.outputs[0]].buffer = len(model.buffers)
                model.buffers.append(wide)
    for index in halves:
        model.buffers[graph.tensors[index].buffer].data = None
    wide_ones = set(halves.values())
    graph.operators = [each for each in graph.operators if not wide_ones & {int(index) for index in each.outputs}]
    _drop_tensors(graph, set(halves))


def _drop_tensors(graph: Foreign, unused: set[int]) -> None:
    """Take tensors that nothing uses out of a graph: the calibrator would read them."""
    kept = [index for index in range(len(graph.tensors)) if index not in unused]
    place = {-1: -1, **{old: new for new, old in enumerate(kept)}}  # -1 is an input left out, as a bias may be
    graph.tensors = [graph.tensors[index] for index in kept]
    for operator in graph.operators:
        operator.inputs = [place[int(index)] for index in operator.inputs]
        operator.outputs = [place[int(index)] for index in operator.outputs]
    graph.inputs = [place[int(index)] for index in graph.inputs]
    graph.outputs = [place[int(index)] for index in graph.outputs]
