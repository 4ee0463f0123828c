"""Packaging with the second runtime in the environment that the forge makes and keeps."""

from pathlib import Path

from appliance.adapters.model_folder import read_model
from appliance.compose import prove_folder
from appliance.config import ModelConfig
from appliance.forge.package import package
from tests.forge.packaging import quiet, score, spec
from tests.model_folders import CARD


def test_the_tolerance_rests_on_both_tested_runtimes(tmp_path: Path) -> None:
    for each in (spec(), score()):
        folder = package(each, tmp_path, say=quiet)
        model = read_model(folder)
        assert [name.rpartition(" ")[0] for name in model.facts.runtimes][::2] == ["ai-edge-litert", "tflite-runtime"]
        assert model.facts.runtimes[-1] == "tflite-runtime 2.14.0"
        assert set(model.facts.measured_lsb) == set(model.outputs)
        assert prove_folder(model, ModelConfig(folder=folder)).passed


def test_a_committed_models_tolerance_covers_what_is_measured_now(tmp_path: Path) -> None:
    measured = read_model(package(score(), tmp_path, say=quiet)).facts.measured_lsb
    assert measured["score"] <= read_model(CARD).golden.tolerance_lsb["score"]
