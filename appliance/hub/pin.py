"""Scale pinning: the weights of a new version written on the scales of the one before, where their range allows it.

Training moves every scale a little, and with it every weight's integer, though the real numbers hardly changed. On the
old scales most integers are the old ones again: measured on MobileNetV2, a delta is 13 to 33 % smaller. What it costs
in accuracy is for the gate to say. The file's layout stays as it is: only numbers in it change.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from appliance.errors import BundleError
from appliance.trust.delta.flatbuffer import Network, Span, Tensor, walk

WEIGHT_MAX = 127
"""Of a symmetric int8 weight (TFLite's 8-bit quantization specification): -128 is not used."""
STRETCH_MAX = 1.03
"""How far beyond the old range the largest weight of a channel may lie; it is clipped. Most channels' ranges move by
less in a fine-tune, and without it every second one could not be pinned."""
SHRINK_MIN = 0.5
"""New scale over the old one: below, more than a bit of the channel would be lost."""
BIAS_MAX = 2**31 - 1
BIAS_SCALE_ERROR_MAX = 0.01
"""Of a bias's scale from input scale times weight scale, relative: more, and it is no such bias."""
_INT32, _INT8 = 2, 9
"""Of the schema's ``TensorType``."""

Numbers = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Pinned:
    """A network on the scales of another."""

    tflite: bytes
    channels: int
    """Those that now have the old scale."""
    channels_all: int

    def __str__(self) -> str:
        """Say how much of it is."""
        return f"scales of {self.channels:,} of {self.channels_all:,} channels"


@dataclass(frozen=True, slots=True)
class _Layer:
    """A convolution or dense layer."""

    given: Tensor
    weights: Tensor
    bias: Tensor


def pin(base: bytes, new: bytes, dead_zone_lsb: int = 0) -> Pinned | None:
    """Write the int8 weights of ``new`` on the scales of ``base``.

    Args:
        base: the ``model.tflite`` of the version before.
        new: that of the new one.
        dead_zone_lsb: a weight no further from the old one stays the old one. It erases small updates altogether.

    Returns:
        What came of it; None where the two have not the same graph, tensor by tensor.
    """
    try:
        one, two = walk(base), walk(new)
    except BundleError:
        return None
    if _graph(one) != _graph(two):
        return None
    out, channels, channels_all = bytearray(new), 0, 0
    for old, layer in zip(_layers(one, base), _layers(two, new), strict=False):
        if (old.weights.name, old.weights.shape) != (layer.weights.name, layer.weights.shape):
            continue
        kept = _pin_layer(base, old, out, layer, dead_zone_lsb)
        channels, channels_all = channels + int(kept.sum()), channels_all + len(kept)
    return Pinned(bytes(out), channels, channels_all)


def _pin_layer(base: bytes, old: _Layer, out: bytearray, layer: _Layer, dead_zone_lsb: int) -> NDArray[np.bool_]:
    """Write one layer's weights, their scales, its bias and its scales into ``out``; returns which channels changed."""
    before, after = _scales(base, old.weights.scale), _scales(out, layer.weights.scale)
    ratio = after.astype(np.float64) / before
    was, weights = _rows(base, old.weights), _rows(out, layer.weights)
    peak = np.abs(weights).max(axis=1)
    fits = (peak * ratio <= (WEIGHT_MAX + 0.5) * STRETCH_MAX) & (ratio >= SHRINK_MIN)
    bias, bias_scales = _values(out, layer.bias.data, "<i4"), _scales(out, layer.bias.scale)
    scales = np.where(fits, before, after)
    # In float32, as the converter makes them: a delta then need not carry them.
    bias_scales_new = scales * _scales(out, layer.given.scale)
    moved = np.floor(bias * (bias_scales.astype(np.float64) / bias_scales_new) + 0.5)
    if np.abs(moved).max(initial=0) > BIAS_MAX:
        return np.zeros(len(fits), bool)
    pinned = np.clip(np.floor(weights * ratio[:, np.newaxis] + 0.5), -WEIGHT_MAX, WEIGHT_MAX)
    pinned = np.where(np.abs(pinned - was) <= dead_zone_lsb, was, pinned)
    _put_rows(out, layer.weights, np.where(fits[:, np.newaxis], pinned, weights))
    _put(out, layer.weights.scale, scales.astype("<f4"))
    unmoved = ~fits | (before == after)
    _put(out, layer.bias.data, np.where(unmoved, bias, moved).astype("<i4"))
    _put(out, layer.bias.scale, np.where(unmoved, bias_scales, bias_scales_new).astype("<f4"))
    return np.asarray(fits)


def _layers(network: Network, content: bytes | bytearray) -> Iterator[_Layer]:
    """Yield what has int8 weights and an int32 bias, both its own."""
    uses = Counter(index for operator in network.operators for index in operator.inputs)
    spans = Counter(span for tensor in network.tensors for span in (tensor.data, tensor.scale) if span[1])
    for operator in network.operators:
        if len(operator.inputs) < 3 or -1 in operator.inputs[:3]:  # noqa: PLR2004 - input, weights, bias
            continue
        layer = _Layer(*(network.tensors[index] for index in operator.inputs[:3]))
        own = all(uses[index] == 1 for index in operator.inputs[1:3]) and all(
            spans[span] == 1 for each in (layer.weights, layer.bias) for span in (each.data, each.scale)
        )
        if own and _is_layer(layer, content):
            yield layer


def _is_layer(layer: _Layer, content: bytes | bytearray) -> bool:
    """Say whether types, sizes and scales are those of a quantised convolution or dense layer."""
    given, weights, bias = layer.given, layer.weights, layer.bias
    channels = weights.scale[1]
    if (given.type, weights.type, bias.type) != (_INT8, _INT8, _INT32) or given.scale[1] != 1:
        return False
    axis_fits = channels == 1 or (weights.axis < len(weights.shape) and weights.shape[weights.axis] == channels)
    if not axis_fits or np.prod(weights.shape) != weights.data[1] or bias.scale[1] != channels:
        return False
    if bias.data[1] % 4 or (channels > 1 and bias.data[1] != 4 * channels):
        return False
    wanted = _scales(content, weights.scale).astype(np.float64) * _scales(content, given.scale)
    found = _scales(content, bias.scale)
    return bool((wanted > 0).all() and (np.abs(found - wanted) <= BIAS_SCALE_ERROR_MAX * wanted).all())


def _graph(network: Network) -> object:
    """Return what two networks must have in common, so that each tensor has its like."""
    tensors = [(each.type, each.shape, each.data[1], each.scale[1], each.axis) for each in network.tensors]
    return tensors, [operator.inputs for operator in network.operators]


def _values(content: bytes | bytearray, span: Span, dtype: str) -> NDArray[np.float64]:
    at, size_bytes = span
    return np.frombuffer(bytes(content[at : at + size_bytes]), dtype).astype(np.float64)


def _scales(content: bytes | bytearray, span: Span) -> NDArray[np.float32]:
    at, count = span
    return np.frombuffer(bytes(content[at : at + 4 * count]), "<f4")


def _rows(content: bytes | bytearray, weights: Tensor) -> Numbers:
    """Return weights as ``[channels, n]``."""
    values = _values(content, weights.data, "i1").reshape(weights.shape)
    channels = weights.scale[1]
    return (values if channels == 1 else np.moveaxis(values, weights.axis, 0)).reshape(channels, -1)


def _put_rows(out: bytearray, weights: Tensor, rows: Numbers) -> None:
    """Undo ``_rows`` and write it."""
    values = rows.astype("i1")
    if weights.scale[1] > 1:
        rest = [size for at, size in enumerate(weights.shape) if at != weights.axis]
        values = np.moveaxis(values.reshape(-1, *rest), 0, weights.axis)
    _put(out, weights.data, np.ascontiguousarray(values))


def _put(out: bytearray, span: Span, values: NDArray[np.generic]) -> None:
    out[span[0] : span[0] + values.nbytes] = values.tobytes()
