"""Files are held against their description; what does not fit is refused, whatever the bytes."""

import hashlib
import io
import re
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.core.model import SsdRawDecode
from appliance.errors import ModelError
from appliance.trust.model import (
    FILE_BYTES_MAX,
    FOLDER_BYTES_MAX,
    GOLDEN_VECTORS_MAX,
    LABELS_MAX,
    parse_description,
    verify,
)
from tests.model_folders import FOLDERS, PERSON
from tests.trust.making import SECTIONS, Files, Tree, npy, npz, sound, toml, vectors, verified

ANCHORS = np.tile(np.array([0.1, 0.1, 0.3, 0.4], np.float32), (5, 1))
FLOAT_NAN = np.full((1, 16, 2), np.nan, np.float32)


def _with(path: str, content: bytes) -> Callable[[Tree, Files], object]:
    return lambda _, files: files.update({path: content})


def _golden(change: Callable[[Tree], dict[str, np.ndarray]]) -> Callable[[Tree, Files], object]:
    return lambda tree, files: files.update({"golden/golden.npz": npz(change(tree))})


def _zip(method: int, entries: list[tuple[str, bytes]]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, content in entries:
            archive.writestr(name, content)
    return buffer.getvalue()


def _npy_header(shape: str) -> bytes:
    header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({shape}), }}\n".encode()
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header


SPOILT: list[tuple[str, Callable[[Tree, Files], object], str]] = [
    ("score", _with("model.tflite", b"\x1c\0\0\0TFL2"), r"model.tflite: not a TFLite flatbuffer"),
    ("score", _with("model.tflite", b""), r"model.tflite: not a TFLite flatbuffer"),
    ("classify", _with("labels.txt", b"cat\n"), r"labels.txt: 1 labels, but the scores have 2 classes"),
    ("classify", _with("labels.txt", b"cat\ndog\nowl\n"), r"labels.txt: 3 labels, but the scores have 2"),
    ("ssd_raw", _with("labels.txt", b"background\ncat\ndog\n"), r"3 labels, but the scores have 2 .*not counted"),
    ("classify", _with("labels.txt", b"cat\n\n"), r"labels.txt:2: '' is no label"),
    ("classify", _with("labels.txt", b""), r"labels.txt:1: '' is no label"),
    ("classify", _with("labels.txt", b"cat\r\ndog\r\n"), r"labels.txt:1: 'cat\\r' is no label.*Unix line ends"),
    ("classify", _with("labels.txt", b"cat\ncat\n"), r"labels.txt: 'cat' stands there 2 times"),
    ("classify", _with("labels.txt", b"cat\n\xff\n"), r"labels.txt: not UTF-8"),
    ("classify", _with("labels.txt", b"cat\n" + b"x" * 65), r"labels.txt:2: .* is no label"),
    (
        "ssd_postprocessed",
        _with("labels.txt", b"".join(b"%d\n" % number for number in range(LABELS_MAX + 1))),
        r"labels.txt:10001: .* at most 10000 lines",
    ),
    ("ssd_raw", _with("anchors.npy", npy(ANCHORS[:4])), r"anchors.npy: holds <f4 \[4, 4\], but .* float32 \[5, 4\]"),
    ("ssd_raw", _with("anchors.npy", npy(ANCHORS.astype(np.float64))), r"anchors.npy: holds <f8"),
    ("ssd_raw", _with("anchors.npy", npy(ANCHORS.astype(">f4"))), r"anchors.npy: not a plain .npy array"),
    ("ssd_raw", _with("anchors.npy", npy(np.asfortranarray(ANCHORS))), r"anchors.npy: not a plain .npy array"),
    ("ssd_raw", _with("anchors.npy", npy(np.array([{}], dtype=object))), r"anchors.npy: not a plain .npy array"),
    ("ssd_raw", _with("anchors.npy", npy(ANCHORS)[:-1]), r"anchors.npy: 79 bytes of data .* has 80"),
    ("ssd_raw", _with("anchors.npy", npy(ANCHORS) + b"x"), r"anchors.npy: 81 bytes of data .* has 80"),
    ("ssd_raw", _with("anchors.npy", _npy_header("9" * 5000)), r"anchors.npy: not a plain .npy array"),
    ("ssd_raw", _with("anchors.npy", b"\x93NUMPY\x01\x00"), r"anchors.npy: not a plain .npy array"),
    ("ssd_raw", _with("anchors.npy", npy(ANCHORS * np.float32(np.inf))), r"anchors.npy: holds NaN or infinity"),
    ("ssd_raw", _with("anchors.npy", npy(ANCHORS[:, ::-1].copy())), r"anchors.npy: an anchor has no height"),
    ("score", _golden(lambda tree: vectors(tree, 0)), r"golden.npz: needs input_0, <role>_0"),
    ("score", _golden(lambda tree: {**vectors(tree, 1), "extra": np.zeros(1)}), r"no more; look at \['extra'\]"),
    ("score", _golden(lambda tree: _without(vectors(tree, 2), "score_1")), r"look at \['score_1'\]"),
    ("score", _golden(lambda tree: _without(vectors(tree, 3), "input_1", "score_1")), r"look at \['input_1'"),
    (
        "score",
        _golden(lambda tree: {**vectors(tree, 1), "input_0": np.zeros((1, 3), np.uint8)}),
        r"golden.npz: input_0: holds \|u1 \[1, 3\], but its tensor is int8 \[1, 3\]",
    ),
    (
        "score",
        _golden(lambda tree: {**vectors(tree, 1), "score_0": np.zeros(1, np.int8)}),
        r"score_0: holds \|i1 \[1\]",
    ),
    ("score", _golden(lambda tree: {**vectors(tree, 1), "score_0": np.array([{}])}), r"score_0: not a plain .npy"),
    ("anomaly", _golden(lambda tree: {**vectors(tree, 1), "reconstruction_0": FLOAT_NAN}), r"holds NaN or infinity"),
    ("score", _golden(lambda tree: vectors(tree, GOLDEN_VECTORS_MAX + 1)), r"130 entries; at most 128"),
    ("score", _with("golden/golden.npz", b"PK"), r"golden.npz: not an .npz archive"),
    ("score", _with("golden/golden.npz", npy(ANCHORS)), r"golden.npz: not an .npz archive"),
    (
        "score",
        _with("golden/golden.npz", _zip(zipfile.ZIP_LZMA, [("input_0.npy", b""), ("score_0.npy", b"")])),
        r"input_0.npy is packed in a way",
    ),
]


