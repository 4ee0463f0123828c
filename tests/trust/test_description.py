"""A description with one thing wrong is refused, and the message names the key and what would be right."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.errors import ModelError
from appliance.trust.model import DESCRIPTION_BYTES_MAX, parse_description
from tests.model_folders import FOLDERS
from tests.trust.making import REMOVE, SECTIONS, sound, spoil, toml

SPOILT = [
    # decoder, key path, value, what the message says
    ("score", "schema", 2, r"model.toml:1: schema: input should be 1"),
    ("score", "schema", REMOVE, r"schema: missing"),
    ("score", "colour", "rgb", r"colour: unknown key"),
    ("score", "name", "../made", r"name: string should match"),
    ("score", "version", "..", r"version: string should match"),
    ("score", "version", "1/2", r"version: string should match"),
    ("score", "task", "detect", r"decode.kind: score is not for the task detect; use ssd_raw or ssd_postprocessed"),
    ("score", "task", "guess", r"task: input should be 'detect', 'classify', 'anomaly' or 'score'"),
    ("score", "licence", "", r"licence: string should have at least 1"),
    ("score", "files.model.tflite", "0" * 63, r"files.model.tflite: string should match"),
    ("score", "input.shape", [], r"input.shape: .*at least 1 item"),
    ("score", "input.shape", [1, 0], r"input.shape.1: input should be greater than or equal to 1"),
    ("score", "input.shape", [1, True], r"input.shape.1: input should be a valid integer"),
    ("score", "input.shape", [1, 1 << 24, 2], r"shape has 33554432 elements; at most 16777216"),
    ("score", "input.dtype", "int16", r"input.dtype: input should be 'int8', 'uint8' or 'float32'"),
    ("score", "input.scale", 0.0, r"scale must be greater than 0 for int8"),
    ("score", "input.scale", REMOVE, r"scale must be greater than 0 for int8"),
    ("score", "input.scale", float("nan"), r"input.scale: input should be"),
    ("score", "input.scale", float("inf"), r"input.scale: input should be a finite"),
    ("score", "input.zero_point", 128, r"zero_point must be from -128 to 127 for int8, not 128"),
    ("score", "input.zero_point", -129, r"zero_point must be from -128 to 127 for int8, not -129"),
    ("score", "input.dtype", "uint8", None),
    ("anomaly", "input.scale", 0.1, r"a float32 tensor is not quantised"),
    ("anomaly", "input.zero_point", 1, r"a float32 tensor is not quantised"),
    ("score", "input.shape", [1, 1, 3], r"input.shape: is \[1, 1, 3\]; record needs \[1, F\]"),
    ("score", "input.shape", [2, 3], r"input.shape: is \[2, 3\]; record needs \[1, F\]"),
    ("anomaly", "input.shape", [1, 32], r"input.shape: is \[1, 32\]; window needs \[1, L, C\]"),
    ("classify", "input.shape", [1, 8, 6, 1], r"input.shape: is \[1, 8, 6, 1\]; image needs \[1, H, W, 3\]"),
    ("score", "preprocess.mean", [0.0] * 2, r"preprocess.mean: has 2 entries; the input's last dimension is 3"),
    ("score", "preprocess.std", [1.0] * 4, r"preprocess.std: has 4 entries; the input's last dimension is 3"),
    ("score", "preprocess.std", [1.0, 0.0, 1.0], r"preprocess.*std.1: input should be greater than 0"),
    ("score", "preprocess.std", [1.0, -1.0, 1.0], r"preprocess.*std.1: input should be greater than 0"),
    ("score", "preprocess.mean", [0.0, float("nan"), 0.0], r"preprocess.*mean.1: input should be a finite"),
    ("score", "preprocess.features", ["a", "b"], r"preprocess.features: has 2 names"),
    ("score", "preprocess.features", ["a", "b", "a"], r"preprocess.features: names a feature twice"),
    ("score", "preprocess.fit", "stretch", r"preprocess.*fit: unknown key"),
    ("classify", "preprocess.colour", REMOVE, r"preprocess.*colour: missing"),
    ("classify", "preprocess.fit", "crop", r"preprocess.*fit: input should be 'stretch' or 'letterbox'"),
    ("classify", "preprocess.kind", "sound", r"preprocess: .*'image', 'window', 'record'"),
    ("score", "outputs.0.role", "scores", r"outputs: the roles are \['scores'\]; score needs exactly \['score'\]"),
    ("score", "outputs.0.shape", [1, 2], r"outputs.0.shape: is \[1, 2\]; score has \[1, 1\]"),
    ("ssd_raw", "outputs.1.shape", [1, 6, 3], r"outputs.1.shape: is \[1, 6, 3\]; scores has \[1, 5, C\]"),
    ("ssd_raw", "outputs.0.shape", [1, 5, 5], r"outputs.0.shape: is \[1, 5, 5\]; boxes has \[1, 5, 4\]"),
    ("ssd_raw", "outputs.1.name", "b", r"outputs: two outputs have one name"),
    ("ssd_raw", "outputs.1.role", "boxes", r"the roles are \['boxes', 'boxes'\]"),
    ("ssd_postprocessed", "outputs.3.shape", [1, 1], r"outputs.3.shape: is \[1, 1\]; count has \[1\]"),
    ("ssd_postprocessed", "outputs.2.shape", [1, 8], r"outputs.2.shape: is \[1, 8\]; scores has \[1, 7\]"),
    ("anomaly", "outputs.0.shape", [1, 16, 1], r"outputs.0.shape: is \[1, 16, 1\]; .* shape \[1, 16, 2\]"),
    ("ssd_raw", "preprocess", SECTIONS["anomaly"]["preprocess"], r"preprocess.kind: ssd_raw cannot follow window"),
    ("ssd_raw", "decode.box_scales", [10.0, 10.0, 5.0, 0.0], r"box_scales must all be greater than 0"),
    ("ssd_raw", "decode.box_scales", [10.0, 10.0, 5.0], r"box_scales.3: missing"),
    ("ssd_raw", "decode.background", 1, r"background: input should be a valid boolean"),
    ("ssd_raw", "decode.score_min", 1.1, r"score_min: input should be less than or equal to 1"),
    ("ssd_raw", "decode.iou_max", -0.1, r"iou_max: input should be greater than or equal to 0"),
    ("ssd_raw", "decode.max_detections", 0, r"max_detections: input should be greater than or equal to 1"),
    ("ssd_raw", "decode.anchors", "other.npy", r"files: does not list 'other.npy' \(decode.anchors names it\)"),
    ("ssd_raw", "decode.anchors", "../anchors.npy", r"anchors: string should match"),
    ("score", "decode.activation", "softmax", r"activation: input should be 'none' or 'sigmoid'"),
    ("score", "decode.label", "", r"label: string should match"),
    ("classify", "decode.activation", "sigmoid", r"activation: input should be 'none' or 'softmax'"),
    ("score", "golden.file", "other.npz", r"files: does not list 'other.npz' \(golden.file names it\)"),
    ("score", "golden.tolerance_lsb", {}, r"golden.tolerance_lsb: is given for \[\]; the outputs are \['score'\]"),
    ("score", "golden.tolerance_lsb.score", -1, r"tolerance_lsb.score: input should be greater than or equal to 0"),
    ("score", "golden.tolerance_lsb.score", 65, r"tolerance_lsb.score: input should be less than or equal to 64"),
    ("score", "golden.tolerance_lsb.score", 1.5, r"tolerance_lsb.score: input should be a valid integer"),
]


@pytest.mark.parametrize(("kind", "key", "value", "message"), SPOILT)
def test_a_description_with_one_thing_wrong_is_refused_by_name(
    kind: str, key: str, value: object, message: str | None
) -> None:
    tree, _ = sound(kind)
    if key == "files.model.tflite":
        tree["files"]["model.tflite"] = value
    else:
        spoil(tree, key, value)
    if message is None:
        parse_description(toml(tree))
        return
    with pytest.raises(ModelError) as caught:
        parse_description(toml(tree))
    assert re.search(message, str(caught.value)), caught.value
    assert all(line.startswith("model.toml") for line in str(caught.value).splitlines())


@pytest.mark.parametrize("kind", SECTIONS)
def test_a_sound_description_of_every_decoder_is_accepted(kind: str) -> None:
    tree, _ = sound(kind)
    assert parse_description(toml(tree)).decode.kind == kind


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.parent.name)
def test_the_bundled_descriptions_are_accepted(folder: object) -> None:
    assert parse_description((folder / "model.toml").read_bytes()).name == folder.parent.name  # type: ignore[operator, attr-defined]  # parametrize is untyped


@pytest.mark.parametrize("path", ["model.tflite", "labels.txt", "golden/golden.npz"])
def test_a_needed_file_must_be_listed(path: str) -> None:
    tree, _ = sound("classify")
    del tree["files"][path]
    with pytest.raises(ModelError, match=f"files: does not list '{path}'"):
        parse_description(toml(tree))


@pytest.mark.parametrize(
    "path",
    [
        *["/etc/passwd", "..", "../x", "a/../../x", "a\\b", "a//b", "./a", ".hidden", "a/.b", "C:x", "a\0b", "", "a/"],
        *["a/b/c/d/e", "a" * 65, "å", "a\n"],
    ],
)
def test_a_path_that_could_leave_the_folder_is_refused(path: str) -> None:
    tree, _ = sound("score")
    tree["files"][path] = "0" * 64
    with pytest.raises(ModelError, match="files"):
        parse_description(toml(tree))


def test_every_fault_is_told_at_once_with_its_line() -> None:
    tree, _ = sound("score")
    spoil(tree, "licence", "")
    spoil(tree, "input.dtype", "int16")
    raw = toml(tree)
    lines = raw.decode().splitlines()
    with pytest.raises(ModelError) as caught:
        parse_description(raw, file="models/made/1.0.0/model.toml")
    first, second = str(caught.value).splitlines()
    assert first.startswith(f"models/made/1.0.0/model.toml:{lines.index('licence = ' + chr(34) * 2) + 1}: licence:")
    assert second.startswith(
        f"models/made/1.0.0/model.toml:{lines.index('dtype = ' + chr(34) + 'int16' + chr(34)) + 1}"
    )


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"\xff\xfe", "not TOML"),
        (b"name = ", "not TOML"),
        (b"", "schema: missing"),
        (b"#" * (DESCRIPTION_BYTES_MAX + 1), "larger than"),
        (b"a = " + b"[" * 10_000, "not TOML"),
    ],
)
def test_what_is_no_description_is_refused(raw: bytes, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        parse_description(raw)


_TREE, _ = sound("ssd_raw")
_RAW = toml(_TREE)


@given(st.integers(0, len(_RAW) - 1), st.binary(max_size=4), st.integers(0, 12))
def test_a_damaged_description_is_read_or_refused_and_nothing_else(at: int, instead: bytes, cut: int) -> None:
    try:
        parse_description(_RAW[:at] + instead + _RAW[at + cut :])
    except ModelError as error:
        assert str(error)  # noqa: PT017 - either outcome is right; any other error is not
