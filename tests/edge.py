"""An Edge TPU for tests: real process boundary, real ladder, a bus of files, and a script for what goes wrong."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from appliance.adapters.backends.cpu import CpuBackend
from appliance.adapters.edgetpu import EdgeTpu
from appliance.adapters.ladder_file import LadderFile
from appliance.adapters.model_folder import read_model
from appliance.bench.edge import ENGINE, PASSES, LeapingClock
from appliance.config import TpuConfig
from appliance.core.model import Model
from appliance.core.recovery import State
from appliance.core.types import Array, InferenceResult
from appliance.inference import Inference
from appliance.sim.meter import RecordingMeter
from appliance.sim.tpu_bus import SimulatedTpuBus
from appliance.sim.tpu_script import Act, Script
from tests.model_folders import TINY
from tests.waiting import eventually

__all__ = ["DEADLINE_S", "ENGINE", "NO_ANSWER", "Edge", "LeapingClock", "compiled", "edge", "frame"]

DEADLINE_S = 1.5
"""For an answer of the simulated Edge TPU, which needs a millisecond: what misses it on a busy machine is a fault."""
NO_ANSWER = f"no answer within {DEADLINE_S:g} s"
"""What is told of one that misses it."""
RECOVERS_S = 90.0
"""For the ladder to get somewhere, a process started on most rungs: a bound, no measure."""


def compiled(model: Model) -> Model:
    """As if it had been compiled: the stand-in runs the twin's file."""
    return replace(model, tflite_edgetpu=model.tflite)


def frame(model: Model, seed: int) -> Array:
    """Another input for each seed."""
    numbers = np.random.default_rng(seed)
    return numbers.integers(0, 255, model.input.shape, endpoint=True).astype(model.input.dtype.numpy)


@dataclass
class Edge:
    """One model on a simulated Edge TPU, with its CPU twin."""

    tpu: EdgeTpu
    bus: SimulatedTpuBus
    script: Script
    clock: LeapingClock
    meter: RecordingMeter
    inference: Inference
    model: Model
    frames: int = 0

    def decide(self) -> InferenceResult:
        """Judge a frame that was never seen before; the answer is the right one, whoever gave it."""
        self.frames += 1
        tensor = frame(self.model, self.frames)
        result = self.inference.infer(tensor)
        twin = CpuBackend()
        twin.open(self.model)
        wanted = twin.invoke(tensor, 1.0)
        assert all(np.array_equal(result.outputs[role], wanted[role]) for role in wanted)
        return result

    @property
    def backend(self) -> str:
        """Who answers now."""
        return self.decide().backend

    def tick(self) -> None:
        """What the probing thread does once a second."""
        self.tpu.tend()
        self.inference.probe()

    def tick_until(self, state: State, *, leap_s: float = 0.0) -> None:
        """Tick, letting time pass, until the ladder has come to ``state``."""

        def come() -> bool:
            self.clock.leap(leap_s)
            self.tick()
            return self.tpu.health().state is state

        eventually(come, within_s=RECOVERS_S)

    def tick_until_serves(self) -> None:
        """Tick, letting the ladder's waits pass, until the Edge TPU answers."""

        def come() -> bool:
            self.clock.leap(1.0)
            self.tick()
            return self.inference.active == "tpu"

        eventually(come, within_s=RECOVERS_S)

    def rung(self, rung: str, outcome: str) -> float:
        """How often a rung ended so."""
        return self.meter.value("edge_tpu_recovery_total", rung=rung, outcome=outcome)


@contextmanager
def edge(
    folder: Path,
    *,
    model: Model | None = None,
    plugged: bool = True,
    config: TpuConfig | None = None,
    deadline_s: float | None = DEADLINE_S,
    kept: LadderFile | None = None,
    acts: tuple[Act, ...] = (),
) -> Iterator[Edge]:
    """Put everything together; the twin serves, and the Edge TPU is opened by the first tick."""
    model = model or compiled(read_model(TINY))
    bus, script, clock = SimulatedTpuBus(folder), Script(folder), LeapingClock()
    meter = RecordingMeter(clock)
    for act in acts:
        script.then(act)
    if plugged and not bus.devices():
        bus.plug()
    config = (config or TpuConfig()).model_copy(update={"options": {"folder": str(folder)}})
    tpu = EdgeTpu("tpu", config, bus=bus, clock=clock, meter=meter, kept=kept, engine=ENGINE, jitter=lambda: 0.0)
    inference = Inference(
        model,
        (tpu.backend(), CpuBackend()),
        clock,
        meter,
        deadline_s=deadline_s,
        probe_interval_s=30.0,
        return_passes=PASSES,
    )
    inference.open()
    try:
        yield Edge(tpu, bus, script, clock, meter, inference, model)
    finally:
        inference.close()
        tpu.close()
