"""Whether a network that was changed for the sake of a smaller delta is still as good: measured, or it is not used.

With held-out examples the model's own metric decides, before and after; without, see ``agree``. Examples come as an
``.npz``: ``x``, float ``[n, ...]``, normalised as ``[preprocess]`` says and not quantised yet, and ``y``, ``[n]``, the
class of each, or 0 and 1; ``inputs`` and ``labels`` are taken for the same.
"""

import io
import zipfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from appliance.core.decode import decode
from appliance.core.model import AnomalyDecode, ClassifyDecode, Model, ScoreDecode
from appliance.core.preprocess import Prepared
from appliance.core.quant import quantise
from appliance.core.types import Array
from appliance.errors import FrameError, HubError
from appliance.hub.reference import Reference

EXAMPLES_MAX = 1_000_000
EXAMPLES_BYTES_MAX = 2**30
NAMES = {"x": "inputs", "y": "labels"}
"""The arrays of a file of examples, and what the evaluation of our own models calls them."""
_FOREIGN = (OSError, ValueError, EOFError, KeyError, TypeError, zipfile.BadZipFile, zlib.error)
"""What NumPy raises on a file that is no ``.npz``, is cut short, or holds pickled objects."""

Numbers = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a gate says."""

    passed: bool
    words: str


@dataclass(frozen=True, slots=True, eq=False)
class Examples:
    """Held-out examples of a model."""

    x: Array
    y: Array

    @classmethod
    def read(cls, file: Path, model: Model) -> Self:
        """Read them.

        Raises:
            HubError: there is no such file, it is none of this form, or not of what the model takes and says.
        """
        try:
            with file.open("rb") as stream:
                content = io.BytesIO(stream.read(EXAMPLES_BYTES_MAX))
            with np.load(content, allow_pickle=False) as stored:
                x, y = (stored[name if name in stored.files else NAMES[name]] for name in ("x", "y"))
        except _FOREIGN as error:
            msg = f"{file}: no .npz of x and y, damaged, or larger than {EXAMPLES_BYTES_MAX:,} bytes: {error}"
            raise HubError(msg) from error
        wanted = model.input.shape[1:]
        if x.shape[1:] != wanted or y.shape != x.shape[:1] or not np.isfinite(x).all():
            msg = f"{file}: x is {list(x.shape)}, y {list(y.shape)}; wanted are x {['n', *wanted]}, finite, and y [n]"
            raise HubError(msg)
        if not 1 <= len(x) <= EXAMPLES_MAX:
            msg = f"{file}: {len(x):,} examples; 1 to {EXAMPLES_MAX:,} are taken"
            raise HubError(msg)
        return cls(x, y.astype(np.int64))


def by_examples(model: Model, changed: bytes, examples: Examples, loss_max: float) -> Verdict:
    """Compare the model's metric on ``examples`` before and after; it may lose at most ``loss_max``.

    Raises:
        HubError: the model is a detector, which has no examples of this form, or they lack a class.
    """
    if type(model.decode) not in METRICS:
        msg = f"{model.name}: a detector is judged by its golden inputs; leave --evaluate out"
        raise HubError(msg)
    name, metric = METRICS[type(model.decode)]
    before, after = (metric(_judged(model, tflite, examples), examples.y) for tflite in (model.tflite, changed))
    if not np.isfinite([before, after]).all():
        msg = f"{model.name}: no {name} on these examples; both classes must be among them"
        raise HubError(msg)
    words = f"{name} {before:.4f} before, {after:.4f} after, on {len(examples.x):,} examples"
    return Verdict(before - after <= loss_max, f"{words}; at most {loss_max:g} may be lost")


def _judged(model: Model, tflite: bytes, examples: Examples) -> Numbers:
    """Return for each example its score, or the index of the label that a classifier puts first. Raises HubError."""
    run = Reference(model, tflite)
    given = (Prepared(quantise(one[np.newaxis], model.input)) for one in examples.x)
    try:
        first = [decode(run(prepared.tensor), prepared, model)[0] for prepared in given]
    except FrameError as error:
        msg = f"{model.name}: {error}"
        raise HubError(msg) from error
    if isinstance(model.decode, ClassifyDecode):
        return np.array([model.labels.index(each.label) for each in first], np.float64)
    return np.array([each.score for each in first], np.float64)


def _accuracy(classes: Numbers, labels: Array) -> float:
    return float((classes == labels).mean())


def _roc_auc(scores: Numbers, labels: Array) -> float:
    """Give the chance that a random positive outscores a random negative, ties counting half; NaN without both."""
    positive, negative = scores[labels > 0], np.sort(scores[labels <= 0])
    if not len(positive) or not len(negative):
        return float("nan")
    below, not_above = (np.searchsorted(negative, positive, side) for side in ("left", "right"))
    return float((below + not_above).mean() / 2 / len(negative))


def _average_precision(scores: Numbers, labels: Array) -> float:
    """Give the area under precision over recall, stepwise, ties taken together; NaN without a positive."""
    if not (labels > 0).any():
        return float("nan")
    falling = np.argsort(-scores, kind="stable")
    _, counts = np.unique(-scores, return_counts=True)
    taken = np.cumsum(counts)
    found = np.cumsum(labels[falling] > 0)[taken - 1]
    return float((np.diff(found, prepend=0) * found / taken).sum() / found[-1])


METRICS: Mapping[type, tuple[str, Callable[[Numbers, Array], float]]] = {
    ClassifyDecode: ("accuracy", _accuracy),
    ScoreDecode: ("PR-AUC", _average_precision),
    AnomalyDecode: ("ROC-AUC", _roc_auc),
}
"""What a model is judged by, as `appliance bench models` judges it."""
