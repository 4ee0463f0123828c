"""Which features moved a score, and how far: reason codes. Pure.

For one number (``score``) by occlusion (Zeiler and Fergus, 2014; for tables Robnik-Sikonja and Kononenko, 2008): each
feature in turn gets its average value, and the model is asked again. It needs nothing of the model but its answers, so
it explains the very INT8 network that decided. Effects of features that act together do not add up to the score.

For a reconstruction: each feature's share of the mean squared error, which needs no second answer.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from appliance.core.model import AnomalyDecode, Model, ScoreDecode
from appliance.core.preprocess import Prepared
from appliance.core.quant import dequantise, quantise
from appliance.core.types import Array, Outputs, Reason


def explainable(model: Model) -> bool:
    """Say whether this module can give reasons for a model's scores: its features have names."""
    return bool(model.preprocess.features) and isinstance(model.decode, ScoreDecode | AnomalyDecode)


def occluded(prepared: Prepared, model: Model) -> tuple[Array, ...]:
    """Return the tensor once for each feature, with that feature at its average: normalised 0.

    Features that are at their average already give the tensor itself, and no effect.
    """
    average = quantise(np.zeros(1, np.float32), model.input)[0]
    return tuple(_with(prepared.tensor, place, average) for place in range(len(model.preprocess.features)))


def by_occlusion(
    outputs: Outputs, without: Sequence[Outputs], model: Model, words: Mapping[str, str], reasons_max: int
) -> tuple[Reason, ...]:
    """Compare an answer with those to ``occluded``, in its order; strongest first, those without effect left out.

    Effects are in the unit of the raw score: for a model with a sigmoid that is the logit, in which they are not
    squeezed at the ends.
    """
    score = _raw(outputs, model)
    effects = [score - _raw(each, model) for each in without]
    return _strongest(effects, model, words, reasons_max)


def by_reconstruction(
    outputs: Outputs, prepared: Prepared, model: Model, words: Mapping[str, str], reasons_max: int
) -> tuple[Reason, ...]:
    """Give each feature's share of an anomaly's error: never negative, and together the whole."""
    seen = dequantise(prepared.tensor, model.input).ravel().astype(np.float64)
    given = dequantise(outputs["reconstruction"], model.outputs["reconstruction"]).ravel().astype(np.float64)
    return _strongest(((seen - given) ** 2 / seen.size).tolist(), model, words, reasons_max)


def _with(tensor: Array, place: int, value: Array) -> Array:
    changed = tensor.copy()
    changed[0, place] = value
    return changed


def _raw(outputs: Outputs, model: Model) -> float:
    return float(dequantise(outputs["score"], model.outputs["score"]).ravel()[0])


def _strongest(
    effects: Sequence[float], model: Model, words: Mapping[str, str], reasons_max: int
) -> tuple[Reason, ...]:
    """Rank by size, not by sign: what spoke against the score is a reason too."""
    named = [
        Reason(feature, float(effect), words.get(feature, ""))
        for feature, effect in zip(model.preprocess.features, effects, strict=True)
        if effect != 0.0 and np.isfinite(effect)
    ]
    return tuple(sorted(named, key=lambda reason: -abs(reason.effect))[:reasons_max])
