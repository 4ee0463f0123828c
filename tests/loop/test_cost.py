"""What a model costs on this device, held against its limits: told and warned of, never a reason to refuse."""

import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.adapters.model_folder import read_model
from appliance.compose.cost import INVOKES, Cost, available_bytes, measure, together
from appliance.config import ModelConfig
from appliance.core.facts import Limits
from tests.command import Command
from tests.model_folders import CARD, MODELS, TINY

NEVER = 'latency_ms_max = 1e-9\nlatency_on = "a dream"\nmemory_bytes_max = 1'
ALWAYS = 'latency_ms_max = 3_600_000.0\nlatency_on = "a stone"\nmemory_bytes_max = 17_179_869_184'


@pytest.fixture
def appliance(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Command:
    return Command(capfd, monkeypatch)


def limited(root: Path, limits: str) -> Path:
    """A copy of a sound folder with limits."""
    folder = Path(shutil.copytree(CARD, root / CARD.parent.name / CARD.name))
    with (folder / "model.toml").open("a") as stream:
        stream.write(f"\n[limits]\n{limits}\n")
    return folder


def test_a_model_is_measured_on_this_devices_cpu() -> None:
    model = read_model(TINY)
    cost = measure(model, ModelConfig(folder=TINY))
    assert cost.latency_ms > 0
    assert cost.memory_bytes >= 0
    assert len(model.golden.inputs) < INVOKES, "the vectors come round again"


@given(
    latency_ms=st.floats(0.001, 1e3), latency_ms_max=st.none() | st.floats(0.001, 1e3),
    memory_bytes=st.integers(0, 10**9), memory_bytes_max=st.none() | st.integers(1, 10**9),
)  # fmt: skip
def test_each_limit_that_is_passed_is_told_and_no_other(
    latency_ms: float, latency_ms_max: float | None, memory_bytes: int, memory_bytes_max: int | None
) -> None:
    limits = Limits(latency_ms_max, "a board" if latency_ms_max else "", memory_bytes_max)
    told = list(Cost(latency_ms, memory_bytes).beyond(limits))
    assert any("a board" in each for each in told) == (latency_ms_max is not None and latency_ms > latency_ms_max)
    assert any("bytes" in each for each in told) == (memory_bytes_max is not None and memory_bytes > memory_bytes_max)
    assert len(told) <= 2


def test_verify_warns_of_a_limit_that_is_passed_and_accepts_the_folder(appliance: Command, tmp_path: Path) -> None:
    folder = limited(tmp_path, NEVER)
    ended = appliance("model", "verify", folder)
    assert (ended.code, ended.out.startswith(f"{folder}: sound.")) == (0, True)
    assert "warning: an invoke takes" in ended.out
    assert "more than the 1e-09 ms that its author allows on a dream" in ended.out


def test_verify_warns_of_nothing_within_the_limits(appliance: Command, tmp_path: Path) -> None:
    ended = appliance("model", "verify", limited(tmp_path, ALWAYS))
    assert (ended.code, "warning" in ended.out) == (0, False)


def test_check_warns_of_a_model_that_is_too_slow_or_too_large_for_this_device(
    appliance: Command, tmp_path: Path
) -> None:
    folder, file = limited(tmp_path, NEVER), tmp_path / "appliance.toml"
    example = (MODELS.parent / "examples" / "fraud.toml").read_text()
    file.write_text(example.replace("../models/fraud/1.0.0", str(folder)))
    ended = appliance("check", file)
    assert ended.code == 0
    [warning, *_] = [line for line in ended.out.splitlines() if line.startswith("# ")]
    assert warning.startswith("# warning: model ")
    assert "a dream" in warning


@pytest.mark.parametrize(("wanted", "available", "warned"), [(9, 10, 0), (10, 10, 0), (11, 10, 1), (11, 0, 0)])
def test_models_that_may_take_more_memory_than_there_is_are_told(wanted: int, available: int, warned: int) -> None:
    assert len(list(together(wanted, available))) == warned
    assert available_bytes() >= 0
