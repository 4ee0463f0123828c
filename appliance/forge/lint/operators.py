"""The table of supported operations, with each operator's operands, limitations and oldest runtime."""

from collections.abc import Mapping
from dataclasses import dataclass

from appliance.forge.lint import limits
from appliance.forge.lint.limits import Limit

RUNTIME_ALL = 12
"""Operators that the table has for "all" runtimes; 12 is the oldest it distinguishes."""


@dataclass(frozen=True, slots=True)
class Operation:
    """What is documented of one operator."""

    data: tuple[int, ...] | None = (0,)
    """Positions of the inputs that hold 8-bit values computed by the graph; None for all."""
    weights: tuple[int, ...] = ()
    """Positions of constants of 8 bits: filters, alphas."""
    bias: int | None = None
    """Position of an optional 32-bit constant."""
    parameters: tuple[int, ...] = ()
    """Positions of constants that shape the operation: axes, sizes, paddings."""
    limits: tuple[Limit, ...] = ()
    runtime: int = RUNTIME_ALL
    """The oldest Edge TPU runtime it runs on without further limitations."""
    version_max: int | None = None
    """The last version that is mapped, where logs show that later ones, which the compiler can parse, are not."""


_ELEMENTWISE = Operation(data=None)
_POOL = Operation(limits=(limits.no_fused_activation,))
_REDUCE = Operation(parameters=(1,), limits=(limits.no_batch_reduction,), runtime=14)
_RESIZE = Operation(parameters=(1,), version_max=3)
"""Versions 1 to 3; version 4 is for int16. Issues 187 and 420 have version 3 refused by compilers before 16.0."""
_LSTM = Operation(data=(0,), weights=(2, 3, 4, 6, 7, 8), runtime=14)

SUPPORTED: Mapping[str, Operation] = {
    "ADD": _ELEMENTWISE,
    "AVERAGE_POOL_2D": _POOL,
    "CONCATENATION": Operation(data=None, limits=(limits.no_fused_activation, limits.zero_padding_only)),
    "CONV_2D": Operation(weights=(1,), bias=2, limits=(limits.same_dilation, limits.no_groups)),
    "DEPTHWISE_CONV_2D": Operation(weights=(1,), bias=2, limits=(limits.same_dilation,)),
    "EXPAND_DIMS": Operation(parameters=(1,), runtime=13),
    # Version 5 is keep_num_dims; a log of compiler 16.0 has all dense layers of such a model refused for their version.
    "FULLY_CONNECTED": Operation(
        weights=(1,),
        bias=2,
        limits=(limits.default_weights, limits.per_tensor_weights, limits.one_dimensional_output),
        version_max=4,
    ),
    "L2_NORMALIZATION": Operation(),
    "LOGISTIC": Operation(),
    "LSTM": _LSTM,
    "MAXIMUM": _ELEMENTWISE,
    "MAX_POOL_2D": _POOL,
    "MEAN": Operation(parameters=(1,), limits=(limits.no_batch_reduction, limits.mean_depth), runtime=13),
    "MINIMUM": _ELEMENTWISE,
    "MUL": _ELEMENTWISE,
    "PACK": Operation(data=None, limits=(limits.no_batch_packing,), runtime=13),
    "PAD": Operation(parameters=(1,), limits=(limits.no_batch_padding,), runtime=13),
    "PRELU": Operation(weights=(1,), limits=(limits.one_dimensional_alpha,), runtime=13),
    "QUANTIZE": Operation(limits=(limits.quantised_before,), runtime=13),
    "REDUCE_MAX": _REDUCE,
    "REDUCE_MIN": _REDUCE,
    "RELU": Operation(),
    "RELU6": Operation(),
    "RELU_N1_TO_1": Operation(),
    "RESHAPE": Operation(parameters=(1,)),
    "RESIZE_BILINEAR": _RESIZE,
    "RESIZE_NEAREST_NEIGHBOR": _RESIZE,
    "RSQRT": Operation(runtime=14),
    "SLICE": Operation(parameters=(1, 2)),
    "SOFTMAX": Operation(limits=(limits.one_dimensional_softmax,)),
    "SPACE_TO_DEPTH": Operation(),
    "SPLIT": Operation(data=(1,), parameters=(0,), limits=(limits.no_batch_splitting,)),
    "SQUARED_DIFFERENCE": Operation(data=None, runtime=14),
    "SQUEEZE": Operation(),
    "STRIDED_SLICE": Operation(parameters=(1, 2, 3), limits=(limits.plain_slice,)),
    "SUB": _ELEMENTWISE,
    "SUM": Operation(parameters=(1,), limits=(limits.no_batch_reduction,), runtime=13),
    "TANH": Operation(),
    "TRANSPOSE": Operation(parameters=(1,), runtime=14),
    "TRANSPOSE_CONV": Operation(data=(2,), weights=(1,), bias=3, parameters=(0,), runtime=13),
    "UNIDIRECTIONAL_SEQUENCE_LSTM": _LSTM,
}
"""Operator to what is documented; operators that are not named stay on the CPU. BIDIRECTIONAL_SEQUENCE_LSTM is one of
them: "Unidirectional LSTM only"."""

MAY_STAY: Mapping[str, str] = {
    "RESIZE_BILINEAR": "depending on its sizes it may stay on the CPU, to avoid loss in precision",
    "RESIZE_NEAREST_NEIGHBOR": "depending on its sizes it may stay on the CPU, to avoid loss in precision",
    "RESHAPE": "certain reshapes of large tensors may stay on the CPU",
}
"""What the table leaves open: no rule decides it, so the verdict is that they map, with this said."""

SUBSTITUTES: Mapping[str, str] = {
    "ARG_MAX": "take the largest behind the model: the appliance's decoder does",
    "BIDIRECTIONAL_SEQUENCE_LSTM": "use an LSTM of one direction",
    "CUSTOM": "leave it out of the model: the appliance decodes boxes itself",
    "DEPTH_TO_SPACE": "use RESIZE_NEAREST_NEIGHBOR and a convolution",
    "DEQUANTIZE": "give the model int8 or uint8 outputs (forge quantize does)",
    "DIV": "multiply by the inverse",
    "ELU": "use RELU or RELU6",
    "HARD_SWISH": "use RELU6",
    "LEAKY_RELU": "use RELU, PRELU, or max(x, alpha * x)",
    "MIRROR_PAD": "pad with zeros (PAD)",
    "PADV2": "pad with zeros (PAD)",
    "SPLIT_V": "split into equal parts (SPLIT), or use SLICE",
}
"""What to use instead of operators that are met often."""
