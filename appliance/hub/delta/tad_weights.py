"""Choosing how each segment of weights is predicted, and which channels are alike in how much is left of them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from appliance.core.types import Array
from appliance.hub.delta.packing import pack
from appliance.hub.delta.tad_numbers import write_numbers
from appliance.hub.delta.tad_symbols import entropy_bits, histograms, table_bits
from appliance.hub.delta.tad_update import Update, updates
from appliance.trust.delta.rans import SYMBOLS
from appliance.trust.delta.tad_plan import Kind, Segment
from appliance.trust.delta.tad_scales import Scales, by_channel, ratios
from appliance.trust.delta.tad_stream import limits_count
from appliance.trust.delta.tad_weights import CASES, COLUMN_ZERO, LEVELS, Mode, Weights, levels_of, predict, weights_of

LIMITS_BITS = 40
"""What limits of pruning cost besides themselves."""
FLAG_BITS = 0.8
"""What the flag of a channel costs, packed."""
LEVEL_COST = 1.5
"""What levels cost, packed, by their entropy."""
ELEMENTS_MIN = 24
"""Channels and columns of fewer elements have no level of their own."""
FINENESS = 2
"""Levels to a doubling of what is left."""
_COARSE = np.uint8(0xFE)  # every other level: they tell less, and cost less
_SMALLEST = 1e-3  # keeps columns in which nothing is left from minus infinity
_NO_LIMITS = np.zeros(0, np.int32)
_ZEROS_MIN = 0.02  # share of weights that are zero in the result, from which on pruning is tried


@dataclass(frozen=True, slots=True)
class Choice:
    """A segment of weights as it will be written."""

    weights: Weights
    chosen: Array
    """uint8: channels that are rescaled"""
    left: Array
    """uint8: what is left, as symbols"""
    contexts: Array
    """Of level 0."""
    update: Update | None = None


def choose(segment: Segment, base: bytes, result: bytes, scales: Scales) -> Choice:
    """Choose how a segment is predicted and coded: as costs least, by its entropy and what the choice itself takes."""
    choice = _basic(segment, base, result, scales)
    best = with_levels(choice)
    if best is choice or segment.base[1] < segment.result[1]:
        return best
    cost = _levelled_bits(best)
    for update in updates(segment, best.weights, base, result):
        other = with_levels(_updated(choice, update, base, result))
        bits = _levelled_bits(other) + update.bits
        if bits >= cost:
            break
        best, cost = other, bits
    return best


def _basic(segment: Segment, base: bytes, result: bytes, scales: Scales) -> Choice:
    """Choose among the modes that need no update."""
    before, after = scales.both(Kind.SCALE, segment.tensor)
    count = len(after)
    ones = np.ones(count, np.uint8)
    plain = _tried(segment, base, result, scales, Mode(0), chosen=ones)
    tried = [(0.0, plain), (0.0, _tried(segment, base, result, scales, Mode.RAW, chosen=ones))]
    if bool((ratios(before, after) != 1).any()):
        whole = _tried(segment, base, result, scales, Mode.RESCALE, chosen=ones)
        tried.append((0.0, whole))
        if count > 1:
            chosen = _better(segment, plain, whole, count)
            flagged = _tried(segment, base, result, scales, Mode.RESCALE | Mode.FLAGS, chosen=chosen)
            tried.append((count * FLAG_BITS, flagged))
    costs = [extra + _bits(each) for extra, each in tried]
    best = int(np.argmin(costs))
    pruned = _pruned(tried[best][1], base, result, scales)
    if pruned is not None and tried[best][0] + _limits_bits(pruned) + _bits(pruned) < costs[best]:
        return pruned
    return tried[best][1]


def _tried(
    segment: Segment,
    base: bytes,
    result: bytes,
    scales: Scales,
    mode: Mode,
    *,
    chosen: Array,
    limits: Array = _NO_LIMITS,
) -> Choice:
    """Predict a segment in one way."""
    return _left(weights_of(segment, mode, scales, chosen=chosen, limits=limits), chosen, base, result)


def _updated(choice: Choice, update: Update, base: bytes, result: bytes) -> Choice:
    """Add an update to what was chosen."""
    mode = choice.weights.mode | Mode.UPDATE
    weights = replace(choice.weights, mode=mode, update=(update.rows << update.shifts[:, None], update.columns))
    return replace(_left(weights, choice.chosen, base, result), update=update)


def _left(weights: Weights, chosen: Array, base: bytes, result: bytes) -> Choice:
    """Find out what is left of a segment that is predicted in some way."""
    at, count = weights.segment.result
    prediction = predict(weights, base, 0, count)
    actual = np.frombuffer(result, np.uint8, count, at).astype(np.int32)
    left = actual - prediction.values
    left = (np.where(prediction.flipped, -left, left) & 0xFF).astype(np.uint8)
    return Choice(weights, chosen, left, prediction.contexts)


def _bits(choice: Choice) -> float:
    """Estimate what is left of a segment, in bits."""
    counts = histograms(choice.contexts // LEVELS, choice.left, CASES)
    together = counts.sum(axis=0)
    return float(
        min(entropy_bits(counts).sum() + table_bits(counts).sum(), entropy_bits(together) + table_bits(together))
    )


def _limits_bits(choice: Choice) -> float:
    """Estimate what the limits of pruning take, in bits."""
    return float(entropy_bits(np.bincount(choice.weights.limits))) + LIMITS_BITS


def _magnitude(choice: Choice) -> Array:
    """Return how much is left of each element, float64."""
    return np.abs(choice.left.view(np.int8).astype(np.float64))


def _better(segment: Segment, plain: Choice, whole: Choice, count: int) -> Array:
    """Flag the channels that rescaling predicts better."""
    channel = by_channel(np.arange(count), segment, 0, segment.result[1])
    gain = np.log2(1 + _magnitude(plain)) - np.log2(1 + _magnitude(whole))
    return (np.bincount(channel, gain, count) > 0).astype(np.uint8)


def _pruned(choice: Choice, base: bytes, result: bytes, scales: Scales) -> Choice | None:
    """Predict small weights to be zero, up to the limits that are right most often; None where few are zero."""
    segment, (before, after) = choice.weights.segment, choice.weights.zeros
    at, count = segment.result
    dtype = np.int8 if segment.signed else np.uint8
    zero = np.frombuffer(result, dtype, count, at).astype(np.int32) == after
    if not _ZEROS_MIN < zero.mean() < 1 or Mode.RAW in choice.weights.mode or segment.base[1] < count:
        return None
    size = np.abs(np.frombuffer(base, dtype, count, segment.base[0]).astype(np.int32) - before)
    mode = choice.weights.mode | Mode.PRUNE
    groups = limits_count(segment, mode, len(scales.both(Kind.SCALE, segment.tensor)[1]))
    cell = by_channel(np.arange(groups), segment, 0, count) * SYMBOLS + size
    right = np.bincount(cell, np.where(zero, 1.0, -1.0), groups * SYMBOLS).reshape(groups, SYMBOLS)
    limits = np.cumsum(right, axis=1).argmax(axis=1).astype(np.int32)
    return _tried(segment, base, result, scales, mode, chosen=choice.chosen, limits=limits)


def with_levels(choice: Choice) -> Choice:
    """Mark a segment as coded where something is left; sort it, or its channels and columns, into levels that pay."""
    if not choice.left.any():
        return choice
    segment, size = choice.weights.segment, _magnitude(choice)
    mean = size.mean(keepdims=True)
    channel = by_channel(np.arange(segment.channels), segment, 0, len(size))
    rows = _level(_means(size, channel, segment.channels))
    columns = _means(size, np.arange(len(size)) % segment.depth, segment.depth) + _SMALLEST
    added = np.floor(FINENESS * np.log2(columns / (mean + _SMALLEST)) + 0.5) + COLUMN_ZERO
    added = np.clip(added, 0, LEVELS - 1).astype(np.uint8)
    tried = [_levelled(choice, Mode.CODED, _level(mean), added[:0])]
    if len(size) >= ELEMENTS_MIN * segment.channels > ELEMENTS_MIN:
        tried += [_levelled(choice, Mode.CODED | Mode.CHANNELS, each, added[:0]) for each in (rows, rows & _COARSE)]
    if len(size) >= ELEMENTS_MIN * segment.depth > ELEMENTS_MIN:
        best = min(tried, key=_levelled_bits).weights
        tried += [_levelled(choice, best.mode | Mode.COLUMNS, best.levels, each) for each in (added, added & _COARSE)]
    return min(tried, key=_levelled_bits)


def _levelled(choice: Choice, mode: Mode, levels: Array, columns: Array) -> Choice:
    """Give a segment levels."""
    weights = replace(choice.weights, mode=choice.weights.mode | mode, levels=levels, columns=columns)
    case = choice.contexts // LEVELS
    return replace(choice, weights=weights, contexts=case * LEVELS + levels_of(weights, 0, len(case)))


def _levelled_bits(choice: Choice) -> float:
    """Estimate what is left of a segment with levels, in bits; tables are shared with others."""
    counts = histograms(choice.contexts % LEVELS, choice.left, LEVELS)
    given = [np.bincount(each, minlength=1) for each in (choice.weights.levels, choice.weights.columns)]
    return float(entropy_bits(counts).sum()) + LEVEL_COST * sum(float(entropy_bits(each)) for each in given)


def _means(size: Array, group: Array, count: int) -> Array:
    """Return the mean of each group's elements."""
    means: Array = np.bincount(group, size, count) / np.maximum(np.bincount(group, minlength=count), 1)
    return means


