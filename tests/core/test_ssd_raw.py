"""Boxes from offsets and anchors, against a plain reference, and at the edges where detectors lie."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.core.decode import decode
from appliance.core.model import Dtype, Model, SsdRawDecode, TensorSpec
from appliance.core.preprocess import Placement, Prepared
from appliance.core.quant import dequantise, quantise
from appliance.core.ssd import CANDIDATES_MAX
from appliance.core.types import Box, Outputs, Prediction
from appliance.errors import FrameError
from tests.core.described import FLOAT32, LIMITS, described

UNSEEN = Prepared(np.zeros((1, 1), np.float32))
STEPS = TensorSpec("scores", (1,), Dtype.UINT8, 1 / 256, 0)
BOXES_INT8 = TensorSpec("boxes", (1,), Dtype.INT8, 0.1, 37)
NOTHING_MOVED = 37
"""The value of BOXES_INT8 that stands for an offset of 0."""


def raw_model(
    anchors: list[tuple[float, float, float, float]],
    *,
    scores: TensorSpec = STEPS,
    boxes: TensorSpec = BOXES_INT8,
    background: bool = True,
    score_min: float = 0.5,
    iou_max: float = 0.45,
    max_detections: int = 10,
    labels: tuple[str, ...] = ("person", "dog"),
) -> Model:
    way = SsdRawDecode(
        np.array(anchors, np.float32).reshape(-1, 4),
        (10.0, 10.0, 5.0, 5.0),
        background,
        score_min,
        iou_max,
        max_detections,
    )
    return described(outputs={"boxes": boxes, "scores": scores}, decode=way, labels=labels)


def raw(model: Model, scores: list[list[int]]) -> Outputs:
    """Score anchors, each left where it is; one row an anchor, background first."""
    boxes = np.full((1, len(scores), 4), NOTHING_MOVED, np.int8)
    return {"boxes": boxes, "scores": np.array([scores], model.outputs["scores"].dtype.numpy)}


def corners(prediction: Prediction) -> tuple[float, float, float, float]:
    box = prediction.box
    assert box is not None
    return (box.ymin, box.xmin, box.ymax, box.xmax)


def overlap(a: tuple[float, ...], b: tuple[float, ...]) -> float:
    height = min(a[2], b[2]) - max(a[0], b[0])
    width = min(a[3], b[3]) - max(a[1], b[1])
    common = max(0.0, height) * max(0.0, width)
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - common
    return common / union


def reference(outputs: Outputs, placement: Placement, model: Model) -> list[tuple[str, float, tuple[float, ...]]]:
    """Decode box by box and suppress pair by pair, with no thought for speed."""
    way = model.decode
    assert isinstance(way, SsdRawDecode)
    scores = dequantise(outputs["scores"][0], model.outputs["scores"]).astype(float)
    offsets = dequantise(outputs["boxes"][0], model.outputs["boxes"]).astype(float) / way.box_scales
    found = []
    for (top, left, bottom, right), offset, row in zip(way.anchors.astype(float), offsets, scores, strict=True):
        for column in range(way.background, len(row)):
            height, width = bottom - top, right - left
            y, x = (top + bottom) / 2 + offset[0] * height, (left + right) / 2 + offset[1] * width
            half_y, half_x = np.exp(offset[2]) * height / 2, np.exp(offset[3]) * width / 2
            ys = [min(1, max(0, (v - placement.top) / placement.height)) for v in (y - half_y, y + half_y)]
            xs = [min(1, max(0, (v - placement.left) / placement.width)) for v in (x - half_x, x + half_x)]
            if row[column] >= way.score_min and ys[0] < ys[1] and xs[0] < xs[1]:
                box = (ys[0], xs[0], ys[1], xs[1])
                found.append((model.labels[column - way.background], float(row[column]), box))
    kept: list[tuple[str, float, tuple[float, ...]]] = []
    for candidate in sorted(found, key=lambda one: -one[1]):
        if all(one[0] != candidate[0] or overlap(one[2], candidate[2]) <= way.iou_max for one in kept):
            kept.append(candidate)
    return kept[: way.max_detections]


CENTRES = st.sampled_from([0.0, 0.02, 0.3, 0.33, 0.36, 0.7, 0.98, 1.0])
SIDES = st.sampled_from([0.1, 0.3, 0.7])
SPECS = {
    Dtype.INT8: (TensorSpec("s", (1,), Dtype.INT8, 1 / 256, -128), BOXES_INT8),
    Dtype.UINT8: (STEPS, TensorSpec("b", (1,), Dtype.UINT8, 0.13, 131)),
    Dtype.FLOAT32: (FLOAT32, FLOAT32),
}


@st.composite
def raw_detections(draw: st.DrawFn) -> tuple[Outputs, Placement, Model]:
    """Draw clusters of overlapping boxes, many of equal score, some across the frame's edges or outside of it."""
    count = draw(st.integers(1, 14))
    anchors = []
    for _ in range(count):
        y, x, height, width = draw(st.tuples(CENTRES, CENTRES, SIDES, SIDES))
        anchors.append((y - height / 2, x - width / 2, y + height / 2, x + width / 2))
    dtype = draw(st.sampled_from(tuple(SPECS)))
    scores, boxes = SPECS[dtype]
    background = draw(st.booleans())
    model = raw_model(
        anchors,
        scores=scores,
        boxes=boxes,
        background=background,
        score_min=draw(st.sampled_from([0.0, 0.25, 0.5, 0.55])),
        iou_max=draw(st.sampled_from([0.2345, 0.4567, 0.6789])),  # no ratio that boxes on a grid can have
        max_detections=draw(st.integers(1, 12)),
        labels=("person", "dog", "cat")[: draw(st.integers(1, 3))],
    )
    columns = len(model.labels) + background
    steps = draw(st.lists(st.sampled_from([0, 64, 128, 129, 140, 200, 255]), min_size=count * columns, max_size=99))
    shifts = draw(st.lists(st.sampled_from([-2.0, -0.5, 0.0, 0.0, 0.5, 6.0]), min_size=count * 4, max_size=99))
    low = LIMITS[dtype][0] if dtype in LIMITS else 0
    real_or_steps = np.array(steps[: count * columns]).reshape(1, count, columns)
    outputs: Outputs = {
        "scores": (real_or_steps / np.float32(256) if dtype is Dtype.FLOAT32 else real_or_steps + low).astype(
            dtype.numpy
        ),
        "boxes": quantise(np.array(shifts[: count * 4], np.float32).reshape(1, count, 4), boxes),
    }
    placement = draw(st.sampled_from([Placement(), Placement(0.25, 0.0, 0.5, 1.0), Placement(0.0, 0.45, 1.0, 0.1)]))
    return outputs, placement, model


