"""What becomes of each operator of an ONNX graph: told before anything is converted.

Whether it converts: the operators that onnx2tf 1.29.24 implements. Where it will run: what it turns into, held against
"Supported operations" of coral.ai/docs/edgetpu/models-intro. The final word has ``forge lint`` on the converted graph.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from rich.table import Column, Table

from appliance.errors import ForgeError
from appliance.forge.onnx.graph import Graph, Use

_CONVERTIBLE = """
    Abs Acos Acosh Add And ArgMax ArgMin Asin Asinh Atan Atanh AveragePool BatchNormalization BitShift BitwiseAnd
    BitwiseNot BitwiseOr BitwiseXor Cast Ceil Celu Clip Concat Constant ConstantOfShape Conv ConvTranspose Cos Cosh
    CumSum DepthToSpace DequantizeLinear Div Dropout Einsum Elu Equal Erf Exp Expand EyeLike Flatten Floor GRU Gather
    GatherElements GatherND Gelu Gemm GlobalAveragePool GlobalLpPool GlobalMaxPool Greater GreaterOrEqual GridSample
    GroupNormalization HardSigmoid HardSwish Hardmax Identity If InstanceNormalization LRN LSTM LayerNormalization
    LeakyRelu Less LessOrEqual Log LogSoftmax LpNormalization LpPool MatMul Max MaxPool Mean
    MeanVarianceNormalization Min Mish Mod Mul Neg NonMaxSuppression NonZero Not OneHot Or PRelu Pad Pow QLinearAdd
    QLinearConcat QLinearConv QLinearLeakyRelu QLinearMatMul QLinearMul QLinearSigmoid QLinearSoftmax QuantizeLinear
    RNN Range Reciprocal ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd
    ReduceSum ReduceSumSquare Relu Reshape Resize RoiAlign Round ScatterElements ScatterND Selu Shape Shrink Sigmoid
    Sign Sin Sinh Size Slice Softmax Softplus Softsign SpaceToDepth Split Sqrt Squeeze Sub Sum Tan Tanh
    ThresholdedRelu Tile TopK Transpose Trilu Unsqueeze Upsample Where Xor
"""
CONVERTIBLE = frozenset(_CONVERTIBLE.split())
"""Of onnx2tf 1.29.24 (its folder ``ops``), without those for sequences, texts, sound, training and random numbers,
which no full-integer graph can hold."""


class Place(StrEnum):
    """Where an operator is expected to end."""

    EDGETPU = "edgetpu"
    VANISHES = "vanishes"
    """Becomes a constant, or part of its neighbour."""
    DEPENDS = "depends"
    CPU = "cpu"
    NOWHERE = "nowhere"
    """It cannot be converted."""


@dataclass(frozen=True, slots=True)
class Operator:
    """All uses of one operator that share a fate."""

    name: str
    """With its domain where that is not ONNX's own."""
    count: int
    place: Place
    why: str


_MAPPED = """
    Add AveragePool Concat Conv ConvTranspose Gemm GlobalAveragePool GlobalMaxPool MaxPool Mul PRelu Relu Reshape
    Sigmoid Slice Softmax SpaceToDepth Split Sub Tanh Max Min Sum Transpose Pad
"""
_MAPS = frozenset(_MAPPED.split())
_FOLDED = """
    BatchNormalization Cast Constant ConstantOfShape Dropout Expand EyeLike Flatten Identity Range Shape Size Squeeze
    Unsqueeze
"""
_CONSTANTS = frozenset(_FOLDED.split())
_DEPENDING: Mapping[str, str] = {
    "MatMul": "by constant weights it is a dense layer and maps; of two activations it stays on the CPU",
    "Clip": "0 to 6 is ReLU6 and maps; other bounds become Minimum and Maximum, which map too, one more step each",
    "Div": "by a constant it becomes a multiplication; by an activation it stays on the CPU",
    "HardSwish": "has no Edge TPU operator: becomes x * relu6(x + 3) / 6, four operators that map",
    "HardSigmoid": "becomes arithmetic and a ReLU6, which map",
    "LeakyRelu": "becomes LEAKY_RELU, which the Edge TPU lacks, or Maximum and Mul, which map: see forge lint",
    "Gather": "by constant indices it may become a slice; else it stays on the CPU",
    "ReduceMean": "maps over height and width; over the batch, or before a division (LayerNorm), look at forge lint",
    "ReduceMax": "maps when it does not reduce the batch",
    "ReduceMin": "maps when it does not reduce the batch",
    "ReduceSum": "maps when it does not reduce the batch",
    "DepthToSpace": "becomes reshapes and a transpose of rank 6, of which not all map",
    "LSTM": "a single forward LSTM with fixed steps may map; onnx2tf unrolls others into many operators",
    "Pow": "squares become a multiplication; other powers stay on the CPU",
    "Sqrt": "stays on the CPU unless it is the root in a division (RSQRT, which maps)",
    "QuantizeLinear": "the graph is quantised already: import the float one, its ranges are measured anew",
    "DequantizeLinear": "the graph is quantised already: import the float one, its ranges are measured anew",
}
_ON_CPU: Mapping[str, str] = {
    "Gelu": "no Edge TPU operator (erf or tanh arithmetic): train with ReLU6 or HardSwish instead",
    "Erf": "a part of GELU, which the Edge TPU lacks: train with ReLU6 or HardSwish instead",
    "LayerNormalization": "mean and root over activations; batch normalisation vanishes into the convolution instead",
    "InstanceNormalization": "needs the picture's own mean and root; batch normalisation vanishes instead",
    "GroupNormalization": "needs the picture's own mean and root; batch normalisation vanishes instead",
    "Exp": "the Edge TPU has no exponential; compute it behind the model",
    "Elu": "no Edge TPU operator; ReLU6 has one",
    "Softplus": "no Edge TPU operator; ReLU6 has one",
    "Mish": "no Edge TPU operator; HardSwish maps after it is taken apart",
    "ArgMax": "gives integers; let the model end with the scores",
    "TopK": "gives integers; let the model end with the scores",
    "NonMaxSuppression": "dynamic sizes: let the model end with boxes and scores (--outputs), the device suppresses",
    "Loop": "dynamic control flow",
    "If": "control flow; branches on constants vanish when the shapes are fixed",
    "GRU": "no Edge TPU operator; onnx2tf unrolls it",
    "RNN": "no Edge TPU operator; onnx2tf unrolls it",
    "GridSample": "no Edge TPU operator",
    "Where": "no Edge TPU operator",
}
_ADVICE: Mapping[str, str] = {
    "ai.onnx.ml": "a model of scikit-learn or of trees: teach a small network from its scores with forge distill",
    "com.microsoft": "onnxruntime's own (an optimised or quantised export): export the plain float graph",
}


