"""The person model's figures: matching by hand-made cases, and the committed model against its committed labels."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.adapters.model_folder import read_model
from appliance.core.types import Array
from appliance.forge import detection
from appliance.forge.detection import Judged, People
from models.person import measure
from models.person.detecting import Detector
from models.person.pictures import frames

SEEN, IGNORED = frozenset[str](), frozenset({"occluded", "ignore"})
LABELS = detection.read_labels(measure.LABELS)
SAMPLED = (0, 120, 245)


def row(xmin: float, score: float, width: float = 10.0) -> list[float]:
    return [xmin, 0.0, xmin + width, 20.0, score]


def people(*xmins: float, flags: tuple[frozenset[str], ...] = ()) -> People:
    boxes = np.array([row(xmin, 0.0)[:4] for xmin in xmins]).reshape(-1, 4)
    return People(boxes, flags or (SEEN,) * len(xmins))


def judge(found: list[list[float]], there: People) -> Judged:
    return detection.judge(np.array(found).reshape(-1, 5), there)


@pytest.mark.parametrize(
    ("found", "there", "right", "scores_found"),
    [
        ([row(0, 0.9)], people(0), [True], [0.9]),
        ([row(0, 0.9)], people(100), [False], [0.0]),
        ([row(0, 0.4), row(1, 0.9)], people(0), [True, False], [0.9]),  # the surer one finds, the other is a double
        ([row(0, 0.9), row(4, 0.8)], people(0, 6), [True, True], [0.9, 0.8]),
        ([row(5.1, 0.9)], people(0), [False], [0.0]),  # shares less than half
        ([row(0, 0.9)], people(0, flags=(IGNORED,)), [], [0.0]),
        ([row(2, 0.9, width=4.0)], people(0, flags=(IGNORED,)), [], [0.0]),  # a piece of somebody ignored
        ([], people(0), [], [0.0]),
    ],
)
def test_each_person_is_found_once_by_the_surest_box_and_whoever_is_ignored_counts_for_nothing(
    found: list[list[float]], there: People, right: list[bool], scores_found: list[float]
) -> None:
    judged = judge(found, there)
    assert judged.right.tolist() == right
    assert judged.found.tolist() == scores_found


def test_average_precision_is_the_area_that_paper_and_pencil_give() -> None:
    # Falling scores: right, wrong, right; two of three found. Precision at the hits: 1 and 2/3.
    frame = judge([row(0, 0.9), row(50, 0.8), row(100, 0.7)], people(0, 100, 200))
    assert detection.average_precision([frame]) == pytest.approx((1 + 2 / 3) / 3)
    assert detection.precision_at([frame], 0.75) == pytest.approx(1 / 2)
    assert detection.recall_at([frame], 0.75) == pytest.approx(1 / 3)


@given(st.lists(st.tuples(st.integers(0, 9), st.floats(0.1, 1.0)), max_size=12), st.sets(st.integers(0, 9), min_size=1))
def test_figures_lie_between_none_and_all(found: list[tuple[int, float]], there: set[int]) -> None:
    judged = judge([row(place * 20.0, score) for place, score in found], people(*(place * 20.0 for place in there)))
    reached = {place for place, _ in found} & there
    assert detection.recall_at([judged], 0.1) == pytest.approx(len(reached) / len(there))
    assert 0.0 <= detection.average_precision([judged]) <= detection.recall_at([judged], 0.1) + 1e-12


def test_the_labels_lie_in_the_picture_and_are_as_many_as_the_card_says() -> None:
    assert len(LABELS) == 60
    boxes = np.concatenate([each.boxes for each in LABELS.values()])
    assert len(boxes) == 437
    assert (boxes[:, :2] >= 0).all()
    assert (boxes[:, 2:] <= (768, 576)).all()
    assert (boxes[:, 2:] - boxes[:, :2] >= 4).all()


@pytest.fixture(scope="module")
def sampled() -> dict[int, Array]:
    return dict(frames(measure.FOOTAGE, SAMPLED))


def test_the_committed_model_is_as_near_to_its_float_self_as_the_card_says(sampled: dict[int, Array]) -> None:
    tflite = (measure.FOLDER / "model.tflite").read_bytes()
    found = measure.find(Detector(tflite, np.load(measure.FOLDER / "anchors.npy")), sampled)
    agreed = detection.agreement(found, measure.read_float(LABELS)["whole"], measure.AGREEMENT_SCORE_MIN)
    assert agreed.matched >= 0.85 * max(agreed.float_boxes, agreed.int8_boxes)
    assert agreed.median_iou > 0.9


def test_the_folder_quotes_what_the_float_network_was_measured_beside() -> None:
    quoted = {each.name: each for each in read_model(Path(measure.FOLDER)).facts.metrics}
    theirs = measure.figures(measure.judged(measure.read_float(LABELS)["whole"], LABELS))
    assert set(theirs) <= set(quoted)
    assert abs(quoted["AP at IoU 0.5"].value - theirs["AP at IoU 0.5"].value) < 0.02
