"""The known limitations of single operators, as the table of supported operations has them, one function each.

A tensor's batch dimension is its outermost, dimension 0; the converter keeps it 1.
"""

from collections.abc import Callable

import numpy as np

from appliance.forge.graph import Graph, GraphOperator, GraphTensor
from appliance.forge.lint.words import Fault, Source, Status

SOFTMAX_ELEMENTS_MAX = 16_000
Z_REDUCTION_MULTIPLE = 4
"""Of the depth, where a mean is taken along it."""
ZERO_PADDING_INPUTS = 2
"""Inputs of a CONCATENATION with a constant: the constant must be zeros, and there may be one other input."""

Limit = Callable[[Graph, GraphOperator], Fault | None]


def _fault(why: str, fix: str, status: Status = Status.LIMIT) -> Fault:
    return Fault(status, why, fix, Source.OPERATIONS)


def _input(graph: Graph, operator: GraphOperator, position: int) -> GraphTensor | None:
    """Give the tensor at a position; None when it was left out."""
    if position >= len(operator.inputs) or operator.inputs[position] < 0:
        return None
    return graph.tensors[operator.inputs[position]]


def _shape(graph: Graph, indices: tuple[int, ...], position: int) -> tuple[int, ...]:
    return graph.tensors[indices[position]].shape if position < len(indices) and indices[position] >= 0 else ()


def _axes(graph: Graph, operator: GraphOperator, position: int, rank: int) -> frozenset[int]:
    """Read constant axes, counted from the front; empty when they are not constant (another rule says so)."""
    tensor = _input(graph, operator, position)
    values = None if tensor is None else tensor.values()
    return frozenset() if values is None or not rank else frozenset(int(axis) % rank for axis in values)


def _rows(shape: tuple[int, ...]) -> int:
    rows = 1
    for size in shape[:-1]:
        rows *= size
    return rows


def no_fused_activation(_graph: Graph, operator: GraphOperator) -> Fault | None:
    """Pools and concatenations must leave the activation to an operator of its own."""
    if not operator.flag("fusedActivationFunction"):
        return None
    return _fault("an activation is fused into it", "make the activation a layer of its own behind a convolution")


def zero_padding_only(graph: Graph, operator: GraphOperator) -> Fault | None:
    """A constant may be concatenated only as padding with zeros, and to one other tensor."""
    tensors = graph.tensors_of(operator.inputs)
    constants = [tensor for tensor in tensors if tensor.constant]
    if not constants:
        return None
    if len(tensors) != ZERO_PADDING_INPUTS or not all(_zeros(tensor) for tensor in constants):
        return _fault("it joins a constant that is not padding with zeros to one other tensor", "pad, or add it later")
    return None


def _zeros(tensor: GraphTensor) -> bool:
    values, quantisation = tensor.values(), tensor.quantisation
    zero = quantisation.zero_points[0] if quantisation is not None and quantisation.zero_points else 0
    return values is not None and bool(np.all(values == zero))


def same_dilation(_graph: Graph, operator: GraphOperator) -> Fault | None:
    """Kernels may be dilated, by the same factor in both directions."""
    width, height = operator.options.get("dilationWFactor", 1), operator.options.get("dilationHFactor", 1)
    if width == height:
        return None
    return _fault(f"its kernel is dilated by {width} in x and {height} in y", "use the same dilation in x and y")


def no_groups(graph: Graph, operator: GraphOperator) -> Fault | None:
    """A filter must see every channel: groups came into TFLite's convolution without a word in Coral's table."""
    channels, filters = _shape(graph, operator.inputs, 0)[-1:], _shape(graph, operator.inputs, 1)[-1:]
    if channels == filters or not channels or not filters:
        return None
    return _fault(f"its convolution has groups ({filters[0]} of {channels[0]} channels a filter)", "use one group")


def default_weights(_graph: Graph, operator: GraphOperator) -> Fault | None:
    """Only the default layout of a dense layer's weights."""
    if not operator.flag("weightsFormat"):
        return None
    return _fault("its weights are in a shuffled format", "convert without shuffled weights (the converter's default)")


def per_tensor_weights(graph: Graph, operator: GraphOperator) -> Fault | None:
    """A dense layer's weights have one scale: TFLite's quantisation specification of the compiler's time knew no other.

    Converters of TensorFlow 2.16 and later write one scale a unit; none of 66 compiled reference models has that.
    """
    weights = _input(graph, operator, 1)
    if weights is None or weights.quantisation is None or len(weights.quantisation.scales) <= 1:
        return None
    fix = "quantise with per-tensor dense layers (forge quantize does)"
    return Fault(Status.LIMIT, "its weights are quantised per channel", fix, Source.REQUIREMENTS)


