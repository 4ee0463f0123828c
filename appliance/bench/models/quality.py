"""What a model is worth: INT8 beside its float self and whatever else judged the same held-out examples.

Each model with an ``evaluation/`` folder beside its version is judged from it, without rebuilding anything:

=====================  =========================================================================================
``test.npz``           ``inputs`` float ``[n, F]``, normalised; ``labels`` ``[n]`` (0 or 1; the class of a classifier);
                       what others said of the same examples, ``[n]`` or ``[n, classes]``, by the names in ``OTHERS``;
                       whose each example is, ``[n]``, by a name in ``GROUPS``, where several come from one
``float32.tflite``     the network before it was quantised
=====================  =========================================================================================

A detector's examples are pictures: see ``people``.
"""

import io
import zipfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from appliance.core.model import AnomalyDecode, ClassifyDecode, Model, ScoreDecode, SsdRawDecode
from appliance.core.types import Array
from appliance.errors import ConfigError
from appliance.forge.metrics import accuracy, average_precision, bootstrap, recall_at_fpr, roc_auc
from appliance.forge.report import Estimate
from appliance.forge.run import Runner

EVALUATION = "evaluation"
TEST, FLOAT = "test.npz", "float32.tflite"
OTHERS = ("boosting", "teacher", "mahalanobis", "pca", "rms", "kurtosis")
"""Other judges that a ``test.npz`` may hold the scores of."""
GROUPS = ("wearer", "machine")
"""What several examples may have in common: whole groups are resampled, for their members resemble one another."""
FOREIGN = (OSError, ValueError, EOFError, KeyError, RuntimeError, TypeError, zipfile.BadZipFile, zlib.error)
"""What NumPy and ``zipfile`` raise on a file that is no ``.npz``, is cut short, or holds pickled objects."""
ROUNDS = 100
"""Resamples of a bootstrap interval."""

Metric = Callable[[Array, Array], float]
Scores = Mapping[str, Array]
METRICS: Mapping[type, Mapping[str, Metric]] = {
    ScoreDecode: {
        "PR-AUC": average_precision,
        "recall at 0.1 % FPR": partial(recall_at_fpr, fpr=0.001),
        "recall at 1 % FPR": partial(recall_at_fpr, fpr=0.01),
    },
    ClassifyDecode: {"accuracy": accuracy},
    AnomalyDecode: {"ROC-AUC": roc_auc},
}
LOSS_MAX: Mapping[type, float] = {ScoreDecode: 0.005, ClassifyDecode: 0.005, AnomalyDecode: 0.005, SsdRawDecode: 0.005}
"""Of the first metric: what quantisation may cost."""


@dataclass(frozen=True, slots=True)
class Quality:
    """One metric of one model, by judge: ``int8``, ``float32`` and others."""

    model: str
    metric: str
    by_judge: Mapping[str, Estimate]
    loss: Estimate | None
    """Float less INT8 on the very same resamples, for the metric that has an aim; None for the others."""
    loss_max: float | None


def evaluation_of(folder: Path) -> Path:
    """Return where a model folder's held-out examples lie: beside its versions."""
    return folder.parent / EVALUATION


def judge(folder: Path, model: Model) -> list[Quality]:
    """Judge a model by its held-out examples; the intervals are over groups of them where the file names some.

    Raises:
        ConfigError: they or the float network are not there, damaged, or not what the model takes.
        ForgeError: a network does not run.
    """
    arrays = _read(evaluation_of(folder) / TEST, model)
    labels = arrays["labels"]
    groups = next((arrays[name] for name in GROUPS if name in arrays), None)
    scores = {
        "int8": _scores(model.tflite, arrays["inputs"], model),
        "float32": _scores(_float_of(folder), arrays["inputs"], model),
        **{name: arrays[name] for name in OTHERS if name in arrays},
    }
    metrics = METRICS[type(model.decode)]
    first = next(iter(metrics))
    return [
        Quality(
            model=model.name,
            metric=name,
            by_judge={judge: interval(metric, each, labels, groups) for judge, each in scores.items()},
            loss=_loss(metric, scores, labels, groups) if name == first else None,
            loss_max=LOSS_MAX[type(model.decode)] if name == first else None,
        )
        for name, metric in metrics.items()
    ]


