"""From frames to input tensors: the right pixels, in the right places, in the right numbers."""

from typing import Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from appliance.core.model import Dtype, Model, Preprocess, TensorSpec
from appliance.core.preprocess import Placement, Prepared, Preprocessor
from appliance.core.quant import quantise
from appliance.core.types import Array, Frame, FrameKind
from appliance.errors import FrameError
from tests.core.described import described, quantised_specs

Colour = Literal["rgb", "bgr"]
Fit = Literal["stretch", "letterbox"]

MEAN, STD = (127.5, 100.0, 80.0), (127.5, 60.0, 255.0)
INT8 = TensorSpec("image", (1, 30, 40, 3), Dtype.INT8, 2 / 255, -1)


def pictures(given: TensorSpec = INT8, *, fit: Fit = "stretch") -> Model:
    return described(given=given, preprocess=Preprocess(FrameKind.IMAGE, MEAN, STD, fit=fit))


def numbers(kind: FrameKind, shape: tuple[int, ...], mean: tuple[float, ...], std: tuple[float, ...]) -> Model:
    return described(given=TensorSpec("x", shape, Dtype.INT8, 0.05, 3), preprocess=Preprocess(kind, mean, std))


def frame_of(data: Array, kind: FrameKind = FrameKind.IMAGE) -> Frame:
    return Frame(kind, data, captured_s=0.0, seq=0)


def prepare(data: Array, model: Model) -> Prepared:
    (prepared,) = Preprocessor(model)(frame_of(data, model.preprocess.kind))
    return prepared


def normalised(bgr: Array, model: Model) -> Array:
    """Say in plain float arithmetic what a picture of the model's size becomes."""
    ordered = bgr[:, :, ::-1] if model.preprocess.colour == "rgb" else bgr
    mean, std = np.array(model.preprocess.mean, np.float32), np.array(model.preprocess.std, np.float32)
    return quantise((ordered.astype(np.float32) - mean) / std, model.input)[np.newaxis]


def bilinear(picture: Array, height_px: int, width_px: int) -> Array:
    """Resize by definition: each pixel's centre is sampled between its four neighbours; float64 grey values."""
    rows = ((np.arange(height_px) + 0.5) * picture.shape[0] / height_px - 0.5).clip(0, picture.shape[0] - 1)
    columns = ((np.arange(width_px) + 0.5) * picture.shape[1] / width_px - 0.5).clip(0, picture.shape[1] - 1)
    top, left = np.floor(rows).astype(int), np.floor(columns).astype(int)
    bottom, right = np.minimum(top + 1, picture.shape[0] - 1), np.minimum(left + 1, picture.shape[1] - 1)
    down, along = (rows - top)[:, np.newaxis, np.newaxis], (columns - left)[np.newaxis, :, np.newaxis]
    upper = picture[top][:, left] * (1 - along) + picture[top][:, right] * along
    lower = picture[bottom][:, left] * (1 - along) + picture[bottom][:, right] * along
    return np.asarray(upper * (1 - down) + lower * down)


@given(
    spec=quantised_specs((1, 3, 5, 3)) | st.just(TensorSpec("image", (1, 3, 5, 3), Dtype.FLOAT32)),
    colour=st.sampled_from(["rgb", "bgr"]),
    fit=st.sampled_from(["stretch", "letterbox"]),
    scaling=st.sampled_from([(MEAN, STD), ((90.0,) * 3, (60.0,) * 3)]),
    picture=hnp.arrays(np.uint8, (3, 5, 3), elements=st.sampled_from([0, 255]) | st.integers(0, 255)),
)
def test_a_picture_of_the_models_size_becomes_exactly_its_normalised_quantised_self(
    spec: TensorSpec,
    colour: Colour,
    fit: Fit,
    scaling: tuple[tuple[float, ...], tuple[float, ...]],
    picture: Array,
) -> None:
    model = described(given=spec, preprocess=Preprocess(FrameKind.IMAGE, *scaling, colour=colour, fit=fit))
    prepared = prepare(picture, model)
    assert prepared.tensor.shape == spec.shape
    assert prepared.tensor.dtype == spec.dtype.numpy
    assert prepared.placement == Placement()
    np.testing.assert_array_equal(prepared.tensor, normalised(picture, model))


