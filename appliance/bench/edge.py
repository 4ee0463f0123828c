"""A simulated Edge TPU as benches use it: real process, real deadlines, real ladder; what goes wrong is on a script."""

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from queue import Empty, SimpleQueue
from tempfile import TemporaryDirectory
from threading import Event, Lock, Thread

import numpy as np

from appliance.adapters.backends.cpu import CpuBackend
from appliance.adapters.clock import SystemClock
from appliance.adapters.edgetpu import EdgeTpu
from appliance.adapters.ladder_file import LadderFile
from appliance.adapters.metrics import PrometheusMeter
from appliance.bench import scene
from appliance.config import TpuConfig
from appliance.core.model import Model
from appliance.core.recovery import STABLE_S
from appliance.core.types import Array, Outputs
from appliance.errors import BackendError, NoBackendError
from appliance.inference import Inference
from appliance.ports import Meter
from appliance.sim.tpu_bus import SimulatedTpuBus
from appliance.sim.tpu_faults import STICK, Plugged
from appliance.sim.tpu_script import Script

ENGINE = "appliance.sim.tpu_engine:SimulatedEngine"
INVOKE_DEADLINE_S = 0.2
"""For the simulated Edge TPU's answer, which needs a millisecond: shorter than the default, for many faults."""
OPEN_DEADLINE_S = 1.0
"""The shortest that configuration allows."""
PASSES = 2
"""Golden passes before a return."""
FRAME_PERIOD_S = 0.005
"""From the end of one decision to the next frame."""
RETURN_S_MAX = 60.0
"""A simulated device that has not come back by then never will: a bug."""
TIMES_MAX = 10_000
"""Invokes of the CPU whose times are kept."""


class LeapingClock(SystemClock):
    """Real time, which can be moved on: the waits of a ladder pass at once, and deadlines are still real."""

    def __init__(self) -> None:
        """Start at the present."""
        super().__init__()
        self._ahead_s = 0.0

    def monotonic_s(self) -> float:
        """``CLOCK_MONOTONIC``, and what was leapt."""
        return super().monotonic_s() + self._ahead_s

    def leap(self, seconds: float) -> None:
        """Let ``seconds`` have passed."""
        self._ahead_s += seconds


@dataclass(frozen=True, slots=True)
class Device(Plugged):
    """A simulated Edge TPU, and what the appliance knows it by."""

    tpu: EdgeTpu
    ahead: LeapingClock
    """The Edge TPU's; everything else has the real time."""


def make_device(name: str, settings: TpuConfig, meter: Meter, state: Path) -> Device:
    """Plug in a stick or a card, with a bus of its own below the folder ``state``."""
    folder = state / f"bus-{name}"
    folder.mkdir(parents=True)
    bus, ahead, kept = SimulatedTpuBus(folder), LeapingClock(), LadderFile(state, name)
    Plugged(name, bus, Script(folder)).plug()
    options = settings.model_copy(update={"options": {"folder": str(folder)}})
    tpu = EdgeTpu(name, options, bus=bus, clock=ahead, meter=meter, kept=kept, engine=ENGINE)
    return Device(name, bus, Script(folder), tpu, ahead)


@dataclass(frozen=True, slots=True)
class Rig:
    """One model on a simulated Edge TPU with its CPU twin; the Edge TPU is opened by the first ``tick``."""

    model: Model
    device: Device
    inference: Inference

    def tick(self) -> None:
        """Do what the supervising thread does once a second."""
        self.device.tpu.tend()
        self.inference.probe()

    def until_served(self) -> None:
        """Tick until the Edge TPU answers and has served for long; the ladder's waits pass at once.

        Raises BackendError when it does not come back: the bench, or the appliance, is wrong.
        """
        clock = SystemClock()
        end_s = clock.monotonic_s() + RETURN_S_MAX
        while self.inference.active != "tpu":
            if clock.monotonic_s() > end_s:
                msg = f"the simulated Edge TPU does not come back: {self.inference.why_degraded}"
                raise BackendError(msg)
            self.tick()
            self.device.ahead.leap(STABLE_S)
        self.device.tpu.tend()


