"""Calibration data: what looks like the input is taken, everything else is refused with the reason."""

import re
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.adapters.sensors.replay import write_recording
from appliance.core.types import Array, FrameKind
from appliance.errors import ForgeError
from appliance.forge.calibration import check, compare, load
from appliance.forge.samples import SAMPLES_MAX, InputSpec

SIDE = 8
IMAGE = InputSpec((1, SIDE, SIDE, 3), FrameKind.IMAGE, (127.5,), (127.5,))
WINDOW = InputSpec((1, 16, 1), FrameKind.WINDOW, (2.0,), (0.5,))
RECORD = InputSpec((1, 4), FrameKind.RECORD, (1.0, 2.0, 3.0, 4.0), (1.0, 1.0, 2.0, 2.0))
RNG = np.random.default_rng(0)
PICTURES = RNG.integers(0, 256, (12, 20, 30, 3), dtype=np.uint8)
"""Of another size than the input."""


def pixels(count: int = 20) -> Array:
    return RNG.uniform(-1, 1, (count, SIDE, SIDE, 3)).astype(np.float32)


def numbers(count: int = 20) -> Array:
    return RNG.normal(size=(count, 4)).astype(np.float32)


def write_pictures(folder: Path, pictures: Array = PICTURES) -> Path:
    for number, picture in enumerate(pictures):
        assert cv2.imwrite(str(folder / f"{number:03}.png"), picture)
    return folder


def test_a_folder_of_pictures_becomes_inputs_as_the_device_prepares_them(tmp_path: Path) -> None:
    (write_pictures(tmp_path) / "notes.txt").write_text("no picture")
    inputs = load(tmp_path, IMAGE)
    assert inputs.shape == (12, SIDE, SIDE, 3)
    resized = cv2.resize(PICTURES[3], (SIDE, SIDE), interpolation=cv2.INTER_LINEAR)
    assert np.allclose(inputs[3], (resized[..., ::-1].astype(np.float32) - 127.5) / 127.5)


def test_letterboxed_pictures_keep_their_form_between_bars_of_the_mean(tmp_path: Path) -> None:
    spec = InputSpec(IMAGE.shape, FrameKind.IMAGE, (127.5,), (127.5,), colour="bgr", fit="letterbox")
    inputs = load(write_pictures(tmp_path), spec)
    inner = cv2.resize(PICTURES[0], (SIDE, 5), interpolation=cv2.INTER_LINEAR)  # 30 x 20 in 8 x 8
    assert np.allclose(inputs[0, 1:6], (inner.astype(np.float32) - 127.5) / 127.5)
    assert not inputs[0, 0].any()
    assert not inputs[0, 6:].any()


@pytest.mark.parametrize(
    ("spec", "frames", "wanted"),
    [
        (WINDOW, RNG.normal(2, 0.5, (15, 16, 1)), (15, 16, 1)),
        (RECORD, RNG.normal((1, 2, 3, 4), (1, 1, 2, 2), (15, 4)), (15, 4)),
        (IMAGE, PICTURES, (12, SIDE, SIDE, 3)),
        (InputSpec((1, 4, 4, 1), FrameKind.WINDOW, (2.0,), (0.5,)), RNG.normal(2, 0.5, (15, 16, 1)), (15, 4, 4, 1)),
    ],
)
def test_a_recording_is_normalised_by_mean_and_std(
    tmp_path: Path, spec: InputSpec, frames: Array, wanted: tuple[int, ...]
) -> None:
    file = tmp_path / "recording.npz"
    raw = frames if spec.kind is FrameKind.IMAGE else frames.astype(np.float32)
    with file.open("wb") as stream:
        np.savez_compressed(stream, kind=np.array([spec.kind.value]), frames=raw, times_s=np.arange(len(raw)))
    inputs = load(file, spec)
    assert inputs.shape == wanted
    assert abs(float(inputs.mean())) < 0.5


def test_frames_that_are_no_signal_calibrate_nothing(tmp_path: Path) -> None:
    frames = RNG.normal(2, 0.5, (14, 16, 1)).astype(np.float32)
    frames[3] = 1000.0
    write_recording(tmp_path / "r.npz", FrameKind.WINDOW, frames, np.arange(14), ["", "", "", "lead off"] + [""] * 10)
    inputs = load(tmp_path / "r.npz", WINDOW)
    assert len(inputs) == 13
    assert inputs.max() < 10


