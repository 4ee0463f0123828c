"""How long a decision takes that meets a fault of the Edge TPU: each kind that the stand-in knows, many times.

Everything but the device is real: the worker's process, its memory, its deadlines, its end, its successor. Frames go
on while it is recovered. Kinds take turns a few at a time, as most of a fault's time is waiting: for a grace to end,
for the next worker to load its libraries.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from appliance.adapters.clock import SystemClock
from appliance.adapters.edgetpu.watch import GROWTH_BYTES_MAX, LOOK_S
from appliance.adapters.model_folder import read_model
from appliance.bench import scene
from appliance.bench.edge import INVOKE_DEADLINE_S, Rig, Stream, rig
from appliance.bench.figure import Figure, Progress, at_most, quantile
from appliance.core.recovery import STABLE_S
from appliance.sim.tpu_script import Act

FAULTS = 200
"""Of each kind."""
KINDS_AT_ONCE = 3
SLACK_MS = 50.0
"""What a decision may take beyond the deadline and an invoke of the CPU: the scheduler, and the words of the dead."""
OVERDUE_S = INVOKE_DEADLINE_S + 0.1
"""A late answer comes when its frame has long been answered, and before its worker is given up."""
SLOW_OPEN_S = 0.3
LEAK_BYTES = 16 * 1024 * 1024
"""At a time."""
LEAKS = GROWTH_BYTES_MAX // LEAK_BYTES + 1
"""Enough for the worker to be replaced."""

Inject = Callable[[Rig, Stream], float]
"""Lets a fault happen once; returns how long the decision took that met it, in seconds."""


@dataclass(frozen=True, slots=True)
class Met:
    """What one kind of fault came to."""

    act: Act
    took_s: list[float]
    minutes: float
    stream: Stream


def measure(
    progress: Progress, *, faults: int = FAULTS, kinds: Sequence[Act] = tuple(Act), folder: Path = scene.HEARTBEAT
) -> list[Figure]:
    """Return a figure for each kind of fault, and how many decisions were lost over all of them.

    Args:
        progress: hears when a kind begins and ends.
        faults: of each kind.
        kinds: which.
        folder: of the model, small, so that its own time is none.
    """
    with ThreadPoolExecutor(KINDS_AT_ONCE, "failover") as pool:
        met = list(pool.map(lambda act: _met(act, faults, folder, progress), kinds))
    cpu_ms = quantile([each for one in met for each in one.stream.truth.took_s], 0.99) * 1e3
    bound_ms = round(INVOKE_DEADLINE_S * 1e3 + cpu_ms + SLACK_MS, 1)
    decisions, lost = (sum(counts) for counts in zip(*((m.stream.decisions, m.stream.lost) for m in met), strict=True))
    note = f"of {decisions:,} frames, each another input, held against the CPU's answer"
    return [*(_figure(one, bound_ms) for one in met), at_most("decisions_lost", lost, "", 0, note)]


def _figure(met: Met, bound_ms: float) -> Figure:
    """The slowest hundredth of what one kind cost."""
    p50_ms, p99_ms = (quantile(met.took_s, fraction) * 1e3 for fraction in (0.5, 0.99))
    note = f"{len(met.took_s)} faults in {met.minutes:.1f} min, p50 {p50_ms:.3g} ms"
    return at_most(f"failover_ms_p99_{met.act.value}", p99_ms, "ms", bound_ms, note)


def _met(act: Act, faults: int, folder: Path, progress: Progress) -> Met:
    """Let one kind of fault happen ``faults`` times, on an Edge TPU of its own."""
    clock = SystemClock()
    started_s = clock.monotonic_s()
    took_s: list[float] = []
    with rig(read_model(folder)) as one:
        stream = Stream(one, seed=list(Act).index(act))
        one.until_served()
        with stream.running():
            for number in range(faults):
                progress(f"{act.value}: fault {number + 1} of {faults}")
                took_s.append(INJECTIONS[act](one, stream))
                one.until_served()
    minutes = (clock.monotonic_s() - started_s) / 60.0
    progress(f"{act.value}: {faults} faults took {minutes:.1f} min")
    return Met(act, took_s, minutes, stream)


def _while_invoked(act: Act, value: float = 0.0) -> Inject:
    """Make what lets an act happen to the next frame's invoke."""
    return lambda rig, stream: stream.next_s(lambda: rig.device.script.then(act, value))


def _while_opened(act: Act, value: float = 0.0) -> Inject:
    """Make what lets an act happen when the Edge TPU is opened: the slowest decision until that has ended counts."""

    def inject(rig: Rig, stream: Stream) -> float:
        _while_invoked(Act.ABORT)(rig, stream)
        rig.device.script.then(act, value)
        stream.worst_s = 0.0
        while rig.device.script.left():
            rig.tick()
            rig.device.ahead.leap(STABLE_S)
        return max(stream.worst_s, stream.next_s())

    return inject


def _vanish(rig: Rig, stream: Stream) -> float:
    """It falls off the bus, and comes back as its bootloader, as one does that has crashed."""
    took_s = _while_invoked(Act.VANISH)(rig, stream)
    rig.device.bus.enumerate_again(dfu=True)
    return took_s


def _lie(rig: Rig, stream: Stream) -> float:
    """It fails, and gives wrong numbers when it is proven: the CPU keeps answering, until it tells the truth."""
    _while_invoked(Act.FAIL)(rig, stream)
    rig.device.script.then(Act.LIE)
    stream.worst_s = 0.0
    while rig.device.script.left():
        rig.tick()
    assert rig.inference.active == "cpu", "an Edge TPU that lies serves nobody"
    return max(stream.worst_s, stream.next_s())


def _leak(rig: Rig, stream: Stream) -> float:
    """Its worker grows, and is replaced in order: the frames that meet the leak count, and the one after the notice."""
    grown_s = max(_while_invoked(Act.LEAK, LEAK_BYTES)(rig, stream) for _ in range(LEAKS))
    rig.device.ahead.leap(LOOK_S)
    rig.device.tpu.tend()
    noticed_s = stream.next_s()
    assert rig.inference.active == "cpu", "a worker that grows without end is replaced"
    return max(grown_s, noticed_s)


INJECTIONS: dict[Act, Inject] = {
    **{act: (_while_opened if act.opening else _while_invoked)(act) for act in Act},
    Act.OPEN_SLOWLY: _while_opened(Act.OPEN_SLOWLY, SLOW_OPEN_S),
    Act.LATE: _while_invoked(Act.LATE, OVERDUE_S),
    Act.LIE: _lie,
    Act.LEAK: _leak,
    Act.VANISH: _vanish,
}
"""What lets each kind happen."""
