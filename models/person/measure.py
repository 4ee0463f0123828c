"""How faithful the INT8 detector is to its float self, on pictures it was not calibrated with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable

    from models.recipe import Array, Runner

SCORE_MIN = 0.4
NMS_IOU_MAX = 0.6
MATCH_IOU_MIN = 0.5


@dataclass(frozen=True)
class Agreement:
    """The INT8 network's boxes, with the float network's boxes taken for the truth."""

    frames: int
    float_boxes: int
    int8_boxes: int
    matched: int
    median_iou: float

    def __str__(self) -> str:
        """Give the line that the model card quotes."""
        return (
            f"{self.frames} frames, score >= {SCORE_MIN}: float {self.float_boxes} boxes, int8 {self.int8_boxes}, "
            f"matched {self.matched}: precision {self.matched / self.int8_boxes:.3f}, "
            f"recall {self.matched / self.float_boxes:.3f}, median IoU {self.median_iou:.3f}"
        )


def detect(runner: Runner, picture: Array, anchors: Array, box_scales: tuple[float, float, float, float]) -> Array:
    """Find people in one normalised picture.

    Args:
        runner: the network, with outputs `boxes` [1, N, 4] and `scores` [1, N, 2].
        picture: float32 [300, 300, 3].
        anchors: float32 [N, 4] ymin, xmin, ymax, xmax as fractions of the picture.
        box_scales: divisors of y, x, h, w.

    Returns:
        float [n, 4] boxes like the anchors, best first.
    """
    outputs = runner.values(picture[np.newaxis])
    scores = outputs["scores"][0, :, 1]
    likely = np.flatnonzero(scores >= SCORE_MIN)
    likely = likely[np.argsort(-scores[likely], kind="stable")]
    return _without_doubles(_decode(outputs["boxes"][0, likely], anchors[likely], box_scales))


def _decode(raw: Array, anchors: Array, box_scales: tuple[float, float, float, float]) -> Array:
    offset = raw / np.asarray(box_scales, np.float32)
    size = anchors[:, 2:] - anchors[:, :2]
    centre = (anchors[:, :2] + anchors[:, 2:]) / 2 + offset[:, :2] * size
    half = np.exp(offset[:, 2:]) * size / 2
    boxes: Array = np.concatenate([centre - half, centre + half], axis=1).clip(0, 1)
    return boxes


def _without_doubles(boxes: Array) -> Array:
    kept: list[int] = []
    for index in range(len(boxes)):
        if not kept or overlap(boxes[index], boxes[kept]).max() < NMS_IOU_MAX:
            kept.append(index)
    return boxes[kept]


def overlap(box: Array, boxes: Array) -> Array:
    """Give the intersection over union of one box [4] with each of several [n, 4], as [n]."""
    inner = np.minimum(box[2:], boxes[:, 2:]) - np.maximum(box[:2], boxes[:, :2])
    common = inner.clip(0).prod(axis=1)
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1) + (box[2:] - box[:2]).prod()
    shares: Array = common / (areas - common + 1e-9)
    return shares


def agreement(pairs: Iterable[tuple[Array, Array]]) -> Agreement:
    """Compare, frame by frame, INT8 boxes [n, 4] with float boxes [m, 4]; each float box is matched once."""
    frames = float_boxes = int8_boxes = matched = 0
    best: list[float] = []
    for ours, truth in pairs:
        frames, float_boxes, int8_boxes = frames + 1, float_boxes + len(truth), int8_boxes + len(ours)
        free = np.ones(len(truth), bool)
        for box in ours if len(truth) else ():
            shares = overlap(box, truth)
            best.append(float(shares.max()))
            nearest = int(np.where(free, shares, -1).argmax())
            if free[nearest] and shares[nearest] >= MATCH_IOU_MIN:
                free[nearest] = False
                matched += 1
    return Agreement(frames, float_boxes, int8_boxes, matched, float(np.median(best)))