GREY = TensorSpec("image", (1, 30, 40, 3), Dtype.FLOAT32)


@given(height_px=st.integers(1, 90), width_px=st.integers(1, 120), seed=st.integers(0, 9))
def test_a_stretched_picture_is_bilinear_to_a_grey_value(height_px: int, width_px: int, seed: int) -> None:
    picture = np.random.default_rng(seed).integers(0, 256, (height_px, width_px, 3), dtype=np.uint8)
    model = described(given=GREY, preprocess=Preprocess(FrameKind.IMAGE, (0.0,) * 3, (1.0,) * 3, colour="bgr"))
    prepared = prepare(picture, model)
    assert prepared.placement == Placement()
    np.testing.assert_allclose(prepared.tensor[0], bilinear(picture, 30, 40), atol=1.5)


@given(
    height_px=st.integers(1, 60) | st.sampled_from([1, 2000]),
    width_px=st.integers(1, 60) | st.sampled_from([1, 2000]),
    spec=quantised_specs((1, 30, 40, 3)),
)
def test_a_letterboxed_picture_keeps_its_aspect_between_bars_of_the_mean_colour(
    height_px: int, width_px: int, spec: TensorSpec
) -> None:
    model = pictures(spec, fit="letterbox")
    picture = np.full((height_px, width_px, 3), (255, 0, 255), np.uint8)
    prepared = prepare(picture, model)
    assert prepared.tensor.shape == spec.shape
    assert prepared.tensor.dtype == spec.dtype.numpy

    place = prepared.placement
    inner = (place.top * 30, place.left * 40, place.height * 30, place.width * 40)
    top, left, inner_height, inner_width = (round(value) for value in inner)
    assert inner == pytest.approx((top, left, inner_height, inner_width))  # whole pixels
    scale = min(30 / height_px, 40 / width_px)
    assert inner_height == 30 or inner_width == 40
    assert inner_height == 1 or abs(inner_height - height_px * scale) <= 0.5
    assert inner_width == 1 or abs(inner_width - width_px * scale) <= 0.5
    assert 0 <= 30 - inner_height - 2 * top <= 1  # in the middle, but for an odd pixel
    assert 0 <= 40 - inner_width - 2 * left <= 1

    bars = np.ones(spec.shape[1:3], np.bool_)
    bars[top : top + inner_height, left : left + inner_width] = False
    assert (prepared.tensor[0][bars] == spec.zero_point).all()
    colour = normalised(np.full((1, 1, 3), (255, 0, 255), np.uint8), model)[0, 0, 0]
    assert (prepared.tensor[0][~bars] == colour).all()


