"""Boxes against labels: who is found, what is found that is nobody, and how sure those figures are."""

import csv
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from appliance.core.types import Array
from appliance.forge.report import Estimate

MATCH_IOU_MIN = 0.5
IGNORED_SHARE_MIN = 0.5
"""A box of which more than this lies on somebody to be ignored is ignored too."""
ROUNDS = 200
SEED = 0


@dataclass(frozen=True, slots=True, eq=False)
class People:
    """Everybody in one frame: arrays of m rows."""

    boxes: Array
    """float [m, 4] xmin, ymin, xmax, ymax in pixels."""
    flags: tuple[frozenset[str], ...]

    @property
    def ignored(self) -> Array:
        """Who neither counts as found nor as missed: bool [m]."""
        return np.array(["ignore" in flags for flags in self.flags], bool)

    @property
    def plain(self) -> Array:
        """Who is neither hidden nor cut: bool [m]."""
        return np.array([not flags for flags in self.flags], bool)

    @property
    def heights_px(self) -> Array:
        """Of each person, float [m]."""
        return self.boxes[:, 3] - self.boxes[:, 1]


def read_labels(file: Path) -> dict[int, People]:
    """Read the labels by frame."""
    with file.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    by_frame: dict[int, list[dict[str, str]]] = {}
    for row in rows:
        by_frame.setdefault(int(row["frame"]), []).append(row)
    return {
        frame: People(
            np.array([[float(row[side]) for side in ("xmin", "ymin", "xmax", "ymax")] for row in people]),
            tuple(frozenset(filter(None, row["flags"].split("+"))) for row in people),
        )
        for frame, people in by_frame.items()
    }


@dataclass(frozen=True, slots=True, eq=False)
class Judged:
    """One frame's boxes against its people."""

    scores: Array
    """float [n] of the boxes that count, best first."""
    right: Array
    """bool [n]: the box is somebody not found before."""
    found: Array
    """float [m]: the score each person was found with, 0 when missed."""
    people: People


def judge(boxes: Array, people: People, iou_min: float = MATCH_IOU_MIN) -> Judged:
    """Match boxes float [n, 5], best first, with people, each once (as PASCAL VOC does; ignored ones as COCO does)."""
    found, ignored = np.zeros(len(people.boxes)), people.ignored
    counted: list[tuple[float, bool]] = []
    for box in boxes[np.argsort(-boxes[:, 4], kind="stable")]:
        shares = overlap(box[:4], people.boxes)
        free = np.where(ignored | (found > 0), 0.0, shares)
        best = int(free.argmax())
        if free[best] >= iou_min:
            found[best] = box[4]
            counted.append((float(box[4]), True))
        elif not _lies_on(box[:4], people.boxes[ignored]):
            counted.append((float(box[4]), False))
    scores, right = (np.array(column) for column in zip(*counted, strict=True)) if counted else (np.zeros(0),) * 2
    return Judged(scores, right.astype(bool), found, people)


def overlap(box: Array, boxes: Array) -> Array:
    """Give the intersection over union of one box [4] with each of several [n, 4], as [n]."""
    common = _common(box, boxes)
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1) + (box[2:] - box[:2]).prod()
    shares: Array = common / (areas - common + 1e-9)
    return shares


def _common(box: Array, boxes: Array) -> Array:
    inner = np.minimum(box[2:], boxes[:, 2:]) - np.maximum(box[:2], boxes[:, :2])
    common: Array = inner.clip(0).prod(axis=1)
    return common


def _lies_on(box: Array, boxes: Array) -> bool:
    return bool((_common(box, boxes) > IGNORED_SHARE_MIN * (box[2:] - box[:2]).prod()).any())


def average_precision(frames: Sequence[Judged]) -> float:
    """Give the area under precision over recall, precision made falling (PASCAL VOC from 2010 on)."""
    scores = np.concatenate([frame.scores for frame in frames])
    right = np.concatenate([frame.right for frame in frames])[np.argsort(-scores, kind="stable")]
    precision = np.cumsum(right) / np.arange(1, len(right) + 1)
    falling = np.maximum.accumulate(precision[::-1])[::-1]
    return float(falling[right].sum() / sum((~frame.people.ignored).sum() for frame in frames))


def precision_at(frames: Sequence[Judged], score_min: float) -> float:
    """Give the share of boxes of this score or more that are somebody."""
    right = np.concatenate([frame.right[frame.scores >= score_min] for frame in frames])
    return float(right.mean()) if len(right) else float("nan")


def recall_at(frames: Sequence[Judged], score_min: float, of: Callable[[People], Array] | None = None) -> float:
    """Give the share of people found with this score or more; ``of`` chooses whom, by default all."""
    found = [
        frame.found[~frame.people.ignored & (True if of is None else of(frame.people))] >= score_min for frame in frames
    ]
    joined = np.concatenate(found)
    return float(joined.mean()) if len(joined) else float("nan")


def count(frames: Sequence[Judged], of: Callable[[People], Array] | None = None) -> int:
    """Say how many people ``of`` chooses."""
    return int(sum((~frame.people.ignored & (True if of is None else of(frame.people))).sum() for frame in frames))


def estimate(figure: Callable[[Sequence[Judged]], float], frames: Sequence[Judged]) -> Estimate:
    """Give a figure with its 95 % interval over *frames*: people of one frame resemble one another."""
    return _resampled(lambda rows: figure([frames[row] for row in rows]), len(frames))


def difference(
    figure: Callable[[Sequence[Judged]], float], ours: Sequence[Judged], theirs: Sequence[Judged]
) -> Estimate:
    """Give ours less theirs, both on the same frames in every resample."""
    return _resampled(
        lambda rows: figure([ours[row] for row in rows]) - figure([theirs[row] for row in rows]), len(ours)
    )


def _resampled(figure: Callable[[Array], float], count_: int) -> Estimate:
    rng = np.random.default_rng(SEED)
    drawn = [figure(rng.integers(count_, size=count_)) for _ in range(ROUNDS)]
    low, high = np.nanpercentile(drawn, (2.5, 97.5))
    return Estimate(figure(np.arange(count_)), float(low), float(high))


@dataclass(frozen=True, slots=True)
class Agreement:
    """INT8's boxes, with the float network's taken for the truth."""

    float_boxes: int
    int8_boxes: int
    matched: int
    median_iou: float

    def __str__(self) -> str:
        """Give the line that the model card quotes."""
        return (
            f"float {self.float_boxes} boxes, INT8 {self.int8_boxes}, matched {self.matched}: precision "
            f"{self.matched / self.int8_boxes:.3f}, recall {self.matched / self.float_boxes:.3f}, "
            f"median IoU {self.median_iou:.3f}"
        )


def agreement(ours: Mapping[int, Array], theirs: Mapping[int, Array], score_min: float) -> Agreement:
    """Compare boxes [n, 5] by frame; each float box is matched once, at an IoU of MATCH_IOU_MIN or more."""
    int8_boxes = float_boxes = 0
    shares: list[float] = []
    for frame, boxes in ours.items():
        kept, truth = boxes[boxes[:, 4] >= score_min], theirs[frame][theirs[frame][:, 4] >= score_min]
        int8_boxes, float_boxes = int8_boxes + len(kept), float_boxes + len(truth)
        free = np.ones(len(truth), bool)
        for box in kept if len(truth) else ():
            share = np.where(free, overlap(box[:4], truth[:, :4]), 0.0)
            if share.max() >= MATCH_IOU_MIN:
                free[share.argmax()] = False
                shares.append(float(share.max()))
    return Agreement(float_boxes, int8_boxes, len(shares), float(np.median(shares)))
