"""``forge distill``: a small student learns from a large teacher's scores (Hinton, Vinyals & Dean, 2015).

The teacher may be anything that gives logits, a gradient-boosted forest too (``teacher.py``).
"""

import numpy as np
from numpy.typing import NDArray

from appliance.core.types import Array
from appliance.errors import ForgeError
from appliance.forge import keras
from appliance.forge.foreign import Foreign
from appliance.forge.progress import Progress, silent
from appliance.forge.training import activation_of, fit, require_equal, whole_classes

BATCH = 512
LEARNING_RATE = 2e-3


def distil(
    student: Foreign,
    inputs: Array,
    labels: Array,
    teacher_logits: Array | None,
    *,
    temperature: float = 1.0,
    alpha: float = 0.9,
    epochs: int,
    batch: int = BATCH,
    learning_rate: float = LEARNING_RATE,
    seed: int = 0,
    weights: Array | None = None,
    progress: Progress = silent,
) -> None:
    """Train a student in place, with Adam whose rate falls to 0 along a half cosine.

    The control of equal budget is the same call with ``alpha=0``: what the student learns from labels alone.

    Args:
        student: a network that ends in logits ``[n, 1]`` or ``[n, classes]``.
        inputs: float32 ``[n, ...]``.
        labels: 0/1 or a share ``[n]`` for one logit, else int ``[n]`` classes.
        teacher_logits: float ``[n]`` or ``[n, 1]``, else ``[n, classes]``; None with ``alpha=0``.
        temperature: both logits are divided by it before they are compared; 1 for one logit, 2..5 for many classes.
        alpha: weight of the teacher, 0..1; the labels have the rest.
        epochs: passes over the inputs.
        batch: inputs a step.
        learning_rate: the first.
        seed: of the order of inputs, and of dropout.
        weights: float ``[n]``, how much each input counts.
        progress: told after each epoch.

    Raises:
        ForgeError: the arrays do not fit together or the network.
    """
    classes = _classes(student)
    targets = pack(labels, teacher_logits if alpha else None, classes)
    require_equal(inputs, targets)
    fit(
        student, inputs, targets, loss=loss(temperature, alpha, classes), epochs=epochs, batch=batch,
        learning_rate=learning_rate, seed=seed, weights=weights, progress=progress, what="training",
    )  # fmt: skip


def loss(temperature: float, alpha: float, classes: int) -> Foreign:
    """Give the Keras loss over ``pack``-ed targets, to prune or train with otherwise.

    ``alpha * T^2 * cross-entropy(teacher / T, student / T) + (1 - alpha) * cross-entropy(labels, student)``; the T^2
    keeps the gradients of both parts of one size, whatever the temperature (section 2 of the paper).
    """
    if temperature <= 0 or not 0 <= alpha <= 1:
        msg = f"temperature {temperature} is above 0 and alpha {alpha} between 0 and 1"
        raise ForgeError(msg)
    tf = keras.tensorflow()

    def combined(targets: Foreign, logits: Foreign) -> Foreign:
        hard, soft = targets[:, :classes], targets[:, classes:] / temperature
        cooled = logits / temperature
        if classes == 1:
            told = tf.nn.sigmoid_cross_entropy_with_logits(tf.sigmoid(soft), cooled)[:, 0]
            known = tf.nn.sigmoid_cross_entropy_with_logits(hard, logits)[:, 0]
        else:
            told = tf.nn.softmax_cross_entropy_with_logits(tf.nn.softmax(soft), cooled)
            known = tf.nn.softmax_cross_entropy_with_logits(hard, logits)
        return alpha * temperature**2 * told + (1 - alpha) * known

    return combined


def pack(labels: Array, teacher_logits: Array | None, classes: int) -> NDArray[np.float32]:
    """Put labels (one-hot) and the teacher's logits side by side: float32 ``[n, 2 * classes]``, as ``loss`` wants.

    Raises:
        ForgeError: their numbers, shapes or values do not fit.
    """
    labels = np.asarray(labels).reshape(-1)
    if classes == 1:
        if not ((labels >= 0) & (labels <= 1)).all():
            msg = "for one logit the labels are 0 or 1"
            raise ForgeError(msg)
        hard = labels.astype(np.float32)[:, np.newaxis]
    else:
        labels = whole_classes(labels, classes)
        hard = np.eye(classes, dtype=np.float32)[labels]
    told = np.zeros_like(hard) if teacher_logits is None else np.asarray(teacher_logits, np.float32)
    told = told.reshape(len(told), -1)
    if told.shape != hard.shape or not np.isfinite(told).all():
        msg = f"the teacher's logits have the shape {list(told.shape)}; {list(hard.shape)} finite ones are wanted"
        raise ForgeError(msg)
    return np.concatenate([hard, told], axis=1)


def _classes(student: Foreign) -> int:
    """Return the number of logits. Raises ForgeError when the network cannot be trained or ends in probabilities."""
    keras.require_trainable(student)
    shape = tuple(student.output_shape)
    activation = activation_of(student)
    if len(shape) != 2 or activation in {"sigmoid", "softmax"}:  # noqa: PLR2004 - batch, classes
        msg = f"the student gives {list(shape)} after {activation}; end it in logits [n, classes] without activation"
        raise ForgeError(msg)
    return int(shape[1])
