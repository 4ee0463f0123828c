"""Which tensor of a new ``.tflite`` file is which of its base, and where its segments stand."""

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterator, Sequence

from appliance.trust.delta.flatbuffer import Network, Span, Tensor, walk
from appliance.trust.delta.tad_plan import NO_TENSOR, Kind, Segment, plan

Use = tuple[int, int]
"""The first operator that takes a tensor, and as which input."""
KEYS: Sequence[Callable[[Tensor, Use | None], Hashable]] = (
    lambda tensor, _: (tensor.name, tensor.type, tensor.shape) if tensor.name else None,
    lambda tensor, use: (use, tensor.type, tensor.shape) if use else None,
    lambda tensor, _: (tensor.name, tensor.type, tensor.shape[1:]) if tensor.name else None,
    lambda tensor, use: (use, tensor.type, tensor.shape[1:]) if use else None,
    lambda tensor, _: (tensor.type, tensor.shape),
)
"""What two tensors have in common to be taken for the same, surest first; rows may have been added."""


def placed(base: bytes, result: bytes) -> list[tuple[Segment, Span]]:
    """Return the base's segments, each with where its numbers are found in the result: no elements where they are not.

    Raises:
        BundleError: one of the two is no ``.tflite`` file.
    """
    pairs = matched(walk(base), walk(result))
    new = {name: segment.base for name, segment in _named(plan(result))}
    found = []
    for (kind, number, piece), segment in _named(plan(base)):
        tensor = number if number == NO_TENSOR else pairs.get(number)
        found.append((segment, (0, 0) if tensor is None else new.get((kind, tensor, piece), (0, 0))))
    return found


def _named(segments: Sequence[Segment]) -> Iterator[tuple[tuple[Kind, int, int], Segment]]:
    """Name segments by kind, tensor, and for pieces of a compiled network by their order."""
    pieces = 0
    for segment in segments:
        yield (segment.kind, segment.tensor, pieces if segment.tensor == NO_TENSOR else 0), segment
        pieces += segment.tensor == NO_TENSOR


def matched(old: Network, new: Network) -> dict[int, int]:
    """Pair tensors: number in the base to number in the result."""
    pairs: dict[int, int] = {}
    uses, new_uses = _uses(old), _uses(new)
    for key in KEYS:
        waiting = defaultdict(list)
        for number, tensor in enumerate(old.tensors):
            if number not in pairs:
                waiting[key(tensor, uses.get(number))].append(number)
        waiting.pop(None, None)
        found = set(pairs.values())
        for number, tensor in enumerate(new.tensors):
            same = waiting.get(key(tensor, new_uses.get(number)))
            if number not in found and same:
                pairs[same.pop(0)] = number
    return pairs


def _uses(network: Network) -> dict[int, Use]:
    uses: dict[int, Use] = {}
    for number, operator in enumerate(network.operators):
        for slot, tensor in enumerate(operator.inputs):
            uses.setdefault(tensor, (number, slot))
    return uses
