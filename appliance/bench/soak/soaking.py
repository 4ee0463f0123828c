"""The soak itself: one fault after another, at random; decisions are counted, and what the process holds is sampled."""

import os
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from threading import Event

from appliance.adapters.clock import SystemClock
from appliance.adapters.model_folder import read_model
from appliance.bench import scene
from appliance.bench.edge import Device
from appliance.bench.figure import Progress
from appliance.bench.soak.chart import COLUMNS, Mark
from appliance.bench.soak.site import CAMERAS, PICTURES, Site, site
from appliance.bench.soak.vitals import NOTHING, Process, Vitals, children, resident_mib, shared_memory, vitals, workers
from appliance.bench.soak.witness import Witness, truths
from appliance.core.recovery import STABLE_S, State
from appliance.sim.tpu_faults import FAULTS, Fault, Plugged, bring, pull

LOOK_S = 0.05
SAMPLE_S = 1.0
PROGRESS_S = 5.0
FAULT_S = (0.3, 2.5)
"""How long a fault lasts before it is mended."""
PATIENCE_S = 3.0
"""How long the ladder's waits are real; then they pass at once, or an hour would see twelve faults."""
LEAP_EVERY_S, LEAP_S = 0.5, 600.0
"""Then so much of the ladder's time passes so often."""
RETURN_S_MAX = 180.0
"""A device that does not serve by then, though it is well, will never: a fault of ours."""
PULLED_S = 2.5
"""How long a device that was given up is out: longer than a look at the bus is from the next."""
CALM = 0.7
"""Share of returns after which the device is stable for long; else its ladder climbs on with the next fault."""
QUIET_LOOKS, QUIET_S = 5, 0.1
"""Looks at what is held, of which the least counts: a connection that is being tried is no leak."""


def _kill(_device: Plugged, random: Random) -> None:
    """End a worker's process from outside."""
    with suppress(IndexError, ProcessLookupError):  # between two of them there is none
        os.kill(random.choice(workers()), signal.SIGKILL)


KINDS = (*FAULTS, Fault("killed", _kill))


@dataclass(slots=True)
class Soaked:
    """What a soak has seen."""

    minutes: float
    seed: int
    marks: list[Mark] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    """All channels' (``Witness.counts``)."""
    by_slice: Counter[tuple[int, str]] = field(default_factory=Counter)
    reasons: list[str] = field(default_factory=list)
    """Why decisions were lost, some of them."""
    memory: list[tuple[float, float]] = field(default_factory=list)
    """Seconds since the start, resident MiB."""
    halfway: Vitals = NOTHING
    """What was held, with every Edge TPU serving, after half the time or as soon as all served again."""
    at_end: Vitals = NOTHING
    """The same at the end."""
    not_returned: list[str] = field(default_factory=list)
    """Faults after which a device that was well did not serve again."""
    crashed: bool = False
    closed: Vitals = NOTHING
    """What was held when the appliance had been closed."""
    left: list[Process] = field(default_factory=list)
    """Children that were there then."""
    shared: set[str] = field(default_factory=set)
    """Files in ``/dev/shm`` that were there then and not before."""


def soak(minutes: float, seed: int, tell: Progress, *channels: str) -> Soaked:
    """Build an appliance, let faults happen to it for ``minutes``, end it, and say what it came to."""
    soaked = Soaked(minutes, seed)
    with attended(soaked, tell, *channels) as hand:
        hand.run()
    return soaked


@contextmanager
def attended(soaked: Soaked, tell: Progress, *channels: str) -> Iterator["Hand"]:
    """Run an appliance with these channels, all by default, while the context is; sum up in ``soaked`` what it did."""
    shared, before = shared_memory(), {process.pid for process in children()}
    with TemporaryDirectory(prefix="appliance-soak-") as folder, site(Path(folder), *channels) as one:
        true = truths(read_model(scene.PERSON), scene.pictures(PICTURES))
        slice_s = soaked.minutes * 60.0 / COLUMNS
        witnesses: list[Witness] = []
        for channel in one.appliance.channels:
            witnesses.append(Witness(slice_s=slice_s, pictures=true if channel.name in CAMERAS else ()))
            channel.watch = witnesses[-1].watch
        with scene.running(one.appliance) as running:
            yield Hand(one, soaked, witnesses, tell)
            soaked.crashed = not running.is_alive()
        soaked.crashed |= running.is_alive()
        soaked.left = [process for process in children() if process.pid not in before]
        soaked.closed = vitals()
    soaked.shared = shared_memory() - shared
    for witness in witnesses:
        soaked.counts += witness.counts
        soaked.by_slice += witness.by_slice
        soaked.reasons += witness.reasons


