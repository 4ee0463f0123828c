"""Small ``.tflite`` files of fully connected layers, written byte by byte, and what becomes of them in a version."""

import struct
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
INT32, UINT8, INT8 = 2, 3, 9
COMPILED_BYTES = 20_000


@dataclass(frozen=True)
class Dense:
    """A layer: what it is before quantisation, and how it is quantised."""

    name: str
    weights: Floats
    """[outputs, inputs]"""
    biases: Floats
    per_channel: bool = True
    unsigned: bool = False
    entry_scale: float = 0.05
    zero_point: int = 128
    """Of unsigned weights."""

    @property
    def scales(self) -> NDArray[np.float32]:
        """Of the weights: 127 steps reach the largest."""
        peak = np.abs(self.weights).max(axis=1 if self.per_channel else None, keepdims=True)
        return np.asarray(np.maximum(peak, 1e-6).ravel() / 127, np.float32)


@dataclass(frozen=True)
class Network:
    """A model: layers one after the other, a text that stands before them, and perhaps a compiled network."""

    layers: tuple[Dense, ...]
    text: bytes = b"made by hand"
    compiled: bytes = b""

    def __post_init__(self) -> None:
        assert self.layers


def network(seed: int, *, layers: int = 2, size: int = 24, per_channel: bool = True, unsigned: bool = False) -> Network:
    """Make a network of random weights."""
    rng = np.random.default_rng(seed)
    made = [
        Dense(
            f"layer{number}/weights",
            rng.normal(size=(size + 3 * number, size)) * rng.uniform(0.2, 2, size=(size + 3 * number, 1)),
            rng.normal(size=size + 3 * number) * 3,
            per_channel=per_channel and not unsigned,
            unsigned=unsigned,
        )
        for number in range(layers)
    ]
    return Network(tuple(made))


def tuned(old: Network, seed: int, strength: float, *, rank: int = 0) -> Network:
    """Train on: every weight changes a little, or in a few directions."""
    rng = np.random.default_rng(seed)

    def change(layer: Dense) -> Dense:
        outputs, inputs = layer.weights.shape
        noise = rng.normal(size=(outputs, inputs))
        if rank:
            noise = rng.normal(size=(outputs, rank)) @ rng.normal(size=(rank, inputs))
        return replace(layer, weights=layer.weights + strength * noise, biases=layer.biases * (1 + strength))

    return replace(old, layers=tuple(map(change, old.layers)))


def recalibrated(old: Network, factor: float) -> Network:
    """Give activations another scale."""
    return replace(old, layers=tuple(replace(each, entry_scale=each.entry_scale * factor) for each in old.layers))


def pruned(old: Network, share: float) -> Network:
    """Set a share of the weights to zero, the smallest of each channel."""

    def cut(layer: Dense) -> Dense:
        limit = np.quantile(np.abs(layer.weights), share, axis=1, keepdims=True)
        return replace(layer, weights=np.where(np.abs(layer.weights) < limit, 0, layer.weights))

    return replace(old, layers=tuple(map(cut, old.layers)))


def grown(old: Network, outputs: int, seed: int) -> Network:
    """Add outputs to the last layer: classes."""
    last, rng = old.layers[-1], np.random.default_rng(seed)
    more = replace(
        last,
        weights=np.vstack([last.weights, rng.normal(size=(outputs, last.weights.shape[1]))]),
        biases=np.append(last.biases, rng.normal(size=outputs)),
    )
    return replace(old, layers=(*old.layers[:-1], more))


class _Writer:
    """Appends tables and vectors; references are filled in once what they point to is written."""

    def __init__(self) -> None:
        self.content = bytearray(b"\0\0\0\0TFL3")

    def refer(self, at: int) -> None:
        self.content += bytes(-len(self.content) % 8)
        struct.pack_into("<I", self.content, at, len(self.content) - at)

    def table(self, at: int, fields: Sequence[int | None]) -> list[int]:
        """Write a table whose fields have four bytes each; returns where each stands."""
        self.refer(at)
        start = len(self.content)
        size = 4 + 4 * len(fields)
        places = [0 if value is None else 4 + 4 * number for number, value in enumerate(fields)]
        self.content += struct.pack("<i", -size) + b"".join(struct.pack("<I", value or 0) for value in fields)
        self.content += struct.pack(f"<HH{len(fields)}H", 4 + 2 * len(fields), size, *places)
        return [start + 4 + 4 * number for number in range(len(fields))]

    def vector(self, at: int, count: int, content: bytes) -> None:
        self.refer(at)
        self.content += bytes(4 if content and len(content) == 8 * count else 0)
        struct.pack_into("<I", self.content, at, len(self.content) - at)
        self.content += struct.pack("<I", count) + content

    def references(self, at: int, count: int) -> list[int]:
        self.vector(at, count, bytes(4 * count))
        return [len(self.content) - 4 * (count - number) for number in range(count)]


