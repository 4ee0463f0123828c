"""From raw output tensors to predictions. One pure function a kind of model, one row in a table."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from appliance.core.model import (
    AnomalyDecode,
    ClassifyDecode,
    Decode,
    Model,
    ScoreDecode,
    SsdPostprocessedDecode,
    SsdRawDecode,
    Task,
)
from appliance.core.preprocess import Prepared
from appliance.core.quant import dequantise, finite
from appliance.core.ssd import decode_ssd_postprocessed, decode_ssd_raw, merge_boxes
from appliance.core.types import Array, Outputs, Prediction


def decode(outputs: Outputs, prepared: Prepared, model: Model) -> tuple[Prediction, ...]:
    """Read the outputs of ``model`` as predictions, by falling score; equal scores keep the model's order.

    Args:
        outputs: raw tensors by role, with the shapes and dtypes of the model's output specs.
        prepared: the frame these outputs are about.
        model: verified, so that its roles are those its decoder reads.

    Raises:
        FrameError: an output holds NaN or infinity. The frame was not judged; to answer with no predictions
            would read as "nothing there".
    """
    return _DECODERS[type(model.decode)](outputs, prepared, model)


def merge(
    parts: Sequence[tuple[Prediction, ...]], prepared: Sequence[Prepared], model: Model
) -> tuple[Prediction, ...]:
    """Put together what the model says of the parts of one frame, by falling score.

    One part stays as it is. Of a picture's tiles, each thing that was found, once (``core.ssd``). Of the heartbeats of
    a window, for each label the highest score: the frame is as bad as its worst part.

    Args:
        parts: the predictions of each.
        prepared: the parts they are about.
        model: whose predictions these are.
    """
    if len(parts) == 1:
        return parts[0]
    if model.task is Task.DETECT:
        return merge_boxes(parts, prepared, model)
    best: dict[str, Prediction] = {}
    for prediction in (each for part in parts for each in part):
        if prediction.label not in best or prediction.score > best[prediction.label].score:
            best[prediction.label] = prediction
    return tuple(sorted(best.values(), key=lambda prediction: -prediction.score))


def _classify(outputs: Outputs, _prepared: Prepared, model: Model) -> tuple[Prediction, ...]:
    """Read ``scores`` [1, labels]: one prediction a label."""
    decode = model.decode
    assert isinstance(decode, ClassifyDecode)
    scores = _real(outputs["scores"], "scores", model)
    if decode.activation == "softmax":
        powers = np.exp(scores - scores.max())  # the shift changes no ratio, and keeps exp finite
        scores = powers / powers.sum()
    ranked = np.argsort(-scores, kind="stable").tolist()
    return tuple(Prediction(model.labels[index], float(scores[index])) for index in ranked)


def _anomaly(outputs: Outputs, prepared: Prepared, model: Model) -> tuple[Prediction, ...]:
    """Compare ``reconstruction`` with the input it is of: mean squared error in normalised units, 0 or more."""
    decode = model.decode
    assert isinstance(decode, AnomalyDecode)
    seen = dequantise(prepared.tensor, model.input).ravel().astype(np.float64)
    error = float(np.mean((seen - _real(outputs["reconstruction"], "reconstruction", model)) ** 2))
    return (Prediction(decode.label, error),)


def _score(outputs: Outputs, _prepared: Prepared, model: Model) -> tuple[Prediction, ...]:
    """Read ``score``, a single number; a logit becomes a probability."""
    decode = model.decode
    assert isinstance(decode, ScoreDecode)
    score = float(_real(outputs["score"], "score", model)[0])
    if decode.activation == "sigmoid":
        score = 0.5 * (1.0 + float(np.tanh(score / 2)))  # the logistic function, without an exp that overflows
    return (Prediction(decode.label, score),)


def _real(raw: Array, role: str, model: Model) -> NDArray[np.float64]:
    """Return an output's real values in one row; float64, so that no sum or square of them overflows."""
    return finite(dequantise(raw, model.outputs[role]), role).ravel().astype(np.float64)


_DECODERS: dict[type[Decode], Callable[[Outputs, Prepared, Model], tuple[Prediction, ...]]] = {
    SsdRawDecode: decode_ssd_raw,
    SsdPostprocessedDecode: decode_ssd_postprocessed,
    ClassifyDecode: _classify,
    AnomalyDecode: _anomaly,
    ScoreDecode: _score,
}
