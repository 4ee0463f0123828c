"""A version may have the Edge TPU's file and an ONNX file: packaged with the rest, or refused with it."""

from dataclasses import replace
from pathlib import Path

import pytest

from appliance.adapters.model_folder import read_model
from appliance.errors import ForgeError
from appliance.forge.package import package
from appliance.forge.package_file import read_spec
from tests.forge.onnx_graphs import classifier
from tests.forge.packaging import but, everything, quiet, score
from tests.forge.test_package_file import written
from tests.model_folders import EDGETPU_OP, TINY

COMPILED, ONNX = EDGETPU_OP.read_bytes(), bytes(classifier().SerializeToString())
OTHERS = {"model_edgetpu.tflite": COMPILED, "model.onnx": ONNX}


@pytest.mark.parametrize(
    ("path", "content", "told"),
    [
        ("model_edgetpu.tflite", (TINY / "model.tflite").read_bytes(), r"model_edgetpu\.tflite: not compiled for the"),
        ("model_edgetpu.tflite", b"", r"model_edgetpu\.tflite: not a TFLite flatbuffer"),
        ("model.onnx", b"\x08\x08", r"model\.onnx: not an ONNX model"),
    ],
    ids=["not compiled", "empty", "no graph"],
)
def test_one_that_is_not_what_its_name_says_is_refused_before_anything_long_is_begun(
    path: str, content: bytes, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr("appliance.forge.package.make")  # the golden vectors, minutes of a large model
    with pytest.raises(ForgeError, match=rf"the appliance would not accept this folder: {told}"):
        package(but(files={path: content}), tmp_path, second_runtime="none", say=quiet)
    assert everything(tmp_path) == {}


def test_a_version_gains_them_later_without_force_while_its_model_is_the_same(tmp_path: Path) -> None:
    assert read_model(package(score(), tmp_path, second_runtime="none", say=quiet)).onnx is None
    model = read_model(package(replace(score(), files=OTHERS), tmp_path, second_runtime="none", say=quiet))
    assert (model.tflite_edgetpu, model.onnx) == (COMPILED, ONNX)


def test_a_package_file_names_them_among_its_files(tmp_path: Path) -> None:
    (tmp_path / "build").mkdir()
    for source, content in {"door_edgetpu.tflite": COMPILED, "door.onnx": ONNX}.items():
        (tmp_path / "build" / source).write_bytes(content)
    files = {"model_edgetpu.tflite": "door_edgetpu.tflite", "model.onnx": "door.onnx"}
    assert read_spec(written(tmp_path / "build", files=files)).files == OTHERS
