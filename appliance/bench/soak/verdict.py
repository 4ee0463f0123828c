"""What a soak came to, as figures with their aims."""

import numpy as np

from appliance.bench.figure import Figure, at_most
from appliance.bench.soak.soaking import Soaked

GROWTH_MIB_MAX = 10.0
"""From the first to the last tenth of the second half: more than the allocator moves to and fro, and less than a leak
of a kilobyte for each decision leaves in ten minutes."""
SLOPE_MIB_PER_MIN_MAX = 1.0
"""Over the second half, when caches and windows are full: what a soak of minutes can tell from the allocator's steps.
From twenty minutes on the growth is the stricter of the two."""
SLOPE_S_MIN = 60.0
"""A shorter second half has no slope to speak of: the allocator's steps would be it."""


def figures_of(soaked: Soaked) -> list[Figure]:
    """Return everything that must be nothing, and the memory."""
    counts, left = soaked.counts, soaked.left
    took_min = max((at_s for at_s, _ in soaked.memory), default=0.0) / 60.0  # the last fault is seen mended
    faults = f"in {took_min:.1f} min ({soaked.minutes:g} asked), {len(soaked.marks)} faults, seed {soaked.seed}"
    half, end = soaked.halfway, soaked.at_end
    nothing: tuple[tuple[str, int, str], ...] = (
        ("decisions_lost", counts["lost"], "no decision, or none though the twin was there"),
        ("wrong", counts["wrong"], f"of {counts['compared']:,} pictures held against what the CPU says"),
        ("blind_as_empty", counts["blind_as_empty"], 'pictures of somebody that read as "nobody"'),
        ("not_returned", len(soaked.not_returned), "; ".join(soaked.not_returned[:2])),
        ("crashes", int(soaked.crashed), "the appliance ended by itself, or did not end"),
        ("zombies", sum(each.zombie for each in left), "children that nobody has collected"),
        ("orphans", sum(each.worker and not each.zombie for each in left), "workers that outlived the appliance"),
        ("files_gained", end.files - half.files, f"{end.files} open files while all serve, since halfway"),
        ("threads_gained", end.threads - half.threads, f"{end.threads} threads while all serve, since halfway"),
        ("memories_gained", end.memories - half.memories, f"{end.memories} memfds while all serve, since halfway"),
        ("memories_left", soaked.closed.memories, "memfds open or mapped after the end"),
        ("shared_memory_left", len(soaked.shared), "files in /dev/shm that were not there before"),
    )
    return [
        Figure("soak_decisions", counts["decisions"], "", note=faults),
        *(at_most(f"soak_{name}", value, "", 0, note) for name, value, note in nothing),
        *_memory(soaked.memory),
    ]


def _memory(samples: list[tuple[float, float]]) -> list[Figure]:
    """How the parent's memory has moved in the second half."""
    half = samples[len(samples) // 2 :]
    if not half:
        return []
    times_s, mib = (np.array(values) for values in zip(*half, strict=True))
    tenth = max(1, len(mib) // 10)
    growth = float(mib[-tenth:].mean() - mib[:tenth].mean())
    note = f"in the second half, to {mib[-1]:.0f} MiB"
    figures = [at_most("soak_memory_growth_mib", growth, "MiB", GROWTH_MIB_MAX, note)]
    if times_s[-1] - times_s[0] >= SLOPE_S_MIN:
        slope = float(np.polyfit(times_s / 60.0, mib, 1)[0])
        figures.append(
            at_most("soak_memory_slope", slope, "MiB/min", SLOPE_MIB_PER_MIN_MAX, "straight line through it")
        )
    return figures