def _level(mean: Array) -> Array:
    """Return the level of what is left on average, uint8."""
    level: Array = np.clip(np.floor((np.log2(mean + 2.0**-9) + 9) * FINENESS), 0, LEVELS - 1).astype(np.uint8)
    return level


def write_choices(choices: Sequence[Choice]) -> bytes:
    """Write how segments are predicted, for ``read_weights``."""
    weights = [each.weights for each in choices]
    coded = [each for each in weights if Mode.CODED in each.mode]
    flags = [_NO_LIMITS, *(each.chosen for each in choices if Mode.FLAGS in each.weights.mode)]
    updated = [each.update for each in choices if each.update is not None]
    factors = [factor.ravel() for each in updated for factor in (each.rows, each.columns)]
    parts = (
        pack(bytes(each.mode for each in weights)),
        pack(np.packbits(np.concatenate(flags).astype(np.uint8)).tobytes()),
        _numbers([each.limits for each in weights]),
        pack(b"".join(each.levels.tobytes() for each in coded)),
        pack(b"".join(each.columns.tobytes() for each in coded)),
        pack(bytes(len(each.shifts) for each in updated)),
        pack(b"".join(each.shifts.astype(np.uint8).tobytes() for each in updated)),
        _numbers(factors),
    )
    return b"".join(parts)


def _numbers(values: Sequence[Array]) -> bytes:
    """Write numbers, where there are any."""
    joined = np.concatenate([np.zeros(0, np.int64), *values])
    return write_numbers(joined, np.zeros(len(joined), np.intp), 1) if len(joined) else b""
