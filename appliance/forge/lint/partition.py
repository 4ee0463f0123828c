"""Which operators form the one part of a graph that is compiled.

The compiler takes the graph apart as TFLite does for a delegate (tensorflow/lite/graph_info.cc,
PartitionGraphIntoIndependentNodeSubsets) and, unless told otherwise, compiles the first part that the Edge TPU can run:
"as soon as an operation is not supported, that operation and everything after it run on the CPU" (coral.ai,
models-intro, "Compiling"). What does not depend on an operator of the CPU may still belong to the first part.
"""

from heapq import heappop, heappush

from appliance.errors import ForgeError
from appliance.forge.graph import Graph


def compiled(graph: Graph, able: tuple[bool, ...]) -> frozenset[int]:
    """Give the operators of the first part that the Edge TPU can run.

    Parts alternate between what it can run and what it cannot; each is as large as its inputs allow, and the first
    operator that is ready says which kind comes first.

    Args:
        graph: the graph.
        able: for each operator whether the Edge TPU has it, leaving aside where it stands.

    Returns:
        Indices of operators.

    Raises:
        ForgeError: operators depend on one another in a circle.
    """
    ready = _Ready(graph, able)
    kind = ready.first()
    order: list[tuple[bool, list[int]]] = []
    while ready.left():
        order.append((kind, ready.part(kind)))
        kind = not kind
    if sum(len(part) for _, part in order) != len(graph.operators):
        msg = "operators of this .tflite depend on one another in a circle; make or fetch it again"
        raise ForgeError(msg)
    return frozenset(next((part for able_there, part in order if able_there), []))


class _Ready:
    """Operators whose inputs are made, in the file's order, apart by whether the Edge TPU has them."""

    def __init__(self, graph: Graph, able: tuple[bool, ...]) -> None:
        self._able = able
        self._waiting, self._users = _dependencies(graph)
        free = [index for index, missing in enumerate(self._waiting) if not missing]  # ascending: a heap already
        self._heaps = {kind: [index for index in free if able[index] is kind] for kind in (True, False)}

    def left(self) -> bool:
        """Say whether any operator is ready."""
        return any(self._heaps.values())

    def first(self) -> bool:
        """Say of what kind the first one is; True for an empty graph."""
        return min(((heap[0], kind) for kind, heap in self._heaps.items() if heap), default=(0, True))[1]

    def part(self, kind: bool) -> list[int]:  # noqa: FBT001 - one of two kinds, no switch
        """Take all of one kind, and those of it that become ready by that."""
        heap, taken = self._heaps[kind], list[int]()
        while heap:
            taken.append(heappop(heap))
            for user in self._users[taken[-1]]:
                self._waiting[user] -= 1
                if not self._waiting[user]:
                    heappush(self._heaps[self._able[user]], user)
        return taken


def _dependencies(graph: Graph) -> tuple[list[int], list[list[int]]]:
    """For each operator, how many operators it waits for, and which wait for it."""
    made_by = {tensor: operator.index for operator in graph.operators for tensor in operator.outputs}
    waiting, users = [0] * len(graph.operators), [list[int]() for _ in graph.operators]
    for operator in graph.operators:
        for source in {made_by[tensor] for tensor in operator.inputs if tensor in made_by}:
            waiting[operator.index] += 1
            users[source].append(operator.index)
    return waiting, users
