"""Who learns the fraud model, from what: a forest as yardstick, a teacher, and students of equal budgets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from appliance.errors import ForgeError
from appliance.forge import keras, metrics
from appliance.forge.distill import distil, loss, pack
from appliance.forge.prune import prune
from models.fraud.simulator import Scored

if TYPE_CHECKING:
    from collections.abc import Callable

    from appliance.forge.progress import Progress
    from models.fraud.world import Array, Purchases

    Way = Callable[[Array, "Part", Array, int, Progress], "Foreign"]

Foreign = Any  # an object of tensorflow or lightgbm: neither ships types

TRAINING_DAY, TRAINED_DAY, VALIDATION_DAY = 110, 117, 130
"""Ends of: training, the wait for its reports, validation. What comes later is the test.

Training begins with a memory that is empty, as a device does.
"""
CLIP = 4.0
"""Inputs beyond this many standard deviations saturate in INT8, and so they do in training."""
TEACHER, STUDENT = (256, 256, 128), (64, 32)
TEACHER_EPOCHS, EPOCHS, BATCH, LEARNING_RATE = 12, 40, 2048, 2e-3
ALPHA = 0.9
"""Weight of the teacher against the labels."""
SPARSITY = 0.5
CALIBRATION = 1500, 500
"""Honest and fraudulent purchases of the training that INT8 is calibrated with."""


@dataclass(frozen=True)
class Part:
    """Purchases of some days."""

    features: Array
    """float32 ``[n, features]``, as the extractor gives them."""
    reported: Array
    """bool ``[n]``: reported as fraud by the time of training. What one learns from."""
    pattern: Array
    """int ``[n]``: the truth; 0 is honest."""

    @property
    def fraud(self) -> Array:
        """Whether each is fraud, in truth: bool ``[n]``."""
        return np.asarray(self.pattern > 0)

    def take(self, chosen: Array) -> Part:
        """Give those where this is true, or at these places."""
        return Part(self.features[chosen], self.reported[chosen], self.pattern[chosen])


@dataclass(frozen=True)
class Scale:
    """Normalises features: 0 is the training's mean."""

    mean: Array
    std: Array

    @classmethod
    def of(cls, features: Array) -> Scale:
        """Measure it.

        A feature that is nearly always the same gets a larger scale than its standard deviation: one purchase in a
        thousand lies beyond CLIP, not more.
        """
        mean = features.mean(axis=0, dtype=np.float64)
        std = features.std(axis=0, dtype=np.float64)
        far = np.quantile(np.abs(features - mean), 0.999, axis=0)
        return cls(np.round(mean, 6), np.round(np.maximum(std, far / CLIP), 6))

    def __call__(self, features: Array) -> Array:
        """Normalise and clip: float32 of the same shape."""
        inputs: Array = np.clip((features - self.mean) / self.std, -CLIP, CLIP).astype(np.float32)
        return inputs


def split(purchases: Purchases, reported_day: Array, scored: Scored) -> tuple[Part, Part, Part]:
    """Give training, validation and test, by days: a model is used on days it has not seen."""
    day = purchases.day[scored.row]
    whole = Part(scored.features, reported_day[scored.row] < TRAINED_DAY, purchases.pattern[scored.row])
    return (
        whole.take(day < TRAINING_DAY),
        whole.take((day >= TRAINED_DAY) & (day < VALIDATION_DAY)),
        whole.take(day >= VALIDATION_DAY),
    )


def calibration(inputs: Array, training: Part, seed: int) -> Array:
    """Choose inputs to calibrate with, frauds among them: they are what lies at the far end."""
    rng = np.random.default_rng(seed)
    honest, fraudulent = CALIBRATION
    chosen = [
        rng.choice(np.flatnonzero(~training.reported), honest, replace=False),
        rng.choice(np.flatnonzero(training.reported), fraudulent, replace=False),
    ]
    return np.asarray(inputs[np.concatenate(chosen)])


