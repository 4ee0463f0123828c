"""Whole units and filters taken out of a network: what is left is a smaller network, in the file and on the clock.

Units go by the size of their weights: the sum of magnitudes of a filter (Li et al., Pruning Filters for Efficient
ConvNets, 2017). The last layer with weights keeps all of its units: they are the network's answer.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from appliance.core.types import Array
from appliance.errors import ForgeError
from appliance.forge import keras
from appliance.forge.foreign import Foreign

_UNITS = {"Dense": "units", "Conv1D": "filters", "Conv2D": "filters"}
"""Layers that make channels, and the key of their number in the layer's configuration."""
_CHANNELWISE = {"BatchNormalization", "DepthwiseConv1D", "DepthwiseConv2D"}
"""Layers with weights that treat each channel for itself."""
_WITHOUT_WEIGHTS = {
    "Activation", "ReLU", "LeakyReLU", "ELU", "Dropout", "SpatialDropout1D", "SpatialDropout2D", "GaussianNoise",
    "AveragePooling1D", "AveragePooling2D", "MaxPooling1D", "MaxPooling2D", "GlobalAveragePooling1D",
    "GlobalAveragePooling2D", "GlobalMaxPooling1D", "GlobalMaxPooling2D", "UpSampling1D", "UpSampling2D",
    "ZeroPadding1D", "ZeroPadding2D",
}  # fmt: skip

Kept = NDArray[np.intp]
"""Indices of the channels that stay, ascending."""


@dataclass(frozen=True, slots=True, eq=False)
class _Layer:
    """A layer of the smaller network."""

    made: Foreign
    weights: Sequence[Array]


def without_units(network: Foreign, share: float) -> tuple[Foreign, dict[str, float]]:
    """Remove this share of the units of each layer but the last, and rebuild the network around what stays.

    Args:
        network: of Keras 2, a chain of layers.
        share: 0..1; at least one unit of each layer stays.

    Returns:
        The smaller network, not yet trained further, and for each layer the share of its weights that are gone.

    Raises:
        ForgeError: the network branches, or has a layer this cannot cut.
    """
    tf = keras.tensorflow()
    chain = _chain(network)
    last = max((index for index, layer in enumerate(chain) if _kind(layer) in _UNITS), default=-1)
    if last <= 0:
        msg = "no layer can lose units: at least two dense layers or convolutions are needed"
        raise ForgeError(msg)
    kept: Kept = np.arange(network.input_shape[-1])
    layers = []
    for index, layer in enumerate(chain):
        made, kept = _cut(layer, kept, share if index < last else 0.0)
        layers.append(made)
    smaller = tf.keras.Sequential([tf.keras.Input(network.input_shape[1:]), *(layer.made for layer in layers)])
    for layer in layers:
        layer.made.set_weights(layer.weights)
    gone = {
        old.name: 1 - sum(each.size for each in new.weights) / old.count_params()
        for old, new in zip(chain, layers, strict=True)
        if old.count_params()
    }
    return smaller, gone


def _kind(layer: Foreign) -> str:
    return type(layer).__name__


def _chain(network: Foreign) -> list[Foreign]:
    """Return the layers in order. Raises ForgeError unless each has one input, the layer before it."""
    layers = [layer for layer in network.layers if _kind(layer) != "InputLayer"]
    before = None
    for layer in layers:
        nodes = [node for node in layer.inbound_nodes if node.parent_nodes]
        parents = {parent.layer for node in nodes for parent in node.parent_nodes} - {None}
        parents = {parent for parent in parents if _kind(parent) != "InputLayer"}
        if parents - {before}:
            msg = f"the network branches at layer {layer.name!r}: only a chain of layers can lose whole units"
            raise ForgeError(msg)
        before = layer
    return layers


def _cut(layer: Foreign, kept: Kept, share: float) -> tuple[_Layer, Kept]:
    """Return the layer for the channels that come, without the weakest of those it makes, and the channels it gives."""
    kind, config, weights = _kind(layer), layer.get_config(), layer.get_weights()
    if kind in _UNITS and config.get("groups", 1) == 1:
        stays = _strongest(weights[0], share)
        cut = [weights[0][..., kept, :][..., stays], *(each[stays] for each in weights[1:])]
        return _Layer(type(layer).from_config({**config, _UNITS[kind]: len(stays)}), cut), stays
    if kind in _CHANNELWISE and config.get("depth_multiplier", 1) == 1:
        cut = [each[..., kept, :] if each.ndim > 1 else each[kept] for each in weights]
        return _Layer(type(layer).from_config(config), cut), kept
    if kind == "Flatten":
        *places, channels = layer.input_shape[1:]
        return _Layer(type(layer).from_config(config), []), _flattened(kept, int(np.prod(places)), channels)
    complete = len(kept) == layer.input_shape[-1]
    if kind in _WITHOUT_WEIGHTS or complete:
        stays = kept if kind in _WITHOUT_WEIGHTS else np.arange(layer.output_shape[-1])
        return _Layer(type(layer).from_config(config), weights), stays
    msg = f"layer {layer.name!r} ({kind}) cannot lose channels: prune without --structured"
    raise ForgeError(msg)


def _strongest(kernel: Array, share: float) -> Kept:
    """Return the units to keep, ascending: all but the round(share * units) of the smallest weights."""
    units = kernel.shape[-1]
    strength = np.abs(kernel).reshape(-1, units).sum(axis=0)
    lost = min(units - 1, round(share * units))
    return np.sort(np.argsort(strength, kind="stable")[lost:])


def _flattened(kept: Kept, places: int, channels: int) -> Kept:
    """Return where channels lie once all places are put in one row."""
    return (np.arange(places)[:, np.newaxis] * channels + kept).reshape(-1)