@contextmanager
def rig(model: Model, *, deadline_s: float = INVOKE_DEADLINE_S) -> Iterator[Rig]:
    """Put everything together in a temporary folder, with a device plugged in; close it in the end."""
    with TemporaryDirectory(prefix="appliance-bench-") as folder:
        clock = SystemClock()
        meter = PrometheusMeter(clock)
        device = make_device(STICK, TpuConfig(open_deadline_s=OPEN_DEADLINE_S), meter, Path(folder))
        inference = Inference(
            replace(model, tflite_edgetpu=model.tflite),  # as if it were compiled: the stand-in runs the twin's file
            (device.tpu.backend(), CpuBackend()),
            clock,
            meter,
            deadline_s=deadline_s,
            probe_interval_s=1.0,
            return_passes=PASSES,
        )
        inference.open()
        try:
            yield Rig(model, device, inference)
        finally:
            inference.close()
            device.tpu.close()


class Truth:
    """What a model has to answer: the CPU's outputs for the very same input."""

    def __init__(self, model: Model) -> None:
        """Open a CPU of its own."""
        self._cpu = CpuBackend()
        self._cpu.open(model)
        self._clock = SystemClock()
        self.took_s: deque[float] = deque(maxlen=TIMES_MAX)
        """Of the newest invokes."""

    def of(self, tensor: Array) -> Outputs:
        """Return the right outputs."""
        started_s = self._clock.monotonic_s()
        outputs = self._cpu.invoke(tensor, 1.0)
        self.took_s.append(self._clock.monotonic_s() - started_s)
        return outputs


class Stream:
    """Frames that go on whatever happens: a thread that asks for decisions, and holds each against the truth."""

    def __init__(self, rig: Rig, seed: int) -> None:
        """Every input is another one, drawn from ``seed``."""
        self._rig, self._random = rig, np.random.default_rng(seed)
        self._clock, self._stop, self._lock = SystemClock(), Event(), Lock()
        self._before: Callable[[], None] | None = None
        self._took_s: SimpleQueue[float] = SimpleQueue()
        self.truth = Truth(rig.model)
        self.worst_s = 0.0
        """Longest decision since it was last set to 0."""
        self.decisions = 0
        self.lost = 0
        """Frames that got no answer, or a wrong one."""

    @contextmanager
    def running(self) -> Iterator[None]:
        """Let frames come while the context is."""
        thread = Thread(target=self._run, name="frames", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._stop.set()
            thread.join(scene.STOP_TIMEOUT_S)

    def next_s(self, before: Callable[[], None] = lambda: None) -> float:
        """Call ``before`` between two frames; return how long the decision on the frame after it took, in seconds."""
        with self._lock:
            self._before = before
        try:
            return self._took_s.get(timeout=RETURN_S_MAX)
        except Empty:
            msg = f"no decision within {RETURN_S_MAX:g} s"
            raise BackendError(msg) from None

    def _run(self) -> None:
        while not self._clock.wait(self._stop, FRAME_PERIOD_S):
            with self._lock:
                before, self._before = self._before, None
            if before is not None:
                before()
            took_s = self._decide()
            self.worst_s = max(self.worst_s, took_s)
            if before is not None:
                self._took_s.put(took_s)

    def _decide(self) -> float:
        """Judge a frame; return how long that took, in seconds."""
        spec = self._rig.model.input
        limits = np.iinfo(spec.dtype.value)
        tensor = self._random.integers(limits.min, limits.max, spec.shape, endpoint=True, dtype=limits.dtype)
        self.decisions += 1
        started_s = self._clock.monotonic_s()
        try:
            outputs = self._rig.inference.infer(tensor).outputs
        except NoBackendError:
            outputs = {}
        took_s = self._clock.monotonic_s() - started_s
        wanted = self.truth.of(tensor)
        self.lost += not (outputs and all(np.array_equal(outputs[role], wanted[role]) for role in wanted))
        return took_s
