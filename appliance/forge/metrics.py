"""How good scores are, each figure with its interval. NumPy only; the same figures for every model and its teacher."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from appliance.core.types import Array
from appliance.errors import ForgeError
from appliance.forge.report import Estimate

Metric = Callable[[Array, Array], float]
"""Takes scores and labels of equal length, gives one figure."""

CLASSES_MAX = 1000
"""Labels of more distinct values are numbers, not classes: resampled as they come."""


def roc_auc(scores: Array, labels: Array) -> float:
    """Give the chance that a random positive outscores a random negative (ties count half).

    Args:
        scores: float ``[n]``, higher is more positive.
        labels: bool or 0/1 ``[n]``.

    Raises:
        ForgeError: one of the two classes is missing, or the shapes differ.
    """
    positive = _binary(scores, labels)
    values, ties = np.unique(scores, return_inverse=True)
    counts = np.bincount(ties, minlength=len(values))
    ranks = np.cumsum(counts) - (counts - 1) / 2  # of each distinct score, from 1, averaged over its ties
    n_positive, n_negative = int(positive.sum()), int((~positive).sum())
    return float((ranks[ties][positive].sum() - n_positive * (n_positive + 1) / 2) / (n_positive * n_negative))


def average_precision(scores: Array, labels: Array) -> float:
    """Give the area under precision over recall (PR-AUC), stepwise and without interpolation, ties taken together.

    As scikit-learn's ``average_precision_score``. Arguments and errors as ``roc_auc``.
    """
    positive = _binary(scores, labels)
    values, ties = np.unique(-np.asarray(scores, np.float64), return_inverse=True)
    found = np.cumsum(np.bincount(ties, weights=positive, minlength=len(values)))
    taken = np.cumsum(np.bincount(ties, minlength=len(values)))
    gained = np.diff(found, prepend=0.0) / positive.sum()
    return float((gained * found / taken).sum())


def threshold_at_fpr(scores: Array, labels: Array, fpr: float) -> float:
    """Give the lowest score from which on (``score >= threshold``) at most this share of negatives is flagged.

    Scores of INT8 models come in some 200 steps, so that the share reached may be well below the one allowed: that
    is what a device that compares with a threshold gets, and no point between two steps is made up.

    Args:
        scores: float ``[n]``.
        labels: bool or 0/1 ``[n]``.
        fpr: share of negatives, 0..1.
    """
    positive = _binary(scores, labels)
    assert 0 <= fpr <= 1, f"{fpr} is no share"
    scores = scores if scores.dtype.kind == "f" else np.asarray(scores, np.float64)
    negative = np.sort(scores[~positive])
    allowed = int(np.floor(fpr * len(negative) + 1e-9))  # 0.001 x 3000 is 2.9999999999999996
    if allowed == len(negative):
        return float(np.min(scores))
    above = negative[len(negative) - allowed - 1]  # the highest negative that must not be flagged
    higher = scores[scores > above]
    # The next number of the scores' own type: one of float64 would be rounded down when they are compared with it.
    return float(higher.min()) if len(higher) else float(np.nextafter(above, scores.dtype.type(np.inf)))


def recall_at_fpr(scores: Array, labels: Array, fpr: float) -> float:
    """Give the share of positives found at ``threshold_at_fpr``, whose arguments it takes."""
    positive = _binary(scores, labels)
    return float((scores[positive] >= threshold_at_fpr(scores, labels, fpr)).mean())


def accuracy(scores: Array, labels: Array) -> float:
    """Give the share judged right.

    Args:
        scores: float ``[n, classes]``, the highest wins; or ``[n]``, positive from 0 on (a logit).
        labels: int ``[n]``, the class; bool or 0/1 for ``[n]`` scores.
    """
    _require_equal(scores, labels)
    judged = scores.argmax(axis=1) if scores.ndim > 1 else scores >= 0
    return float((judged == labels).mean())


def bootstrap(metric: Metric, scores: Array, labels: Array, *, rounds: int = 200, seed: int = 0) -> Estimate:
    """Give a metric with its 95 % interval (percentile bootstrap; Efron & Tibshirani, 1993, chapter 13).

    Resampled within each class, so that a rare class is in every round; labels that are no classes, as they come.

    Args:
        metric: any function of scores and labels.
        scores: ``[n, ...]``.
        labels: ``[n, ...]``; classes when one-dimensional, whole or bool, and of at most CLASSES_MAX values.
        rounds: how many resamples.
        seed: of the resampling.
    """
    _require_equal(scores, labels)
    value = metric(scores, labels)
    rng = np.random.default_rng(seed)
    strata = _strata(labels)
    drawn = np.empty(rounds)
    for number in range(rounds):
        chosen = np.concatenate([rng.choice(stratum, len(stratum)) for stratum in strata])
        drawn[number] = metric(scores[chosen], labels[chosen])
    low, high = np.percentile(drawn, (2.5, 97.5))
    return Estimate(value, float(low), float(high))


def _strata(labels: Array) -> list[NDArray[np.intp]]:
    """Give the indices of each class, or all of them at once."""
    if labels.ndim == 1 and labels.dtype.kind in "biu":
        classes, members = np.unique(labels, return_inverse=True)
        if len(classes) <= CLASSES_MAX:
            return [np.flatnonzero(members == number) for number in range(len(classes))]
    return [np.arange(len(labels))]


def _binary(scores: Array, labels: Array) -> NDArray[np.bool_]:
    """Return the labels as bool. Raises ForgeError when they are not two classes, both present."""
    _require_equal(scores, labels)
    positive = np.asarray(labels).astype(bool)
    if scores.ndim != 1 or not np.isin(labels, (0, 1)).all():
        msg = f"one score and one label of 0 or 1 each are wanted; scores have shape {list(scores.shape)}"
        raise ForgeError(msg)
    if positive.all() or not positive.any():
        msg = f"{int(positive.sum())} of {len(positive)} labels are positive: both classes are needed"
        raise ForgeError(msg)
    return positive


def _require_equal(scores: Array, labels: Array) -> None:
    """Raise ForgeError unless there is one label a score, and at least one."""
    if len(scores) != len(labels) or len(labels) == 0:
        msg = f"{len(scores)} scores and {len(labels)} labels: one each is wanted"
        raise ForgeError(msg)
