"""A foreign network, imported from ONNX and committed: verified as any model is, and judged by in the loop."""

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

import cv2
import numpy as np
import pytest

from appliance.adapters.model_folder import read_model
from appliance.adapters.sensors.replay import Replay, write_recording
from appliance.config import MqttConfig, ReplayConfig
from appliance.core.decode import decode
from appliance.core.model import Model
from appliance.core.preprocess import Prepared
from appliance.core.quant import dequantise
from appliance.core.types import Array, FrameKind, OutcomeState, Prediction
from appliance.forge.lint import lint
from appliance.ports import SensorContext
from appliance.sim.clock import ManualClock
from appliance.sim.meter import RecordingMeter
from tests.channels import ChannelBench, show
from tests.command import Command
from tests.core.making import IDENTITY, make_rule
from tests.model_folders import MODELS

FOLDER = MODELS / "imported" / "text-direction" / "1.0.0"
FACE = MODELS / "imported" / "face" / "1.0.0"
LINES = 30
UNPLACED = Prepared(np.zeros((1, 1, 1, 3), np.int8))


@pytest.fixture
def lines() -> ModuleType:
    """The recipe's module that draws lines of text."""
    spec = importlib.util.spec_from_file_location("lines", FOLDER.parent / "lines.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def appliance(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Command:
    return Command(capfd, monkeypatch)


@pytest.mark.parametrize("folder", [FOLDER, FACE], ids=["text-direction", "face"])
def test_the_imported_folder_is_verified_as_any_model_is(appliance: Command, folder: Path) -> None:
    ended = appliance("model", "verify", folder)
    assert (ended.code, ended.err) == (0, "")


@pytest.mark.parametrize("folder", [FOLDER, FACE], ids=["text-direction", "face"])
def test_an_edge_tpu_would_run_all_of_it(folder: Path) -> None:
    assert lint(read_model(folder).tflite).complete


def test_the_loop_finds_the_faces_that_the_golden_vectors_hold(tmp_path: Path) -> None:
    model = read_model(FACE)
    seen = [decode(dict(outputs), UNPLACED, model) for outputs in model.golden.outputs]
    assert any(seen), "there are faces among them"
    script = [show(_picture(tensor, model)) for tensor in model.golden.inputs]
    rule = make_rule("face", labels=("face",), threshold=0.5)
    bench = ChannelBench(tmp_path, script, rules=(rule,), model=model)
    bench.start()
    try:
        decisions = bench.steps(len(script))
    finally:
        bench.end()
    for decision, wanted in zip(decisions, seen, strict=True):
        assert decision.outcome_state is OutcomeState.RESULT
        assert _sure(decision.predictions) == _sure(wanted)


def _picture(tensor: Array, model: Model) -> Array:
    """The uint8 BGR picture that this input tensor was made of."""
    real = dequantise(tensor, model.input)[0] * np.array(model.preprocess.std) + np.array(model.preprocess.mean)
    picture = np.clip(np.round(real), 0, 255).astype(np.uint8)
    return np.ascontiguousarray(picture[..., ::-1] if model.preprocess.colour == "rgb" else picture)


def _sure(predictions: Sequence[Prediction]) -> int:
    return sum(prediction.score >= 0.5 for prediction in predictions)


def test_the_loop_judges_a_recording_of_lines_with_it(tmp_path: Path, lines: ModuleType) -> None:
    rng = np.random.default_rng(7)
    turned = [bool(number % 2) for number in range(LINES)]
    frames = np.array([cv2.resize(lines.picture(rng, upside_down=each), (384, 96)) for each in turned])
    recording = tmp_path / "lines.npz"
    write_recording(recording, FrameKind.IMAGE, frames, np.arange(LINES) * 0.1)
    clock = ManualClock(auto_advance=True)
    config = ReplayConfig(kind="replay", file=recording, speed="fast")
    model = read_model(FOLDER)
    mqtt = MqttConfig(host="localhost")
    sensor = Replay(config, SensorContext("sign", model, clock, RecordingMeter(clock), mqtt, IDENTITY))
    rule = make_rule("turned", labels=("upside-down",), threshold=0.5)
    bench = ChannelBench(tmp_path, rules=(rule,), sensor=sensor, clock=clock, model=model)
    bench.start()
    try:
        decisions = bench.steps(LINES)
    finally:
        bench.end()
        sensor.close()
    assert {each.outcome_state for each in decisions} == {OutcomeState.RESULT}
    best = [max(each.predictions, key=lambda one: one.score).label for each in decisions]
    right = sum((label == "upside-down") == each for label, each in zip(best, turned, strict=True))
    assert right >= 24, f"{right} of {LINES}; the card says 93 %"