def _without(arrays: dict[str, np.ndarray], *names: str) -> dict[str, np.ndarray]:
    return {name: array for name, array in arrays.items() if name not in names}


@pytest.mark.parametrize(("kind", "change", "message"), SPOILT)
def test_a_file_that_is_not_as_described_is_refused(
    kind: str, change: Callable[[Tree, Files], object], message: str
) -> None:
    tree, files = sound(kind)
    change(tree, files)
    with pytest.raises(ModelError) as caught:
        verified(tree, files)
    assert re.search(message, str(caught.value)), caught.value


@pytest.mark.parametrize("kind", SECTIONS)
def test_a_sound_folder_of_every_decoder_is_verified(kind: str) -> None:
    model = verified(*sound(kind))
    assert len(model.golden.inputs) == len(model.golden.outputs) == 2
    assert set(model.golden.outputs[0]) == set(model.outputs)
    assert model.labels == {"score": ("fraud",), "anomaly": ("anomaly",)}.get(kind, ("cat", "dog"))


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.parent.name)
def test_the_bundled_models_are_verified_and_hold_the_very_bytes(folder: Path) -> None:
    description = parse_description((folder / "model.toml").read_bytes())
    files = {path: (folder / path).read_bytes() for path in description.files}
    model = verify(description, files)
    assert model.tflite is files["model.tflite"]
    assert model.sha256 == hashlib.sha256(model.tflite).hexdigest()
    assert not any(tensor.flags.writeable for tensor in model.golden.inputs)


def test_the_anchors_of_the_person_model_are_read_as_they_are() -> None:
    description = parse_description((PERSON / "model.toml").read_bytes())
    model = verify(description, {path: (PERSON / path).read_bytes() for path in description.files})
    assert isinstance(model.decode, SsdRawDecode)
    assert np.array_equal(model.decode.anchors, np.load(PERSON / "anchors.npy"))