@dataclass(frozen=True)
class _Tensor:
    name: str
    shape: tuple[int, ...]
    type: int
    data: bytes
    scales: NDArray[np.float32]
    zero_point: int = 0


def written(model: Network) -> bytes:
    """Quantise a network, and write it as a ``.tflite`` file."""
    tensors, operators = _parts(model)
    writer = _Writer()
    fields = writer.table(0, [3, None, 0, 0, 0])
    writer.vector(fields[3], len(model.text), model.text)
    (graph,) = writer.references(fields[2], 1)
    lists = writer.table(graph, [0, None, None, 0])
    for place, (number, tensor) in zip(writer.references(lists[0], len(tensors)), enumerate(tensors), strict=True):
        _write_tensor(writer, place, tensor, number)
    calls = [*operators, ()] if model.compiled else operators
    for place, inputs in zip(writer.references(lists[3], len(calls)), calls, strict=True):
        parts = writer.table(place, [0, 0, None, None, None, None if inputs else 0])
        writer.vector(parts[1], len(inputs), struct.pack(f"<{len(inputs)}i", *inputs))
        if not inputs:
            writer.vector(parts[5], len(model.compiled), model.compiled)
    for place, tensor in zip(writer.references(fields[4], len(tensors)), tensors, strict=True):
        (data,) = writer.table(place, [0 if tensor.data else None])
        if tensor.data:
            writer.vector(data, len(tensor.data), tensor.data)
    return bytes(writer.content)


def _write_tensor(writer: _Writer, place: int, tensor: _Tensor, number: int) -> None:
    parts = writer.table(place, [0, tensor.type, number, 0, 0])
    writer.vector(parts[0], len(tensor.shape), struct.pack(f"<{len(tensor.shape)}i", *tensor.shape))
    writer.vector(parts[3], len(tensor.name), tensor.name.encode())
    scheme = writer.table(parts[4], [None, None, 0, 0, None, None, 0])
    writer.vector(scheme[2], len(tensor.scales), tensor.scales.tobytes())
    zeros = np.full(len(tensor.scales), tensor.zero_point, "<i8")
    writer.vector(scheme[3], len(zeros), zeros.tobytes())


def _parts(model: Network) -> tuple[list[_Tensor], list[tuple[int, ...]]]:
    """Quantise the layers: each has an input, weights and biases."""
    tensors: list[_Tensor] = []
    operators: list[tuple[int, ...]] = []
    for layer in model.layers:
        entry = np.full(1, layer.entry_scale, np.float32)
        scales = layer.scales
        zero_point = layer.zero_point if layer.unsigned else 0
        q = np.rint(layer.weights / (scales[:, None] if layer.per_channel else scales[0])) + zero_point
        q = q.clip(0, 255).astype(np.uint8) if layer.unsigned else q.clip(-127, 127).astype(np.int8)
        bias_scales = scales * entry
        biases = np.rint(layer.biases / bias_scales.astype(np.float64)).clip(-(2**31), 2**31 - 1).astype("<i4")
        first = len(tensors)
        tensors += [
            _Tensor(f"{layer.name}/in", (1, layer.weights.shape[1]), INT8, b"", entry, -3),
            _Tensor(
                layer.name, layer.weights.shape, UINT8 if layer.unsigned else INT8, q.tobytes(), scales, zero_point
            ),
            _Tensor(f"{layer.name}/bias", layer.biases.shape, INT32, biases.tobytes(), bias_scales),
        ]
        operators.append((first, first + 1, first + 2))
    return tensors, operators