def judge(graph: Graph) -> tuple[Operator, ...]:
    """Say what becomes of every operator of a graph, the most frequent first."""
    found: dict[tuple[str, Place, str], int] = {}
    for use in graph.uses:
        place, why = _judged(use)
        key = (f"{use.domain}:{use.name}" if use.domain else use.name, place, why)
        found[key] = found.get(key, 0) + 1
    operators = [Operator(name, count, place, why) for (name, place, why), count in found.items()]
    return tuple(sorted(operators, key=lambda each: (-each.count, each.name)))


def refuse_unknown(graph: Graph, operators: Sequence[Operator]) -> None:
    """Raise ForgeError when an operator cannot be converted; names each with what to do about it."""
    unknown = [each for each in operators if each.place is Place.NOWHERE]
    if unknown:
        told = "\n".join(f"  {each.name} ({each.count} times): {each.why}" for each in unknown)
        msg = f"{graph.path} has operators that cannot be converted:\n{told}"
        raise ForgeError(msg)


def table(graph: Graph, operators: Sequence[Operator]) -> Table:
    """Draw the judgement, one operator a row."""
    drawn = Table(
        "operator",
        Column("count", justify="right"),
        "after conversion",
        "because",
        title=f"{graph.path.name}: opset {graph.opset}, made by {graph.producer}",
        title_justify="left",
    )
    for each in operators:
        drawn.add_row(each.name, str(each.count), _PLACES[each.place], each.why)
    return drawn


_PLACES = {
    Place.EDGETPU: "maps to the Edge TPU",
    Place.VANISHES: "vanishes",
    Place.DEPENDS: "depends",
    Place.CPU: "stays on the CPU",
    Place.NOWHERE: "cannot be converted",
}


def notes(graph: Graph) -> Iterator[str]:
    """Say what else should be known before the conversion."""
    for tensor in graph.inputs:
        if not tensor.is_fixed:
            yield f"input {tensor}: sizes left open are fixed for good by the conversion"
    if graph.external:
        yield f"weights come from {', '.join(graph.external)}"


def _judged(use: Use) -> tuple[Place, str]:
    """Judge one use."""
    if use.domain or use.name not in CONVERTIBLE:
        return Place.NOWHERE, _ADVICE.get(use.domain, _UNKNOWN if use.domain else _NOT_IMPLEMENTED)
    special = _SPECIAL.get(use.name)
    if special is not None:
        return special(use)
    if use.name in _DEPENDING:
        return Place.DEPENDS, _DEPENDING[use.name]
    if use.name in _MAPS:
        return Place.EDGETPU, ""
    if use.name in _CONSTANTS:
        return Place.VANISHES, "folded into its neighbour or a constant, once the shapes are fixed"
    return Place.CPU, _ON_CPU.get(use.name, "the Edge TPU has no operator for it")


def _resize(use: Use) -> tuple[Place, str]:
    mode = use.attributes.get("mode", "nearest")
    if mode == "cubic":
        return Place.CPU, "cubic interpolation; nearest and linear map"
    return Place.DEPENDS, f"{mode} maps up to some size; with half-pixel centres the newest compiler is needed"


_UNKNOWN = "a custom operator: replace it by standard ones, or leave that part of the network to the device"
_NOT_IMPLEMENTED = "not an operator that has a full-integer form: export without it, or end the model before it"
_SPECIAL = {"Resize": _resize, "Upsample": _resize}
