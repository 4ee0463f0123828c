"""How soon an Edge TPU that is plugged in again answers: in real time, in an appliance that sees to it by itself."""

from statistics import median

from appliance.bench.figure import Figure, Progress
from appliance.bench.soak.soaking import Soaked, attended
from appliance.sim.tpu_faults import STICK
from appliance.supervise import PROBE_TICK_S

RETURNS = 7
AWAY_S = 1.5
"""How long it is out at least."""
CHANNEL = "till"


def measure(progress: Progress, *, returns: int = RETURNS, away_s: float = AWAY_S) -> list[Figure]:
    """Return the time from the device's return on the bus to the first decision on it; median and worst."""
    took_s: list[float] = []
    with attended(Soaked(minutes=1.0, seed=0), progress, CHANNEL) as hand:
        hand.settle()
        for number in range(returns):
            progress(f"return {number + 1} of {returns}")
            took_s.append(hand.returned_s(STICK, away_s))
    note = f"median of {returns}, looked for every {PROBE_TICK_S:g} s; the stand-in itself opens at once"
    return [
        Figure("return_s", median(took_s), "s", note=note),
        Figure("return_s_max", max(took_s), "s", note="a real stick takes 2 to 25 s more to open"),
    ]
