"""quantize, distill and prune as commands: one report, a readable table, and nothing half-written."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from appliance.forge import keras
from appliance.forge.report import Report
from appliance.forge.run import Runner
from tests.forge_slow.data import examples

Foreign = Any  # tensorflow ships no types


def forge(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "appliance", "forge", *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, timeout=110, check=False)


@pytest.fixture
def folder(dense: Foreign, tmp_path: Path) -> Path:
    """A trained network, training data and test data."""
    (tmp_path / "net.keras").write_bytes(keras.saved(dense))
    for name, count, seed in (("train", 2000, 11), ("test", 1500, 12)):
        made = examples(count, seed=seed)
        np.savez(tmp_path / f"{name}.npz", inputs=made.inputs, targets=made.targets)
    logits = examples(2000, seed=11).logits
    assert logits is not None
    np.savez(tmp_path / "told.npz", logits=logits)
    return tmp_path


@pytest.mark.timeout(360)  # three programs that load tensorflow, each bounded by itself
def test_the_steps_write_one_report_that_a_person_can_read(folder: Path) -> None:
    steps = [
        ("quantize", "net.keras", "--calibration", "train.npz", "--test", "test.npz", "--out", "out/net.tflite"),
        ("prune", "net.keras", "--data", "train.npz", "--epochs", "2", "--sparsity", "0.5", "--out", "out/p.keras"),
        (
            "distill", "net.keras", "--teacher", "told.npz", "--data", "train.npz", "--epochs", "2", "--control",
            "--out", "out/s.keras",
        ),
    ]  # fmt: skip
    for arguments in steps:
        done = forge(*arguments, cwd=folder)
        assert done.returncode == 0, done.stderr
        assert arguments[0] in done.stdout
        assert "roc_auc" in done.stdout
        assert " of 3" in done.stdout, "operators on the Edge TPU"
        assert " of " in done.stderr, "progress in plain lines where there is no terminal"
    report = Report.load(folder / "out")
    assert [step.step for step in report.steps] == ["quantize", "prune", "distill"]
    quantised, pruned, distilled = report.steps
    assert quantised.before["roc_auc"].value - quantised.after["roc_auc"].value < 0.01
    assert quantised.after["correlation with float"].value > 0.99
    assert "correlation with float: measured on the 1000 calibration inputs of train.npz" in quantised.notes
    assert any("update of the dense one about" in note for note in pruned.notes)
    assert distilled.before["roc_auc"].low > 0.9, "the teacher's own figure"
    assert "roc_auc, labels alone" in distilled.after
    assert all(step.command.startswith(f"appliance forge {step.step} net.keras") for step in report.steps)
    assert Runner((folder / "out" / "net.tflite").read_bytes()).input.spec.dtype == "int8"
    assert Runner((folder / "out" / "net.float32.tflite").read_bytes()).input.spec.dtype == "float32"
    assert keras.is_trainable(keras.load(folder / "out" / "p.keras"))


def test_simulated_rounding_is_asked_for_with_one_option(folder: Path) -> None:
    done = forge(
        "quantize", "net.keras", "--calibration", "train.npz", "--qat", "train.npz", "--epochs", "1", cwd=folder
    )
    assert done.returncode == 0, done.stderr
    (step,) = Report.load(folder).steps
    assert "trained 1 epochs with simulated quantisation" in step.notes
    assert (step.operators, step.operators_edgetpu) == (3, 3)


FAULTS = {
    "calibration of another shape": (
        ("quantize", "net.keras", "--calibration", "wide.npz", "--out", "out/net.tflite"),
        "the network takes [12]",
    ),
    "calibration of another range than the test": (
        ("quantize", "net.keras", "--calibration", "raw.npz", "--test", "test.npz", "--out", "out/net.tflite"),
        "raw.npz: calibration values lie between",
    ),
    "labels missing": (
        ("prune", "net.keras", "--data", "wide.npz", "--out", "out/p.keras"),
        "no array 'targets'",
    ),
    "a teacher of other rows": (
        ("distill", "net.keras", "--teacher", "told.npz", "--data", "test.npz", "--out", "out/s.keras"),
        "gives [2000] for 1500 inputs",
    ),
    "a corrupt network": (
        ("prune", "broken.keras", "--data", "train.npz", "--out", "out/p.keras"),
        "neither Keras 2 nor Keras 3",
    ),
    "a name quantize could not read": (
        ("prune", "net.keras", "--data", "train.npz", "--out", "out/p.tflite"),
        "ends in .keras",
    ),
    "an output in a file's place": (
        ("quantize", "net.keras", "--calibration", "train.npz", "--out", "train.npz/net.tflite"),
        "cannot be",
    ),
}


@pytest.mark.parametrize(("arguments", "complaint"), FAULTS.values(), ids=FAULTS.keys())
def test_a_fault_is_one_message_exit_code_65_and_leaves_nothing_behind(
    folder: Path, arguments: tuple[str, ...], complaint: str
) -> None:
    np.savez(folder / "wide.npz", inputs=np.random.default_rng(0).normal(size=(50, 13)).astype(np.float32))
    np.savez(folder / "raw.npz", inputs=examples(50, seed=1).inputs * 100 + 500)
    (folder / "broken.keras").write_bytes(b"PK\x03\x04 broken")
    before = {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}
    done = forge(*arguments, cwd=folder)
    assert done.returncode == 65, done.stderr
    said = [line for line in done.stderr.splitlines() if line.startswith("appliance: ")]
    assert len(said) == 1
    assert complaint in said[0]
    assert "Traceback" not in done.stderr
    assert {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()} == before
