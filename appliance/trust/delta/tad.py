"""Decode ``tad1``: a ``.tflite`` file from its base, tensor by tensor. ``docs/delta-format.md`` is the format.

Nothing is held of the result but its scales, and the bytes that are no tensor's numbers; weights are made a block at a
time.
"""

from collections.abc import Sequence
from enum import IntFlag

import numpy as np

from appliance.core.types import Array
from appliance.trust.delta import copyadd
from appliance.trust.delta.streams import Buffer, Reader, Sink, refuse
from appliance.trust.delta.tad_numbers import read_numbers
from appliance.trust.delta.tad_plan import DTYPES, Kind, Segment, checked, holes, moved, outside, plan
from appliance.trust.delta.tad_scales import BIAS_CONTEXTS, SCALE_CONTEXTS, Scales, in_order, predict_biases
from appliance.trust.delta.tad_stream import BLOCK, Piece, Symbols, blocks, read_weights
from appliance.trust.delta.tad_weights import Mode, Weights, predict

MEMORY_BYTES = 10 * 1024 * 1024
"""Of blocks, tables and numbers: 8 MiB measured for models of 3 MB."""


class Section(IntFlag):
    """Sections that a delta has: its first byte. What is missing is as predicted."""

    TABLE = 1
    REST = 2
    SCALES = 4
    ZEROS = 8
    WEIGHTS = 16
    BIASES = 32


def memory_bytes(size_bytes: int, base_bytes: int) -> int:
    """Bound what decoding a sound delta allocates, in bytes, the base itself not counted.

    Blocks of weights, a stream's tables, and scales and biases (about 60 bytes each while they are made) take what
    hardly depends on the model; the bytes outside of segments are held, of base and result.
    """
    return MEMORY_BYTES + base_bytes + size_bytes


def decode(payload: Buffer, base: Buffer, size_bytes: int, sink: Sink) -> None:
    """Make a ``.tflite`` file.

    Args:
        payload: the delta.
        base: the file it starts from; may be mapped.
        size_bytes: of the result.
        sink: is given each byte of the result once.

    Raises:
        BundleError: the payload is damaged, or does not fit the base.
    """
    reader = Reader(payload)
    there = reader.byte()
    if there >= 2 * Section.BIASES:
        refuse(f"sections {there} are not known")
    try:
        _Making(reader, Section(there), base, size_bytes, sink).make()
    except MemoryError:
        refuse("it takes more memory than a sound one")
    reader.end()


class _Making:
    """One result in the making: sections are read in their order, and each needs those before it."""

    def __init__(self, reader: Reader, there: Section, base: Buffer, size_bytes: int, sink: Sink) -> None:
        self._reader = reader
        self._there = there
        self._base = base
        self._sink = sink
        self._segments = _segments(reader if Section.TABLE in there else None, base, size_bytes)
        self._size_bytes = size_bytes
        self._scales = Scales(self._segments, base)

    def make(self) -> None:
        self._rest()
        scales, zeros = in_order(self._segments, self._scales)
        self._parameters(scales, Section.SCALES)
        self._parameters(zeros, Section.ZEROS)
        weights = [each for each in self._segments if each.kind is Kind.WEIGHT]
        modes = read_weights(self._reader if Section.WEIGHTS in self._there else None, weights, self._scales)
        self._weights(modes)
        self._biases()

    def _rest(self) -> None:
        """Make the bytes outside of segments."""
        content: Buffer = outside(self._segments, self._base)
        gaps = holes(self._segments, self._size_bytes)
        size_bytes = sum(size for _, size in gaps)
        if Section.REST in self._there:
            payload = self._reader.take(self._reader.number(self._reader.left))
            made = bytearray(size_bytes)

            def collect(offset: int, content: bytes | memoryview) -> None:
                made[offset : offset + len(content)] = content

            copyadd.decode(payload, content, size_bytes, collect)
            content = made
        rest = Reader(content)
        for at, size in gaps:
            self._sink(at, rest.take(size))
        rest.end()

    def _parameters(self, segments: Sequence[Segment], section: Section) -> None:
        """Make scales, or zero points."""
        contexts = self._scales.contexts(segments)
        left = self._numbers(section, contexts, SCALE_CONTEXTS)
        for segment, part in zip(segments, _split(left, segments), strict=True):
            predicted = self._scales.predicted(segment)
            dtype = np.dtype(DTYPES[segment.kind])
            whole = predicted.view(f"<i{dtype.itemsize}") + part.astype(f"<i{dtype.itemsize}")
            self._scales.learn(segment, whole.view(dtype))
            self._sink(segment.result[0], whole.tobytes())

    def _numbers(self, section: Section, contexts: Array, contexts_count: int) -> Array:
        """Read a section's numbers; all are 0 where it is missing."""
        if section in self._there:
            return read_numbers(self._reader, contexts, contexts_count)
        return np.zeros(len(contexts), np.int64)

    def _weights(self, weights: Sequence[Weights]) -> None:
        """Make weights: those whose prediction is exact, then those of which something is left."""
        coded = [each for each in weights if Mode.CODED in each.mode]
        for block in blocks([each for each in weights if Mode.CODED not in each.mode], BLOCK):
            for each, start, end in block:
                self._put(each, start, predict(each, self._base, start, end).values)
        if coded:
            stream = Symbols(self._reader, coded)
            for block in blocks(coded, stream.block):
                self._block(block, stream)
            stream.end()

    def _block(self, block: Sequence[Piece], stream: Symbols) -> None:
        """Make a block of coded weights."""
        predicted = [predict(each, self._base, start, end) for each, start, end in block]
        symbols = stream.read(np.concatenate([each.contexts for each in predicted])).astype(np.int32)
        at = 0
        for (each, start, end), (values, _, flipped) in zip(block, predicted, strict=True):
            left = symbols[at : at + end - start]
            self._put(each, start, values + np.where(flipped, -left, left))
            at += end - start

    def _put(self, weights: Weights, start: int, values: Array) -> None:
        self._sink(weights.segment.result[0] + start, (values & 0xFF).astype(np.uint8).tobytes())

    def _biases(self) -> None:
        segments = [each for each in self._segments if each.kind is Kind.BIAS]
        predicted = [predict_biases(each, self._base, self._scales) for each in segments]
        contexts = np.concatenate([np.zeros(0, np.intp), *(each[1] for each in predicted)])
        left = self._numbers(Section.BIASES, contexts, BIAS_CONTEXTS)
        for segment, part, (values, _, flipped) in zip(segments, _split(left, segments), predicted, strict=True):
            self._sink(segment.result[0], (values + np.where(flipped, -part, part)).astype("<i4").tobytes())


def _segments(reader: Reader | None, base: Buffer, size_bytes: int) -> list[Segment]:
    """Find the segments of the result: those of the base, moved as the delta says. Raises BundleError."""
    segments = plan(base)
    if reader is None:
        return checked(segments, size_bytes)
    contexts = np.zeros(len(segments), np.intp)
    shifts, growths = (read_numbers(reader, contexts, 1).tolist() for _ in range(2))
    return moved(segments, shifts, growths, size_bytes)


def _split(values: Array, segments: Sequence[Segment]) -> list[Array]:
    """Cut values into those of each segment."""
    return np.split(values, np.cumsum([each.result[1] for each in segments])[:-1]) if segments else []