def one_dimensional_output(graph: Graph, operator: GraphOperator) -> Fault | None:
    """A dense layer gives one row."""
    shape = _shape(graph, operator.outputs, 0)
    if _rows(shape) == 1:
        return None
    why = f"its output {list(shape)} is not one-dimensional"
    return _fault(why, "flatten its input, or write it as a 1x1 convolution", Status.OUTPUT_2D)


def one_dimensional_softmax(graph: Graph, operator: GraphOperator) -> Fault | None:
    """Softmax takes one row of bounded length."""
    shape = _shape(graph, operator.inputs, 0)
    if _rows(shape) != 1:
        why = f"its input {list(shape)} is not one-dimensional"
        return _fault(why, "leave the softmax out of the model: the appliance's decoder does it", Status.OUTPUT_2D)
    if shape[-1:] > (SOFTMAX_ELEMENTS_MAX,):
        why = f"its input has {shape[-1]} elements, {SOFTMAX_ELEMENTS_MAX} are the most"
        return _fault(why, "leave the softmax out of the model: the appliance's decoder does it")
    return None


def no_batch_reduction(graph: Graph, operator: GraphOperator) -> Fault | None:
    """Reductions keep the batch dimension."""
    if 0 not in _axes(graph, operator, 1, len(_shape(graph, operator.inputs, 0))):
        return None
    return _fault("it reduces the batch dimension", "reduce other dimensions, or do it behind the model")


def mean_depth(graph: Graph, operator: GraphOperator) -> Fault | None:
    """A mean along the depth takes depths that are a multiple of four."""
    shape = _shape(graph, operator.inputs, 0)
    if len(shape) - 1 not in _axes(graph, operator, 1, len(shape)) or shape[-1] % Z_REDUCTION_MULTIPLE == 0:
        return None
    why = f"it takes the mean along a depth of {shape[-1]}, which is not a multiple of {Z_REDUCTION_MULTIPLE}"
    return _fault(why, f"make the depth a multiple of {Z_REDUCTION_MULTIPLE}")


def no_batch_packing(graph: Graph, operator: GraphOperator) -> Fault | None:
    """Tensors are packed along any dimension but the batch."""
    rank = len(_shape(graph, operator.outputs, 0))
    if not rank or operator.flag("axis") % rank:
        return None
    return _fault("it packs along the batch dimension", "pack along another dimension")


def no_batch_padding(graph: Graph, operator: GraphOperator) -> Fault | None:
    """Any dimension may be padded but the batch."""
    tensor = _input(graph, operator, 1)
    values = None if tensor is None else tensor.values()
    if values is None or not np.any(values[:2]):
        return None
    return _fault("it pads the batch dimension", "pad other dimensions only")


def no_batch_splitting(graph: Graph, operator: GraphOperator) -> Fault | None:
    """Any dimension may be split but the batch."""
    if 0 not in _axes(graph, operator, 0, len(_shape(graph, operator.inputs, 1))):
        return None
    return _fault("it splits the batch dimension", "split along another dimension")


def one_dimensional_alpha(graph: Graph, operator: GraphOperator) -> Fault | None:
    """PReLU has one alpha a channel."""
    shape = _shape(graph, operator.inputs, 1)
    if _rows(shape) == 1:
        return None
    return _fault(f"its alpha {list(shape)} is not one-dimensional", "set shared_axes=[1, 2] in Keras")


def plain_slice(graph: Graph, operator: GraphOperator) -> Fault | None:
    """A strided slice must be a slice: strides of 1, no ellipsis, no new dimension."""
    strides = _input(graph, operator, 3)
    values = None if strides is None else strides.values()
    if values is not None and np.any(values != 1):
        return _fault(
            f"its strides are {values.tolist()}", "take every value, or use a convolution or pool with a stride"
        )
    if operator.flag("ellipsisMask") or operator.flag("newAxisMask"):
        return _fault("it uses an ellipsis or makes a new dimension", "slice with plain bounds and reshape afterwards")
    return None


def quantised_before(graph: Graph, operator: GraphOperator) -> Fault | None:
    """QUANTIZE is mapped from one 8-bit scale to another; from float it runs on the CPU, as logs show throughout."""
    tensor = _input(graph, operator, 0)
    if tensor is None or tensor.type not in {"FLOAT32", "FLOAT16"}:
        return None
    fix = "give the model an int8 or uint8 input (forge quantize does)"
    return Fault(Status.LIMIT, "it makes the float input 8-bit", fix, Source.LOGS)
