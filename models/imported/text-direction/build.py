"""Build models/imported/text-direction/1.0.0: PaddleOCR's text direction classifier, imported from ONNX.

The network and its weights are PaddlePaddle's, unchanged; here they are converted, quantised and measured, on lines of
text that `lines.py` draws.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
from rich.console import Console

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))
from lines import picture

from appliance.core.facts import DataCard, Limits, ModelMetric, ModelProvenance
from appliance.core.types import FrameKind
from appliance.errors import ForgeError
from appliance.forge import calibration
from appliance.forge.environment import pinned
from appliance.forge.figures import figure, toolchain
from appliance.forge.metrics import accuracy, bootstrap
from appliance.forge.onnx import importing
from appliance.forge.onnx.stages import table
from appliance.forge.package import package
from appliance.forge.package_spec import PackageSpec
from appliance.forge.report import Report
from appliance.forge.run import Runner
from appliance.forge.samples import InputSpec
from models.imported.packages import Published, fetch

if TYPE_CHECKING:
    from collections.abc import Mapping

    from appliance.core.types import Array

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]
NETWORK = Published(
    "rapidocr-onnxruntime==1.2.3",
    "rapidocr_onnxruntime/models/ch_ppocr_mobile_v2.0_cls_infer.onnx",
    "e47acedf663230f8863ff1ab0e64dd2d82b838fceb5957146dab185a89d6215c",
)
SEED = 20_261_122
CALIBRATION, TEST = 300, 600
SHAPE = (1, 3, 48, 192)
LOGITS = "linear_1.tmp_1"
"""The tensor before the softmax: an INT8 softmax leaves few steps near 0 and 1, so the device computes it."""
SCALE = 127.5
"""The network was trained on (x / 255 - 0.5) / 0.5 (rapidocr_onnxruntime/ch_ppocr_v2_cls/text_cls.py)."""
LABELS = ("upright", "upside-down")
COMMAND = "python models/imported/text-direction/build.py"
NAME, VERSION = "text-direction", "1.0.0"


def drawn(rng: np.random.Generator, count: int, shape: tuple[int, ...]) -> tuple[Array, Array]:
    """Draw lines and prepare them as the device does: normalised float32 [n, 48, 192, 3], and int [n] the class."""
    classes = np.arange(count) % 2
    spec = InputSpec(shape, FrameKind.IMAGE, (SCALE,), (SCALE,), "bgr", "letterbox")
    with tempfile.TemporaryDirectory(prefix="forge-lines-") as folder:
        for number, upside_down in enumerate(classes):
            cv2.imwrite(f"{folder}/{number:05}.png", picture(rng, upside_down=bool(upside_down)))
        return calibration.load(Path(folder), spec), classes


def build(out: Path, wheel: Path | None, tools: Path | None, second_runtime: str) -> None:
    """Fetch, import, measure, write the folder."""
    rng = np.random.default_rng(SEED)
    with tempfile.TemporaryDirectory(prefix="forge-text-") as scratch:
        model = Path(scratch) / "text-direction.onnx"
        model.write_bytes(fetch(NETWORK, wheel))
        planned = importing.plan(model, shapes={"x": SHAPE}, outputs=[LOGITS])
        calibrating, _ = drawn(rng, CALIBRATION, planned.shape)
        testing, classes = drawn(rng, TEST, planned.shape)
        converter = importing.tools(tools, tell=print)
        imported = importing.import_onnx(planned, calibrating, converter, evaluation=testing, tell=print)
    Console().print(table(imported.changes))
    report = Report(out / NAME / VERSION)
    report.add(importing.step(imported, planned, command=COMMAND))
    spec = specification(imported, testing, classes)
    where = second_runtime if second_runtime in {"managed", "none"} else Path(second_runtime)
    print(package(spec, out, report=report, second_runtime=where, force=True))  # type: ignore[arg-type]  # as just chosen


def specification(imported: importing.Imported, testing: Array, classes: Array) -> PackageSpec:
    """Say what the file does not tell."""
    return PackageSpec(
        name=NAME,
        version=VERSION,
        task="classify",
        description="Says whether a line of text stands upright or upside down (PaddleOCR's classifier, imported).",
        licence="Apache-2.0",
        source=f"PyPI {NETWORK.requirement}, {NETWORK.member}: PP-OCR mobile v2.0 direction classifier of PaddleOCR.",
        tflite=imported.int8,
        outputs={"scores": (1, len(LABELS))},
        preprocess={
            "kind": "image",
            "mean": [SCALE] * 3,
            "std": [SCALE] * 3,
            "colour": "bgr",
            "fit": "letterbox",
        },
        decode={"kind": "classify", "activation": "softmax"},
        labels=LABELS,
        golden_inputs=[each[np.newaxis] for each in testing[:8]],
        further_inputs=[each[np.newaxis] for each in testing[8:40]],
        papers={"LICENSE": (ROOT / "LICENSE").read_bytes()},
        limits=Limits(memory_bytes_max=16 << 20),
        metrics=measured(imported, testing, classes),
        provenance=ModelProvenance(
            training_data="Not stated in the package; by PaddleOCR's documentation, real and synthetic lines of text.",
            data_licence="Not stated; the weights are published under Apache-2.0. Calibration data: drawn here.",
            made_by=COMMAND,
            seeds=(SEED,),
            toolchain=tools_used(),
        ),
        data=DataCard(
            what=f"{CALIBRATION} drawn lines to calibrate, {TEST} others to test, half of each upside down.",
            source="models/imported/text-direction/lines.py: OpenCV's own fonts, seeded.",
            missing="Photographs; print and handwriting; Chinese, which the network was made for; vertical text.",
        ),
    )


def measured(imported: importing.Imported, testing: Array, classes: Array) -> tuple[ModelMetric, ...]:
    """Measure the accuracy of both, and what the import changed."""
    data = f"{TEST} drawn lines of text, seed {SEED}"
    figures = []
    for name, tflite in (("INT8", imported.int8), ("float", imported.float32)):
        scores = Runner(tflite, {"scores": (1, len(LABELS))}).each(testing)["scores"]
        estimate = bootstrap(accuracy, scores, classes)
        print(f"accuracy {name}: {estimate}")
        figures.append(figure(f"accuracy, {name}", estimate, data=data, command=COMMAND))
    for change in imported.changes:
        name = f"correlation of {change.stage} with the ONNX original"
        figures.append(figure(name, change.correlation, data=f"{importing.EVALUATED_MAX} of them", command=COMMAND))
    return tuple(figures)


def tools_used() -> Mapping[str, str]:
    """Name what it was made with."""
    converters = [each.partition("==") for each in pinned("onnx") if each.startswith(("onnx2tf==", "onnxruntime=="))]
    return {name: pin for name, _, pin in converters} | toolchain("tensorflow-cpu", "opencv-python-headless")


def main() -> int:
    """Read the command line and build."""
    parser = argparse.ArgumentParser(description="Build models/imported/text-direction/1.0.0.")
    parser.add_argument("--out", type=Path, default=HERE.parent, help="where to write text-direction/1.0.0/")
    parser.add_argument("--wheel", type=Path, help=f"{NETWORK.requirement}, when it was downloaded before")
    parser.add_argument("--environment", type=Path, help="a Python environment with onnx2tf; else one is made once")
    parser.add_argument("--second-runtime", default="managed", help="managed, none or a Python with tflite-runtime")
    options = parser.parse_args()
    try:
        build(options.out, options.wheel, options.environment, options.second_runtime)
    except ForgeError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