def test_arrays_are_taken_as_they_are_and_thinned_evenly(tmp_path: Path) -> None:
    inputs = numbers(3 * SAMPLES_MAX)
    np.savez(tmp_path / "x.npz", inputs=inputs)
    read = load(tmp_path / "x.npz", RECORD)
    assert len(read) == SAMPLES_MAX
    assert (read[0] == inputs[0]).all()
    assert (read[-1] == inputs[-1]).all()


REFUSED = {
    "another shape": (pixels()[:, :4], IMAGE, "shape \\[4, 8, 3\\]; the network takes \\[8, 8, 3\\]"),
    "raw pixels": (PICTURES[:, :SIDE, :SIDE], IMAGE, "uint8; normalised floats.*folder of pictures"),
    "pixels not normalised": (pixels() * 127.5 + 127.5, IMAGE, "between 0.* and 2.*fill -1 to 1"),
    "pixels scaled to 0..1": ((pixels() + 1) / 2, IMAGE, "fill -1 to 1"),
    "whole numbers": (np.arange(80).reshape(20, 4), RECORD, "int64; normalised floats"),
    "words": (np.full((20, 4), "x"), RECORD, "normalised floats"),
    "too few": (numbers(9), RECORD, "9 calibration inputs.*10 are needed"),
    "none": (numbers(0), RECORD, "0 calibration inputs"),
    "a constant": (np.full((20, 4), 0.5), RECORD, "every calibration value is 0.5"),
    "all alike": (np.repeat(numbers(1), 20, axis=0), RECORD, "all alike"),
    "alike but for noise": (numbers(1) + 1e-6 * numbers(20), RECORD, "all alike"),
    "few different ones": (np.concatenate([numbers(3)] * 7), RECORD, "\\(3 differ\\)"),
    "blank pictures": (np.linspace(-1, 1, 20)[:, None, None, None] * np.ones(IMAGE.shape), IMAGE, "one value"),
    "features not normalised": (numbers() + np.array((0, 0, 40, 0)), RECORD, "feature or channel 2 has the median"),
    "values of another unit": (numbers() * 1e-5, RECORD, "wrong unit"),
    "values far too large": (numbers() * 1e4, RECORD, "wrong unit"),
}


@pytest.mark.parametrize(("inputs", "spec", "complaint"), REFUSED.values(), ids=REFUSED.keys())
def test_what_does_not_look_like_the_input_is_refused_with_the_reason(
    tmp_path: Path, inputs: Array, spec: InputSpec, complaint: str
) -> None:
    np.savez(tmp_path / "x.npz", inputs=inputs)
    with pytest.raises(ForgeError, match=complaint) as refused:
        load(tmp_path / "x.npz", spec)
    assert "x.npz" in str(refused.value)


@given(
    place=st.tuples(st.integers(0, 19), st.integers(0, 3)),
    value=st.sampled_from([float("nan"), float("inf"), float("-inf")]),
)
def test_one_value_that_is_not_finite_is_noticed_wherever_it_stands(place: tuple[int, int], value: float) -> None:
    inputs = numbers()
    inputs[place] = value
    with pytest.raises(ForgeError, match="1 of 80 calibration values"):
        check(inputs, RECORD.shape)


@given(st.floats(0.5, 3.0), st.integers(10, 60))
def test_what_the_network_was_trained_on_is_never_refused(spread: float, count: int) -> None:
    rng = np.random.default_rng(count)
    inputs = (rng.normal(size=(count, 4)) * spread).astype(np.float32)
    assert (check(inputs, RECORD.shape, RECORD) == inputs).all()
    pictures = rng.integers(0, 256, (count, SIDE, SIDE, 3)).astype(np.float32)
    assert check(IMAGE.normalise(pictures), IMAGE.shape, IMAGE).shape == pictures.shape


def test_inputs_of_different_shapes_are_refused() -> None:
    with pytest.raises(ForgeError, match="different shapes"):
        check([np.zeros((2, 2)), np.zeros((3, 3))], (1, 2, 2))


BROKEN = {
    "missing": (None, "cannot be read"),
    "not an archive": (b"inputs", "cannot be read"),
    "truncated": (b"PK\x03\x04", "cannot be read"),
}


@pytest.mark.parametrize(("content", "complaint"), BROKEN.values(), ids=BROKEN.keys())
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, content: bytes | None, complaint: str) -> None:
    file = tmp_path / "data.npz"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ForgeError, match=rf"data\.npz {complaint}"):
        load(file, RECORD)