@given(raw_detections())
def test_raw_boxes_are_decoded_and_suppressed_as_a_plain_reference_does(
    drawn: tuple[Outputs, Placement, Model],
) -> None:
    outputs, placement, model = drawn
    predictions = decode(outputs, Prepared(UNSEEN.tensor, placement), model)
    expected = reference(outputs, placement, model)
    assert [(one.label, one.score) for one in predictions] == [(label, score) for label, score, _ in expected]
    np.testing.assert_allclose(
        np.array([corners(one) for one in predictions]).reshape(-1, 4),
        np.array([box for _, _, box in expected]).reshape(-1, 4),
        atol=1e-9,
    )


SQUARE = (0.2, 0.2, 0.4, 0.4)
ELSEWHERE = (0.6, 0.6, 0.8, 0.8)


def test_offsets_move_by_the_anchors_size_and_stretch_it() -> None:
    model = raw_model([(0.2, 0.4, 0.4, 0.8)])
    outputs = raw(model, [[0, 200, 0]])
    # dy = 0.1 * 20 / 10 = 0.2 heights, dx = -0.1 widths; e^(0.1 * 10 / 5) times as high, e^-0.2 times as wide
    outputs["boxes"] = np.array(
        [[[NOTHING_MOVED + 20, NOTHING_MOVED - 10, NOTHING_MOVED + 10, NOTHING_MOVED - 10]]], np.int8
    )
    (person,) = decode(outputs, UNSEEN, model)
    half_y, half_x = 0.1 * np.exp(0.2), 0.2 * np.exp(-0.2)
    expected = (0.34 - half_y, 0.56 - half_x, 0.34 + half_y, 0.56 + half_x)
    assert (person.label, person.score) == ("person", 200 / 256)
    assert corners(person) == pytest.approx(expected, abs=1e-6)


