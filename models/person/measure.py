"""What the built detector is worth: `python models/person/measure.py`, without tensorflow, from what is committed.

Reads `1.1.0/`, `labels/`, the footage in `examples/`, and `evaluation/float.npz`: what the float network found in the
same frames. With `--float FILE` the float network itself is asked; `build.py --float FILE` writes it.
"""

from __future__ import annotations

import argparse
import functools
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from appliance.core.tiling import Tiling
from appliance.forge import detection
from models.person.detecting import Detector
from models.person.pictures import frames

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from appliance.forge.detection import Judged, People
    from appliance.forge.report import Estimate

    Array = NDArray[Any]

HERE = Path(__file__).resolve().parent
FOLDER, EVALUATION = HERE / "1.1.0", HERE / "evaluation"
FLOAT_FILE = "float.npz"
LABELS = HERE / "labels" / "people-walking.csv"
FOOTAGE = HERE.parents[1] / "examples" / "footage" / "people-walking.avi"
COMMAND = "python models/person/measure.py"
THRESHOLD = 0.5
"""At which precision and recall are told: between a rule's release and threshold in the examples."""
AGREEMENT_SCORE_MIN = 0.4
TILINGS: Mapping[str, Tiling | None] = {
    "whole": None,
    "2 x 2": Tiling(2, 2, 0.3),
    "3 x 2": Tiling(3, 2, 0.3),
    "3 x 3": Tiling(3, 3, 0.3),
}
OVERLAPS = (0.1, 0.2, 0.3, 0.4)
HEIGHTS_PX = ((0, 48), (48, 72), (72, 96), (96, 600))
ROUNDS = 25
LOOSER_IOU_MIN, NOBODY_IOU_MAX = 0.4, 0.1
NEAR = 0.15
"""Around the threshold: scores that are listed."""

NOBODY = (
    "apple.jpg",
    "orange.jpg",
    "building.jpg",
    "fruits.jpg",
    "baboon.jpg",
    "home.jpg",
    "aero1.jpg",
    "butterfly.jpg",
)

Found = Mapping[int, "Array"]
"""Boxes [n, 5] by frame."""


def find(detector: Detector, pictures: Mapping[int, Array]) -> dict[int, Array]:
    """Ask a detector about every frame."""
    return {number: detector(picture) for number, picture in pictures.items()}


def judged(found: Found, labels: Mapping[int, People]) -> list[Judged]:
    """Hold what was found against the labels."""
    return [detection.judge(found[frame], people) for frame, people in labels.items()]


def stored(found: Mapping[str, Found]) -> dict[str, Array]:
    """Give what `evaluation/float.npz` holds: for each tiling float32 [n, 6], the frame first."""
    return {
        name: np.concatenate([np.insert(boxes, 0, frame, axis=1) for frame, boxes in by_frame.items()]).astype(
            np.float32
        )
        for name, by_frame in found.items()
    }


def read_float(labels: Mapping[int, People]) -> dict[str, Found]:
    """Read it."""
    with np.load(EVALUATION / FLOAT_FILE) as held:
        rows = {name: held[name].astype(float) for name in held.files}
    return {name: {frame: each[each[:, 0] == frame][:, 1:] for frame in labels} for name, each in rows.items()}


def between(low: float, high: float) -> Callable[[People], Array]:
    """Choose people by height in pixels, `low` included."""
    return lambda people: (people.heights_px >= low) & (people.heights_px < high)


def plain(people: People) -> Array:
    """Choose who is neither hidden nor cut."""
    return people.plain


def hidden(people: People) -> Array:
    """Choose who is."""
    return ~people.plain


GROUPS: Mapping[str, Callable[[People], Array] | None] = {
    "all": None,
    "plainly visible": plain,
    "occluded or cut": hidden,
    **{f"{low} to {high - 1} px high": between(low, high) for low, high in HEIGHTS_PX},
}


def figures(judged_: Sequence[Judged]) -> dict[str, Estimate]:
    """Measure what goes into the folder."""
    return {
        "AP at IoU 0.5": detection.estimate(detection.average_precision, judged_),
        f"precision at score {THRESHOLD}": detection.estimate(
            functools.partial(detection.precision_at, score_min=THRESHOLD), judged_
        ),
        f"recall at score {THRESHOLD}": detection.estimate(
            functools.partial(detection.recall_at, score_min=THRESHOLD), judged_
        ),
    }


def quality(by_name: Mapping[str, Sequence[Judged]]) -> Iterator[str]:
    """Say what each way of looking finds; a line each."""
    yield f"{'':>12}  AP50 | precision | recall at score {THRESHOLD}, each with its 95 % interval over frames"
    for name, frames_ in by_name.items():
        yield f"{name:>12}  " + " | ".join(str(each) for each in figures(frames_).values())


def by_group(by_name: Mapping[str, Sequence[Judged]]) -> Iterator[str]:
    """Say who is found; a line each."""
    yield f"recall at score {THRESHOLD} by whom; columns: {', '.join(by_name)}"
    for group, of in GROUPS.items():
        number = detection.count(next(iter(by_name.values())), of)
        cells = (f"{detection.recall_at(frames_, THRESHOLD, of):.3f}" for frames_ in by_name.values())
        yield f"{group:>16} ({number:>3})  " + "  ".join(cells)


