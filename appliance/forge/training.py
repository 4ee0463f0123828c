"""Training as every step does it, and the data it trains on."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from appliance.core.types import Array
from appliance.errors import ForgeError
from appliance.forge import keras
from appliance.forge.foreign import Foreign
from appliance.forge.progress import Progress, silent
from appliance.forge.samples import array_of, read_npz


@dataclass(frozen=True, slots=True, eq=False)
class Examples:
    """Inputs with what is known about them."""

    inputs: Array
    """float32 ``[n, ...]``, normalised."""
    targets: Array
    """``[n]`` classes or 0/1; ``[n, ...]`` where the network gives more than scores."""
    teacher_inputs: Array
    """What a teacher is shown: the inputs, unless the file has ``teacher_inputs`` (features not normalised, say)."""
    logits: Array | None = None
    """What a teacher said, one row each."""

    def part(self, chosen: NDArray[np.intp]) -> Self:
        """Give the examples at these indices."""
        logits = None if self.logits is None else self.logits[chosen]
        return type(self)(self.inputs[chosen], self.targets[chosen], self.teacher_inputs[chosen], logits)


def read_examples(path: Path) -> Examples:
    """Read an NPZ with ``inputs`` and ``targets``, and perhaps ``teacher_inputs``.

    Raises:
        ForgeError: it cannot be read, an array is missing, they differ in length, or a number is not finite.
    """
    arrays = read_npz(path)
    inputs, targets = (array_of(path, arrays, key) for key in ("inputs", "targets"))
    shown = arrays.get("teacher_inputs", inputs)
    if not len(inputs) == len(targets) == len(shown) or len(inputs) == 0:
        msg = f"{path}: {len(inputs)} inputs, {len(targets)} targets, {len(shown)} teacher inputs; one each is wanted"
        raise ForgeError(msg)
    if inputs.dtype.kind != "f" or not np.isfinite(inputs).all():
        msg = f"{path}: inputs are {inputs.dtype}; finite normalised floats are wanted"
        raise ForgeError(msg)
    try:
        require_finite(targets, "targets")
    except ForgeError as error:
        msg = f"{path}: {error}"
        raise ForgeError(msg) from error
    return Examples(inputs.astype(np.float32), targets, shown)


def fit(
    network: Foreign,
    inputs: Array,
    targets: Array,
    *,
    loss: Foreign,
    epochs: int,
    batch: int,
    learning_rate: float,
    seed: int,
    weights: Array | None = None,
    progress: Progress = silent,
    what: str = "training",
    callbacks: tuple[Foreign, ...] = (),
) -> None:
    """Train a Keras network in place: seeded order, Adam, its rate falling to 0 along a half cosine.

    Raises:
        ForgeError: inputs and targets do not fit together or the network, a target is not finite, or training
            diverged: then the network is spoilt.
    """
    require_equal(inputs, targets)
    require_finite(targets, "targets")
    tf = keras.tensorflow()
    tf.keras.utils.set_random_seed(seed)
    steps = epochs * -(-len(inputs) // batch)
    rate = tf.keras.optimizers.schedules.CosineDecay(float(learning_rate), steps)
    network.compile(tf.keras.optimizers.Adam(rate), loss)
    telling = tf.keras.callbacks.LambdaCallback(on_epoch_end=_after_epoch(progress, what, epochs))
    try:
        network.fit(
            inputs, targets, batch_size=batch, epochs=epochs, sample_weight=weights, verbose=0,
            callbacks=[telling, *callbacks],
        )  # fmt: skip
    except (ValueError, tf.errors.InvalidArgumentError) as error:
        wanted = [list(network.input_shape), list(network.output_shape)]
        given = [list(inputs.shape), list(targets.shape)]
        msg = f"the network (input and output {wanted}) cannot be trained on inputs and targets {given}: {_last(error)}"
        raise ForgeError(msg) from error
    if not all(np.isfinite(each).all() for each in network.get_weights()):
        msg = f"training diverged: weights are NaN or infinite. A lower learning rate than {learning_rate:g} may help"
        raise ForgeError(msg)


def loss_for(network: Foreign, targets: Array) -> tuple[Foreign, Array]:
    """Choose a loss by what the network gives and what is known: classes, one logit, or numbers.

    0/1 targets of a network of one score are labels, whether ``[n]`` or ``[n, 1]``.

    Returns:
        The loss, and the targets as it takes them.

    Raises:
        ForgeError: they do not fit.
    """
    losses = keras.tensorflow().keras.losses
    shape = tuple(network.output_shape)
    squashed = activation_of(network) in {"sigmoid", "softmax"}
    require_finite(targets, "targets")
    flat = targets[:, 0] if targets.shape[1:] == (1,) and len(shape) == 2 else targets  # noqa: PLR2004 - batch, classes
    if shape[1:] == (1,) and flat.ndim == 1 and (squashed or is_zero_one(flat) or targets.ndim == 1):
        return losses.BinaryCrossentropy(from_logits=not squashed), zero_one(flat)[:, np.newaxis]
    if shape[1:] == targets.shape[1:]:
        return losses.MeanSquaredError(), targets.astype(np.float32)
    if flat.ndim == 1 and len(shape) == 2:  # noqa: PLR2004 - as above
        return losses.SparseCategoricalCrossentropy(from_logits=not squashed), whole_classes(flat, shape[1])
    msg = f"targets {targets.dtype} {list(targets.shape)} do not fit a network that gives {list(shape)}"
    raise ForgeError(msg)


def zero_one(targets: Array) -> NDArray[np.float32]:
    """Return 0/1 targets as float32. Raises ForgeError for any other number."""
    if not is_zero_one(targets):
        msg = (
            f"targets lie between {targets.min():g} and {targets.max():g}; for a network of one score they are 0 or 1. "
            "Numbers to be met have the shape [n, 1], and the network ends without activation"
        )
        raise ForgeError(msg)
    return targets.astype(np.float32)


def is_zero_one(targets: Array) -> bool:
    """Whether every target is 0 or 1."""
    return targets.dtype.kind in "biuf" and bool(np.isin(targets, (0, 1)).all())


def whole_classes(targets: Array, classes: int) -> NDArray[np.int64]:
    """Return class numbers as int64, whatever type they were saved in.

    Raises:
        ForgeError: one is no whole number from 0 to ``classes - 1``.
    """
    require_finite(targets, "targets")
    if targets.dtype.kind == "f" and (targets % 1 != 0).any():
        msg = f"targets are no whole numbers, as {targets[targets % 1 != 0][0]:g}; classes are 0 to {classes - 1}"
        raise ForgeError(msg)
    if not ((targets >= 0) & (targets < classes)).all():
        msg = f"targets lie between {targets.min():g} and {targets.max():g}; the network knows {classes} classes from 0"
        raise ForgeError(msg)
    return targets.astype(np.int64)


def require_finite(values: Array, what: str) -> None:
    """Raise ForgeError unless these are numbers, every one finite."""
    if values.dtype.kind not in "biuf":
        msg = f"{what} are {values.dtype}; numbers are wanted"
        raise ForgeError(msg)
    bad = int((~np.isfinite(values)).sum())
    if bad:
        msg = f"{bad} of {values.size} {what} are NaN or infinite"
        raise ForgeError(msg)


def activation_of(network: Foreign) -> str:
    """Give the name of the last layer's activation; ``linear`` where it has none."""
    return str(getattr(getattr(network.layers[-1], "activation", None), "__name__", "linear"))


def require_equal(inputs: Array, targets: Array) -> None:
    """Raise ForgeError unless there is one target for each input, and at least one."""
    if len(inputs) != len(targets) or len(inputs) == 0:
        msg = f"{len(inputs)} inputs and {len(targets)} labels: one label for each input is wanted"
        raise ForgeError(msg)


def _after_epoch(progress: Progress, what: str, epochs: int) -> Callable[[int, object], None]:
    return lambda epoch, _: progress(what, epoch + 1, epochs)


def _last(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