def interval(metric: Metric, scores: Array, labels: Array, groups: Array | None) -> Estimate:
    """Give a metric with its 95 % interval, resampling whole groups with replacement.

    The beats of one wearer are no independent trials: resampled one by one, they would claim an interval too narrow
    (cluster bootstrap; Field & Welsh, 2007).

    Args:
        metric: any function of scores and labels.
        scores: float ``[n, ...]``.
        labels: ``[n]``.
        groups: whose each example is, ``[n]``; None: each stands for itself, resampled within its class.

    Raises:
        ForgeError: a resample lacks a class that the metric needs.
    """
    if groups is None:
        return bootstrap(metric, scores, labels, rounds=ROUNDS)
    members = [np.flatnonzero(groups == group) for group in np.unique(groups)]
    rng = np.random.default_rng(0)
    drawn = np.empty(ROUNDS)
    for number in range(ROUNDS):
        rows = np.concatenate([members[at] for at in rng.integers(len(members), size=len(members))])
        drawn[number] = metric(scores[rows], labels[rows])
    low, high = np.percentile(drawn, (2.5, 97.5))
    return Estimate(metric(scores, labels), float(low), float(high))


def read_arrays(file: Path) -> dict[str, Array]:
    """Read an ``.npz`` of plain arrays; nothing pickled is. Raises ConfigError."""
    try:
        with np.load(io.BytesIO(file.read_bytes()), allow_pickle=False) as stored:
            return {name: np.asarray(stored[name]) for name in stored.files}
    except FOREIGN as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else "no .npz of plain arrays, or damaged"
        msg = f"{file}: cannot be read: {why}; the model's recipe writes it"
        raise ConfigError(msg) from error


def _float_of(folder: Path) -> bytes:
    """Read the float network. Raises ConfigError."""
    file = evaluation_of(folder) / FLOAT
    try:
        return file.read_bytes()
    except OSError as error:
        msg = f"{file}: cannot be read: {error.strerror}; the model's recipe writes it"
        raise ConfigError(msg) from error


def _read(file: Path, model: Model) -> dict[str, Array]:
    """Read the examples. Raises ConfigError when they are not what the model takes."""
    arrays = read_arrays(file)
    inputs = arrays.get("inputs", np.empty(0))
    if inputs.shape[1:] != model.input.shape[1:] or len(inputs) != arrays.get("labels", np.empty(0)).size:
        wanted = f"inputs {['n', *model.input.shape[1:]]} with one label each"
        msg = f"{file}: inputs are {list(inputs.shape)}; {wanted} are wanted"
        raise ConfigError(msg)
    for name in (*OTHERS, *GROUPS):
        if name in arrays and arrays[name].shape[:1] != inputs.shape[:1]:
            msg = f"{file}: {name} is {list(arrays[name].shape)} for {len(inputs)} inputs; one each is wanted"
            raise ConfigError(msg)
    return arrays


def _scores(tflite: bytes, inputs: Array, model: Model) -> Array:
    """Run a network on normalised examples; gives what its metric compares, higher being more of it."""
    runner = Runner(tflite)
    given = np.asarray(inputs, np.float32)
    [answers] = runner.each(given).values()
    if isinstance(model.decode, AnomalyDecode):
        seen = runner.input.dequantise(runner.input.quantise(given))
        return np.asarray(np.square(answers - seen).reshape(len(given), -1).mean(axis=1))
    return answers if isinstance(model.decode, ClassifyDecode) else answers.reshape(len(given))


def _loss(metric: Metric, scores: Scores, labels: Array, groups: Array | None) -> Estimate:
    """Compare both forms on the same resamples, so that what the examples have in common cancels out."""
    both = np.stack([scores["float32"], scores["int8"]], axis=1)
    return interval(lambda pair, of: metric(pair[:, 0], of) - metric(pair[:, 1], of), both, labels, groups)