def losses(ours: Sequence[Judged], theirs: Sequence[Judged]) -> Iterator[str]:
    """Say what quantising cost; a line each."""
    yield "INT8 less float on the same frames"
    for name, figure in (
        ("AP50", detection.average_precision),
        ("recall", functools.partial(detection.recall_at, score_min=THRESHOLD)),
        ("precision", functools.partial(detection.precision_at, score_min=THRESHOLD)),
    ):
        yield f"{name:>12}  {detection.difference(figure, ours, theirs)}"


def wrong(found: Found, labels: Mapping[int, People]) -> Iterator[str]:
    """Say what the boxes are that share less than half with a person."""
    looser = [detection.judge(found[frame], people, LOOSER_IOU_MIN) for frame, people in labels.items()]
    precision = detection.precision_at(looser, THRESHOLD)
    yield f"precision at IoU {LOOSER_IOU_MIN} instead of {detection.MATCH_IOU_MIN}: {precision:.3f}"
    shares = [
        detection.overlap(box[:4], people.boxes).max()
        for frame, people in labels.items()
        for box in found[frame][found[frame][:, 4] >= THRESHOLD]
    ]
    nobody = sum(share < NOBODY_IOU_MAX for share in shares)
    yield f"of {len(shares)} boxes {nobody} share less than {NOBODY_IOU_MAX} with anybody"


def cost(detectors: Mapping[str, Detector], picture: Array) -> Iterator[str]:
    """Say what one picture takes, with all that is done to it, against the whole alone; interleaved.

    In processor time of this thread, which other work on the machine stretches less than it does the clock.
    """
    cv2.setNumThreads(1)
    least = dict.fromkeys(detectors, float("inf"))
    for _ in range(ROUNDS):
        for name, detector in detectors.items():
            begun_s = time.thread_time()
            detector(picture)
            least[name] = min(least[name], time.thread_time() - begun_s)
    yield "processor time of a picture against the whole alone (prepare, infer, decode; one thread of this machine)"
    for name, took_s in least.items():
        yield f"{name:>12}  x {took_s / least['whole']:.2f}"


def overlaps(
    tflite: bytes, anchors: Array, pictures: Mapping[int, Array], labels: Mapping[int, People]
) -> Iterator[str]:
    """Say what the overlap of 3 x 2 tiles changes."""
    for overlap in OVERLAPS:
        found = judged(find(Detector(tflite, anchors, Tiling(3, 2, overlap)), pictures), labels)
        yield f"3 x 2 tiles, overlap {overlap}:  " + " | ".join(str(each) for each in figures(found).values())


def compare(
    float32: Mapping[str, Found], tflite: bytes, anchors: Array, pictures: Mapping[int, Array]
) -> Iterator[str]:
    """Say everything the card quotes."""
    labels = detection.read_labels(LABELS)
    detectors = {name: Detector(tflite, anchors, tiling) for name, tiling in TILINGS.items()}
    found = {name: find(detector, pictures) for name, detector in detectors.items()}
    by_name = {f"int8 {name}": judged(each, labels) for name, each in found.items()}
    floats = {f"float {name}": judged(each, labels) for name, each in float32.items()}
    everything = {**floats, **by_name}
    yield f"{len(labels)} frames, {detection.count(by_name['int8 whole'])} people that count"
    yield from quality(everything)
    yield from by_group(everything)
    yield from losses(by_name["int8 whole"], floats["float whole"])
    agreed = detection.agreement(found["whole"], float32["whole"], AGREEMENT_SCORE_MIN)
    yield f"INT8 against float at score {AGREEMENT_SCORE_MIN}: {agreed}"
    scores = np.unique(np.concatenate([boxes[:, 4] for boxes in found["whole"].values()]))
    near = np.round(scores[np.abs(scores - THRESHOLD) < NEAR], 2)
    yield f"distinct scores of INT8: {len(scores)}; around {THRESHOLD}: {near}"
    yield from wrong(found["whole"], labels)
    yield from overlaps(tflite, anchors, pictures, labels)
    yield from cost(detectors, next(iter(pictures.values())))


def false_alarms(tflite: bytes, anchors: Array, folder: Path) -> Iterator[str]:
    """Say what is seen in stills of `opencv-doc` that show nobody."""
    detector = Detector(tflite, anchors)
    for name in NOBODY:
        bgr = cv2.imread(str(folder / name))
        if bgr is None:
            yield f"{name:>12}  is not in {folder}"
            continue
        best = detector(bgr)[:1, 4]
        yield f"{name:>12}  highest score {best[0] if len(best) else 0.0:.2f}"


def main() -> int:
    """Read the command line and measure."""
    parser = argparse.ArgumentParser(description="Measure models/person/1.1.0 on the labelled frames.")
    parser.add_argument("--float", type=Path, help="a float32 .tflite to ask instead of evaluation/float.npz")
    parser.add_argument("--opencv-doc", type=Path, help="folder of opencv-doc's pictures: false alarms on stills")
    options = parser.parse_args()
    labels = detection.read_labels(LABELS)
    pictures = dict(frames(FOOTAGE, labels))
    anchors = np.load(FOLDER / "anchors.npy")
    if options.float:
        network = options.float.read_bytes()
        asked = {name: find(Detector(network, anchors, TILINGS[name]), pictures) for name in ("whole", "3 x 2")}
    for line in compare(
        asked if options.float else read_float(labels), (FOLDER / "model.tflite").read_bytes(), anchors, pictures
    ):
        print(line, flush=True)
    if options.opencv_doc:
        for line in false_alarms((FOLDER / "model.tflite").read_bytes(), anchors, options.opencv_doc):
            print(line)
    return 0


if __name__ == "__main__":
    sys.exit(main())
