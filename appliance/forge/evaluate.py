"""What a model's answers are worth: on examples with known answers, and against the float network it came from."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from appliance.core.types import Array
from appliance.errors import ForgeError
from appliance.forge import metrics
from appliance.forge.report import Estimate
from appliance.forge.run import Runner
from appliance.forge.training import Examples

SEED = 0
"""Of the resampling behind every interval."""
FPRS = (0.001, 0.01)
NEGATIVES_PER_STEP = 10
"""A false-positive rate is told only where this many negatives may be flagged: below, chance sets the threshold."""


def scores_of(tflite: bytes, inputs: Array) -> NDArray[np.float32]:
    """Run a model of one output over inputs ``[n, ...]``; gives ``[n, ...]``, and ``[n]`` for one score each.

    Raises:
        ForgeError: it has several outputs.
    """
    outputs = Runner(tflite).each(inputs)
    if len(outputs) != 1:
        msg = f"the model has {len(outputs)} outputs; figures are measured for models of one"
        raise ForgeError(msg)
    scores = np.asarray(next(iter(outputs.values())), np.float32)
    return scores[:, 0] if scores.shape[1:] == (1,) else scores


def evaluate(scores: Array, targets: Array) -> dict[str, Estimate]:
    """Measure scores against what is known.

    Args:
        scores: ``[n]`` for 0/1 targets, ``[n, classes]`` for classes, or of the targets' own shape.
        targets: ``[n]``, ``[n, 1]`` or ``[n, ...]``.

    Returns:
        Metric to figure with its 95 % interval: ``roc_auc``, ``average_precision`` and ``recall at ... false
        positives``; or ``accuracy``; or ``mean_squared_error``.

    Raises:
        ForgeError: the two do not fit together.
    """
    if targets.shape[1:] == (1,) and scores.shape != targets.shape:
        targets = targets[:, 0]
    wanted = _metrics(scores, targets)
    return {name: metrics.bootstrap(metric, scores, targets, seed=SEED) for name, metric in wanted.items()}


def evaluate_model(tflite: bytes, examples: Examples) -> dict[str, Estimate]:
    """Measure a model on examples; as ``evaluate``."""
    return evaluate(scores_of(tflite, examples.inputs), examples.targets)


def agreement(int8: bytes, float32: bytes, inputs: Array) -> dict[str, Estimate]:
    """Measure how near a quantised model stays to its float self: correlation of each output over all inputs."""
    ours, theirs = Runner(int8).each(inputs), Runner(float32).each(inputs)
    pairs = list(zip(_by_shape(ours), _by_shape(theirs), strict=True))
    names = [f"correlation with float, output {number}" for number in range(len(pairs))]
    if len(pairs) == 1:
        names = ["correlation with float"]
    return {name: metrics.bootstrap(_correlation, *pair, seed=SEED) for name, pair in zip(names, pairs, strict=True)}


def _by_shape(outputs: Mapping[str, Array]) -> list[Array]:
    """Return outputs in the order of their shapes: converters number and name them differently."""
    return sorted(outputs.values(), key=lambda values: values.shape)


def _metrics(scores: Array, targets: Array) -> dict[str, metrics.Metric]:
    whole = targets.ndim == 1 and targets.dtype.kind in "biuf" and bool((np.asarray(targets) % 1 == 0).all())
    zero_one = targets.ndim == 1 and bool(np.isin(targets, (0, 1)).all())
    if scores.ndim == 1 and zero_one:
        negatives = int((np.asarray(targets) == 0).sum())
        rates = [fpr for fpr in FPRS if fpr * negatives >= NEGATIVES_PER_STEP]
        return {
            "roc_auc": metrics.roc_auc,
            "average_precision": metrics.average_precision,
            **{f"recall at {fpr:.1%} false positives": _recall_at(fpr) for fpr in rates},
        }
    if scores.ndim == 2 and whole:  # noqa: PLR2004 - one row of classes for each input
        return {"accuracy": metrics.accuracy}
    if scores.shape == targets.shape:
        return {"mean_squared_error": _mean_squared_error}
    msg = f"targets {targets.dtype} {list(targets.shape)} are no answers for scores {list(scores.shape)}"
    raise ForgeError(msg)


def _recall_at(fpr: float) -> metrics.Metric:
    return lambda scores, labels: metrics.recall_at_fpr(scores, labels, fpr)


def _mean_squared_error(scores: Array, targets: Array) -> float:
    return float(np.square(np.asarray(scores, np.float64) - targets).mean())


def _correlation(scores: Array, targets: Array) -> float:
    first, second = (np.asarray(each, np.float64).ravel() for each in (scores, targets))
    first, second = first - first.mean(), second - second.mean()
    norm = float(np.sqrt((first**2).sum() * (second**2).sum()))
    return float((first * second).sum() / norm) if norm else float(np.array_equal(first, second))
