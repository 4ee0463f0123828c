"""Writes a graph for the Edge TPU: part of the worker, in whose environment it runs.

TensorFlow makes HARD_SWISH and RELU_0_TO_1 of hard-swish and hard-sigmoid; the compiler has no operator for the first,
and refuses a file with the second altogether. A ReLU6 and products with constants are the same function, and map.
TensorFlow's depthwise convolution wants equal strides; onnx2tf makes a grouped convolution of others (CONV_2D version
6), which the compiler refuses too. And it fuses a ReLU into a transposed convolution (TRANSPOSE_CONV version 4),
likewise refused; a maximum stays apart.
"""

from importlib import import_module
from typing import Any

import numpy as np

Foreign = Any  # onnx ships no types
NEXT_TO_NOTHING = 1e-6
"""Not 0: TensorFlow would see a ReLU again. In INT8 it is 0."""


class Rewriter:
    """Writes in other operators what the Edge TPU has none for. The function stays the same, to a millionth."""

    def __init__(self, model: Foreign) -> None:
        """The graph is sound and its constants are initializers."""
        onnx = import_module("onnx")
        self._helper = onnx.helper
        self._graph = model.graph
        self._opset = max(each.version for each in model.opset_import if each.domain in ("", "ai.onnx"))
        self._constants = {each.name: onnx.numpy_helper.to_array(each) for each in model.graph.initializer}
        self._gone: set[str] = set()
        """Names whose maker has moved into another node's place."""
        self._makers = {name: node for node in model.graph.node for name in node.output}

    def rewrite(self) -> int:
        """Rewrite them all; gives how many there were."""
        old = list(self._graph.node)
        replaced = {node.output[0]: new for node in old if (new := self._rewritten(node)) is not None}
        nodes = [new for node in old for new in replaced.get(node.output[0], [node])]
        del self._graph.node[:]
        self._graph.node.extend(nodes)
        return len(replaced) - len(self._gone)

    def _rewritten(self, node: Foreign) -> list[Foreign] | None:
        """Give what a node becomes, None when it stays. A product nobody reads any more goes in the conversion."""
        if node.output[0] in self._gone:
            return []
        if node.op_type == "HardSigmoid":
            return self._hard_sigmoid(node)
        if node.op_type == "HardSwish":
            return self._hard_swish(node.input[0], node.output[0])
        if node.op_type == "Conv":
            return self._unequal_strides(node)
        if node.op_type == "Relu":
            return self._behind_transposed(node)
        name = self._spelt_out(node)
        return None if name is None else self._hard_swish(name, node.output[0])

    def _unequal_strides(self, node: Foreign) -> list[Foreign] | None:
        """Write a depthwise convolution of strides a, b as one of stride 1 and a maximum over 1 x 1 of strides a, b."""
        given = {each.name: each for each in node.attribute}
        strides = list(given["strides"].ints) if "strides" in given else []
        grouped = "group" in given and given["group"].i > 1
        if not grouped or len(set(strides)) < 2 or "auto_pad" in given:  # noqa: PLR2004 - two that differ
            return None
        end = node.output[0]
        nodes = [self._helper.make_node("Conv", list(node.input), [f"{end}_every"])]
        nodes[0].attribute.extend(each for each in node.attribute if each.name != "strides")
        activation = self._activation_of(end)
        if activation is not None:  # before the maximum: fused into it, it would not map
            self._gone.add(activation.output[0])
            nodes.append(self._helper.make_node("Relu", [f"{end}_every"], [f"{end}_active"]))
            nodes[1].CopyFrom(activation)
            nodes[1].input[0], nodes[1].output[0] = f"{end}_every", f"{end}_active"
            end = activation.output[0]
        picks = {"kernel_shape": [1] * len(strides), "strides": strides}
        nodes.append(self._helper.make_node("MaxPool", [nodes[-1].output[0]], [end], **picks))
        return nodes

    def _behind_transposed(self, relu: Foreign) -> list[Foreign] | None:
        """Write a ReLU behind a transposed convolution as the maximum with next to nothing."""
        maker = self._makers.get(relu.input[0])
        if maker is not None and maker.op_type == "BatchNormalization":  # goes into the convolution
            maker = self._makers.get(maker.input[0])
        if maker is None or maker.op_type != "ConvTranspose":
            return None
        return [self._with("Max", relu.input[0], NEXT_TO_NOTHING, relu.output[0])]

    def _activation_of(self, name: str) -> Foreign | None:
        """Give the ReLU that alone reads a tensor, if one does."""
        readers = [node for node in self._graph.node if name in node.input]
        ends = {each.name for each in self._graph.output}
        is_one = len(readers) == 1 and readers[0].op_type in ("Relu", "Clip") and name not in ends
        return readers[0] if is_one else None

    def _hard_sigmoid(self, node: Foreign) -> list[Foreign]:
        """Write clip(a x + b, 0, 1) as relu6(6 a x + 6 b) / 6."""
        given = {each.name: each.f for each in node.attribute}
        slope, offset = 6 * given.get("alpha", 0.2), 6 * given.get("beta", 0.5)  # ONNX's defaults
        name, end = node.input[0], node.output[0]
        return [
            self._with("Mul", name, slope, f"{end}_scaled"),
            self._with("Add", f"{end}_scaled", offset, f"{end}_moved"),
            self._relu6(f"{end}_moved", f"{end}_cut"),
            self._with("Mul", f"{end}_cut", 1 / 6, end),
        ]

    def _hard_swish(self, name: str, end: str) -> list[Foreign]:
        """Write x relu6(x + 3) / 6 as (x / 6) relu6(x + 3)."""
        return [
            self._with("Mul", name, 1 / 6, f"{end}_sixth"),
            self._with("Add", name, 3.0, f"{end}_moved"),
            self._relu6(f"{end}_moved", f"{end}_gate"),
            self._helper.make_node("Mul", [f"{end}_sixth", f"{end}_gate"], [end]),
        ]

    def _spelt_out(self, last: Foreign) -> str | None:
        """Recognise the last node of x relu6(x + 3) / 6; gives x."""
        divisor = 6.0 if last.op_type == "Div" else 1 / 6
        product = self._makers.get(last.input[0]) if last.op_type in ("Div", "Mul") else None
        if product is None or product.op_type != "Mul" or not self._is(last.input[1], divisor):
            return None
        for name, gate in (product.input, product.input[::-1]):
            moved = self._cut_at_6(self._makers.get(gate))
            if (
                moved is not None
                and moved.op_type == "Add"
                and moved.input[0] == name
                and self._is(moved.input[1], 3.0)
            ):
                return str(name)
        return None

    def _cut_at_6(self, clip: Foreign | None) -> Foreign | None:
        """Give what is cut to 0..6 by this node; None when it is no such cut."""
        if clip is None or clip.op_type != "Clip":
            return None
        bounds = {each.name: each.f for each in clip.attribute}
        is_6 = (
            self._is(clip.input[1], 0.0) and self._is(clip.input[2], 6.0)
            if len(clip.input) == 3  # noqa: PLR2004 - the tensor and its bounds
            else (bounds.get("min"), bounds.get("max")) == (0.0, 6.0)
        )
        return self._makers.get(clip.input[0]) if is_6 else None

    def _is(self, name: str, value: float) -> bool:
        constant = self._constants.get(name)
        return constant is not None and constant.size == 1 and bool(np.isclose(constant.item(), value))

    def _with(self, kind: str, name: str, value: float, end: str) -> Foreign:
        return self._helper.make_node(kind, [name, self._constant(value)], [end])

    def _relu6(self, name: str, end: str) -> Foreign:
        if self._opset < 11:  # noqa: PLR2004 - from there on the bounds are inputs
            return self._helper.make_node("Clip", [name], [end], min=0.0, max=6.0)
        return self._helper.make_node("Clip", [name, self._constant(0.0), self._constant(6.0)], [end])

    def _constant(self, value: float) -> str:
        name = f"rewriter_{value!r}"
        if name not in self._constants:
            self._constants[name] = np.float32(value)
            self._graph.initializer.append(self._helper.make_tensor(name, 1, [], [value]))
        return name
