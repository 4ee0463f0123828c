"""Boxes of single-shot detectors: from offsets and anchors, or decoded in the graph."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from appliance.core.model import Dtype, Model, SsdPostprocessedDecode, SsdRawDecode
from appliance.core.preprocess import Prepared
from appliance.core.quant import dequantise, finite, least_reaching
from appliance.core.types import Array, Box, Outputs, Prediction

CANDIDATES_MAX = 400
"""Boxes that enter suppression, best first (Liu et al., SSD, 2016, take as many); bounds its time and memory."""
IOU_MAX = 0.6
"""Overlap at which the weaker of two boxes from different parts goes, where the model states none of its own."""
CUT_SHARE = 0.01
"""A box this near (share of the tile's side: 3 pixels of 300) to an edge inside the picture was cut by it."""
COVERED_SHARE = 0.5
"""A cut box of which more than this lies in a whole one is a piece of the same thing."""
_EXPONENT_MAX = 10.0
"""A side e^10 times its anchor's covers any picture; beyond, ``exp`` may leave floating point."""

Boxes = NDArray[np.float64]


def decode_ssd_raw(outputs: Outputs, prepared: Prepared, model: Model) -> tuple[Prediction, ...]:
    """Decode ``boxes`` [1, N, 4] and ``scores`` [1, N, columns] of N anchors; suppress doubles label by label.

    Boxes of which no part is inside the frame are left out.
    """
    decode = model.decode
    assert isinstance(decode, SsdRawDecode)
    anchors, indices, scores = _candidates(outputs["scores"][0], model, decode)
    if not scores.size:
        return ()
    raw = outputs["boxes"][0, anchors]
    offsets = finite(dequantise(raw, model.outputs["boxes"]), "boxes")
    boxes = prepared.to_frame(_from_offsets(offsets, decode.anchors[anchors], decode))
    seen = np.flatnonzero(_seen(boxes))
    boxes, indices, scores = boxes[seen], indices[seen], scores[seen]
    kept = suppress(boxes, indices, decode.iou_max, decode.max_detections)
    return _predictions(boxes[kept], indices[kept], scores[kept], model)


def decode_ssd_postprocessed(outputs: Outputs, prepared: Prepared, model: Model) -> tuple[Prediction, ...]:
    """Take ``boxes`` [1, slots, 4], ``classes`` and ``scores`` [1, slots] as they are, as far as ``count`` [1] goes.

    Slots past ``count`` are uninitialised memory in the runtime's ``TFLite_Detection_PostProcess``: never looked at.
    """
    decode = model.decode
    assert isinstance(decode, SsdPostprocessedDecode)
    count = int(_real(outputs["count"].ravel()[:1], "count", model)[0])
    used = slice(0, max(0, count))
    scores = _real(outputs["scores"][0, used], "scores", model).astype(np.float64)
    indices = np.rint(_real(outputs["classes"][0, used], "classes", model))
    boxes = prepared.to_frame(_real(outputs["boxes"][0, used], "boxes", model).astype(np.float64))
    wanted = np.flatnonzero((scores >= decode.score_min) & _seen(boxes))
    best = wanted[np.argsort(-scores[wanted], kind="stable")][: decode.max_detections]
    return _predictions(boxes[best], indices[best], scores[best], model)


def merge_boxes(
    parts: Sequence[tuple[Prediction, ...]], prepared: Sequence[Prepared], model: Model
) -> tuple[Prediction, ...]:
    """Put together what was found in the parts of one picture: each thing once, by falling score.

    A tile's edge cuts who stands on it, and the rest of them is seen by its neighbour or in the whole picture: a cut
    box goes when half of it lies in a box that was not cut. What is left is suppressed as one picture's boxes are.

    Args:
        parts: what was found in each, in fractions of the frame.
        prepared: the parts.
        model: whose predictions these are.
    """
    found = [(each, _cut(each, part)) for seen, part in zip(parts, prepared, strict=True) for each in seen]
    found.sort(key=lambda pair: -pair[0].score)
    found = found[:CANDIDATES_MAX]
    if not found:
        return ()
    corners = np.array([_corners(each) for each, _ in found])
    labels = {each.label: number for number, (each, _) in enumerate(found)}
    indices = np.array([labels[each.label] for each, _ in found])
    whole = np.flatnonzero(~_pieces(corners, indices, np.array([cut for _, cut in found])))
    decode = model.decode
    assert isinstance(decode, SsdRawDecode | SsdPostprocessedDecode)
    iou_max = decode.iou_max if isinstance(decode, SsdRawDecode) else IOU_MAX
    kept = suppress(corners[whole], indices[whole], iou_max, decode.max_detections)
    return tuple(found[position][0] for position in whole[kept])


def _corners(prediction: Prediction) -> tuple[float, float, float, float]:
    box = prediction.box
    assert box is not None, "a detector's predictions have boxes"
    return box.ymin, box.xmin, box.ymax, box.xmax


def _cut(prediction: Prediction, part: Prepared) -> bool:
    """Say whether a box touches an edge of its part that lies inside the picture."""
    region = part.region
    ymin, xmin, ymax, xmax = _corners(prediction)
    near_y, near_x = CUT_SHARE * region.height, CUT_SHARE * region.width
    return (
        (region.ymin > 0.0 and ymin <= region.ymin + near_y)
        or (region.xmin > 0.0 and xmin <= region.xmin + near_x)
        or (region.ymax < 1.0 and ymax >= region.ymax - near_y)
        or (region.xmax < 1.0 and xmax >= region.xmax - near_x)
    )


def _pieces(boxes: Boxes, indices: Array, cut: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Say of each box whether it was cut and lies, by more than COVERED_SHARE, in one of its label that was not."""
    common, areas = _common(boxes)
    inside = common > COVERED_SHARE * areas[:, np.newaxis]
    pieces: NDArray[np.bool_] = cut & (inside & ~cut & (indices[:, np.newaxis] == indices)).any(axis=1)
    return pieces


def suppress(boxes: Boxes, indices: Array, iou_max: float, kept_max: int) -> list[int]:
    """Greedy non-maximum suppression within each label.

    A box is dropped when it overlaps a better one that was kept by *more* than ``iou_max``
    (``NonMaxSuppressionSingleClassHelper`` in tensorflow/lite/kernels/detection_postprocess.cc).

    Args:
        boxes: ``[n, 4]`` in any unit, ymin <= ymax and xmin <= xmax, best first.
        indices: ``[n]``, each box's label.
        iou_max: intersection over union, 0 to 1.
        kept_max: how many boxes may be kept.

    Returns:
        Positions of the boxes kept, best first.
    """
    doubles = _overlaps(boxes, iou_max) & (indices[:, np.newaxis] == indices)
    alive = np.ones(len(boxes), np.bool_)
    kept: list[int] = []
    for position in range(len(boxes)):
        if len(kept) == kept_max:
            break
        if alive[position]:
            kept.append(position)
            alive &= ~doubles[position]
    return kept


def _overlaps(boxes: Boxes, iou_max: float) -> NDArray[np.bool_]:
    """Say of each pair of boxes whether they share more than ``iou_max`` of their union: ``[n, n]``."""
    common, areas = _common(boxes)
    # No division: a union may round to 0.
    above: NDArray[np.bool_] = common > iou_max * (areas[:, np.newaxis] + areas - common)
    return above


def _common(boxes: Boxes) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the area that each pair of boxes shares, ``[n, n]``, and each box's own, ``[n]``."""
    ymin, xmin, ymax, xmax = boxes.T[:, :, np.newaxis]
    height = np.minimum(ymax, ymax.T) - np.maximum(ymin, ymin.T)
    width = np.minimum(xmax, xmax.T) - np.maximum(xmin, xmin.T)
    return np.maximum(height, 0.0) * np.maximum(width, 0.0), ((ymax - ymin) * (xmax - xmin))[:, 0]


def _candidates(columns: Array, model: Model, decode: SsdRawDecode) -> tuple[Array, Array, Boxes]:
    """Find what reaches ``score_min``, in the quantised domain, so that only a handful is dequantised.

    Args:
        columns: ``[N, columns]``, still quantised; the background's column first if there is one.
        model: whose outputs these are.
        decode: its way of decoding.

    Returns:
        Anchors, labels' indices and real scores, each ``[n]``, best first; equal scores in the anchors' order.
    """
    spec = model.outputs["scores"]
    labelled = columns[:, 1:] if decode.background else columns
    if spec.dtype is Dtype.FLOAT32:
        finite(labelled, "scores")
    hits = np.flatnonzero(labelled >= least_reaching(decode.score_min, spec))
    anchors, indices = np.divmod(hits, labelled.shape[1])
    scores = dequantise(labelled[anchors, indices], spec).astype(np.float64)
    best = np.argsort(-scores, kind="stable")[:CANDIDATES_MAX]
    return anchors[best], indices[best], scores[best]


def _from_offsets(offsets: Array, anchors: Array, decode: SsdRawDecode) -> Boxes:
    """Move and stretch anchors by their offsets (Liu et al., SSD, 2016, 2.2): ``[n, 4]`` y, x, height, width each."""
    offset = offsets / np.asarray(decode.box_scales)
    lower, upper = anchors[:, :2].astype(np.float64), anchors[:, 2:].astype(np.float64)
    size = upper - lower
    centre = (lower + upper) / 2 + offset[:, :2] * size
    half = np.exp(np.minimum(offset[:, 2:], _EXPONENT_MAX)) * size / 2
    return np.concatenate([centre - half, centre + half], axis=1)


def _seen(boxes: Boxes) -> NDArray[np.bool_]:
    """Say of each clipped box whether anything of it is inside the frame: ``[n]``."""
    seen: NDArray[np.bool_] = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
    return seen


def _real(raw: Array, role: str, model: Model) -> Array:
    return finite(dequantise(raw, model.outputs[role]), role)


def _predictions(boxes: Boxes, indices: Array, scores: Array, model: Model) -> tuple[Prediction, ...]:
    """One prediction a box. An index without a label is told as ``class <index>``: seen, if not understood."""
    return tuple(
        Prediction(model.labels[index] if 0 <= index < len(model.labels) else f"class {index}", score, Box(*corners))
        for index, score, corners in zip(
            (int(index) for index in indices), scores.tolist(), boxes.tolist(), strict=True
        )
    )
