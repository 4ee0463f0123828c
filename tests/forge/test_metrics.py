"""Metrics against their definitions, counted out the slow way."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from appliance.core.types import Array
from appliance.errors import ForgeError
from appliance.forge import metrics

few_steps = st.integers(-4, 4)  # ties are the rule among INT8 scores
judged = st.lists(st.tuples(few_steps, st.booleans()), min_size=2, max_size=40)


def arrays(rows: list[tuple[int, bool]]) -> tuple[Array, Array]:
    scores, labels = (np.array(column) for column in zip(*rows, strict=True))
    assume(labels.any() and not labels.all())
    return scores.astype(np.float32), labels


@given(judged)
def test_roc_auc_is_the_chance_that_a_positive_outscores_a_negative(rows: list[tuple[int, bool]]) -> None:
    scores, labels = arrays(rows)
    wins = [(a > b) + (a == b) / 2 for a in scores[labels] for b in scores[~labels]]
    assert metrics.roc_auc(scores, labels) == pytest.approx(np.mean(wins))


@given(judged)
def test_average_precision_sums_precision_wherever_recall_grows(rows: list[tuple[int, bool]]) -> None:
    scores, labels = arrays(rows)
    total, recall_before = 0.0, 0.0
    for threshold in sorted(set(scores.tolist()), reverse=True):
        flagged = scores >= threshold
        recall = labels[flagged].sum() / labels.sum()
        total += (recall - recall_before) * labels[flagged].mean()
        recall_before = recall
    assert metrics.average_precision(scores, labels) == pytest.approx(total)


@given(judged, st.floats(0, 1))
def test_a_threshold_flags_no_more_negatives_than_allowed_and_the_next_lower_score_would(
    rows: list[tuple[int, bool]], fpr: float
) -> None:
    scores, labels = arrays(rows)
    threshold = metrics.threshold_at_fpr(scores, labels, fpr)
    assert (scores[~labels] >= threshold).mean() <= fpr + 1e-9
    lower = scores[scores < threshold]
    if len(lower):
        assert (scores[~labels] >= lower.max()).mean() > fpr
    assert metrics.recall_at_fpr(scores, labels, fpr) == (scores[labels] >= threshold).mean()


def test_one_false_alarm_in_a_thousand_is_one_although_the_product_is_just_below_in_binary() -> None:
    scores = np.arange(3000.0)
    labels = np.zeros(3000, bool)
    labels[::1000] = True
    negatives = scores[~labels]
    assert (negatives >= metrics.threshold_at_fpr(scores, labels, 2 / 2997)).sum() == 2


@pytest.mark.parametrize(
    ("scores", "labels", "share"),
    [
        (np.array([[2.0, 1.0], [0.0, 3.0], [5.0, 4.0]]), np.array([0, 1, 1]), 2 / 3),
        (np.array([0.0, -0.1, 7.0]), np.array([1, 0, 0]), 2 / 3),  # logits: positive from 0 on
    ],
)
def test_accuracy_is_the_share_judged_right(scores: Array, labels: Array, share: float) -> None:
    assert metrics.accuracy(scores, labels) == pytest.approx(share)


@pytest.mark.parametrize(
    ("scores", "labels", "complaint"),
    [
        (np.zeros(3), np.zeros(3, bool), "both classes"),
        (np.zeros(3), np.ones(3, int), "both classes"),
        (np.zeros(3), np.zeros(2, bool), "3 scores and 2 labels"),
        (np.zeros(0), np.zeros(0, bool), "one each"),
        (np.zeros((3, 2)), np.array([0, 1, 1]), "shape"),
        (np.zeros(3), np.array([0, 1, 2]), "0 or 1"),
    ],
)
def test_scores_and_labels_that_do_not_fit_are_refused_in_words(scores: Array, labels: Array, complaint: str) -> None:
    with pytest.raises(ForgeError, match=complaint):
        metrics.roc_auc(scores, labels)


def test_an_interval_holds_the_true_figure_about_as_often_as_it_says() -> None:
    """AUC of two unit normals, 1 apart, is 0.7602 (Phi of 1 / sqrt 2): 95 % intervals hold it nearly every time."""
    rng = np.random.default_rng(0)
    labels = np.arange(240) < 40
    held = 0
    for seed in range(40):
        figure = metrics.bootstrap(metrics.roc_auc, rng.normal(size=240) + labels, labels, rounds=100, seed=seed)
        held += figure.low <= 0.7602 <= figure.high
        assert figure.low <= figure.value <= figure.high
    assert held >= 34, "of 40; 38 is expected"


def test_a_rare_class_is_in_every_resample() -> None:
    labels = np.zeros(500, bool)
    labels[7] = True
    scores = np.linspace(0, 1, 500)
    figure = metrics.bootstrap(metrics.roc_auc, scores, labels, rounds=300)
    assert 0 <= figure.low <= figure.high <= 1, "without strata a third of the rounds had no positive and failed"


def test_the_same_seed_gives_the_same_interval_and_numbers_are_resampled_too() -> None:
    rng = np.random.default_rng(3)
    scores, labels = rng.normal(size=50), rng.normal(size=50)

    def error(these: Array, those: Array) -> float:
        return float(np.square(these - those).mean())

    first = metrics.bootstrap(error, scores, labels, seed=4)
    assert first == metrics.bootstrap(error, scores, labels, seed=4)
    assert first != metrics.bootstrap(error, scores, labels, seed=5)
    assert first.low < first.value < first.high
