"""The typed segments of a ``.tflite`` file: which of its bytes are scales, zero points, weights and biases."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import IntEnum
from itertools import pairwise
from math import prod

import numpy as np

from appliance.trust.delta.flatbuffer import Network, Span, Tensor, walk
from appliance.trust.delta.streams import Buffer, refuse

INT32, UINT8, INT8 = 2, 3, 9
"""Numbers of the schema's ``TensorType``."""
COMPILED_BYTES_MIN = 4097
"""From here on the options of a custom operator are taken for a network compiled for the Edge TPU."""
TILE_PIECE_BYTES = 16_384
"""A compiled network is cut into segments of this size, so that classes can follow what it holds."""
TILE_CHANNELS, TILE_BYTES = 64, 4
"""It keeps weights in tiles: 64 output channels with 4 bytes (input channels) each."""


class Kind(IntEnum):
    """What a segment holds."""

    SCALE = 0
    """float32"""
    ZERO = 1
    """int64"""
    WEIGHT = 2
    """int8, or uint8"""
    BIAS = 3
    """int32"""


DTYPES = {Kind.SCALE: "<f4", Kind.ZERO: "<i8", Kind.WEIGHT: "|u1", Kind.BIAS: "<i4"}
WIDTHS = {kind: np.dtype(name).itemsize for kind, name in DTYPES.items()}
NO_TENSOR = -1


@dataclass(frozen=True, slots=True)
class Segment:
    """A run of numbers of one kind, in the base and in the result."""

    kind: Kind
    base: Span
    """Offset in bytes and number of elements in the base."""
    result: Span
    """The same in the result; no elements where the result has no such segment."""
    tensor: int
    """What ties weights to their scales: the base's number of the tensor, or ``NO_TENSOR``."""
    signed: bool = True
    """Weights: int8 instead of uint8."""
    channels: int = 1
    """Weights, biases: element i belongs to channel ``i // inner % channels``."""
    inner: int = 1
    depth: int = 1
    """Weights: element i belongs to column ``i % depth``, its input channel."""
    factors: tuple[int, int] | None = None
    """Scale of a bias: tensors whose scales it is the product of (weights, input)."""

    @property
    def end(self) -> int:
        """Where it ends in the result, in bytes."""
        return self.result[0] + self.result[1] * WIDTHS[self.kind]

    @property
    def base_end(self) -> int:
        """Where it ends in the base, in bytes."""
        return self.base[0] + self.base[1] * WIDTHS[self.kind]

    def of_result(self, at: int, count: int) -> "Segment":
        """Place it in the result. Rows of weights may have come or gone; then there are as many more channels."""
        rows, rest = divmod(count, self.inner)
        grown = count != self.base[1] and self.channels * self.inner == self.base[1] and not rest
        return replace(self, result=(at, count), channels=max(rows, 1) if grown else self.channels)


def plan(base: Buffer) -> list[Segment]:
    """Find the segments of a base, each at the same place in the result, in the order of their offsets.

    Raises:
        BundleError: it is no sound ``.tflite`` file.
    """
    found = sorted(_segments(walk(base)), key=lambda each: (each.base[0], each.kind))
    kept: list[Segment] = []
    for segment in found:  # two tensors may share a buffer: the first has it
        if segment.base[1] and segment.base_end <= len(base) and (not kept or segment.base[0] >= kept[-1].base_end):
            kept.append(segment)
    return kept


def moved(segments: list[Segment], shifts: list[int], growths: list[int], size_bytes: int) -> list[Segment]:
    """Place segments in a result of another layout.

    Args:
        segments: those of the base.
        shifts: how much further each moves than the one before it, in bytes.
        growths: by how many elements each grows; by less than nothing to none when it is not there.
        size_bytes: of the result.

    Raises:
        BundleError: one stands outside the result, or two overlap.
    """
    placed = []
    shift = 0
    for segment, further, growth in zip(segments, shifts, growths, strict=True):
        shift += further
        at, count = segment.base[0] + shift, segment.base[1] + growth
        if count > 0:
            placed.append(segment.of_result(at, count))
    return checked(placed, size_bytes)


