"""Teaching the machine model one's own machine: a recording becomes a folder that verifies; a bad one, one message."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from appliance.core.features import make_extractor
from appliance.core.types import Array, Frame, FrameKind
from appliance.trust.model import parse_description, verify
from models.machine.network import scores
from models.machine.own import read
from models.machine.simulator import LENGTH, Fault, Operation, vibration
from models.machine.vectors import EXTRACT, machine_number

ROOT = Path(__file__).resolve().parents[2]
MACHINE = machine_number(9000)
WINDOWS = 420
"""Some more than the 400 from which 300 are learned."""


def running(count: int, fault: Fault, seed: int) -> Array:
    """Windows of one machine, one after another, at speeds from 22 to 28 turns a second: float32 [samples, 1]."""
    rng = np.random.default_rng(seed)
    return np.concatenate([vibration(MACHINE, Operation(rng.uniform(22, 28)), fault, rng) for _ in range(count)])


def learn(folder: Path, *more: str) -> subprocess.CompletedProcess[str]:
    """Run the recipe in `folder` on its recording."""
    command = [sys.executable, str(ROOT / "models" / "machine" / "build.py"), "--healthy", "healthy.npz", *more]
    return subprocess.run(command, capture_output=True, text=True, cwd=folder, timeout=240, check=False)


@pytest.mark.timeout(300)  # one training, bounded by itself
def test_a_healthy_recording_becomes_a_folder_that_verifies_and_tells_a_damaged_bearing(tmp_path: Path) -> None:
    np.savez(tmp_path / "healthy.npz", samples=running(WINDOWS, Fault(), 1))
    done = learn(tmp_path, "--name", "pump-7", "--shaft-hz", "20", "30", "--out", "learned")
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "learned" / "pump-7" / "1.0.0"
    description = parse_description((folder / "model.toml").read_bytes())
    model = verify(description, {path: (folder / path).read_bytes() for path in description.files})
    assert model.extract is not None
    extractor = make_extractor(model.extract)
    threshold = float(next(line for line in done.stdout.splitlines() if line.startswith("threshold")).split()[-1])

    def judged(fault: Fault) -> Array:
        windows = running(40, fault, 2).reshape(40, LENGTH, 1)
        vectors = np.concatenate([extractor(Frame(FrameKind.WINDOW, window, 0.0, 0)) for window in windows])
        return scores(model.tflite, ((vectors - model.preprocess.mean) / model.preprocess.std).astype(np.float32))

    assert (judged(Fault()) < threshold).mean() > 0.9
    assert (judged(Fault("outer race", 1.0)) > threshold).mean() > 0.9


@pytest.mark.parametrize(
    ("samples", "more", "message"),
    [
        pytest.param(
            running(40, Fault(), 3), (), "30 windows to learn from; 300 are needed: record 9 minutes", id="short"
        ),
        pytest.param(
            np.zeros((LENGTH, 3), np.float32), (), "samples are [4096, 3]; [n] or [n, 1] is wanted", id="axes"
        ),
        pytest.param(np.zeros(0, np.float32), (), "samples are [0, 1]", id="empty"),
        pytest.param(np.full(LENGTH, np.nan), (), "samples must be finite numbers", id="not a number"),
        pytest.param(np.array(["a"] * LENGTH), (), "samples must be finite numbers", id="words"),
        pytest.param(np.zeros(100, np.float32), (), "n from 4,096 (one window)", id="less than a window"),
        pytest.param(np.ones(2 * LENGTH), (), "2 of 2 windows are constant: a cable that was off", id="no vibration"),
        pytest.param(
            running(1, Fault(), 5),
            ("--shaft-hz", "30", "20"),
            "these options do not go together",
            id="speeds the wrong way",
        ),
        pytest.param(None, (), "an .npz with the array `samples` is wanted", id="no recording"),
    ],
)
def test_what_cannot_be_learned_from_is_told_in_one_line(
    tmp_path: Path, samples: Array | None, more: tuple[str, ...], message: str
) -> None:
    if samples is None:
        (tmp_path / "healthy.npz").write_bytes(b"PK\x03\x04 half a recording")
    else:
        np.savez(tmp_path / "healthy.npz", samples=samples)
    done = learn(tmp_path, *more, "--out", "learned")
    assert done.returncode == 65, done.stderr
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "learned").exists()


def test_samples_of_any_number_type_and_shape_are_read_alike(tmp_path: Path) -> None:
    wanted = running(2, Fault(), 4)
    for name, samples in {"column": wanted, "row": wanted[:, 0], "double": wanted.astype(np.float64)}.items():
        np.savez(tmp_path / f"{name}.npz", samples=samples)
        assert np.array_equal(read(tmp_path / f"{name}.npz"), wanted)
    assert wanted.shape == (2 * EXTRACT.length, 1)
