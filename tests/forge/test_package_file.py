"""`appliance forge package PACKAGE.toml`: for people who write no Python."""

import re
import tomllib
from pathlib import Path

import cv2
import numpy as np
import pytest
import tomli_w

from appliance.adapters.model_folder import read_model
from appliance.cli import Exit
from appliance.errors import ForgeError
from appliance.forge.package_file import PackageFile, read_spec
from tests.command import Command
from tests.model_folders import MODELS, TINY

README = (MODELS / "README.md").read_text()


def written(folder: Path, **changes: object) -> Path:
    """Write a package.toml with what it names beside it; a change of None takes the key away."""
    folder.mkdir(exist_ok=True)
    (folder / "model.tflite").write_bytes((TINY / "model.tflite").read_bytes())
    (folder / "labels.txt").write_text("red\ngreen\nblue\n")
    pictures = np.random.default_rng(1).random((30, 16, 16, 3)).astype(np.float32)
    np.savez(folder / "inputs.npz", inputs=pictures)
    tree = {
        "name": "colours",
        "version": "1.0.0",
        "task": "classify",
        "description": "d",
        "licence": "MIT",
        "source": "s",
        "model": "model.tflite",
        "labels": "labels.txt",
        "outputs": {"scores": [1, 3]},
        "preprocess": {"kind": "image", "colour": "rgb", "fit": "stretch", "mean": [0.0] * 3, "std": [255.0] * 3},
        "decode": {"kind": "classify", "activation": "none"},
        "golden": {"inputs": "inputs.npz", "count": 3, "further": 5},
        "papers": {"NOTES.txt": "labels.txt"},
        "metrics": [{"name": "accuracy", "value": 0.5, "data": "d", "command": "c"}],
        **changes,
    }
    file = folder / "package.toml"
    file.write_bytes(tomli_w.dumps({key: value for key, value in tree.items() if value is not None}).encode())
    return file


@pytest.fixture
def appliance(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Command:
    return Command(capfd, monkeypatch)


def test_the_command_writes_a_folder_that_verify_accepts(appliance: Command, tmp_path: Path) -> None:
    file = written(tmp_path / "build")
    ended = appliance("forge", "package", file, "--out", tmp_path / "models", "--second-runtime", "none")
    folder = tmp_path / "models" / "colours" / "1.0.0"
    assert (ended.code, f"{folder} is written" in ended.out) == (0, True)
    assert "tflite-runtime was left out" in ended.err
    assert (len(read_model(folder).golden.inputs), (folder / "NOTES.txt").read_text()) == (3, "red\ngreen\nblue\n")
    assert appliance("model", "verify", folder).code == 0
    shown = appliance("model", "show", folder)
    assert "metric accuracy" in shown.out


def test_the_command_says_what_is_wrong_and_leaves_nothing(appliance: Command, tmp_path: Path) -> None:
    file = written(tmp_path / "build", labels=[])
    ended = appliance("forge", "package", file, "--out", tmp_path / "models", "--second-runtime", "none")
    assert (ended.code, ended.out) == (Exit.DATA, "")
    assert ended.message().startswith("appliance: labels are missing: classify needs a name for each score")
    assert not (tmp_path / "models").exists()


def test_pictures_serve_as_golden_inputs_fitted_and_normalised_as_the_device_does(tmp_path: Path) -> None:
    (tmp_path / "build" / "pictures").mkdir(parents=True)
    for shade in (0, 100, 255):
        picture = np.zeros((40, 20, 3), np.uint8)
        picture[..., 2] = shade  # OpenCV's order: red is last
        cv2.imwrite(str(tmp_path / "build" / "pictures" / f"{shade:03}.png"), picture)
    spec = read_spec(written(tmp_path / "build", golden={"inputs": "pictures", "count": 2}))
    assert [each.shape for each in spec.golden_inputs] == [(1, 16, 16, 3)] * 2
    assert [float(each[0, 0, 0, 0]) for each in [*spec.golden_inputs, *spec.further_inputs]] == [
        0.0, 1.0, pytest.approx(100 / 255)
    ]  # fmt: skip


FAULTS: list[tuple[dict[str, object], str]] = [
    ({"name": None}, r"package.toml: name: missing; this key is required"),
    ({"speed": 1}, r"package.toml:\d+: speed: unknown key"),
    ({"version": 1}, r"package.toml:\d+: version: input should be a valid string"),
    ({"preprocess": {"kind": "smell"}}, r"preprocess: kind 'smell' is not known; choose one of 'image'"),
    ({"golden": {"inputs": "inputs.npz", "count": 65}}, r"golden.count: input should be less than or equal to 64"),
    ({"golden": {"inputs": "none.npz"}}, r"none.npz cannot be read"),
    ({"golden": {"inputs": "inputs.npz", "key": "x"}}, r"inputs.npz has no array 'x'; it holds inputs"),
    ({"model": "gone.tflite"}, r"gone.tflite: cannot be read: No such file.*relative to it"),
    ({"labels": "gone.txt"}, r"gone.txt: cannot be read"),
    ({"files": {"../x": "labels.txt"}}, r"files.*string should match pattern"),
    ({"metrics": [{"name": "a", "value": 1.0, "data": "d"}]}, r"metrics.0.command: missing"),
    ({"limits": {"latency_ms_max": 1.0}}, r"latency_ms_max and latency_on go together"),
]


@pytest.mark.parametrize(("changes", "told"), FAULTS, ids=[told for _, told in FAULTS])
def test_a_wrong_package_file_is_told_with_its_place(changes: dict[str, object], told: str, tmp_path: Path) -> None:
    with pytest.raises(ForgeError, match=told):
        read_spec(written(tmp_path / "build", **changes))


@pytest.mark.parametrize("content", [b"name = ", b"\xff\xfe", b"a = 1\n" * 100_000], ids=["cut", "not UTF-8", "long"])
def test_what_is_no_package_file_is_told(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "package.toml").write_bytes(content)
    with pytest.raises(ForgeError, match=r"package.toml: (not TOML|larger than)"):
        read_spec(tmp_path / "package.toml")


def test_the_example_in_the_handbook_is_a_package_file_and_names_every_key() -> None:
    [example] = re.findall(r"```toml\n(name = .*?)```", README, re.DOTALL)
    told = PackageFile.model_validate(tomllib.loads(example))
    commented = set(re.findall(r"^# (\w+) =", example, re.MULTILINE))
    missing = set(PackageFile.model_fields) - told.model_fields_set - commented
    assert missing == {"extract"}, "explained under model.toml; a model has it or not"
