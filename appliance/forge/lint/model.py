"""Rules that concern the model as a whole: what the compiler refuses, and what costs time on every inference."""

from collections.abc import Iterable, Iterator, Mapping

from appliance.forge.graph import Graph, GraphOperator, GraphTensor
from appliance.forge.lint import versions
from appliance.forge.lint.checks import EIGHT_BIT, data_of, operands
from appliance.forge.lint.operators import MAY_STAY, RUNTIME_ALL, SUPPORTED
from appliance.forge.lint.report import Finding, Severity
from appliance.forge.lint.words import Source, Status

ON_CHIP_BYTES = 8_000_000
""""Roughly 8 MB of SRAM that can cache the model's parameter data"; logs of small models show 7.67 to 8.05 MiB left."""
COMPILED_OPERATOR = "edgetpu-custom-op"
SIZED_BY: Mapping[str, tuple[int, ...]] = {
    "BROADCAST_TO": (1,),
    "FILL": (0,),
    "MIRROR_PAD": (1,),
    "PADV2": (1,),
    "RANGE": (0, 1, 2),
    "SPLIT_V": (1, 2),
    "TILE": (1,),
    "TOPK_V2": (1,),
}
"""Operators beyond the table whose output's size a parameter gives, with its position."""
NAMED_MAX = 3
"""Tensors or operators that one finding names."""


def unknown(operator: GraphOperator) -> bool:
    """Say whether the compiler cannot even parse an operator."""
    return not versions.known(operator.name, operator.code, operator.version)


def dynamic(graph: Graph, operator: GraphOperator) -> bool:
    """Say whether a size at an operator is open until the graph runs: given as -1, or by a parameter that is computed.

    TFLite calls the output of an operator dynamic whose axes or sizes are computed; a Keras network that is converted
    with an open batch has such at every Flatten and Reshape.
    """
    if any(tensor.dynamic for tensor in graph.tensors_of(operator.inputs + operator.outputs)):
        return True
    operation = SUPPORTED.get(operator.name)
    positions = SIZED_BY.get(operator.name, ()) if operation is None else operation.parameters
    return any(not tensor.constant for tensor in operands(graph, operator, positions))


def refusals(graph: Graph) -> Iterator[Finding]:
    """Find what keeps the compiler from compiling the file at all."""
    if any(operator.custom == COMPILED_OPERATOR for operator in graph.operators):
        yield _refused("compiled", "it is compiled already", "take the model it was made from", Source.COMPILER)
    late = [operator for operator in graph.operators if unknown(operator)]
    if late:
        names = _named(f"{each.name} version {each.version} ({_last(each)})" for each in late)
        what = f"{Status.UNKNOWN}: {names}; the compiler is of 2021 and cannot parse the file"
        yield _refused("versions", what, versions.fix(late[0].name), Source.RUNTIME_VERSIONS)
    if graph.subgraphs > 1:
        what = f"the file has {graph.subgraphs} subgraphs (control flow, or several signatures); the compiler takes one"
        yield _refused("subgraphs", what, "export one signature, without loops and conditions", Source.REQUIREMENTS)
    used = _used(graph)
    open_sizes = [f"{each.name or each.index} {list(each.signature or each.shape)}" for each in used if each.dynamic]
    open_sizes += [f"the output of {each.name} {each.index}" for each in graph.operators if dynamic(graph, each)]
    if open_sizes:
        what = f"{Status.DYNAMIC}: {_named(open_sizes)}"
        yield _refused("sizes", what, "freeze the network with batch 1 (forge quantize does)", Source.REQUIREMENTS)
    if not any(tensor.type in EIGHT_BIT and tensor.quantisation is not None for tensor in used):
        fix = "quantise it to full INT8 (forge quantize does)"
        yield _refused(
            "quantised", f"{Status.NOT_QUANTISED}: no tensor is 8-bit with a scale", fix, Source.REQUIREMENTS
        )


def remarks(graph: Graph, mapped: Iterable[GraphOperator]) -> Iterator[Finding]:
    """Find what a model that compiles costs or leaves open."""
    compiled = tuple(mapped)
    yield from _edges(graph)
    if any(tensor.outside for tensor in _used(graph)):
        what = "weights lie outside the flatbuffer; the compiler, which is older than that layout, sees none"
        fix = "bring them in (forge quantize does)"
        yield Finding(Severity.WARNING, "weights outside", what, fix, Source.SCHEMA)
    stored = parameters_bytes(graph, compiled)
    if stored > ON_CHIP_BYTES:
        over = stored - ON_CHIP_BYTES
        what = f"{stored} bytes of parameters; about {over} do not fit on the chip and are sent for every inference"
        yield Finding(
            Severity.WARNING, "parameter memory", what, "make the network smaller, or accept it", Source.CACHING
        )
    for name, why in MAY_STAY.items():
        count = sum(operator.name == name for operator in compiled)
        if count:
            yield Finding(Severity.NOTE, "left open", f"{name} ({count}): {why}", "", Source.OPERATIONS)


def _edges(graph: Graph) -> Iterator[Finding]:
    for kind, indices in (("input", graph.inputs), ("output", graph.outputs)):
        for tensor in graph.tensors_of(indices):
            label = f"{kind} {tensor.name or tensor.index}"
            if tensor.type not in EIGHT_BIT:
                what, fix = f"{label} is {tensor.type}: the CPU converts it", f"use an int8 or uint8 {kind}"
                yield Finding(Severity.WARNING, "float edges", what, fix, Source.REQUIREMENTS)
            if kind == "input" and len(tensor.shape) > 1 and tensor.shape[0] > 1:
                what = f"{label} {list(tensor.shape)} has batch {tensor.shape[0]}"
                yield Finding(Severity.WARNING, "batch", what, "convert with batch 1", Source.REQUIREMENTS)


def parameters_bytes(graph: Graph, mapped: Iterable[GraphOperator]) -> int:
    """Add up the constants (weights, biases, constant operands) that mapped operators compute with, each once."""
    sizes: dict[int, int] = {}
    for operator in mapped:
        operation = SUPPORTED[operator.name]
        bias = () if operation.bias is None else (operation.bias,)
        tensors = (*operands(graph, operator, operation.weights + bias), *data_of(graph, operator, operation))
        sizes |= {tensor.index: len(tensor.data) for tensor in tensors if tensor.data is not None}
    return sum(sizes.values())


def runtime_min(mapped: Iterable[GraphOperator]) -> int:
    """Give the oldest Edge TPU runtime that the table has for all of these operators."""
    return max((SUPPORTED[operator.name].runtime for operator in mapped), default=RUNTIME_ALL)


def _used(graph: Graph) -> tuple[GraphTensor, ...]:
    """Give the tensors that operators or the graph's edges name; a file may hold others."""
    indices = {index for operator in graph.operators for index in operator.inputs + operator.outputs}
    return graph.tensors_of(tuple(sorted(indices | set(graph.inputs) | set(graph.outputs))))


def _refused(rule: str, what: str, fix: str, source: Source) -> Finding:
    return Finding(Severity.REFUSED, rule, what, fix, source)


def _last(operator: GraphOperator) -> str:
    if operator.code > versions.LAST_CODE:
        return "newer than it"
    return f"{versions.KNOWN.get(operator.name, 1)} is the last it knows"


def _named(names: Iterable[str]) -> str:
    unique = list(dict.fromkeys(names))
    more = len(unique) - NAMED_MAX
    return ", ".join(unique[:NAMED_MAX]) + (f" and {more} more" if more > 0 else "")
