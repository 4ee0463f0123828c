"""Encode ``tad1``: a ``.tflite`` file against its base, tensor by tensor (``trust/delta/tad.py`` decodes it)."""

from collections.abc import Iterator, Sequence

import numpy as np

from appliance.core.types import Array
from appliance.errors import BundleError
from appliance.hub.delta import copyadd
from appliance.hub.delta.packing import pack, varint
from appliance.hub.delta.tad_match import placed
from appliance.hub.delta.tad_numbers import write_numbers
from appliance.hub.delta.tad_symbols import coded
from appliance.hub.delta.tad_weights import Choice, choose, write_choices
from appliance.trust.delta.flatbuffer import Span
from appliance.trust.delta.tad import Section
from appliance.trust.delta.tad_plan import DTYPES, Kind, Segment, checked, holes, moved, outside
from appliance.trust.delta.tad_scales import BIAS_CONTEXTS, SCALE_CONTEXTS, Scales, in_order, predict_biases
from appliance.trust.delta.tad_stream import PACKED, RANS
from appliance.trust.delta.tad_weights import CONTEXTS, Mode

TFLITE = b"TFL3"
"""Identifier of a ``.tflite`` file, at its fifth byte."""
PACKED_MAX = 1 << 18
"""Most weights that packing is tried on: of more, tables always know more than what LZMA finds."""


def encode(base: bytes, result: bytes) -> bytes | None:
    """Encode a result against its base; None when one is no ``.tflite`` file, or they have no tensor in common."""
    if base[4:8] != TFLITE or result[4:8] != TFLITE:
        return None
    try:
        found = placed(base, result)
    except BundleError:
        return None
    if not any(count for _, (_, count) in found):
        return None
    return _Encoding(base, result, found).whole()


class _Encoding:
    """One delta in the making: sections are written in their order, and each knows those before it."""

    def __init__(self, base: bytes, result: bytes, found: Sequence[tuple[Segment, Span]]) -> None:
        self._base, self._result = base, result
        self._table = _table(found)
        old = [segment for segment, _ in found]
        self._segments = moved(old, *self._table, len(result)) if self._moves else checked(old, len(result))
        self._scales = Scales(self._segments, base)

    @property
    def _moves(self) -> bool:
        return any(any(column) for column in self._table)

    def whole(self) -> bytes:
        sections = dict(self._sections())
        return bytes([sum(sections)]) + b"".join(sections.values())

    def _sections(self) -> Iterator[tuple[Section, bytes]]:
        if self._moves:
            contexts = np.zeros(len(self._table[0]), np.intp)
            yield Section.TABLE, b"".join(write_numbers(np.asarray(each), contexts, 1) for each in self._table)
        yield from self._rest()
        scales, zeros = in_order(self._segments, self._scales)
        yield from self._parameters(scales, Section.SCALES)
        yield from self._parameters(zeros, Section.ZEROS)
        yield from self._weights()
        yield from self._biases()

    def _rest(self) -> Iterator[tuple[Section, bytes]]:
        """Write the bytes outside of segments."""
        base = outside(self._segments, self._base)
        rest = b"".join(self._result[at : at + size] for at, size in holes(self._segments, len(self._result)))
        if base != rest:
            payload = copyadd.encode(base, rest)
            yield Section.REST, varint(len(payload)) + payload

    def _parameters(self, segments: Sequence[Segment], section: Section) -> Iterator[tuple[Section, bytes]]:
        """Write scales, or zero points."""
        contexts = self._scales.contexts(segments)
        left = []
        for segment in segments:
            predicted, actual = self._scales.predicted(segment), self._of_result(segment)
            whole = f"<i{actual.dtype.itemsize}"
            left.append((actual.view(whole) - predicted.view(whole)).astype(np.int64))
            self._scales.learn(segment, actual)
        yield from _numbers(section, left, contexts, SCALE_CONTEXTS)

    def _weights(self) -> Iterator[tuple[Section, bytes]]:
        segments = [each for each in self._segments if each.kind is Kind.WEIGHT]
        choices = [choose(each, self._base, self._result, self._scales) for each in segments]
        if any(each.weights.mode for each in choices):
            left = [each for each in choices if Mode.CODED in each.weights.mode]
            yield Section.WEIGHTS, write_choices(choices) + (_symbols(left) if left else b"")

    def _biases(self) -> Iterator[tuple[Section, bytes]]:
        segments = [each for each in self._segments if each.kind is Kind.BIAS]
        left, contexts = [], [np.zeros(0, np.intp)]
        for segment in segments:
            values, context, flipped = predict_biases(segment, self._base, self._scales)
            each = self._of_result(segment) - values
            left.append(np.where(flipped, -each, each))
            contexts.append(context)
        yield from _numbers(Section.BIASES, left, np.concatenate(contexts), BIAS_CONTEXTS)

    def _of_result(self, segment: Segment) -> Array:
        """Return a segment's numbers in the result."""
        at, count = segment.result
        return np.frombuffer(self._result, DTYPES[segment.kind], count, at)


def _table(found: Sequence[tuple[Segment, Span]]) -> tuple[list[int], list[int]]:
    """Return how much further each segment moves than the one before it (bytes), and how much it grows (elements)."""
    shifts, growths, shift = [], [], 0
    for segment, (at, count) in found:
        here = at - segment.base[0] if count else shift
        shifts.append(here - shift)
        growths.append(count - segment.base[1])
        shift = here
    return shifts, growths


def _numbers(
    section: Section, left: Sequence[Array], contexts: Array, contexts_count: int
) -> Iterator[tuple[Section, bytes]]:
    """Write what is left of numbers, where something is."""
    values = np.concatenate([np.zeros(0, np.int64), *left])
    if values.any():
        yield section, write_numbers(values, contexts, contexts_count)


def _symbols(left: Sequence[Choice]) -> bytes:
    """Write what is left of weights, in the form that is smaller."""
    symbols = np.concatenate([each.left for each in left])
    contexts = np.concatenate([each.contexts for each in left])
    written = [bytes([RANS]) + coded(symbols, contexts, CONTEXTS)]
    if len(symbols) <= PACKED_MAX:
        written.append(bytes([PACKED]) + pack(symbols.tobytes()))
    return min(written, key=len)
