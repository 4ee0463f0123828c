"""``appliance forge import-onnx`` as a person calls it; what needs tensorflow stands in ``tests/forge_slow``."""

from pathlib import Path

import numpy as np
import pytest
from onnx import helper
from typer.testing import CliRunner

from appliance.errors import ForgeError
from appliance.forge.cli import app
from appliance.forge.onnx.cli import numbers_of, shapes_of
from tests.forge.onnx_graphs import classifier, info, model, write


def _call(*words: str) -> tuple[str, BaseException | None]:
    result = CliRunner().invoke(app, ["import-onnx", *words])
    return " ".join(result.output.split()), result.exception


def test_without_data_the_operators_are_judged_and_nothing_is_written(tmp_path: Path) -> None:
    path = write(tmp_path, classifier(("N", 3, 16, 16)))
    output, error = _call(str(path))
    assert error is None
    assert "GlobalAveragePool" in output
    assert "1x3x16x16 becomes 1x16x16x3, channels last" in output
    assert [each.name for each in tmp_path.iterdir()] == ["net.onnx"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--shape", "picture"], "NAME=1x3x224x224 is wanted"),
        (["--shape", "picture=1x3xhx16"], "NAME=1x3x224x224 is wanted"),
        (["--calibration", "data.npz"], "--calibration and --out go together"),
        (["--out", "out"], "--calibration and --out go together"),
        (["--calibration", "data.npz", "--out", "out", "--mean", "a"], "--mean a: numbers"),
        (["--calibration", "data.npz", "--out", "out"], "np.transpose(inputs, (0, 2, 3, 1))"),
        (["--calibration", "few.npz", "--out", "out"], "3 calibration inputs show no range"),
        (["--calibration", "nothing.npz", "--out", "out"], "nothing.npz cannot be read"),
        (["--outputs", "middle"], "no operator gives middle"),
    ],
)
def test_wrong_words_and_wrong_data_get_one_message_and_leave_nothing(
    words: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = write(tmp_path, classifier())
    rng = np.random.default_rng(0)
    np.savez("data.npz", inputs=rng.normal(size=(20, 3, 16, 16)).astype(np.float32))
    np.savez("few.npz", inputs=rng.normal(size=(3, 16, 16, 3)).astype(np.float32))
    _, error = _call(str(path), *words)
    assert isinstance(error, ForgeError)
    assert message in str(error)
    assert not (tmp_path / "out").exists()


def test_an_environment_that_is_none_is_told_before_anything_is_converted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = write(tmp_path, classifier())
    np.savez("data.npz", inputs=np.random.default_rng(0).normal(size=(20, 16, 16, 3)).astype(np.float32))
    _, error = _call(str(path), "--calibration", "data.npz", "--out", "out", "--environment", "elsewhere")
    assert isinstance(error, ForgeError)
    assert "elsewhere is no Python environment" in str(error)
    assert not (tmp_path / "out").exists()


def test_a_custom_operator_ends_the_command_with_its_name(tmp_path: Path) -> None:
    built = model(
        [helper.make_node("Fancy", ["x"], ["y"], domain="own")],
        [info("x", [1, 4])],
        [info("y", [1, 4])],
        domains=["own"],
    )
    _, error = _call(str(write(tmp_path, built)))
    assert isinstance(error, ForgeError)
    assert "own:Fancy (1 times): a custom operator" in str(error)


def test_shapes_and_numbers_are_read_as_written() -> None:
    assert shapes_of(["x=1x3x48x192", "a=b=1"]) == {"x": (1, 3, 48, 192), "a=b": (1,)}
    assert numbers_of("127.5", "--mean") == (127.5,)
    assert numbers_of("0.485, 0.456,0.406", "--mean") == (0.485, 0.456, 0.406)
