"""Operators that the Edge TPU lacks are written in others, and the function stays the same."""

from collections import Counter

import numpy as np
import onnx
import pytest
from onnx import helper
from onnx.reference import ReferenceEvaluator

from appliance.forge.onnx.rewriter import Rewriter
from appliance.forge.onnx.worker import rename
from tests.forge.onnx_graphs import Foreign, constant, info, mobile, model, weight

SHAPE = (1, 4, 8, 12)


def _run(built: Foreign, seed: int = 0) -> Foreign:
    fed = np.random.default_rng(seed).normal(0, 4, SHAPE).astype(np.float32)
    (answer,) = ReferenceEvaluator(built).run(None, {built.graph.input[0].name: fed})
    return answer


def _kinds(built: Foreign) -> Counter[str]:
    return Counter(node.op_type for node in built.graph.node)


def test_a_rewritten_graph_computes_the_same() -> None:
    original, rewritten = mobile(), mobile()
    Rewriter(rewritten).rewrite()
    onnx.checker.check_model(rewritten, full_check=True)
    for seed in range(3):
        assert np.allclose(_run(original, seed), _run(rewritten, seed), atol=1e-5)


def test_what_the_edge_tpu_lacks_is_gone_and_strides_are_equal() -> None:
    built = mobile()
    assert Rewriter(built).rewrite() == 6
    kinds = _kinds(built)
    assert not kinds.keys() & {"HardSwish", "HardSigmoid"}
    assert kinds["MaxPool"] == 2
    convolutions = [node for node in built.graph.node if node.op_type == "Conv"]
    assert all(each.name != "strides" for node in convolutions for each in node.attribute)


def test_an_activation_goes_before_the_maximum_so_that_it_is_not_fused_into_it() -> None:
    built = mobile()
    Rewriter(built).rewrite()
    makers = {node.output[0]: node for node in built.graph.node}
    picked = [node for node in built.graph.node if node.op_type == "MaxPool"]
    assert [makers[node.input[0]].op_type for node in picked] == ["Relu", "Conv"]


@pytest.mark.parametrize("opset", [9, 17])
def test_bounds_are_written_as_the_operator_set_has_them(opset: int) -> None:
    node = helper.make_node("HardSigmoid", ["x"], ["y"], alpha=0.1, beta=0.4)
    built = model([node], [info("x", SHAPE)], [info("y", SHAPE)], opset=opset)
    expected = _run(built)
    Rewriter(built).rewrite()
    onnx.checker.check_model(built, full_check=True)
    assert np.allclose(_run(built), expected, atol=1e-6)


@pytest.mark.parametrize(("bound", "offset", "divisor"), [(6.0, 3.0, 5.0), (6.0, 2.0, 6.0), (5.0, 3.0, 6.0)])
def test_what_only_looks_like_a_hard_swish_is_left_alone(bound: float, offset: float, divisor: float) -> None:
    nodes = [
        helper.make_node("Add", ["x", "offset"], ["a"]),
        helper.make_node("Clip", ["a", "zero", "bound"], ["b"]),
        helper.make_node("Mul", ["x", "b"], ["c"]),
        helper.make_node("Div", ["c", "divisor"], ["y"]),
    ]
    values = {"zero": 0.0, "bound": bound, "offset": offset, "divisor": divisor}
    weights = [constant(name, value) for name, value in values.items()]
    built = model(nodes, [info("x", SHAPE)], [info("y", SHAPE)], weights)
    before = _run(built)
    assert Rewriter(built).rewrite() == 0
    assert np.array_equal(_run(built), before)


def test_a_product_that_is_read_elsewhere_keeps_its_value() -> None:
    built = mobile()
    built.graph.output.append(info("s2", SHAPE))
    fed = {"x": np.random.default_rng(0).normal(0, 4, SHAPE).astype(np.float32)}
    before = ReferenceEvaluator(built).run(None, fed)
    Rewriter(built).rewrite()
    after = ReferenceEvaluator(built).run(None, fed)
    assert all(np.allclose(ours, theirs, atol=1e-5) for ours, theirs in zip(after, before, strict=True))


def test_a_depthwise_result_that_is_read_twice_keeps_both_readers() -> None:
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["d"], kernel_shape=[3, 3], strides=[2, 1], group=4),
        helper.make_node("Relu", ["d"], ["r"]),
        helper.make_node("Add", ["d", "r"], ["y"]),
    ]
    built = model(nodes, [info("x", SHAPE)], [info("y", [1, 4, None, None])], [weight("w", 4, 1, 3, 3)])
    before = _run(built)
    assert Rewriter(built).rewrite() == 1
    assert np.allclose(_run(built), before, atol=1e-6)


def test_convolutions_of_equal_strides_or_one_group_stay() -> None:
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"], kernel_shape=[3, 3], strides=[2, 2], group=4),
        helper.make_node("Conv", ["a", "v"], ["y"], kernel_shape=[1, 1], strides=[2, 1]),
    ]
    weights = [weight("w", 4, 1, 3, 3), weight("v", 4, 4, 1, 1)]
    built = model(nodes, [info("x", SHAPE)], [info("y", [1, 4, None, None])], weights)
    assert Rewriter(built).rewrite() == 0


@pytest.mark.parametrize("normalised", [False, True])
def test_a_relu_behind_a_transposed_convolution_stays_apart_from_it(normalised: bool) -> None:  # noqa: FBT001 - a case
    nodes = [
        helper.make_node("ConvTranspose", ["x", "w"], ["up"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("BatchNormalization", ["up", "b", "b", "b", "one"], ["even"]),
        helper.make_node("Relu", ["even" if normalised else "up"], ["cut"]),
        helper.make_node("Relu", ["cut"], ["y"]),
    ]
    weights = [weight("w", 4, 2, 2, 2), constant("b", [0.5, 0.3]), constant("one", [1, 1])]
    kept = nodes if normalised else [nodes[0], *nodes[2:]]
    built = model(kept, [info("x", SHAPE)], [info("y", [1, 2, None, None])], weights)
    before = _run(built)
    assert Rewriter(built).rewrite() == 1
    onnx.checker.check_model(built, full_check=True)
    assert _kinds(built)["Max"] == 1
    assert _kinds(built)["Relu"] == 1
    assert np.allclose(_run(built), before, atol=2e-6)


def test_names_become_tensorflows_and_stay_apart() -> None:
    nodes = [
        helper.make_node("Relu", ["in/put:0"], ["a.b"], name="Softmax@0"),
        helper.make_node("Relu", ["a.b"], ["a_b"]),
        helper.make_node("Clip", ["a_b", "", "6@6"], ["0"]),
    ]
    built = model(nodes, [info("in/put:0", SHAPE)], [info("0", SHAPE)], [constant("6@6", 6)])
    before = _run(built)
    rename(built)
    onnx.checker.check_model(built)
    names = [node.name for node in built.graph.node] + [name for node in built.graph.node for name in node.output]
    assert len(set(names)) == 6
    assert all(name.isascii() and name.isidentifier() for name in names)
    assert np.array_equal(_run(built), before)