def test_a_picture_full_of_background_shows_nothing() -> None:
    model = raw_model([SQUARE, ELSEWHERE])
    assert decode(raw(model, [[255, 0, 0], [255, 10, 20]]), UNSEEN, model) == ()


def test_without_background_the_first_column_is_the_first_label() -> None:
    model = raw_model([SQUARE], background=False)
    assert [one.label for one in decode(raw(model, [[200, 0]]), UNSEEN, model)] == ["person"]


@pytest.mark.parametrize(("step", "count"), [(127, 0), (128, 1), (129, 1)])
def test_a_score_at_the_minimum_counts(step: int, count: int) -> None:
    model = raw_model([SQUARE], score_min=0.5)
    assert len(decode(raw(model, [[0, step, 0]]), UNSEEN, model)) == count


def test_a_minimum_that_no_value_reaches_shows_nothing() -> None:
    model = raw_model([SQUARE], score_min=0.999)
    assert decode(raw(model, [[0, 255, 255]]), UNSEEN, model) == ()


def test_of_equal_scores_the_earlier_anchor_is_kept() -> None:
    shifted = (0.21, 0.2, 0.41, 0.4)
    for first, second in ((SQUARE, shifted), (shifted, SQUARE)):
        model = raw_model([first, second])
        (person,) = decode(raw(model, [[0, 200, 0], [0, 200, 0]]), UNSEEN, model)
        assert corners(person) == pytest.approx(first)


def test_the_better_of_two_doubles_is_kept_and_other_labels_are_left_alone() -> None:
    model = raw_model([SQUARE, SQUARE])
    predictions = decode(raw(model, [[0, 150, 160], [0, 200, 140]]), UNSEEN, model)
    assert [(one.label, one.score * 256) for one in predictions] == [("person", 200), ("dog", 160)]


def test_a_box_that_was_suppressed_suppresses_nobody() -> None:
    chain = [(0.2, 0.2, 0.4, 0.4), (0.2, 0.26, 0.4, 0.46), (0.2, 0.32, 0.4, 0.52)]  # neighbours share 0.54
    model = raw_model(chain)
    predictions = decode(raw(model, [[0, 220, 0], [0, 210, 0], [0, 200, 0]]), UNSEEN, model)
    assert [round(one.score * 256) for one in predictions] == [220, 200]


def test_boxes_that_share_exactly_the_limit_are_two() -> None:
    halves = [(0.0, 0.0, 0.5, 0.5), (0.0, 0.0, 0.5, 0.25)]
    scores = [[0, 220, 0], [0, 210, 0]]
    assert len(decode(raw(raw_model(halves), scores), UNSEEN, raw_model(halves, iou_max=0.5))) == 2
    assert len(decode(raw(raw_model(halves), scores), UNSEEN, raw_model(halves, iou_max=0.499))) == 1


def test_no_more_than_max_detections_are_told_and_they_are_the_best() -> None:
    places = [(0.0, x / 10, 0.05, x / 10 + 0.05) for x in range(8)]
    model = raw_model(places, max_detections=3)
    predictions = decode(raw(model, [[0, 150 + 10 * (x % 4), 0] for x in range(8)]), UNSEEN, model)
    assert [round(one.score * 256) for one in predictions] == [180, 180, 170]


