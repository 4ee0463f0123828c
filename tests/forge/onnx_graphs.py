"""ONNX graphs for tests, built with ``onnx.helper``: as foreign as a test wants them, and a few kilobytes."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

Foreign = Any  # onnx ships no types
Shape = Sequence[int | str | None]


def info(name: str, shape: Shape, kind: int = TensorProto.FLOAT) -> Foreign:
    """Describe an input or output."""
    return helper.make_tensor_value_info(name, kind, shape)


def weight(name: str, *shape: int, seed: int = 0) -> Foreign:
    """Draw a weight."""
    values = np.random.default_rng([seed, *map(ord, name)]).normal(0, 0.5, shape)
    return numpy_helper.from_array(values.astype(np.float32), name)


def constant(name: str, values: object, kind: type = np.float32) -> Foreign:
    """Give a constant of any shape."""
    return numpy_helper.from_array(np.array(values, kind), name)


def model(
    nodes: Sequence[Foreign],
    inputs: Sequence[Foreign],
    outputs: Sequence[Foreign],
    weights: Sequence[Foreign] = (),
    *,
    opset: int = 17,
    domains: Sequence[str] = (),
) -> Foreign:
    """Put a model together, unchecked."""
    graph = helper.make_graph(list(nodes), "test", list(inputs), list(outputs), list(weights))
    imports = [helper.make_opsetid("", opset), *(helper.make_opsetid(domain, 1) for domain in domains)]
    return helper.make_model(graph, opset_imports=imports, ir_version=8, producer_name="a test")


def classifier(size: Shape = (1, 3, 16, 16), *, opset: int = 17) -> Foreign:
    """A small classifier as PyTorch exports one: channels behind the batch, three classes, softmax at the end."""
    nodes = [
        helper.make_node(
            "Conv", ["picture", "w0", "b0"], ["c0"], kernel_shape=[3, 3], pads=[1, 1, 1, 1], strides=[2, 2]
        ),
        helper.make_node("Relu", ["c0"], ["r0"]),
        helper.make_node("GlobalAveragePool", ["r0"], ["p0"]),
        helper.make_node("Flatten", ["p0"], ["f0"]),
        helper.make_node("Gemm", ["f0", "w1", "b1"], ["logits"], transB=1),
        helper.make_node("Softmax", ["logits"], ["scores"], axis=1),
    ]
    weights = [weight("w0", 8, 3, 3, 3), weight("b0", 8), weight("w1", 3, 8), weight("b1", 3)]
    return model(nodes, [info("picture", size)], [info("scores", [size[0], 3])], weights, opset=opset)


def mobile(size: Shape = (1, 4, 8, 12)) -> Foreign:
    """What MobileNetV3 is made of: hard-swish in three spellings, hard-sigmoid, strides that differ."""
    nodes = [
        helper.make_node("Add", ["x", "three"], ["s0"]),
        helper.make_node("Clip", ["s0", "zero", "six"], ["s1"]),
        helper.make_node("Mul", ["x", "s1"], ["s2"]),
        helper.make_node("Div", ["s2", "six"], ["swish"]),
        helper.make_node(
            "Conv", ["swish", "w", "b"], ["d0"], kernel_shape=[3, 3], pads=[1, 1, 1, 1], strides=[2, 1], group=4
        ),
        helper.make_node("Relu", ["d0"], ["d1"]),
        helper.make_node("HardSwish", ["d1"], ["h0"]),
        helper.make_node("HardSigmoid", ["h0"], ["gate"], alpha=0.2, beta=0.5),
        helper.make_node("Mul", ["h0", "gate"], ["h1"]),
        helper.make_node(
            "Conv", ["h1", "w", "b"], ["d2"], kernel_shape=[3, 3], pads=[1, 1, 1, 1], strides=[1, 2], group=4
        ),
        helper.make_node("Add", ["d2", "three"], ["t0"]),
        helper.make_node("Clip", ["t0", "zero", "six"], ["t1"]),
        helper.make_node("Mul", ["t1", "d2"], ["t2"]),
        helper.make_node("Mul", ["t2", "sixth"], ["y"]),
    ]
    weights = [
        *(constant(name, value) for name, value in {"zero": 0, "three": 3, "six": 6, "sixth": 1 / 6}.items()),
        weight("w", 4, 1, 3, 3),
        weight("b", 4),
    ]
    return model(nodes, [info("x", size)], [info("y", [size[0], 4, None, None])], weights)


def write(folder: Path, built: Foreign, name: str = "net.onnx") -> Path:
    """Write a model into a folder."""
    path = folder / name
    onnx.save(built, path)
    return path
