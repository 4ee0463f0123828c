"""For each documented rule of the Edge TPU compiler a graph that keeps to it and one that does not."""

from dataclasses import dataclass
from functools import partial
from typing import Protocol

from appliance.forge.lint import Status
from tests.forge import lint_graphs as graphs
from tests.forge.lint_graphs import ROW

REDUCTIONS = ("MEAN", "SUM", "REDUCE_MAX", "REDUCE_MIN")


class Maker(Protocol):
    """Builds a graph that keeps to a rule, or breaks it."""

    def __call__(self, *, breaks: bool) -> bytes: ...


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule; the last operator of the graph is the one judged."""

    name: str
    graph: Maker
    status: Status
    why: str
    """A word of the reason."""


RULES = (
    Rule("an operator of the table", graphs.supported, Status.UNSUPPORTED, "does not have this operator"),
    Rule("an 8-bit output", graphs.float_output, Status.DATA_TYPE, "FLOAT32"),
    Rule("8-bit operands", graphs.wide_operand, Status.DATA_TYPE, "INT16"),
    Rule("a 32-bit bias", graphs.wide_bias, Status.DATA_TYPE, "INT64"),
    Rule("a scale", graphs.no_scale, Status.DATA_TYPE, "without one scale"),
    Rule("one scale for an activation", graphs.two_scales, Status.DATA_TYPE, "without one scale"),
    Rule("an 8-bit input of QUANTIZE", graphs.float_input, Status.LIMIT, "float input"),
    Rule("three dimensions above 1", graphs.rank, Status.RANK, "innermost"),
    Rule("FULLY_CONNECTED up to version 4", graphs.dense_version, Status.VERSION, "version is 5"),
    Rule("RESIZE up to version 3", graphs.resize_version, Status.VERSION, "version is 4"),
    Rule("constant weights", graphs.computed_weights, Status.NOT_CONSTANT, "computed"),
    Rule("constant parameters", graphs.computed_axis, Status.DYNAMIC, "no fixed size"),
    Rule("MAX_POOL_2D without an activation", graphs.fused_pool, Status.LIMIT, "activation"),
    Rule("AVERAGE_POOL_2D without an activation", graphs.fused_average, Status.LIMIT, "activation"),
    Rule("CONCATENATION without an activation", graphs.fused_concatenation, Status.LIMIT, "activation"),
    Rule("CONCATENATION with zeros only", graphs.constant_concatenation, Status.LIMIT, "zeros"),
    Rule("CONCATENATION of a constant and one other", graphs.third_concatenation, Status.LIMIT, "one other tensor"),
    Rule("CONV_2D with one dilation", graphs.dilation, Status.LIMIT, "dilated by 2 in x and 1 in y"),
    Rule(
        "DEPTHWISE_CONV_2D with one dilation", graphs.depthwise_dilation, Status.LIMIT, "dilated by 1 in x and 2 in y"
    ),
    Rule("CONV_2D without groups", graphs.groups, Status.LIMIT, "groups"),
    Rule("FULLY_CONNECTED with default weights", graphs.shuffled, Status.LIMIT, "format"),
    Rule("FULLY_CONNECTED with one scale", graphs.per_channel_dense, Status.LIMIT, "per channel"),
    Rule("FULLY_CONNECTED of one row", graphs.rows_of_dense, Status.OUTPUT_2D, "[3, 4]"),
    Rule("SOFTMAX of one row", lambda *, breaks: graphs.softmax((3, 4) if breaks else ROW), Status.OUTPUT_2D, "[3, 4]"),
    Rule(
        "SOFTMAX of 16000 elements",
        lambda *, breaks: graphs.softmax((1, 16_001 if breaks else 16_000)),
        Status.LIMIT,
        "16001 elements",
    ),
    *(Rule(f"{name} beside the batch", partial(graphs.reduction, name), Status.LIMIT, "batch") for name in REDUCTIONS),
    Rule(
        "MEAN along a depth of fours",
        lambda *, breaks: graphs.reduce("MEAN", (3,), (1, 4, 4, 1), depth=6 if breaks else 8),
        Status.LIMIT,
        "depth of 6",
    ),
    Rule("PACK beside the batch", graphs.pack, Status.LIMIT, "batch"),
    Rule("PAD beside the batch", graphs.pad, Status.LIMIT, "batch"),
    Rule("SPLIT beside the batch", graphs.split, Status.LIMIT, "batch"),
    Rule("PRELU with one alpha a channel", graphs.prelu, Status.LIMIT, "alpha"),
    Rule(
        "STRIDED_SLICE with strides of 1", lambda *, breaks: graphs.strided(2 if breaks else 1), Status.LIMIT, "strides"
    ),
    Rule(
        "STRIDED_SLICE without ellipsis",
        lambda *, breaks: graphs.strided(1, ellipsisMask=int(breaks)),
        Status.LIMIT,
        "ellipsis",
    ),
    Rule(
        "STRIDED_SLICE without new dimension",
        lambda *, breaks: graphs.strided(1, newAxisMask=int(breaks)),
        Status.LIMIT,
        "new dimension",
    ),
    Rule("one part of the graph", graphs.follows, Status.SUBGRAPH, "follows"),
)
