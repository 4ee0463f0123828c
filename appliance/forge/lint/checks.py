"""What every operator must keep to, in the order in which the compiler's log names the first fault it meets.

The order was read from logs: an operator the table does not know, with a float or 64-bit output, is listed for its
data type (CUSTOM, DEQUANTIZE, ARG_MAX); with an 8-bit output as not supported (GATHER, LEAKY_RELU); and a float tensor
of too many dimensions for its rank (issue 708 of google-coral/edgetpu).
"""

from appliance.forge.graph import Graph, GraphOperator, GraphTensor
from appliance.forge.lint.operators import SUBSTITUTES, SUPPORTED, Operation
from appliance.forge.lint.words import Fault, Source, Status

INNERMOST = 3
"""Dimensions that may exceed 1."""
EIGHT_BIT = frozenset({"INT8", "UINT8"})
BIAS = frozenset({"INT32"})
WHOLE = frozenset({"INT32", "INT64"})
"""What axes, sizes and paddings are."""
QUANTISE_FIX = "quantise the whole model to INT8, inputs and outputs too (forge quantize does)"


def fault(graph: Graph, operator: GraphOperator) -> Fault | None:
    """Find the first reason why an operator cannot be mapped, wherever it stands in the graph."""
    found = _rank(graph, operator) or _output_type(graph, operator)
    if found is not None:
        return found
    operation = SUPPORTED.get(operator.name)
    if operation is None:
        fix = SUBSTITUTES.get(operator.name, "build the network without it")
        named = f" ({operator.custom})" if operator.custom else ""
        return Fault(Status.UNSUPPORTED, f"the Edge TPU does not have this operator{named}", fix, Source.OPERATIONS)
    return (
        _version(operator, operation)
        or _constants(graph, operator, operation)
        or _operand_types(graph, operator, operation)
        or _scales(graph, operator, operation)
        or _limits(graph, operator, operation)
    )


def _rank(graph: Graph, operator: GraphOperator) -> Fault | None:
    """Tensors are 1-, 2- or 3-dimensional; of more dimensions only the three innermost may exceed 1."""
    for tensor in graph.tensors_of(operator.inputs + operator.outputs):
        if not tensor.constant and any(size > 1 for size in tensor.shape[:-INNERMOST]):
            why = f"of tensor {tensor.name or tensor.index} {list(tensor.shape)} more than the {INNERMOST} innermost "
            return Fault(
                Status.RANK, f"{why}dimensions exceed 1", "use batch 1 and fewer dimensions", Source.REQUIREMENTS
            )
    return None


def _output_type(graph: Graph, operator: GraphOperator) -> Fault | None:
    outputs = graph.tensors_of(operator.outputs[:1])  # TOPK_V2, whose second output is INT32, is "not supported"
    wrong = next((tensor for tensor in outputs if tensor.type not in EIGHT_BIT), None)
    if wrong is None:
        return None
    fix = SUBSTITUTES.get(operator.name, QUANTISE_FIX)
    return Fault(Status.DATA_TYPE, f"its output is {wrong.type}, not 8-bit", fix, Source.REQUIREMENTS)


def _version(operator: GraphOperator, operation: Operation) -> Fault | None:
    if operation.version_max is None or operator.version <= operation.version_max:
        return None
    why = f"its version is {operator.version}; the compiler maps versions up to {operation.version_max}"
    if operator.name == "FULLY_CONNECTED":
        fix = "flatten the input of every dense layer: one that keeps several rows gives all of them its version"
    else:
        fix = "quantise to 8 bits"
    return Fault(Status.VERSION, why, fix, Source.LOGS)


def operands(graph: Graph, operator: GraphOperator, positions: tuple[int, ...]) -> tuple[GraphTensor, ...]:
    """Give the inputs at these positions, without those that were left out."""
    return graph.tensors_of(tuple(operator.inputs[each] for each in positions if each < len(operator.inputs)))


def data_of(graph: Graph, operator: GraphOperator, operation: Operation) -> tuple[GraphTensor, ...]:
    """Give the inputs that the graph computes, and constants that stand in their place."""
    return graph.tensors_of(operator.inputs) if operation.data is None else operands(graph, operator, operation.data)


def _constants(graph: Graph, operator: GraphOperator, operation: Operation) -> Fault | None:
    """Parameters must be known when the model is compiled, and lie where the compiler looks for them."""
    bias = () if operation.bias is None else (operation.bias,)
    needed = operands(graph, operator, operation.weights + bias + operation.parameters)
    computed = next((tensor for tensor in needed if not tensor.constant), None)
    if computed is not None:
        why = f"its parameter {computed.name or computed.index} is computed, not constant"
        return Fault(Status.NOT_CONSTANT, why, "freeze the variables, and give constant shapes", Source.REQUIREMENTS)
    if any(tensor.outside for tensor in (*needed, *data_of(graph, operator, operation))):
        fix = "bring the weights into the flatbuffer (forge quantize does)"
        return Fault(Status.NOT_CONSTANT, "its parameters lie outside the flatbuffer", fix, Source.SCHEMA)
    return None


def _operand_types(graph: Graph, operator: GraphOperator, operation: Operation) -> Fault | None:
    eight = (*data_of(graph, operator, operation), *operands(graph, operator, operation.weights))
    bias = operands(graph, operator, () if operation.bias is None else (operation.bias,))
    wrong = [tensor for tensor in eight if tensor.type not in EIGHT_BIT]
    wrong += [tensor for tensor in bias if tensor.type not in BIAS]
    wrong += [tensor for tensor in operands(graph, operator, operation.parameters) if tensor.type not in WHOLE]
    if not wrong or (operator.name == "QUANTIZE" and wrong[0].type.startswith("FLOAT")):  # a limitation of its own
        return None
    why = f"its operand {wrong[0].name or wrong[0].index} is {wrong[0].type}"
    return Fault(Status.DATA_TYPE, why, QUANTISE_FIX, Source.REQUIREMENTS)


def _scales(graph: Graph, operator: GraphOperator, operation: Operation) -> Fault | None:
    """8-bit values need a scale; those the graph computes, one for the whole tensor (TFLite's specification)."""
    tensors = (*data_of(graph, operator, operation), *graph.tensors_of(operator.outputs))
    for tensor in tensors:
        if tensor.type in EIGHT_BIT and (tensor.quantisation is None or len(tensor.quantisation.scales) != 1):
            why = f"tensor {tensor.name or tensor.index} is {tensor.type} without one scale for all of it"
            return Fault(Status.DATA_TYPE, why, QUANTISE_FIX, Source.REQUIREMENTS)
    return None


def _limits(graph: Graph, operator: GraphOperator, operation: Operation) -> Fault | None:
    return next((found for limit in operation.limits if (found := limit(graph, operator)) is not None), None)