def test_candidates_are_bounded_and_the_best_are_taken() -> None:
    places = [(y / 30, x / 30, y / 30 + 0.01, x / 30 + 0.01) for y in range(30) for x in range(20)]
    model = raw_model(places, max_detections=1000)
    steps = np.random.default_rng(3).permutation(np.arange(600) % 100 + 150)
    predictions = decode(raw(model, [[0, step, 0] for step in steps]), UNSEEN, model)
    assert len(predictions) == CANDIDATES_MAX == 400
    assert [one.score * 256 for one in predictions] == sorted(steps.tolist(), reverse=True)[:400]


def test_a_box_is_clipped_at_the_edge_and_left_out_beyond_it() -> None:
    model = raw_model([(-0.1, 0.9, 0.1, 1.3), (0.2, 1.0, 0.4, 1.2), (-0.3, 0.2, -0.1, 0.4)])
    (person,) = decode(raw(model, [[0, 200, 0], [0, 210, 0], [0, 220, 0]]), UNSEEN, model)
    assert corners(person) == pytest.approx((0.0, 0.9, 0.1, 1.0))


def test_a_box_in_the_bar_of_a_letterbox_is_left_out_and_one_in_the_frame_is_told_in_its_fractions() -> None:
    model = raw_model([(0.05, 0.2, 0.2, 0.4), (0.3, 0.2, 0.5, 0.4)])
    prepared = Prepared(UNSEEN.tensor, Placement(top=0.25, left=0.0, height=0.5, width=1.0))
    (person,) = decode(raw(model, [[0, 220, 0], [0, 200, 0]]), prepared, model)
    assert corners(person) == pytest.approx((0.1, 0.2, 0.5, 0.4))


def test_a_column_without_a_label_is_told_by_its_number() -> None:
    model = raw_model([SQUARE], labels=("person",))
    assert [one.label for one in decode(raw(model, [[0, 0, 200]]), UNSEEN, model)] == ["class 1"]


def float_raw(boxes: list[list[float]], scores: list[list[float]]) -> tuple[Outputs, Model]:
    outputs: Outputs = {"boxes": np.array([boxes], np.float32), "scores": np.array([scores], np.float32)}
    return outputs, raw_model([SQUARE] * len(boxes), boxes=FLOAT32, scores=FLOAT32)


@pytest.mark.parametrize("huge", [1e4, 3e38])
def test_a_huge_offset_gives_a_box_of_the_whole_frame_and_no_overflow(huge: float) -> None:
    outputs, model = float_raw([[0.0, 0.0, huge, huge]], [[0.0, 0.9, 0.0]])
    (person,) = decode(outputs, UNSEEN, model)
    assert person.box == Box(0.0, 0.0, 1.0, 1.0)


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
def test_a_detector_that_answers_nan_did_not_answer(wrong: float) -> None:
    blind, model = float_raw([[0.0] * 4] * 2, [[0.9, 0.1, 0.1], [0.9, wrong, 0.1]])
    with pytest.raises(FrameError, match="'scores'"):
        decode(blind, UNSEEN, model)
    lost, model = float_raw([[0.0] * 4, [0.0, wrong, 0.0, 0.0]], [[0.1, 0.9, 0.1], [0.1, 0.9, 0.1]])
    with pytest.raises(FrameError, match="'boxes'"):
        decode(lost, UNSEEN, model)


def test_predictions_are_plain_numbers_that_can_be_told_as_json() -> None:
    model = raw_model([SQUARE])
    (person,) = decode(raw(model, [[0, 200, 0]]), UNSEEN, model)
    assert {type(value) for value in (person.score, *corners(person))} == {float}
    assert type(person.label) is str
