"""Tiles: every place is shown, what is found in a part lies where it is in the frame, and each thing is told once."""

from dataclasses import replace
from typing import Literal

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from appliance.core.decode import merge
from appliance.core.model import Dtype, Model, Preprocess, SsdPostprocessedDecode, SsdRawDecode, Task, TensorSpec
from appliance.core.preprocess import Prepared, Preprocessor
from appliance.core.ssd import CANDIDATES_MAX, CUT_SHARE
from appliance.core.tiling import OVERLAP_MAX, SIDE_MAX, WHOLE, Tiling
from appliance.core.types import Array, Box, Frame, FrameKind, Prediction
from tests.core.described import described

Fit = Literal["stretch", "letterbox"]
INPUT = TensorSpec("image", (1, 48, 64, 3), Dtype.INT8, 1.0, -128)
RAW = SsdRawDecode(np.zeros((0, 4), np.float32), (1.0, 1.0, 1.0, 1.0), False, 0.1, 0.6, 100)
TILINGS = st.builds(
    Tiling,
    st.integers(1, SIDE_MAX),
    st.integers(1, SIDE_MAX),
    st.sampled_from([0.0, 0.1, 0.3, OVERLAP_MAX]) | st.floats(0.0, OVERLAP_MAX),
)
SIDES_PX = st.integers(1, 9) | st.integers(10, 400)


def detector(fit: Fit = "stretch", *, iou_max: float = 0.6, max_detections: int = 100) -> Model:
    looked_at = Preprocess(FrameKind.IMAGE, (0.0,) * 3, (1.0,) * 3, fit=fit)
    way = replace(RAW, iou_max=iou_max, max_detections=max_detections)
    return replace(described(given=INPUT, preprocess=looked_at, decode=way), task=Task.DETECT)


def prepare(picture: Array, model: Model, tiling: Tiling | None) -> tuple[Prepared, ...]:
    return Preprocessor(model, None, tiling)(Frame(FrameKind.IMAGE, picture, captured_s=0.0, seq=0))


def shown(tiling: Tiling) -> tuple[Prepared, ...]:
    """The parts, without pixels."""
    return tuple(Prepared(np.zeros(0), region=region) for region in tiling.regions())


def person(box: Box, score: float = 0.9, label: str = "person") -> Prediction:
    return Prediction(label, score, box)


def seen_of(box: Box, region: Box) -> Box | None:
    """What of a thing lies in a region: what a perfect detector finds there."""
    ymin, ymax = max(box.ymin, region.ymin), min(box.ymax, region.ymax)
    xmin, xmax = max(box.xmin, region.xmin), min(box.xmax, region.xmax)
    return Box(ymin, xmin, ymax, xmax) if ymin < ymax and xmin < xmax else None


@st.composite
def crowds(draw: st.DrawFn) -> list[Box]:
    """Draw things that do not overlap, each in its own cell of a 6 x 6 grid, of any size up to the cell's."""
    cells = draw(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=12, unique=True))
    boxes = []
    for row, column in cells:
        height, width = draw(st.floats(0.2, 0.9)) / 6, draw(st.floats(0.2, 0.9)) / 6
        top = (row + draw(st.floats(0.0, 0.1))) / 6
        left = (column + draw(st.floats(0.0, 0.1))) / 6
        boxes.append(Box(top, left, top + height, left + width))
    return boxes


@given(SIDES_PX, SIDES_PX, TILINGS)
def test_the_whole_comes_first_and_the_tiles_show_every_pixel_and_nothing_else(
    height_px: int, width_px: int, tiling: Tiling
) -> None:
    whole, *tiles = prepare(np.zeros((height_px, width_px, 3), np.uint8), detector(), tiling)
    covered = np.zeros((height_px, width_px), bool)
    for region in (tile.region for tile in tiles):
        top, bottom = round(region.ymin * height_px), round(region.ymax * height_px)
        left, right = round(region.xmin * width_px), round(region.xmax * width_px)
        assert 0 <= top < bottom <= height_px
        assert 0 <= left < right <= width_px
        covered[top:bottom, left:right] = True
    assert whole.region == WHOLE
    assert len(tiles) == tiling.columns * tiling.rows
    assert covered.all()


@given(SIDES_PX, SIDES_PX, TILINGS, st.sampled_from(["stretch", "letterbox"]), st.integers(0, 2**32 - 1))
def test_a_part_is_prepared_as_a_picture_of_its_own(
    height_px: int, width_px: int, tiling: Tiling, fit: Fit, seed: int
) -> None:
    picture = np.random.default_rng(seed).integers(0, 256, (height_px, width_px, 3), np.uint8)
    for part in prepare(picture, detector(fit), tiling):
        top, bottom = round(part.region.ymin * height_px), round(part.region.ymax * height_px)
        left, right = round(part.region.xmin * width_px), round(part.region.xmax * width_px)
        (alone,) = prepare(np.ascontiguousarray(picture[top:bottom, left:right]), detector(fit), None)
        assert (part.tensor == alone.tensor).all()
        assert part.placement == alone.placement


