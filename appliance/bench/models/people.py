"""What a detector is worth: INT8's boxes and float's, in labelled frames of the bundled footage.

Beside the versions of the model lie ``labels/<footage>.csv`` (``appliance.forge.detection`` reads it; the footage is
``examples/footage/<footage>.avi``) and ``evaluation/float.npz`` with what the float network found in the same frames
(``whole``: float ``[n, 6]``, the frame, then xmin, ymin, xmax, ymax in pixels, and the score): the network is too
large to commit.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from appliance.bench.models.quality import EVALUATION, LOSS_MAX, Quality, read_arrays
from appliance.core.decode import decode, merge
from appliance.core.model import Model, SsdRawDecode
from appliance.core.preprocess import Preprocessor
from appliance.core.types import Array, Frame, FrameKind
from appliance.errors import ConfigError
from appliance.forge.detection import (
    Judged,
    People,
    average_precision,
    difference,
    estimate,
    judge,
    precision_at,
    read_labels,
    recall_at,
)
from appliance.forge.run import Runner

FOOTAGE = Path(__file__).parents[3] / "examples" / "footage"
FLOAT_BOXES = "float.npz"
ROW = 6
"""Numbers of a stored box: the frame, four corners, the score."""
SCORE_MIN = 0.05
"""When measuring: a curve of precision over recall needs the lower scores, too."""
THRESHOLD = 0.5
"""At which precision and recall are told."""
METRICS: Mapping[str, Callable[[Sequence[Judged]], float]] = {
    "AP at IoU 0.5": average_precision,
    "precision": partial(precision_at, score_min=THRESHOLD),
    "recall": partial(recall_at, score_min=THRESHOLD),
}


def labels_of(folder: Path) -> Path | None:
    """Return the labels of a detector's folder, if it has some."""
    return next(iter(sorted((folder.parent / "labels").glob("*.csv"))), None)


def judge_people(folder: Path, model: Model) -> list[Quality]:
    """Judge a detector by its labelled frames.

    Raises:
        ConfigError: labels, footage or float boxes are not there.
        ForgeError: the network does not run.
    """
    file = labels_of(folder)
    assert file is not None, "only detectors with labels are judged"
    labels = read_labels(file)
    seen = {
        "int8": _judged(_found(model, FOOTAGE / f"{file.stem}.avi", labels), labels),
        "float32": _judged(_stored(folder.parent / EVALUATION / FLOAT_BOXES, labels), labels),
    }
    first = next(iter(METRICS))
    return [
        Quality(
            model=model.name,
            metric=name,
            by_judge={judge_name: estimate(metric, frames) for judge_name, frames in seen.items()},
            loss=difference(metric, seen["float32"], seen["int8"]) if name == first else None,
            loss_max=LOSS_MAX[SsdRawDecode] if name == first else None,
        )
        for name, metric in METRICS.items()
    ]


def _judged(boxes: Mapping[int, Array], labels: Mapping[int, People]) -> list[Judged]:
    return [judge(boxes[frame], people) for frame, people in labels.items()]


def _found(model: Model, footage: Path, labels: Mapping[int, People]) -> dict[int, Array]:
    """Let the INT8 network look at each labelled frame, prepared and decoded as the device does."""
    assert isinstance(model.decode, SsdRawDecode), "labelled detectors are SSDs"
    lenient = replace(model, decode=replace(model.decode, score_min=SCORE_MIN))
    shapes = {role: spec.shape for role, spec in model.outputs.items()}
    runner, prepare = Runner(model.tflite, shapes), Preprocessor(lenient)
    return {number: _boxes(runner, prepare, lenient, picture) for number, picture in _frames(footage, labels).items()}


def _boxes(runner: Runner, prepare: Preprocessor, model: Model, picture: Array) -> Array:
    """Give float ``[n, 5]`` xmin, ymin, xmax, ymax in pixels and score."""
    parts = prepare(Frame(FrameKind.IMAGE, picture, captured_s=0.0, seq=0))
    found = merge([decode(runner.run(part.tensor), part, model) for part in parts], parts, model)
    height, width = picture.shape[:2]
    rows = [
        (one.box.xmin * width, one.box.ymin * height, one.box.xmax * width, one.box.ymax * height, one.score)
        for one in found
        if one.box is not None
    ]
    return np.array(rows, np.float64).reshape(-1, 5)


def _frames(footage: Path, labels: Mapping[int, People]) -> dict[int, Array]:
    """Read the labelled frames. Raises ConfigError when the footage is not there or too short."""
    capture = cv2.VideoCapture(str(footage))
    read = {number: capture.read()[1] for number in range(max(labels) + 1)}
    capture.release()
    if any(read[number] is None for number in labels):
        msg = f"{footage}: not there or too short for its labels; benches need a clone of the repository"
        raise ConfigError(msg)
    return {number: read[number] for number in labels}


def _stored(file: Path, labels: Mapping[int, People]) -> dict[int, Array]:
    """Read what the float network found. Raises ConfigError."""
    rows = read_arrays(file).get("whole", np.empty(0))
    if rows.ndim != 2 or rows.shape[1] != ROW or rows.dtype.kind != "f":  # noqa: PLR2004 - [n, ROW]
        msg = f"{file}: `whole` is {rows.dtype.name} {list(rows.shape)}; float [n, {ROW}] is wanted"
        raise ConfigError(msg)
    return {frame: rows[rows[:, 0] == frame][:, 1:] for frame in labels}
