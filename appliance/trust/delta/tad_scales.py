"""Predicting scales, zero points and biases from the base's; what encoder and decoder of ``tad1`` must do alike."""

from collections.abc import Sequence

import numpy as np

from appliance.core.types import Array
from appliance.trust.delta.streams import Buffer
from appliance.trust.delta.tad_plan import DTYPES, Kind, Segment

COMPUTED, ALONE, CHANNEL = range(3)
"""Contexts of scales and zero points: one that follows from others; the only one of its tensor; one of a channel."""
SCALE_CONTEXTS = 3
RATIO_MAX = 63.0
"""Scales that shrink by more are taken to shrink by this: then 32 bits hold every product."""
STEPS = 8
"""Distances of a rescaled bias from the whole number that are told apart."""
BIAS_CONTEXTS = STEPS + 1
"""Those, and one for a bias that is not rescaled."""
_NONE = np.zeros(0, np.float32)


class Scales:
    """Scales and zero points of base and result, as they become known, segment by segment."""

    def __init__(self, segments: Sequence[Segment], base: Buffer) -> None:
        self._base = base
        self._after: dict[tuple[Kind, int], Array] = {}
        self._before = {(each.kind, each.tensor): of_base(each, base) for each in segments if each.kind <= Kind.ZERO}
        own = (each for each in segments if each.kind is Kind.SCALE and each.factors is None)
        self._counts = {each.tensor: each.result[1] for each in own}
        self._seen: dict[tuple[bytes, ...], Array] = {}

    def both(self, kind: Kind, tensor: int) -> tuple[Array, Array]:
        """Return a tensor's scales or zero points, of base and result; none where it has none."""
        return self._before.get((kind, tensor), _NONE), self._after.get((kind, tensor), _NONE)

    def derived(self, segment: Segment) -> bool:
        """Whether a scale is predicted as a product: that of a bias is its input's by its weights'."""
        weights, entry = (self._counts.get(each, 0) for each in segment.factors or (-1, -1))
        return entry == 1 and weights in (1, segment.result[1])

    def contexts(self, segments: Sequence[Segment]) -> Array:
        """Return the context of each number of these scales, or these zero points, in the order in which they come."""
        seen = set()
        contexts = []
        for segment in segments:
            key = self._key(segment)
            computed = key in seen or self.derived(segment)
            context = COMPUTED if computed else ALONE if segment.result[1] == 1 else CHANNEL
            contexts.append(np.full(segment.result[1], context))
            seen.add(key)
        return np.concatenate([np.zeros(0, np.intp), *contexts])

    def predicted(self, segment: Segment) -> Array:
        """Predict the scales (float32) or zero points (int64) of a segment.

        The scale of a bias is a product; the others are as what was the same in the base, or as they were.
        """
        count = segment.result[1]
        if segment.factors is not None and self.derived(segment):
            weights, entry = (self._after[Kind.SCALE, each] for each in segment.factors)
            with np.errstate(all="ignore"):  # scales may be any bits
                return np.broadcast_to(weights * entry, count)
        same = self._seen.get(self._key(segment), _NONE)
        return same if len(same) == count else resized(self._before[segment.kind, segment.tensor], count)

    def learn(self, segment: Segment, values: Array) -> None:
        """Remember what a segment is in the result."""
        self._after[segment.kind, segment.tensor] = values
        self._seen[self._key(segment)] = values

    def _key(self, segment: Segment) -> tuple[bytes, ...]:
        """What makes two segments the same in the base; zero points belong to a scale."""
        kinds = (Kind.SCALE,) if segment.kind is Kind.SCALE else (Kind.ZERO, Kind.SCALE)
        return tuple(self._before.get((kind, segment.tensor), _NONE).tobytes() for kind in kinds)


def in_order(segments: Sequence[Segment], scales: Scales) -> tuple[list[Segment], list[Segment]]:
    """Return scales and zero points in the order in which they are written; derived scales come last."""
    of_kind = [[each for each in segments if each.kind is kind] for kind in (Kind.SCALE, Kind.ZERO)]
    return sorted(of_kind[0], key=scales.derived), of_kind[1]


def of_base(segment: Segment, base: Buffer) -> Array:
    """Return a segment's numbers in the base."""
    at, count = segment.base
    return np.frombuffer(base, DTYPES[segment.kind], count, at)


def resized(values: Array, count: int) -> Array:
    """Return the first so many values; the last one is repeated where there are not as many."""
    return values[np.minimum(np.arange(count), len(values) - 1)]


def ratios(before: Array, after: Array) -> Array:
    """Return by what factor numbers grow when their scales change from ``before`` to ``after``, float64 as ``after``.

    There is one at least. It is 1 where a scale is missing, not positive or not finite.
    """
    both = min(len(before), len(after))
    old, new = before[:both].astype(np.float64), after[:both].astype(np.float64)
    sound = np.isfinite(old) & np.isfinite(new) & (old > 0) & (new > 0)
    growth = np.ones(max(len(after), 1))
    growth[:both][sound] = np.minimum(old[sound] / new[sound], RATIO_MAX)
    return growth


def by_channel(each: Array, segment: Segment, start: int, end: int) -> Array:
    """Return the value of each element's channel: there is one for each (the last is for all further), or just one."""
    if len(each) == 1:
        return np.broadcast_to(each, end - start)
    channel = (np.arange(start, end) // segment.inner) % segment.channels
    return each[np.minimum(channel, len(each) - 1)]


def predict_biases(segment: Segment, base: Buffer, scales: Scales) -> tuple[Array, Array, Array]:
    """Predict biases: they change with the ratio of their scales.

    Returns:
        Values (int64); contexts below BIAS_CONTEXTS; and whether what is left is written with its sign turned.
    """
    count = segment.result[1]
    growth = by_channel(ratios(*scales.both(Kind.SCALE, segment.tensor)), segment, 0, count)
    exact = resized(of_base(segment, base), count).astype(np.float64) * growth
    values = np.floor(exact + 0.5)
    beyond = exact - values
    step = np.minimum(np.floor(np.abs(beyond) * (2 * STEPS)), STEPS - 1).astype(np.intp)
    contexts = np.where(growth == 1.0, STEPS, step)
    return values.astype(np.int64), contexts, beyond < 0