def test_pickled_objects_are_never_opened(tmp_path: Path) -> None:
    with (tmp_path / "x.npz").open("wb") as stream:
        np.savez(stream, inputs=np.array([{}] * 20, object))
    with pytest.raises(ForgeError, match="plain arrays"):
        load(tmp_path / "x.npz", RECORD)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda folder: (folder / "a.png").write_bytes(b"no"), r"a\.png cannot be read as a picture"),
        (lambda folder: [each.unlink() for each in folder.iterdir()], "holds no pictures"),
    ],
)
def test_a_folder_with_a_broken_picture_or_none_is_refused(tmp_path: Path, change: object, complaint: str) -> None:
    write_pictures(tmp_path)
    assert callable(change)
    change(tmp_path)
    with pytest.raises(ForgeError, match=complaint):
        load(tmp_path, IMAGE)


@pytest.mark.parametrize(
    ("spec", "complaint"),
    [
        (InputSpec(IMAGE.shape, FrameKind.IMAGE), "give the --mean and --std"),
        (InputSpec(IMAGE.shape, FrameKind.IMAGE, (1.0, 2.0), (1.0, 2.0)), "2 means .* for 3 channels"),
        (InputSpec((1, 8, 8, 1), FrameKind.IMAGE, (1.0,), (1.0,)), r"\[1, height, width, 3\]"),
        (RECORD, "holds pictures; the network takes 'record'"),
    ],
)
def test_pictures_for_a_network_that_takes_none_are_refused(tmp_path: Path, spec: InputSpec, complaint: str) -> None:
    with pytest.raises(ForgeError, match=complaint):
        load(write_pictures(tmp_path), spec)


def test_a_recording_of_another_kind_and_an_archive_without_inputs_are_refused(tmp_path: Path) -> None:
    frames = RNG.normal(size=(14, 16, 1)).astype(np.float32)
    write_recording(tmp_path / "r.npz", FrameKind.WINDOW, frames, np.arange(14))
    with pytest.raises(ForgeError, match="of kind 'window'; the network takes 'record'"):
        load(tmp_path / "r.npz", RECORD)
    np.savez(tmp_path / "y.npz", data=frames)
    with pytest.raises(ForgeError, match="no array 'inputs'; it holds data"):
        load(tmp_path / "y.npz", RECORD)


@pytest.mark.parametrize("spoilt", [lambda x: x * 127.5 + 127.5, lambda x: x / 255, lambda x: x + 40])
def test_calibration_of_another_range_than_the_test_is_refused_with_both_ranges(
    spoilt: Callable[[Array], Array],
) -> None:
    test = numbers(200)
    with pytest.raises(ForgeError, match=r"train.npz: calibration values lie between .* those of the test between"):
        compare(Path("train.npz"), spoilt(numbers(200)), test)


def test_calibration_of_the_tests_range_is_taken_though_a_few_values_are_far_off() -> None:
    test = numbers(200)
    inputs = test.copy()
    inputs[0, 0] = 1e4
    assert compare(Path("train.npz"), inputs, test) == ()
    assert compare(Path("train.npz"), test[::2], test[::2]) == ()


def test_test_values_beyond_the_calibrated_range_are_counted_in_a_warning() -> None:
    inputs = np.linspace(-1, 1, 400, dtype=np.float32).reshape(100, 4)
    [said] = compare(Path("train.npz"), inputs, np.linspace(-2, 2, 4000).reshape(1000, 4))
    assert said.startswith("warning: 50.0% of the test's values lie beyond the calibrated range")


@pytest.mark.parametrize(("shape", "axes"), [((SIDE, 6, 3), (0, 2, 3, 1)), ((16, 2), (0, 2, 1))])
def test_channels_that_stand_first_get_the_line_that_moves_them(shape: tuple[int, ...], axes: tuple[int, ...]) -> None:
    first = RNG.normal(size=(20, shape[-1], *shape[:-1])).astype(np.float32)
    with pytest.raises(ForgeError, match=re.escape(f"channels stand last here: np.transpose(inputs, {axes})")):
        check(first, (1, *shape))
    assert check(np.transpose(first, axes), (1, *shape)).shape == (20, *shape)
    with pytest.raises(ForgeError) as other:
        check(first[:, :, 1:], (1, *shape))
    assert "transpose" not in str(other.value)
