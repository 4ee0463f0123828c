"""The committed heartbeat model is what its card says, on simulated wearers and on real records."""

import json
import tomllib
from typing import Any

import numpy as np
import pytest

from appliance.core.features.beat_features import NAMES
from appliance.core.types import Array
from appliance.forge.report import Estimate
from models.heartbeat import measure, vectors
from models.heartbeat.simulator import LABELS, NORMAL, SUPRAVENTRICULAR, VENTRICULAR, Rhythm
from tests.core.leads import simulated

INT8 = (measure.FOLDER / "model.tflite").read_bytes()
FLOAT32 = (measure.EVALUATION / "float32.tflite").read_bytes()
TOLD: dict[str, Any] = tomllib.loads((measure.FOLDER / "model.toml").read_text("utf-8"))


@pytest.fixture(scope="module")
def held_out() -> dict[str, Array]:
    with np.load(measure.EVALUATION / "test.npz") as test:
        return {key: test[key] for key in test.files}


def figures(tflite: bytes, held_out: dict[str, Array]) -> dict[str, Estimate]:
    called = measure.Judge(tflite).scores(held_out["inputs"].astype(np.float32)).argmax(axis=1)
    return measure.simulated(held_out["labels"], called, held_out["wearer"])


def test_int8_loses_at_most_half_a_point_of_accuracy(held_out: dict[str, Array]) -> None:
    lost = figures(FLOAT32, held_out)["accuracy"].value - figures(INT8, held_out)["accuracy"].value
    assert lost <= 0.005


def test_the_folder_tells_what_is_measured(held_out: dict[str, Array]) -> None:
    measured = figures(INT8, held_out)
    told = {metric["name"]: metric for metric in TOLD["metrics"] if "simulated wearers" in metric["data"]}
    assert set(told) == set(measured)
    for name, metric in told.items():
        assert metric["value"] == pytest.approx(measured[name].value, abs=0.002), name
        assert metric["low"] <= metric["value"] <= metric["high"]


@pytest.mark.parametrize("name", measure.RECORD_NAMES)
def test_real_records_are_judged_as_the_folder_tells(name: str) -> None:
    normalise = measure.Normalisation.of_folder(measure.FOLDER)
    judged = measure.judge_real(name)
    called = measure.Judge(INT8).scores(normalise(judged.vectors)).argmax(axis=1)
    measured = measure.real_figures(name, measure.confusion(judged.kinds, called))
    told = {metric["name"]: metric["value"] for metric in TOLD["metrics"] if f"record {name}" in metric["name"]}
    assert set(told) == set(measured)
    for key, value in told.items():
        assert value == pytest.approx(measured[key].value, abs=0.01), key


def test_the_extractor_of_the_folder_is_the_one_it_was_trained_with() -> None:
    assert TOLD["extract"] == {
        "kind": "beats",
        **{key: getattr(vectors.EXTRACT, key) for key in TOLD["extract"] if key != "kind"},
    }
    assert TOLD["preprocess"]["features"] == list(NAMES)


def test_a_wearer_is_the_same_whoever_simulates_them() -> None:
    one, again = (vectors.simulate_wearer(5, 17, 150.0) for _ in range(2))
    assert np.array_equal(one.vectors, again.vectors)
    assert not np.array_equal(one.vectors[:20], vectors.simulate_wearer(5, 18, 150.0).vectors[:20])


def test_the_simulator_keeps_to_its_plan() -> None:
    plan = [Rhythm(60.0), Rhythm(60.0, ventricular=0.2), Rhythm(60.0, supraventricular=0.2)]
    recording = simulated(plan, 3)
    minute = (recording.positions // (60 * 125)).astype(int)
    kinds = [set(recording.kinds[minute == number]) for number in range(3)]
    assert kinds[0] == {NORMAL}
    assert VENTRICULAR in kinds[1]
    assert SUPRAVENTRICULAR in kinds[2]
    assert SUPRAVENTRICULAR not in kinds[1]
    assert np.diff(recording.positions).min() > 0.25 * 125
    assert len(LABELS) == 5


def test_the_evaluation_is_small_enough_to_be_kept() -> None:
    size_bytes = sum(file.stat().st_size for file in measure.EVALUATION.iterdir())
    assert size_bytes < 4 << 20, json.dumps({file.name: file.stat().st_size for file in measure.EVALUATION.iterdir()})