def checked(segments: list[Segment], size_bytes: int) -> list[Segment]:
    """Return the segments by their place in the result. Raises BundleError when one is outside, or two overlap."""
    placed = sorted(segments, key=lambda each: each.result[0])
    outside = placed and (placed[0].result[0] < 0 or placed[-1].end > size_bytes)
    if outside or any(before.end > after.result[0] for before, after in pairwise(placed)):
        refuse("segments overlap, or stand outside the result")
    return placed


def holes(segments: list[Segment], size_bytes: int) -> list[Span]:
    """List the runs of the result's bytes that no segment covers."""
    starts = [0, *(each.end for each in segments)]
    ends = [*(each.result[0] for each in segments), size_bytes]
    return [(start, end - start) for start, end in zip(starts, ends, strict=True) if end > start]


def outside(segments: list[Segment], base: Buffer) -> bytes:
    """Return the bytes of the base that belong to no segment of the result."""
    content, at, pieces = memoryview(base), 0, []
    for segment in sorted(segments, key=lambda each: each.base[0]):
        pieces.append(content[at : segment.base[0]])
        at = segment.base_end
    return b"".join([*pieces, content[at:]])


def _segments(network: Network) -> Iterator[Segment]:
    """Yield every segment there could be; some may share their bytes."""
    factors = _factors(network)
    for number, tensor in enumerate(network.tensors):
        yield Segment(Kind.SCALE, tensor.scale, tensor.scale, number, factors=factors.get(number))
        yield Segment(Kind.ZERO, tensor.zero_point, tensor.zero_point, number)
        yield from _data(tensor, number)
    for operator in network.operators:
        yield from _compiled(operator.custom)


def _factors(network: Network) -> dict[int, tuple[int, int]]:
    """Map each bias to its weights and its operator's input.

    Convolutions and products take (input, weights, bias), transposed convolutions (shape, weights, input, bias).
    """
    pairs = {}
    for operator in network.operators:
        inputs = operator.inputs
        if len(inputs) in (3, 4) and min(inputs) >= 0 and network.tensors[inputs[-1]].type == INT32:
            pairs[inputs[-1]] = (inputs[1], inputs[0] if len(inputs) == 3 else inputs[2])  # noqa: PLR2004 - as said
    return pairs


def _data(tensor: Tensor, number: int) -> Iterator[Segment]:
    """Yield the segment of a tensor's own numbers."""
    at, size = tensor.data
    kind = Kind.BIAS if tensor.type == INT32 else Kind.WEIGHT
    if tensor.type in (INT32, UINT8, INT8) and tensor.scale[1]:  # without a scale it is a shape, or a list of axes
        span = (at, size // WIDTHS[kind])
        channels, inner, depth = _channels(tensor, span[1])
        signed = tensor.type == INT8
        yield Segment(kind, span, span, number, signed=signed, channels=channels, inner=inner, depth=depth)


def _channels(tensor: Tensor, count: int) -> tuple[int, int, int]:
    """Return the output channels of weights, how many elements in a row belong to the same one, the input channels."""
    shape, axis = tensor.shape, tensor.axis
    if tensor.scale[1] == 1:  # per-tensor scales name no axis: depthwise weights are [1, height, width, channels]
        axis = len(shape) - 1 if shape[:1] == (1,) else 0
    if not 0 <= axis < len(shape) or prod(shape) != count:
        return 1, 1, 1
    inner = prod(shape[axis + 1 :])
    return shape[axis], inner, shape[-1] if inner > 1 else 1


def _compiled(options: Span) -> Iterator[Segment]:
    """Yield the pieces of a network compiled for the Edge TPU."""
    at, size = options
    for start in range(0, size if size >= COMPILED_BYTES_MIN else 0, TILE_PIECE_BYTES):
        span = (at + start, min(TILE_PIECE_BYTES, size - start))
        yield Segment(Kind.WEIGHT, span, span, NO_TENSOR, signed=False, channels=TILE_CHANNELS, inner=TILE_BYTES)
