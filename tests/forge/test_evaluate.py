"""Which figures are told of a model, and how its step is noted: on the committed example model."""

import json
from pathlib import Path

import numpy as np
import pytest

from appliance.core.types import Array
from appliance.errors import ForgeError
from appliance.forge import steps
from appliance.forge.evaluate import agreement, evaluate, scores_of
from appliance.forge.report import REPORT_FILE, Estimate, Report
from tests.model_folders import CARD

TINY = (CARD / "model.tflite").read_bytes()
RNG = np.random.default_rng(0)
RANKING = ["roc_auc", "average_precision"]


@pytest.mark.parametrize(
    ("scores", "targets", "names"),
    [
        (
            RNG.normal(size=1100),
            np.arange(1100) < 50,
            [*RANKING, "recall at 1.0% false positives"],
        ),
        (RNG.normal(size=40), np.arange(40) < 20, RANKING),
        (RNG.normal(size=(40, 3)), RNG.integers(0, 3, 40), ["accuracy"]),
        (RNG.normal(size=(40, 3)), RNG.normal(size=(40, 3)), ["mean_squared_error"]),
    ],
)
def test_the_figures_suit_what_is_known_and_rare_false_alarms_are_told_only_of_enough_negatives(
    scores: Array, targets: Array, names: list[str]
) -> None:
    assert list(evaluate(scores, targets)) == names


def test_answers_of_another_form_than_the_scores_are_refused() -> None:
    with pytest.raises(ForgeError, match=r"targets float64 \[40\] are no answers for scores \[40, 3\]"):
        evaluate(RNG.normal(size=(40, 3)), RNG.normal(size=40))


def test_one_score_an_input_comes_as_a_row_of_scores() -> None:
    assert scores_of(TINY, RNG.normal(size=(7, 12)).astype(np.float32)).shape == (7,)


def test_a_model_agrees_with_itself_wholly() -> None:
    figures = agreement(TINY, TINY, RNG.normal(size=(20, 12)).astype(np.float32))
    assert {name: round(figure.value, 9) for name, figure in figures.items()} == {"correlation with float": 1.0}


def test_a_step_knows_its_size_its_speed_and_what_an_edge_tpu_would_run(tmp_path: Path) -> None:
    step = steps.step_of("quantize", "x.tflite", TINY, after={"roc_auc": Estimate(0.9, 0.8, 1.0)}, command="run me")
    report = steps.finish(step, {tmp_path / "x.tflite": TINY}, tmp_path)
    (noted,) = Report.load(tmp_path).steps
    assert noted == report.steps[0] == step
    assert (noted.size_bytes, noted.operators, noted.operators_edgetpu) == (len(TINY), 3, 3)
    assert noted.compressed_bytes < noted.size_bytes
    assert noted.latency_ratio is None, "there was nothing to compare with"


def test_a_damaged_report_stops_a_step_before_it_writes_anything(tmp_path: Path) -> None:
    (tmp_path / REPORT_FILE).write_text("{")
    step = steps.step_of("quantize", "x.tflite", TINY)
    with pytest.raises(ForgeError, match=REPORT_FILE):
        steps.finish(step, {tmp_path / "x.tflite": TINY}, tmp_path)
    assert [each.name for each in tmp_path.iterdir()] == [REPORT_FILE]
    assert json.dumps((tmp_path / REPORT_FILE).read_text()) == '"{"'
