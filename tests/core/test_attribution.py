"""Reason codes: which features moved a score, by asking the model without each, or by its share of an error."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.core.attribution import by_occlusion, by_reconstruction, explainable, occluded
from appliance.core.model import AnomalyDecode, ClassifyDecode, Dtype, Model, Preprocess, ScoreDecode, TensorSpec
from appliance.core.preprocess import Prepared
from appliance.core.types import Array, FrameKind, Outputs
from tests.core.described import described

NAMES = ("amount", "speed", "hour")
GIVEN = TensorSpec("x", (1, 3), Dtype.INT8, 0.1, -20)
SCORE = TensorSpec("y", (1, 1), Dtype.INT8, 0.5, 10)
MODEL = described(
    given=GIVEN,
    preprocess=Preprocess(FrameKind.RECORD, (0.0,) * 3, (1.0,) * 3, features=NAMES),
    outputs={"score": SCORE},
    decode=ScoreDecode("sigmoid", "fraud"),
)
ODD = described(
    given=GIVEN,
    preprocess=MODEL.preprocess,
    outputs={"reconstruction": GIVEN},
    decode=AnomalyDecode("odd"),
)
WORDS = {"speed": "too fast for any car"}


def prepared(*values: int) -> Prepared:
    return Prepared(np.array([values], np.int8))


def answers(*steps: int) -> list[Outputs]:
    return [{"score": np.array([[step]], np.int8)} for step in steps]


def linear(tensor: Array) -> Outputs:
    """A model whose every weight is known: amount 2, speed -1, hour 0, in steps of the input."""
    steps = tensor[0].astype(int) - GIVEN.zero_point
    return {"score": np.array([[2 * steps[0] - steps[1]]], np.int8)}


def test_each_feature_in_turn_gets_its_average() -> None:
    tensors = occluded(prepared(5, 6, 7), MODEL)
    assert [tensor.tolist() for tensor in tensors] == [[[-20, 6, 7]], [[5, -20, 7]], [[5, 6, -20]]]


def test_the_tensor_that_was_judged_is_left_as_it_was() -> None:
    part = prepared(5, 6, 7)
    occluded(part, MODEL)
    assert part.tensor.tolist() == [[5, 6, 7]]


@given(amount=st.integers(-40, 0), speed=st.integers(-40, 0), hour=st.integers(-40, 0))
def test_of_a_linear_model_the_effects_are_its_very_terms(amount: int, speed: int, hour: int) -> None:
    part = prepared(amount, speed, hour)
    reasons = by_occlusion(
        linear(part.tensor), [linear(each) for each in occluded(part, MODEL)], MODEL, WORDS, reasons_max=3
    )
    terms = {"amount": 2 * (amount + 20) * SCORE.scale, "speed": -(speed + 20) * SCORE.scale}
    assert {reason.feature: reason.effect for reason in reasons} == {
        name: effect for name, effect in terms.items() if effect
    }
    sizes = [abs(reason.effect) for reason in reasons]
    assert sizes == sorted(sizes, reverse=True)


def test_what_spoke_against_the_score_is_a_reason_too_and_ranks_by_its_size() -> None:
    reasons = by_occlusion(answers(30)[0], answers(28, 70, 30), MODEL, WORDS, reasons_max=3)
    assert [(reason.feature, reason.effect, reason.words) for reason in reasons] == [
        ("speed", -20.0, "too fast for any car"),
        ("amount", 1.0, ""),
    ]


@pytest.mark.parametrize("count", [1, 2])
def test_no_more_reasons_are_given_than_wanted(count: int) -> None:
    assert len(by_occlusion(answers(30)[0], answers(1, 2, 3), MODEL, {}, reasons_max=count)) == count


def test_the_shares_of_an_anomaly_add_up_to_its_score() -> None:
    part = prepared(-20, 10, 40)
    outputs = {"reconstruction": np.array([[-20, 0, 10]], np.int8)}
    reasons = by_reconstruction(outputs, part, ODD, WORDS, reasons_max=3)
    assert [reason.feature for reason in reasons] == ["hour", "speed"]
    assert sum(reason.effect for reason in reasons) == pytest.approx((1.0**2 + 3.0**2) / 3)


@pytest.mark.parametrize(
    ("model", "wanted"),
    [
        (MODEL, True),
        (ODD, True),
        (described(given=GIVEN, preprocess=MODEL.preprocess, decode=ClassifyDecode("softmax")), False),
        (described(given=GIVEN, decode=ScoreDecode("none", "fraud")), False),
    ],
)
def test_only_scores_of_named_features_can_be_explained(model: Model, wanted: bool) -> None:  # noqa: FBT001 - a table's column
    assert explainable(model) is wanted