@given(
    height_px=st.integers(20, 300),
    width_px=st.integers(20, 300),
    fit=st.sampled_from(["stretch", "letterbox"]),
    corners=st.lists(st.floats(0, 1), min_size=4, max_size=4),
)
def test_what_the_model_sees_in_a_place_is_told_at_its_place_in_the_frame(
    height_px: int, width_px: int, fit: Fit, corners: list[float]
) -> None:
    ymin, ymax = sorted((round(corners[0] * height_px), round(corners[1] * height_px)))
    xmin, xmax = sorted((round(corners[2] * width_px), round(corners[3] * width_px)))
    picture = np.zeros((height_px, width_px, 3), np.uint8)
    picture[ymin:ymax, xmin:xmax] = 255
    spec = TensorSpec("image", (1, 120, 160, 3), Dtype.FLOAT32)
    model = described(given=spec, preprocess=Preprocess(FrameKind.IMAGE, (0.0,) * 3, (255.0,) * 3, fit=fit))
    prepared = prepare(picture, model)
    rows = np.flatnonzero(prepared.tensor[0, :, :, 0].max(axis=1) > 0.5)
    columns = np.flatnonzero(prepared.tensor[0, :, :, 0].max(axis=0) > 0.5)
    if not rows.size:
        return  # too thin to be seen after shrinking
    in_model = np.array([[rows[0] / 120, columns[0] / 160, (rows[-1] + 1) / 120, (columns[-1] + 1) / 160]])
    found = prepared.to_frame(in_model)[0]
    pixel_y, pixel_x = 1 / prepared.placement.height / 120, 1 / prepared.placement.width / 160
    assert abs(found[0] - ymin / height_px) <= max(pixel_y, 1 / height_px)
    assert abs(found[2] - ymax / height_px) <= max(pixel_y, 1 / height_px)
    assert abs(found[1] - xmin / width_px) <= max(pixel_x, 1 / width_px)
    assert abs(found[3] - xmax / width_px) <= max(pixel_x, 1 / width_px)


def test_boxes_are_clipped_to_the_frame() -> None:
    boxes = np.array([[0.0, 0.0, 1.0, 1.0], [0.3, 0.1, 0.4, 0.2]])
    placed = Placement(top=0.25, left=0.0, height=0.5, width=1.0).to_shown(boxes)
    np.testing.assert_allclose(placed, [[0.0, 0.0, 1.0, 1.0], [0.1, 0.1, 0.3, 0.2]])


def test_the_tensor_shares_no_memory_with_the_frame() -> None:
    identity = TensorSpec("image", (1, 4, 4, 3), Dtype.UINT8, 1 / 255, 0)
    plain = Preprocess(FrameKind.IMAGE, (0.0,) * 3, (255.0,) * 3, colour="bgr")
    picture = np.full((4, 4, 3), 7, np.uint8)
    record = np.full(2, 7.0)
    floats = TensorSpec("record", (1, 2), Dtype.FLOAT32)
    of_record = described(given=floats, preprocess=Preprocess(FrameKind.RECORD, (0.0, 0.0), (1.0, 1.0)))
    assert not np.shares_memory(prepare(picture, described(given=identity, preprocess=plain)).tensor, picture)
    assert not np.shares_memory(prepare(record, of_record).tensor, record)


def test_bars_stay_clean_from_one_frame_to_the_next() -> None:
    prepare_one = Preprocessor(pictures(fit="letterbox"))
    wide, tall = np.full((10, 80, 3), 255, np.uint8), np.full((80, 10, 3), 255, np.uint8)
    first = prepare_one(frame_of(wide))[0].tensor.copy()
    prepare_one(frame_of(tall))
    np.testing.assert_array_equal(prepare_one(frame_of(wide))[0].tensor, first)


def test_a_view_into_a_larger_picture_is_taken_as_it_looks() -> None:
    whole = np.random.default_rng(2).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    for view in (whole[5:35, 7:47], whole[::-2, ::2], whole.transpose(1, 0, 2)[:30, :40]):
        np.testing.assert_array_equal(prepare(view, pictures()).tensor, normalised(view, pictures()))


def test_a_window_is_normalised_by_channel_and_keeps_the_order_of_its_samples() -> None:
    model = numbers(FrameKind.WINDOW, (1, 3, 2), (1.0, 10.0), (1.0, 2.0))
    prepared = prepare(np.array([[1, 10], [2, 10], [1, 12]], np.float32), model)
    assert prepared.placement == Placement()
    assert prepared.tensor.dtype == np.int8
    np.testing.assert_array_equal(prepared.tensor, [[[3, 3], [23, 3], [3, 23]]])


