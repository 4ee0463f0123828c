"""Where a student's teacher comes from: anything that gives scores, as logits."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from appliance.core.types import Array
from appliance.errors import ForgeError
from appliance.forge import keras
from appliance.forge.foreign import load_library
from appliance.forge.run import Runner
from appliance.forge.samples import array_of, read_npz
from appliance.forge.training import activation_of

PICKLES = {".pkl", ".pickle", ".joblib", ".sav"}
PROBABILITY_MIN = 1e-7
"""Probabilities are kept this far from 0 and 1 before they become logits: float32 has nothing finer near 1."""
BATCH = 4096


def teacher_logits(path: Path, inputs: Array, *, key: str = "logits") -> NDArray[np.float32]:
    """Give a teacher's logits for these inputs.

    Args:
        path: ``.npz`` with an array ``key`` (scores of any model, computed elsewhere, one row an input); ``.txt`` of
            LightGBM (``Booster.save_model``); ``.keras``, ``.h5`` or ``.tflite``. Networks that end in sigmoid or
            softmax are turned back to logits.
        inputs: what that teacher was trained on, ``[n, ...]``.
        key: of the array in an NPZ.

    Returns:
        float32 ``[n]`` or ``[n, classes]``.

    Raises:
        ForgeError: unreadable, a pickle, or not one finite row for each input.
    """
    logits = np.asarray(_read(path, inputs, key), np.float32)
    if len(logits) != len(inputs) or not np.isfinite(logits).all():
        msg = f"{path}: the teacher gives {list(logits.shape)} for {len(inputs)} inputs; one finite row each is wanted"
        raise ForgeError(msg)
    return logits


def _read(path: Path, inputs: Array, key: str) -> Array:
    if path.suffix in PICKLES:
        msg = (
            f"{path} is a pickle: opening it runs whatever its maker put inside, so the forge does not. Save the "
            "scores instead, np.savez('scores.npz', logits=...), or a LightGBM model with Booster.save_model('gbm.txt')"
        )
        raise ForgeError(msg)
    if not path.exists():
        msg = f"{path}: there is no such teacher"
        raise ForgeError(msg)
    if path.suffix == ".npz":
        return array_of(path, read_npz(path), key)
    if path.suffix == ".txt":
        return _forest(path, inputs)
    if path.suffix == ".tflite":
        return _flatbuffer(path, inputs)
    return _network(path, inputs)


def _forest(path: Path, inputs: Array) -> Array:
    """Give a LightGBM model's raw scores: log-odds for two classes, one column a class for more."""
    lightgbm = load_library("lightgbm", "learn from a LightGBM model")
    try:
        booster = lightgbm.Booster(model_file=str(path))
        scores: Array = booster.predict(inputs.reshape(len(inputs), -1), raw_score=True)
    except (lightgbm.basic.LightGBMError, ValueError) as error:
        msg = f"{path}: LightGBM cannot score these inputs with it ({error})"
        raise ForgeError(msg) from error
    return scores


def _flatbuffer(path: Path, inputs: Array) -> Array:
    outputs = Runner(path.read_bytes()).each(inputs)
    if len(outputs) != 1:
        msg = f"{path}: the teacher has {len(outputs)} outputs; one of scores is wanted"
        raise ForgeError(msg)
    return next(iter(outputs.values()))


def _network(path: Path, inputs: Array) -> Array:
    network = keras.load(path)
    if not keras.is_keras(network):
        msg = f"{path}: a SavedModel cannot teach; save it as .keras, or its scores in an NPZ"
        raise ForgeError(msg)
    scores = np.asarray(network.predict(inputs, batch_size=BATCH, verbose=0), np.float64)
    last = activation_of(network)
    if last not in {"sigmoid", "softmax"}:
        return scores
    bounded = np.clip(scores, PROBABILITY_MIN, 1 - PROBABILITY_MIN)
    odds: Array = np.log(bounded) - (np.log1p(-bounded) if last == "sigmoid" else 0.0)
    return odds