def test_without_tiling_there_is_one_part_the_whole() -> None:
    (only,) = prepare(np.zeros((40, 30, 3), np.uint8), detector(), None)
    assert only.region == WHOLE


@pytest.mark.parametrize("fit", ["stretch", "letterbox"])
@given(tiling=TILINGS, top=st.floats(0.0, 0.8), left=st.floats(0.0, 0.8))
def test_what_lies_somewhere_in_a_part_lies_in_the_same_place_of_the_frame(
    fit: Fit, tiling: Tiling, top: float, left: float
) -> None:
    height_px, width_px = 300, 200
    picture = np.zeros((height_px, width_px, 3), np.uint8)
    box = Box(int(top * height_px) / height_px, int(left * width_px) / width_px, 0.0, 0.0)
    box = replace(box, ymax=box.ymin + 0.2, xmax=box.xmin + 0.2)
    rows = slice(round(box.ymin * height_px), round(box.ymax * height_px))
    picture[rows, round(box.xmin * width_px) : round(box.xmax * width_px)] = 255
    for part in prepare(picture, detector(fit), tiling):
        expected = seen_of(box, part.region)
        lit = np.argwhere(part.tensor[0, :, :, 0] > 0)
        if expected is None or not len(lit):
            continue
        size = np.array(INPUT.shape[1:3] * 2)
        found = part.to_frame(np.concatenate([lit.min(axis=0), lit.max(axis=0) + 1])[np.newaxis] / size)[0]
        pixel = 1.5 * max(
            part.region.height / part.placement.height / 48, part.region.width / part.placement.width / 64
        )
        assert np.allclose(found, (expected.ymin, expected.xmin, expected.ymax, expected.xmax), atol=pixel)


@given(crowds(), TILINGS, st.integers(0, 2**32 - 1))
def test_whoever_is_seen_in_the_whole_and_in_pieces_is_told_once(boxes: list[Box], tiling: Tiling, seed: int) -> None:
    rng = np.random.default_rng(seed)
    parts = shown(tiling)
    found = [
        tuple(person(seen, float(rng.uniform(0.3, 1.0))) for box in boxes if (seen := seen_of(box, part.region)))
        for part in parts
    ]
    told = merge(found, parts, detector(iou_max=0.99))
    assert len(told) == len(boxes)
    assert all(any(_same(each.box, box) for each in told) for box in boxes)


@given(
    st.sampled_from([Tiling(2, 2, 0.3), Tiling(3, 2, 0.3), Tiling(4, 4, 0.5)]),
    st.floats(0.02, 0.98),
    st.floats(0.02, 0.98),
)
def test_whoever_only_tiles_see_is_told_once_and_whole_when_no_larger_than_the_overlap(
    tiling: Tiling, middle: float, centre: float
) -> None:
    tile = tiling.regions()[1]
    half_y = (tiling.overlap * tile.height - 3 * CUT_SHARE * tile.height) / 2
    half_x = (tiling.overlap * tile.width - 3 * CUT_SHARE * tile.width) / 2
    box = Box(middle - half_y, centre - half_x, middle + half_y, centre + half_x)
    assume(box.ymin >= 0 and box.xmin >= 0 and box.ymax <= 1 and box.xmax <= 1)
    parts = shown(tiling)
    found = [()] + [(person(seen),) if (seen := seen_of(box, part.region)) else () for part in parts[1:]]
    whole = [each for each in found if each and _same(each[0].box, box)]
    assert whole, "the overlap shows everybody of its size whole in one tile"
    told = merge(found, parts, detector())
    assert len(told) == 1
    assert _same(told[0].box, box)


def _same(one: Box | None, other: Box) -> bool:
    assert one is not None
    pairs = zip((one.ymin, one.xmin, one.ymax, one.xmax), (other.ymin, other.xmin, other.ymax, other.xmax), strict=True)
    return all(abs(a - b) < 1e-9 for a, b in pairs)


HALVES = shown(Tiling(2, 1, 0.0))
"""The whole, the left and the right half."""
CUT = person(Box(0.4, 0.4, 0.6, 0.5), 0.9)
"""In the left half, at its edge."""


def test_a_piece_at_an_inner_edge_is_told_when_nobody_saw_the_rest() -> None:
    assert merge([(), (CUT,), ()], HALVES, detector()) == (CUT,)


def test_a_piece_goes_before_the_whole_however_sure_it_was() -> None:
    whole = person(Box(0.4, 0.4, 0.6, 0.6), 0.3)
    assert merge([(whole,), (CUT,), ()], HALVES, detector()) == (whole,)


