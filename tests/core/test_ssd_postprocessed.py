"""Boxes that the graph decoded: cut to the count, since what lies past it is uninitialised memory."""

import dataclasses

import numpy as np
import pytest

from appliance.core.decode import decode
from appliance.core.model import Model, SsdPostprocessedDecode
from appliance.core.preprocess import Placement, Prepared
from appliance.core.types import Outputs
from appliance.errors import FrameError
from tests.core.described import FLOAT32, described

UNSEEN = Prepared(np.zeros((1, 1), np.float32))
SQUARE = (0.2, 0.2, 0.4, 0.4)
ELSEWHERE = (0.6, 0.6, 0.8, 0.8)
SLOTS = ("boxes", "classes", "scores", "count")


def slots(boxes: list[tuple[float, ...]], classes: list[float], scores: list[float], count: float) -> Outputs:
    values = (boxes, classes, scores)
    told = {role: np.array([value], np.float32) for role, value in zip(SLOTS[:3], values, strict=True)}
    return {**told, "count": np.array([count], np.float32)}


def slots_model(score_min: float = 0.5, max_detections: int = 10) -> Model:
    return described(
        outputs=dict.fromkeys(SLOTS, FLOAT32),
        decode=SsdPostprocessedDecode(score_min, max_detections),
        labels=("person", "dog"),
    )


def told(outputs: Outputs, model: Model, prepared: Prepared = UNSEEN) -> list[tuple[str, float]]:
    return [(one.label, round(one.score, 6)) for one in decode(outputs, prepared, model)]


@pytest.mark.parametrize("garbage", [0.99, np.nan, np.inf, -1.8e37])
@pytest.mark.parametrize(
    ("count", "expected"), [(0, []), (1, [("person", 0.75)]), (2, [("dog", 0.875), ("person", 0.75)])]
)
def test_slots_past_the_count_are_never_looked_at(
    garbage: float, count: int, expected: list[tuple[str, float]]
) -> None:
    outputs = slots([SQUARE, ELSEWHERE, SQUARE], [0, 1, 0], [0.75, 0.875, 0.9], count)
    for role in SLOTS[:3]:
        outputs[role][0, count:] = garbage
    assert told(outputs, slots_model()) == expected


@pytest.mark.parametrize(("count", "found"), [(-1.0, 0), (-3.0, 0), (99.0, 2), (1e30, 2)])
def test_a_count_beyond_the_slots_is_held_to_them(count: float, found: int) -> None:
    assert len(told(slots([SQUARE, ELSEWHERE], [0, 1], [0.75, 0.875], count), slots_model())) == found


def test_postprocessed_boxes_are_sorted_held_to_the_minimum_and_cut() -> None:
    outputs = slots([SQUARE] * 5, [0, 1, 0, 1, 0], [0.5, 0.625, 0.49, 0.625, 0.9375], 5)
    assert told(outputs, slots_model()) == [("person", 0.9375), ("dog", 0.625), ("dog", 0.625), ("person", 0.5)]
    assert told(outputs, slots_model(max_detections=2)) == [("person", 0.9375), ("dog", 0.625)]


def test_postprocessed_boxes_go_through_the_placement() -> None:
    prepared = Prepared(UNSEEN.tensor, Placement(top=0.25, left=0.0, height=0.5, width=1.0))
    outputs = slots([(0.3, -0.2, 0.5, 0.4), (0.0, 0.2, 0.2, 0.4)], [0, 0], [0.75, 0.75], 2)
    (person,) = decode(outputs, prepared, slots_model())
    assert person.box is not None
    assert dataclasses.astuple(person.box) == pytest.approx((0.1, 0.0, 0.5, 0.4))


@pytest.mark.parametrize(("index", "label"), [(1.0, "dog"), (2.0, "class 2"), (-1.0, "class -1"), (0.9999, "dog")])
def test_a_class_without_a_label_is_told_by_its_number(index: float, label: str) -> None:
    assert told(slots([SQUARE], [index], [0.75], 1), slots_model()) == [(label, 0.75)]


@pytest.mark.parametrize("role", SLOTS)
@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_a_used_slot_that_is_not_finite_is_no_answer(role: str, wrong: float) -> None:
    outputs = slots([SQUARE], [0], [0.75], 1)
    outputs[role][...] = wrong
    with pytest.raises(FrameError, match=f"'{role}'"):
        decode(outputs, UNSEEN, slots_model())
