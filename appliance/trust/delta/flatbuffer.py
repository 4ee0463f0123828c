"""Where things stand in a ``.tflite`` file: a walk over its flatbuffer that reads nothing outside of it, and ends.

The schema is tensorflow/compiler/mlir/lite/schema/schema.fbs (version 3); fields are named here by their number in it.
A table starts with the distance back to its vtable; the vtable holds, from its fifth byte on, where in the table each
field stands (0: left out).
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from appliance.trust.delta.streams import Buffer, refuse

VISITS_MAX = 100_000
"""Tables and references followed: a detector has 2,000, and a crafted file could name one table a million times."""
RANK_MAX = 16
"""Most dimensions of a tensor that are read."""
NAME_BYTES_MAX = 256
"""As much of a tensor's name is read: it tells tensors apart."""

Span = tuple[int, int]
"""Where a vector's elements start, in bytes, and how many there are; ``(0, 0)`` for one that is left out."""


@dataclass(frozen=True, slots=True)
class Tensor:
    """One tensor: what it is, and where its numbers stand in the file."""

    name: bytes
    shape: tuple[int, ...]
    type: int
    """Number in the schema's ``TensorType``."""
    data: Span
    """In bytes."""
    scale: Span
    zero_point: Span
    axis: int
    """The dimension that per-channel scales go along."""


@dataclass(frozen=True, slots=True)
class Operator:
    """One operator of the graph."""

    inputs: tuple[int, ...]
    """Indices into ``Network.tensors``; -1 where an input is left out."""
    custom: Span
    """The options of a custom operator: for the Edge TPU's, the compiled network."""


@dataclass(frozen=True, slots=True)
class Network:
    """The tensors and operators of all subgraphs."""

    tensors: tuple[Tensor, ...]
    operators: tuple[Operator, ...]


def walk(content: Buffer) -> Network:
    """Find the tensors and operators of a ``.tflite`` file. Raises BundleError when it is none, or damaged."""
    return _Walk(content).network()


@dataclass(frozen=True, slots=True)
class _Table:
    at: int
    fields: tuple[int, ...]
    """Where each field stands in the file; 0 for one that is left out."""

    def field(self, number: int) -> int:
        return self.fields[number] if number < len(self.fields) else 0


class _Walk:
    """Bounds-checked reading of one file."""

    def __init__(self, content: Buffer) -> None:
        self._content = content
        self._visits = 0

    def network(self) -> Network:
        model = self._table(0)
        buffers = [self._buffer(each) for each in self._tables(model, 4)]
        tensors: list[Tensor] = []
        operators: list[Operator] = []
        for subgraph in self._tables(model, 2):
            first = len(tensors)
            tensors += [self._tensor(each, buffers) for each in self._tables(subgraph, 0)]
            operators += [self._operator(each, first, len(tensors)) for each in self._tables(subgraph, 3)]
        return Network(tuple(tensors), tuple(operators))

    def _buffer(self, table: _Table) -> Span:
        """Find a buffer's bytes: a vector of the flatbuffer, or since 2023 also bytes behind it."""
        inside = self._vector(table, 0, 1)
        at, size = (self._scalar(table, number, "<Q") for number in (1, 2))
        outside = at > 1 and size > 0 and at + size <= len(self._content)
        return (at, size) if outside and not inside[1] else inside

    def _tensor(self, table: _Table, buffers: list[Span]) -> Tensor:
        number = self._scalar(table, 2, "<I")
        quantization = table.field(4)
        scheme = self._table(quantization) if quantization else _Table(0, ())
        return Tensor(
            name=self._bytes(self._vector(table, 3, 1)),
            shape=self._numbers(self._vector(table, 0, 4), RANK_MAX),
            type=self._scalar(table, 1, "<B"),
            data=buffers[number] if number < len(buffers) else (0, 0),
            scale=self._vector(scheme, 2, 4),
            zero_point=self._vector(scheme, 3, 8),
            axis=self._scalar(scheme, 6, "<i"),
        )

    def _operator(self, table: _Table, first: int, end: int) -> Operator:
        inputs = self._numbers(self._vector(table, 1, 4), VISITS_MAX)
        return Operator(
            tuple(first + each if 0 <= each < end - first else -1 for each in inputs), self._vector(table, 5, 1)
        )

    def _tables(self, table: _Table, number: int) -> Iterator[_Table]:
        """Yield the tables of a vector of tables."""
        at, count = self._vector(table, number, 4)
        for index in range(count):
            yield self._table(at + 4 * index)

    def _table(self, reference_at: int) -> _Table:
        """Follow the reference that stands at an offset."""
        self._visit()
        at = reference_at + self._read("<I", reference_at)
        vtable = at - self._read("<i", at)
        size = self._read("<H", vtable)
        fields = (self._read("<H", vtable + place) for place in range(4, size - 1, 2))
        return _Table(at, tuple(at + place if place else 0 for place in fields))

    def _vector(self, table: _Table, number: int, width: int) -> Span:
        """Find a vector of elements of ``width`` bytes, wholly inside the file."""
        reference_at = table.field(number)
        if not reference_at:
            return (0, 0)
        at = reference_at + self._read("<I", reference_at)
        count = self._read("<I", at)
        if at + 4 + count * width > len(self._content):
            refuse(f"the base is no sound .tflite file: a vector at {at} ends behind it")
        return (at + 4, count) if count else (0, 0)

    def _scalar(self, table: _Table, number: int, form: str) -> int:
        at = table.field(number)
        return self._read(form, at) if at else 0

    def _numbers(self, span: Span, most: int) -> tuple[int, ...]:
        at, count = span
        self._visit(min(count, most))
        return struct.unpack_from(f"<{min(count, most)}i", self._content, at)

    def _bytes(self, span: Span) -> bytes:
        at, count = span
        return bytes(self._content[at : at + min(count, NAME_BYTES_MAX)])

    def _read(self, form: str, at: int) -> int:
        if not 0 <= at <= len(self._content) - struct.calcsize(form):
            refuse(f"the base is no sound .tflite file: it points to {at}")
        value: int = struct.unpack_from(form, self._content, at)[0]
        return value

    def _visit(self, times: int = 1) -> None:
        self._visits += times
        if self._visits > VISITS_MAX:
            refuse(f"the base is no sound .tflite file: more than {VISITS_MAX} references")