def test_a_piece_of_which_less_than_half_lies_in_a_whole_one_is_somebody_else() -> None:
    beside = person(Box(0.4, 0.36, 0.6, 0.449), 0.8)
    assert merge([(beside,), (CUT,), ()], HALVES, detector()) == (CUT, beside)


def test_a_piece_of_one_label_is_no_piece_of_another() -> None:
    dog = person(Box(0.4, 0.4, 0.6, 0.6), 0.3, label="dog")
    assert merge([(dog,), (CUT,), ()], HALVES, detector()) == (CUT, dog)


@pytest.mark.parametrize(
    ("box", "larger", "part"),
    [
        (Box(0.4, 0.0, 0.6, 0.1), Box(0.3, 0.02, 0.7, 0.3), 1),
        (Box(0.0, 0.2, 0.1, 0.3), Box(0.02, 0.1, 0.4, 0.4), 1),
        (Box(0.9, 0.2, 1.0, 0.3), Box(0.6, 0.1, 0.98, 0.4), 1),
        (Box(0.4, 0.9, 0.6, 1.0), Box(0.3, 0.7, 0.7, 0.98), 2),
    ],
    ids=["left", "upper", "lower", "right"],
)
def test_the_pictures_own_edge_cuts_nobody(box: Box, larger: Box, part: int) -> None:
    found: list[tuple[Prediction, ...]] = [(person(larger, 0.4),), (), ()]
    found[part] = (person(box),)
    assert merge(found, HALVES, detector()) == (person(box), person(larger, 0.4))


@pytest.mark.parametrize(
    ("part", "region", "box"),
    [
        ("left", Box(0.0, 0.25, 1.0, 1.0), Box(0.4, 0.25, 0.6, 0.35)),
        ("right", Box(0.0, 0.0, 1.0, 0.75), Box(0.4, 0.65, 0.6, 0.75)),
        ("upper", Box(0.25, 0.0, 1.0, 1.0), Box(0.25, 0.4, 0.35, 0.6)),
        ("lower", Box(0.0, 0.0, 0.75, 1.0), Box(0.65, 0.4, 0.75, 0.6)),
    ],
)
def test_every_inner_edge_cuts_and_a_box_a_little_away_is_whole(part: str, region: Box, box: Box) -> None:
    parts = (Prepared(np.zeros(0)), Prepared(np.zeros(0), region=region))
    # Contains the box and is much larger: only a piece is dropped for it.
    larger = person(Box(box.ymin - 0.15, box.xmin - 0.15, box.ymax + 0.15, box.xmax + 0.15), 0.4)
    assert merge([(larger,), (person(box),)], parts, detector()) == (larger,), part
    step = 2 * CUT_SHARE * 0.75
    inward = {"left": (0, step), "right": (0, -step), "upper": (step, 0), "lower": (-step, 0)}[part]
    moved = Box(box.ymin + inward[0], box.xmin + inward[1], box.ymax + inward[0], box.xmax + inward[1])
    assert merge([(larger,), (person(moved),)], parts, detector()) == (person(moved), larger)


def test_doubles_go_by_the_models_own_overlap_and_the_surest_stays() -> None:
    one, other = person(Box(0.1, 0.1, 0.5, 0.3), 0.6), person(Box(0.1, 0.1, 0.4, 0.3), 0.8)  # they share 0.75
    assert merge([(one,), (other,), ()], HALVES, detector(iou_max=0.7)) == (other,)
    assert merge([(one,), (other,), ()], HALVES, detector(iou_max=0.8)) == (other, one)


def test_boxes_that_the_graph_decoded_are_merged_too() -> None:
    model = replace(detector(), decode=SsdPostprocessedDecode(0.1, 10))
    one, other = person(Box(0.1, 0.1, 0.5, 0.3), 0.6), person(Box(0.1, 0.1, 0.49, 0.3), 0.8)
    assert merge([(one,), (other,), ()], HALVES, model) == (other,)


def test_however_many_are_found_the_answer_and_the_work_are_bounded() -> None:
    crowd = tuple(person(Box(0.0, n / 2000, 0.1, (n + 1) / 2000), 0.3 + n / 5000) for n in range(900))
    parts = shown(Tiling(2, 2, 0.3))
    told = merge([crowd] + [()] * 4, parts, detector(max_detections=1000))
    assert told == tuple(sorted(crowd, key=lambda each: -each.score))[:CANDIDATES_MAX]
    assert len(merge([crowd] + [()] * 4, parts, detector(max_detections=7))) == 7


def test_nothing_found_in_any_part_is_nothing() -> None:
    assert merge([(), (), ()], HALVES, detector()) == ()
