"""One pair measured, and the aims that all of them together are held against."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from appliance.bench.delta.ours import Ours, Pinned
from appliance.bench.delta.pairs import Pair
from appliance.bench.delta.rivals import BSDIFF4, XZ, Patch
from appliance.bench.figure import Figure, at_least, at_most

OURS = "ours"
NETWORK = "inspection"
"""The one whose ratios have aims: 2.7 MB. The other is there to see what is left of them at 33 KB."""
BSDIFF4_OVER_OURS_MIN = {"lr_1e-4": 1.5, "lr_1e-3": 2.4, "recalibrated": 15.0, "pruned": 5.0}
OURS_OVER_BEST_MAX = 1.02
APPLY_MIB_MAX, APPLY_CPU_S_MAX = 16.0, 1.0
"""Of applying, for a model of 3 MB."""
MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Measured:
    """A pair, our delta of it, and the others' patches."""

    pair: Pair
    ours: Ours
    others: tuple[Patch, ...]
    pinned: Pinned | None

    @property
    def size_by_tool(self) -> Mapping[str, int | None]:
        """What each makes of it, ours first; None where a tool is missing or failed."""
        return {OURS: self.ours.size_bytes, **{each.tool: each.size_bytes for each in self.others}}

    @property
    def whole_bytes(self) -> int:
        """The new file packed by itself: what an update without deltas sends."""
        return next(each.size_bytes for each in self.others if each.tool == XZ and each.size_bytes is not None)

    @property
    def best(self) -> Patch:
        """The smallest of the others."""
        return min((each for each in self.others if each.size_bytes), key=lambda each: each.size_bytes or 0)

    def over(self, tool: str) -> float | None:
        """That tool's patch over ours; None where there is none."""
        size_bytes = self.size_by_tool[tool]
        return None if size_bytes is None else size_bytes / max(1, self.ours.size_bytes)


def figures(measured: Sequence[Measured]) -> list[Figure]:
    """Hold all of them against the aims."""
    told = []
    for each in measured:
        over_best = each.ours.size_bytes / (each.best.size_bytes or 1)
        told.append(at_most(f"{each.pair.name}: ours / best other", over_best, "", OURS_OVER_BEST_MAX, each.best.tool))
        bound, ratio = BSDIFF4_OVER_OURS_MIN.get(each.pair.stored.name), each.over(BSDIFF4)
        if each.pair.stored.network == NETWORK and bound is not None:
            name = f"{each.pair.name}: bsdiff4 / ours"
            told.append(
                Figure(name, 0.0, "", f">= {bound:g}", reached=False, note="bsdiff4 is missing")
                if ratio is None
                else at_least(name, ratio, "", bound)
            )
    most = max(each.ours.apply_peak_bytes for each in measured)
    told.append(
        at_most("apply: memory over the interpreter's", most / MIB, "MiB", APPLY_MIB_MAX, "largest of all pairs")
    )
    longest = max(each.ours.apply_cpu_s for each in measured)
    return [*told, at_most("apply: CPU time", longest, "s", APPLY_CPU_S_MAX, "longest of all pairs")]
