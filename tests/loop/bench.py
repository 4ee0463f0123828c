"""An accelerator that fails on a script before a real CPU, on a clock that passes when told to."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Event

import numpy as np

from appliance.adapters.backends.cpu import CpuBackend
from appliance.adapters.model_folder import read_model
from appliance.core.model import Model
from appliance.core.types import Array, Outputs
from appliance.errors import ModelError
from appliance.inference import Inference
from appliance.ports import Backend
from appliance.sim.backend import ScriptedBackend
from appliance.sim.clock import ManualClock
from appliance.sim.meter import RecordingMeter
from tests.model_folders import TINY

DEADLINE_S = 0.5
INTERVAL_S = 30.0
OPEN_S = 25.0
MODEL = read_model(TINY)
TENSOR = MODEL.golden.inputs[0]
TRUTH = MODEL.golden.outputs[0]["scores"]


@dataclass(frozen=True, slots=True)
class Bench:
    """A scripted accelerator before a real CPU."""

    tpu: ScriptedBackend
    cpu: ScriptedBackend
    clock: ManualClock
    meter: RecordingMeter
    inference: Inference

    def serve(self) -> tuple[str, bool]:
        """One inference: who answered, and whether degraded. The answer is always true."""
        result = self.inference.infer(TENSOR)
        assert np.array_equal(result.outputs["scores"], TRUTH)
        return result.backend, result.degraded

    def failovers(self, before: str, after: str, reason: str) -> float:
        return self.meter.value("edge_failover_total", **{"from": before, "to": after, "reason": reason})

    def active(self, backend: str) -> float:
        return self.meter.value("edge_backend_active", model="tiny-uint8", backend=backend)


def make_bench(
    *, auto_advance: bool = True, model: Model = MODEL, open_s: float = 0.0, deadline_s: float = DEADLINE_S
) -> Bench:
    clock = ManualClock(auto_advance=auto_advance)
    meter = RecordingMeter(clock)
    tpu = ScriptedBackend(CpuBackend(), clock, name="tpu", open_s=open_s, slow_s=0.2)
    cpu = ScriptedBackend(CpuBackend(), clock, name="cpu")
    inference = Inference(model, (tpu, cpu), clock, meter, deadline_s=deadline_s, probe_interval_s=INTERVAL_S)
    return Bench(tpu, cpu, clock, meter, inference)


@contextmanager
def running(*, auto_advance: bool = True, deadline_s: float = DEADLINE_S) -> Iterator[Bench]:
    """A bench on which both backends serve."""
    bench = make_bench(auto_advance=auto_advance, deadline_s=deadline_s)
    bench.inference.open()
    bench.inference.probe()
    assert bench.serve() == ("tpu", False)
    yield bench
    bench.inference.close()


class Closing:
    """Counts how often a backend is let go."""

    name = "tpu"

    def __init__(self, inner: Backend) -> None:
        self.closes = 0
        self._inner = inner

    def open(self, model: Model) -> None:
        self._inner.open(model)

    def invoke(self, tensor: Array, deadline_s: float) -> Outputs:
        return self._inner.invoke(tensor, deadline_s)

    def close(self) -> None:
        self.closes += 1
        self._inner.close()


class Unsuited(Closing):
    """Hardware that no build of this file runs on."""

    opens = 0

    def open(self, model: Model) -> None:
        self.opens += 1
        msg = f"{model.name}: not for this hardware"
        raise ModelError(msg)


class Held(Closing):
    """Answers when it is let."""

    def __init__(self, inner: Backend) -> None:
        super().__init__(inner)
        self.held = False
        self.asked = Event()
        self.go = Event()

    def invoke(self, tensor: Array, deadline_s: float) -> Outputs:
        if self.held:
            self.asked.set()
            assert self.go.wait(30.0)
        return self._inner.invoke(tensor, deadline_s)
