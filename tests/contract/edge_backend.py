"""An Edge TPU as one more backend of the contract suite: the real backend, worker and ladder on a simulated device."""

import atexit
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path

from appliance.adapters.clock import SystemClock
from appliance.adapters.edgetpu import EdgeTpu
from appliance.config import TpuConfig
from appliance.core.model import Model
from appliance.ports import Backend
from appliance.sim.meter import RecordingMeter
from appliance.sim.tpu_bus import SimulatedTpuBus

ENGINE = "appliance.sim.tpu_engine:SimulatedEngine"
BACKENDS_MAX = 8
"""Backends, each with a model or two, before another Edge TPU takes over: a worker serves so many models."""


class _Shared:
    """One Edge TPU for many tests: a worker takes a third of a second to start."""

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="appliance-contract-"))
        self._tpu: EdgeTpu | None = None
        self._made = 0

    def backend(self) -> Backend:
        if self._tpu is None or self._made % BACKENDS_MAX == 0:
            self.close()
            bus = SimulatedTpuBus(self._folder)
            if not bus.devices():
                bus.plug()
            clock = SystemClock()
            config = TpuConfig(options={"folder": str(self._folder)})
            self._tpu = EdgeTpu("tpu", config, bus=bus, clock=clock, meter=RecordingMeter(clock), engine=ENGINE)
        self._made += 1
        return self._tpu.backend()

    def close(self) -> None:
        if self._tpu is not None:
            self._tpu.close()
            self._tpu = None

    def end(self) -> None:
        self.close()
        shutil.rmtree(self._folder, ignore_errors=True)


_SHARED = _Shared()
atexit.register(_SHARED.end)


def make_simulated_tpu() -> Backend:
    """Make a model's share of the Edge TPU."""
    return _SHARED.backend()


def as_if_compiled(model: Model) -> Model:
    """The stand-in runs the twin's file."""
    return replace(model, tflite_edgetpu=model.tflite)
