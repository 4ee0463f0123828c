"""``forge prune``: weights, or whole units, that a network can do without.

A pruned weight stays in the ``.tflite`` as a zero: the file is as long as before and runs as long. What shrinks is what
travels, the compressed file. Whole units (``structured=True``) go out of the file and out of the run time too.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from appliance.core.types import Array
from appliance.errors import ForgeError
from appliance.forge import keras
from appliance.forge.distill import BATCH
from appliance.forge.foreign import Foreign
from appliance.forge.progress import Progress, silent
from appliance.forge.structured import without_units
from appliance.forge.training import fit

POWER = 3
"""Of the schedule: fast while there is much to lose, slow at the end (Zhu & Gupta, 2017, equation 1)."""
UPDATES = 100
"""How often masks are chosen anew while sparsity grows."""
LEARNING_RATE = 1e-3


@dataclass(frozen=True, slots=True)
class Pruned:
    """A network that lost weights."""

    network: Foreign
    sparsity_by_layer: Mapping[str, float]
    """Share of zeros among a layer's weights; where units were removed, share of its weights that are gone."""


def prune(
    network: Foreign,
    inputs: Array,
    targets: Array,
    *,
    sparsity: float,
    epochs: int,
    loss: Foreign,
    batch: int = BATCH,
    learning_rate: float = LEARNING_RATE,
    begin: float = 0.0,
    end: float = 0.5,
    structured: bool = False,
    seed: int = 0,
    progress: Progress = silent,
) -> Pruned:
    """Prune by magnitude while training goes on; the network given is left as it was.

    Args:
        network: trained Keras network (``forge.keras``); for ``structured`` a chain of layers.
        inputs: float32 ``[n, ...]``.
        targets: what ``loss`` takes; ``distill.pack`` with ``distill.loss`` to go on learning from a teacher.
        sparsity: share of each layer's weights to lose, 0..1; of its units where ``structured``.
        epochs: passes over the inputs.
        loss: a Keras loss, by name or function.
        batch: inputs a step.
        learning_rate: the first; falls to 0.
        begin: share of the steps after which sparsity begins to grow.
        end: share of the steps at which it is reached; the rest heals.
        structured: remove whole units and filters, by norm, and rebuild the smaller network; then train it.
        seed: of the order of inputs.
        progress: told after each epoch.

    Raises:
        ForgeError: a share is none, the network cannot be pruned, or the arrays do not fit.
    """
    if not (0 < sparsity < 1 and 0 <= begin < end <= 1):
        msg = f"sparsity {sparsity} lies between 0 and 1, and begin {begin} before end {end}, both from 0 to 1"
        raise ForgeError(msg)
    keras.require_trainable(network)
    if structured:
        smaller, gone = without_units(network, sparsity)
        fit(
            smaller, inputs, targets, loss=loss, epochs=epochs, batch=batch, learning_rate=learning_rate,
            seed=seed, progress=progress, what="pruning",
        )  # fmt: skip
        return Pruned(smaller, gone)
    copy = clone(network)
    kernels = kernels_of(copy)
    steps = epochs * -(-len(inputs) // batch)
    masking = _masking(kernels, sparsity, round(begin * steps), max(1, round(end * steps)))
    fit(
        copy, inputs, targets, loss=loss, epochs=epochs, batch=batch, learning_rate=learning_rate, seed=seed,
        progress=progress, what="pruning", callbacks=(masking,),
    )  # fmt: skip
    return Pruned(copy, {name: float((kernel.numpy() == 0).mean()) for name, kernel in kernels.items()})


def clone(network: Foreign) -> Foreign:
    """Give a network of the same layers and weights, sharing none."""
    copy = keras.tensorflow().keras.models.clone_model(network)
    copy.set_weights(network.get_weights())
    return copy


def kernels_of(network: Foreign) -> dict[str, Foreign]:
    """Give layer name to weights that can be pruned: of dense layers and convolutions, not of depthwise ones.

    Depthwise kernels are few and each is all a channel has (Zhu & Gupta leave them dense too).

    Raises:
        ForgeError: there are none.
    """
    kernels = {layer.name: layer.kernel for layer in network.submodules if hasattr(layer, "kernel")}
    if not kernels:
        msg = "the network has no dense layer or convolution to prune"
        raise ForgeError(msg)
    return kernels


def sparsity_at(step: int, begin: int, end: int, final: float) -> float:
    """Give the share of zeros wanted after a step: 0 until ``begin``, ``final`` from ``end`` on."""
    done = min(1.0, max(0.0, (step - begin) / max(1, end - begin)))
    return float(final * (1 - (1 - done) ** POWER))


def smallest(weights: Array, share: float) -> Array:
    """Give a mask of the weights' shape: 0.0 at the round(share * size) of least magnitude, else 1.0."""
    mask = np.ones(weights.size, np.float32)
    mask[np.argsort(np.abs(weights), axis=None, kind="stable")[: round(share * weights.size)]] = 0.0
    return mask.reshape(weights.shape)


def _masking(kernels: Mapping[str, Foreign], sparsity: float, begin: int, end: int) -> Foreign:
    """Give a Keras callback that keeps the smallest weights at zero, more of them as training goes on."""
    tf = keras.tensorflow()
    masks: dict[str, Foreign] = {}
    step = 0
    every = max(1, (end - begin) // UPDATES)

    def after_batch(batch: int, logs: object = None) -> None:  # noqa: ARG001 - the signature Keras calls
        nonlocal step
        step += 1
        if begin < step <= end and ((step - begin) % every == 0 or step == end):
            wanted = sparsity_at(step, begin, end, sparsity)
            masks.update({name: tf.constant(smallest(each.numpy(), wanted)) for name, each in kernels.items()})
        for name, mask in masks.items():
            kernels[name].assign(kernels[name] * mask)

    return tf.keras.callbacks.LambdaCallback(on_batch_end=after_batch)