def test_a_listed_file_that_is_missing_is_named() -> None:
    tree, files = sound("classify")
    description = parse_description(toml(tree))
    del files["labels.txt"]
    with pytest.raises(ModelError, match=r"labels\.txt: missing, but listed under \[files\]"):
        verify(description, files)


def test_a_file_that_is_not_listed_is_not_looked_at() -> None:
    tree, files = sound("score")
    assert verify(parse_description(toml(tree)), {**files, "labels.txt": b"\xff"}).labels == ("fraud",)


def test_a_file_or_a_folder_larger_than_a_model_is_refused_before_it_is_hashed() -> None:
    tree, files = sound("ssd_raw")
    description = parse_description(toml(tree))
    with pytest.raises(ModelError, match=r"labels\.txt: larger than 67108864 bytes"):
        verify(description, {**files, "labels.txt": bytes(FILE_BYTES_MAX + 1)})
    half = bytes(FOLDER_BYTES_MAX // 2)
    with pytest.raises(ModelError, match="the files have more than 134217728 bytes together"):
        verify(description, {**files, "labels.txt": half, "anchors.npy": half})


def test_an_array_that_is_packed_twice_is_refused() -> None:
    tree, files = sound("score")
    entries = [(f"{name}.npy", npy(array)) for name, array in vectors(tree, 1).items()]
    with pytest.warns(UserWarning, match="Duplicate name"):
        files["golden/golden.npz"] = _zip(zipfile.ZIP_DEFLATED, [*entries, entries[0]])
    with pytest.raises(ModelError, match="each name once"):
        verified(tree, files)


@given(data=st.data(), kind=st.sampled_from(sorted(SECTIONS)))
def test_one_changed_bit_in_any_file_is_noticed(data: st.DataObject, kind: str) -> None:
    tree, files = sound(kind)
    path = data.draw(st.sampled_from(sorted(files)))
    content = bytearray(files[path])
    content[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(ModelError, match=f"{path}: its sha256 is"):
        verify(parse_description(toml(tree)), {**files, path: bytes(content)})


@settings(max_examples=300)
@given(data=st.data(), path=st.sampled_from(["anchors.npy", "golden/golden.npz", "labels.txt"]))
def test_a_signed_but_damaged_file_is_read_or_refused_and_nothing_else(data: st.DataObject, path: str) -> None:
    tree, files = sound("ssd_raw")
    content = files[path]
    start = data.draw(st.integers(0, len(content)) | st.integers(max(0, len(content) - 300), len(content)))
    cut = data.draw(st.integers(0, 4) | st.integers(0, len(content)))
    files[path] = content[:start] + data.draw(st.binary(max_size=6)) + content[start + cut :]
    try:
        verified(tree, files)
    except ModelError as error:
        assert str(error)  # noqa: PT017 - either outcome is right; any other error is not


def test_a_zip_bomb_is_refused_without_being_unpacked() -> None:
    tree, files = sound("score")
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("score_0.npy", npy(np.zeros((1, 1), np.int8)))
        with archive.open("input_0.npy", "w") as stream:
            stream.write(npy(np.zeros((1, 3), np.int8)))
            for _ in range(64):
                stream.write(bytes(1 << 20))
    files["golden/golden.npz"] = buffer.getvalue()
    tracemalloc.start()
    try:
        with pytest.raises(ModelError, match=r"input_0: .* bytes of data where"):
            verified(tree, files)
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()


def test_golden_vectors_that_would_fill_the_memory_are_refused_before_they_are_unpacked() -> None:
    tree, files = sound("anomaly")
    tree["input"]["shape"] = tree["outputs"][0]["shape"] = [1, 1 << 21, 2]  # 16 MiB a tensor, 32 MiB a vector
    names = [f"{name}_{index}" for name in ("input", "reconstruction") for index in range(3)]
    files["golden/golden.npz"] = npz({name: np.zeros(1) for name in names})
    with pytest.raises(ModelError, match="3 vectors have more than 67108864 bytes"):
        verified(tree, files)