def forest(training: Part, seed: int) -> Foreign:
    """Fit the yardstick: gradient-boosted trees on the features as they are.

    Raises:
        ForgeError: lightgbm is not installed.
    """
    try:
        import lightgbm  # noqa: PLC0415 - only recipes need it
    except ImportError as error:
        raise ForgeError("lightgbm is not installed: pip install -r models/fraud/requirements.txt") from error
    model = lightgbm.LGBMClassifier(
        n_estimators=400,
        learning_rate=0.03,
        num_leaves=31,
        min_child_samples=100,
        subsample=0.8,
        subsample_freq=1,
        colsample_bytree=0.7,
        reg_lambda=5,
        n_jobs=1,  # the sums of two threads would differ from run to run
        random_state=seed,
        deterministic=True,
        force_row_wise=True,
        verbose=-1,
    )
    return model.fit(training.features, training.reported)


def network(layers: tuple[int, ...], features: int, seed: int) -> Foreign:
    """Build a network that ends in the logit: an INT8 sigmoid would lose the far end of the scores."""
    tf = keras.begin(seed)
    dense = [tf.keras.layers.Dense(units, activation="relu") for units in layers]
    return tf.keras.Sequential([tf.keras.Input((features,)), *dense, tf.keras.layers.Dense(1)])


def logits(model: Foreign, inputs: Array) -> Array:
    """Give float ``[n]``."""
    return np.asarray(model.predict(inputs, batch_size=16_384, verbose=0)[:, 0])


def teach(inputs: Array, training: Part, seed: int, progress: Progress) -> Foreign:
    """Train the large network."""
    teacher = network(TEACHER, inputs.shape[1], seed)
    distil(
        teacher, inputs, training.reported, None, alpha=0.0, epochs=TEACHER_EPOCHS, batch=BATCH,
        learning_rate=LEARNING_RATE, seed=seed, progress=progress,
    )  # fmt: skip
    return teacher


def plain(inputs: Array, training: Part, _taught: Array, seed: int, progress: Progress) -> Foreign:
    """Train a student from labels alone: the control of equal budget."""
    student = network(STUDENT, inputs.shape[1], seed)
    distil(
        student, inputs, training.reported, None, alpha=0.0, epochs=EPOCHS, batch=BATCH,
        learning_rate=LEARNING_RATE, seed=seed, progress=progress,
    )  # fmt: skip
    return student


def distilled(inputs: Array, training: Part, taught: Array, seed: int, progress: Progress) -> Foreign:
    """Train a student from the mean logit of forest and teacher."""
    return _follow(inputs, training, taught, seed=seed, epochs=EPOCHS, progress=progress)


def pruned(inputs: Array, training: Part, taught: Array, seed: int, progress: Progress) -> Foreign:
    """Distil for half the epochs, prune for the other half: the same budget."""
    student = _follow(inputs, training, taught, seed=seed, epochs=EPOCHS // 2, progress=progress)
    targets = pack(training.reported, taught, 1)
    return prune(
        student, inputs, targets, sparsity=SPARSITY, epochs=EPOCHS // 2, loss=loss(1.0, ALPHA, 1), batch=BATCH,
        seed=seed, progress=progress,
    ).network  # fmt: skip


def _follow(inputs: Array, training: Part, taught: Array, *, seed: int, epochs: int, progress: Progress) -> Foreign:
    student = network(STUDENT, inputs.shape[1], seed)
    distil(
        student, inputs, training.reported, taught, alpha=ALPHA, epochs=epochs, batch=BATCH,
        learning_rate=LEARNING_RATE, seed=seed, progress=progress,
    )  # fmt: skip
    return student


WAYS: dict[str, Way] = {"distilled": distilled, "plain": plain, "pruned": pruned}


def figures(scores: Array, fraud: Array) -> dict[str, float]:
    """Give the four figures of a trial, without intervals."""
    return {
        "roc_auc": metrics.roc_auc(scores, fraud),
        "pr_auc": metrics.average_precision(scores, fraud),
        "recall at 0.1 % FPR": metrics.recall_at_fpr(scores, fraud, 0.001),
        "recall at 1 % FPR": metrics.recall_at_fpr(scores, fraud, 0.01),
    }