@pytest.mark.parametrize("shape", [(1, 64), (1, 64, 1), (1, 8, 8, 1)])
def test_a_window_takes_the_shape_of_the_input(shape: tuple[int, ...]) -> None:
    window = np.linspace(-1, 1, 64, dtype=np.float32)[:, np.newaxis]
    prepared = prepare(window, numbers(FrameKind.WINDOW, shape, (0.0,), (1.0,)))
    assert prepared.tensor.shape == shape
    np.testing.assert_allclose((prepared.tensor.ravel() - 3.0) * 0.05, window[:, 0], atol=0.0251)


def test_a_record_is_normalised_by_feature() -> None:
    model = numbers(FrameKind.RECORD, (1, 3), (1.0, 10.0, 100.0), (1.0, 2.0, 4.0))
    prepared = prepare(np.array([2.0, 8.0, 1e9]), model)
    np.testing.assert_array_equal(prepared.tensor, [[23, -17, 127]])


WINDOWS = numbers(FrameKind.WINDOW, (1, 4, 2), (0.0, 0.0), (1e-3, 1.0))
RECORDS = numbers(FrameKind.RECORD, (1, 2), (0.0, 0.0), (1e-3, 1.0))
PICTURE_WANTED = r"takes uint8 \[1 or more, 1 or more, 3\]"


@pytest.mark.parametrize(
    ("model", "data", "told"),
    [
        (pictures(), np.zeros((9, 9), np.uint8), r"uint8 \[9, 9\]; the model " + PICTURE_WANTED),
        (pictures(), np.zeros((9, 9, 4), np.uint8), PICTURE_WANTED),
        (pictures(), np.zeros((9, 9, 1), np.uint8), PICTURE_WANTED),
        (pictures(), np.zeros((1, 9, 9, 3), np.uint8), PICTURE_WANTED),
        (pictures(), np.zeros((0, 9, 3), np.uint8), PICTURE_WANTED),
        (pictures(), np.zeros((9, 0, 3), np.uint8), PICTURE_WANTED),
        (pictures(), np.zeros((9, 9, 3), np.uint16), "uint16"),
        (pictures(), np.zeros((9, 9, 3), np.float32), "float32"),
        (pictures(), np.zeros((9, 9, 3), np.int8), "int8"),
        (WINDOWS, np.zeros((4, 3), np.float32), r"float32 \[4, 3\]; the model takes float32 \[4, 2\]"),
        (WINDOWS, np.zeros((2, 4), np.float32), r"\[2, 4\]"),
        (WINDOWS, np.zeros(8, np.float32), r"\[8\]"),
        (WINDOWS, np.zeros((4, 2), np.float64), "float64"),
        (WINDOWS, np.full((4, 2), np.nan, np.float32), "8 of 8 values are NaN or infinite"),
        (WINDOWS, np.full((4, 2), -np.inf, np.float32), "8 of 8"),
        (WINDOWS, np.full((4, 2), 3e38, np.float32), "4 of 8"),  # finite until divided by a std of 0.001
        (RECORDS, np.zeros(3), r"float64 \[3\]; the model takes float64 \[2\]"),
        (RECORDS, np.zeros((1, 2)), r"\[1, 2\]"),
        (RECORDS, np.zeros(2, np.int64), "int64"),
        (RECORDS, np.array([0.0, np.nan]), "1 of 2"),
        (RECORDS, np.array([np.inf, 0.0]), "1 of 2"),
    ],
)
def test_a_frame_that_does_not_fit_is_refused_with_what_came_and_what_is_wanted(
    model: Model, data: Array, told: str
) -> None:
    with pytest.raises(FrameError, match=told):
        prepare(data, model)


@pytest.mark.parametrize("kind", FrameKind)
@pytest.mark.parametrize("model", [pictures(), WINDOWS, RECORDS])
def test_a_frame_of_another_kind_is_refused(model: Model, kind: FrameKind) -> None:
    if kind is model.preprocess.kind:
        return
    with pytest.raises(FrameError, match=f"of kind '{kind.value}'; the model takes '{model.preprocess.kind.value}'"):
        Preprocessor(model)(frame_of(np.zeros((4, 2), np.float32), kind))