class Hand:
    """What does it all to the appliance."""

    def __init__(self, one: Site, soaked: Soaked, witnesses: list[Witness], tell: Progress) -> None:
        """Notes go into ``soaked``."""
        self._site, self._soaked, self._witnesses, self._tell = one, soaked, witnesses, tell
        self._random = Random(soaked.seed)  # noqa: S311 - to be repeated, not to be secret
        self._clock, self._never = SystemClock(), Event()
        self._started_s = self._sampled_s = self._told_s = self._clock.monotonic_s()
        self._doing = "opening"

    def run(self) -> None:
        """Let faults happen until the time is over, one at least; then wait until all is well."""
        time_s, half = self._soaked.minutes * 60.0, False
        self.settle()
        while not half or self._elapsed_s < time_s:
            device = self._random.choice(list(self._site.devices.values()))
            self.fault(device.name, self._random.choice([each for each in KINDS if device.name in each.devices]))
            if not half and self._elapsed_s >= time_s / 2.0:
                half, self._soaked.halfway = True, self._quiet()
        self._doing = "ending"
        self._soaked.at_end = self._quiet()

    def fault(self, name: str, fault: Fault) -> None:
        """Let one happen to the device called ``name``, see it mended, and wait for its return."""
        device = self._site.devices[name]
        self._doing = f"{fault.name} of the {device.name}"
        number = int(self._elapsed_s / (self._soaked.minutes * 60.0) * COLUMNS)
        self._soaked.marks.append(Mark(min(number, COLUMNS - 1), device.name, fault.name))
        fault.begin(device, self._random)
        self._pass(self._random.uniform(*FAULT_S))
        fault.mend(device, self._random)
        self.settle()
        if self._random.random() < CALM:
            for each in self._site.devices.values():
                each.ahead.leap(STABLE_S)

    def returned_s(self, name: str, away_s: float) -> float:
        """Pull a stick out, plug it in after ``away_s`` or a second more; return how long it takes to serve then."""
        device = self._site.devices[name]
        device.bus.unplug()
        self._pass(away_s + self._random.random())
        device.bus.plug()
        plugged_s = self._clock.monotonic_s()
        self.settle()
        return self._clock.monotonic_s() - plugged_s

    def settle(self) -> None:
        """Wait until every channel is on its Edge TPU again; the ladder's waits pass sooner or later."""
        begun_s = self._clock.monotonic_s()
        while away := self._away():
            waited_s = self._clock.monotonic_s() - begun_s
            if waited_s > RETURN_S_MAX:
                self._soaked.not_returned.append(f"{self._doing}: {away[0].tpu.health().reason}")
            if waited_s > RETURN_S_MAX or away[0].tpu.health().state is State.REPLACE:
                self._exchange(away[0])
                begun_s = self._clock.monotonic_s()
            elif waited_s > PATIENCE_S:
                for each in away:
                    each.ahead.leap(LEAP_S)
            self._pass(LEAP_EVERY_S, lambda: not self._away())

    @property
    def _elapsed_s(self) -> float:
        return self._clock.monotonic_s() - self._started_s

    def _away(self) -> list[Device]:
        """Name the devices that do not serve."""
        return [each for each in self._site.devices.values() if not self._site.served(each)]

    def _exchange(self, device: Device) -> None:
        """Do what a technician does with a device that was given up."""
        pull(device, self._random)
        device.script.clear()
        self._pass(PULLED_S)
        bring(device, self._random)

    def _pass(self, seconds: float, until: Callable[[], bool] = lambda: False) -> None:
        """Let real time pass, ``seconds`` or until something has come about; sample and tell meanwhile."""
        end_s = self._clock.monotonic_s() + seconds
        while (now_s := self._clock.monotonic_s()) < end_s and not until():
            if now_s - self._sampled_s >= SAMPLE_S:
                self._sampled_s = now_s
                self._soaked.memory.append((self._elapsed_s, resident_mib()))
            if now_s - self._told_s >= PROGRESS_S:
                self._told_s = now_s
                self._tell(self._line())
            self._clock.wait(self._never, min(LOOK_S, end_s - now_s))

    def _line(self) -> str:
        """How it goes."""
        counts = sum((each.counts for each in self._witnesses), Counter[str]())
        return (
            f"after {self._elapsed_s / 60:.1f} min: {counts['decisions']:,} decisions, "
            f"{counts['lost']} lost, {counts['wrong']} wrong; {len(self._soaked.marks)} faults, now {self._doing}; "
            f"{resident_mib():.0f} MiB"
        )

    def _quiet(self) -> Vitals:
        """What is held while all is well, and nothing more is to come."""
        looks: list[Vitals] = []
        for device in self._site.devices.values():
            device.script.clear()
        while len(looks) < QUIET_LOOKS:
            self.settle()
            looks.append(vitals())
            self._pass(QUIET_S)
            if self._away():
                looks.clear()  # what had been asked for before came now
        return Vitals(*map(min, zip(*looks, strict=True)))
