"""Whether a channel that is blind for a moment ever says that nobody is there.

Pictures of people from memory go through a whole appliance while its Edge TPU has every kind of fault that the stand-in
knows, in real time, looked after by the supervisor itself.
"""

from appliance.bench.failover import FAULTS
from appliance.bench.figure import Figure, Progress, at_most
from appliance.bench.soak.soaking import Soaked, attended
from appliance.sim.tpu_faults import FAULTS as KINDS
from appliance.sim.tpu_faults import STICK
from appliance.sim.tpu_script import Act

CHANNEL = "gate"
SHARE = 40
"""For so many faults of a kind in ``failover`` there is one here: each takes some seconds of real time."""
ACTS = frozenset(Act)
"""By name; what hands and cables do is for a soak."""


def measure(progress: Progress, *, faults: int = FAULTS) -> list[Figure]:
    """Return how many pictures of people read as "nobody", and how many got no result, while the Edge TPU failed."""
    rounds = max(1, faults // SHARE)
    soaked = Soaked(minutes=1.0, seed=0)
    with attended(soaked, progress, CHANNEL) as hand:
        hand.settle()
        for _ in range(rounds):
            for kind in KINDS:
                if kind.name in ACTS:
                    hand.fault(STICK, kind)
    counts = soaked.counts
    happened = f"of {counts['compared']:,} pictures of people; {rounds} of each kind of fault"
    return [
        at_most("blind_as_empty", counts["blind_as_empty"], "", 0, happened),
        at_most("blind_decisions", counts["lost"], "", 0, "pictures without a result, though the CPU was there"),
        at_most("blind_wrong", counts["wrong"], "", 0, "pictures of which something else was said than the CPU says"),
    ]
