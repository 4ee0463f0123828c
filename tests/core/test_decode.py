"""From raw outputs that hold no boxes to predictions."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.core.decode import decode
from appliance.core.model import AnomalyDecode, ClassifyDecode, Dtype, Model, ScoreDecode, TensorSpec
from appliance.core.preprocess import Prepared
from appliance.core.types import Array, Prediction
from appliance.errors import FrameError
from tests.core.described import FLOAT32, described

UNSEEN = Prepared(np.zeros((1, 1), np.float32))
STEPS = TensorSpec("scores", (1,), Dtype.UINT8, 1 / 256, 0)


def classifier(activation: str, spec: TensorSpec = FLOAT32) -> Model:
    way = ClassifyDecode("softmax" if activation == "softmax" else "none")
    return described(outputs={"scores": spec}, decode=way, labels=("a", "b", "c"))


def classified(scores: Array, model: Model) -> dict[str, float]:
    predictions = decode({"scores": scores}, UNSEEN, model)
    assert [one.box for one in predictions] == [None] * 3
    assert [one.score for one in predictions] == sorted((one.score for one in predictions), reverse=True)
    return {one.label: one.score for one in predictions}


def test_a_classifier_tells_every_label_best_first() -> None:
    scores = classified(np.array([[10, 255, 20]], np.uint8), classifier("none", STEPS))
    assert list(scores.items()) == [("b", 255 / 256), ("c", 20 / 256), ("a", 10 / 256)]


def test_equal_classes_keep_the_models_order() -> None:
    assert list(classified(np.array([[7, 7, 7]], np.uint8), classifier("none", STEPS))) == ["a", "b", "c"]


@given(st.lists(st.floats(-(2.0**100), 2.0**100, width=32) | st.floats(-20, 20, width=32), min_size=3, max_size=3))
def test_softmax_gives_probabilities_in_the_order_and_ratio_of_the_logits(logits: list[float]) -> None:
    scores = classified(np.array([logits], np.float32), classifier("softmax"))
    assert sum(scores.values()) == pytest.approx(1.0)
    first, second = scores["a"], scores["b"]
    if min(first, second) > 1e-12:
        assert np.log(first / second) == pytest.approx(logits[0] - logits[1], abs=1e-6, rel=1e-6)
    assert (first >= second) if logits[0] >= logits[1] else (first <= second)


def anomaly(given: TensorSpec, reconstruction: TensorSpec) -> Model:
    return described(given=given, outputs={"reconstruction": reconstruction}, decode=AnomalyDecode("odd"))


def test_an_anomaly_is_the_mean_squared_error_in_normalised_units() -> None:
    given_spec = TensorSpec("in", (1, 4, 1), Dtype.INT8, 0.5, 10)
    model = anomaly(given_spec, TensorSpec("out", (1, 4, 1), Dtype.UINT8, 0.25, 200))
    tensor = np.array([10, 12, 8, -128], np.int8).reshape(1, 4, 1)  # 0, 1, -1, -69
    reconstruction = np.array([200, 204, 204, 0], np.uint8).reshape(1, 4, 1)  # 0, 1, 1, -50
    (odd,) = decode({"reconstruction": reconstruction}, Prepared(tensor), model)
    assert odd == Prediction("odd", (0 + 0 + 2**2 + 19**2) / 4)


@given(st.lists(st.integers(-128, 127), min_size=1, max_size=8))
def test_a_perfect_reconstruction_is_no_anomaly(values: list[int]) -> None:
    spec = TensorSpec("both", (1, len(values)), Dtype.INT8, 0.03, 5)
    tensor = np.array([values], np.int8)
    assert decode({"reconstruction": tensor}, Prepared(tensor), anomaly(spec, spec)) == (Prediction("odd", 0.0),)


@pytest.mark.parametrize(
    ("activation", "raw_score", "score"),
    [
        ("none", -3.5, -3.5),
        ("sigmoid", 0.0, 0.5),
        ("sigmoid", 2.0, 1 / (1 + np.exp(-2.0))),
        ("sigmoid", -2.0, 1 / (1 + np.exp(2.0))),
        ("sigmoid", 1e30, 1.0),
        ("sigmoid", -1e30, 0.0),
    ],
)
def test_a_score_is_told_as_it_is_or_as_a_probability(activation: str, raw_score: float, score: float) -> None:
    way = ScoreDecode("sigmoid" if activation == "sigmoid" else "none", "fraud")
    model = described(outputs={"score": FLOAT32}, decode=way)
    (fraud,) = decode({"score": np.array([[raw_score]], np.float32)}, UNSEEN, model)
    assert fraud.label == "fraud"
    assert fraud.score == pytest.approx(score, abs=1e-12)


def test_a_quantised_logit_is_dequantised_before_it_becomes_a_probability() -> None:
    spec = TensorSpec("logit", (1, 1), Dtype.INT8, 0.082135, 41)
    model = described(outputs={"score": spec}, decode=ScoreDecode("sigmoid", "fraud"))
    (fraud,) = decode({"score": np.array([[-100]], np.int8)}, UNSEEN, model)
    assert fraud.score == pytest.approx(1 / (1 + np.exp(141 * 0.082135)), rel=1e-5)


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
@pytest.mark.parametrize(
    "model",
    [
        classifier("none"),
        classifier("softmax"),
        anomaly(FLOAT32, FLOAT32),
        described(outputs={"score": FLOAT32}, decode=ScoreDecode("sigmoid", "fraud")),
    ],
)
def test_an_output_that_is_not_finite_is_no_answer(model: Model, wrong: float) -> None:
    (role,) = model.outputs
    with pytest.raises(FrameError, match=f"'{role}'"):
        decode({role: np.full((1, 3), wrong, np.float32)}, UNSEEN, model)
