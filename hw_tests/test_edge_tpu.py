"""A real Edge TPU: the suite of all backends, parity with this device's CPU, and its way back after a fault.

The faults are those that can be made from here: its worker killed, the device reset under it. Pulling the plug is for
a person (README).
"""

import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from appliance.adapters.backends.cpu import CpuBackend
from appliance.adapters.clock import SystemClock
from appliance.adapters.edgetpu import EdgeTpu
from appliance.adapters.model_folder import read_model
from appliance.adapters.tpu_bus import LinuxTpuBus
from appliance.config import TpuConfig
from appliance.core.accelerator import Bus, choose
from appliance.core.model import Model
from appliance.errors import RungError
from appliance.inference import Inference
from appliance.sim.meter import RecordingMeter
from tests.contract import test_backend as suite
from tests.contract.backend_makers import Maker

backend, tiny = suite.backend, suite.tiny
"""The suite's fixtures; they ask for ``maker``, which is ours."""

RETURN_S = 120.0
"""For the ladder's lower rungs, and an opening of 25 s."""
FRAMES = 500


@dataclass
class OnTheBench:
    """One model on the Edge TPU, with its twin."""

    tpu: EdgeTpu
    inference: Inference
    model: Model
    clock: SystemClock

    def serve(self) -> str:
        """Judge a frame; says who did."""
        return self.inference.infer(self.model.golden.inputs[0]).backend

    def until(self, true: Callable[[], bool]) -> None:
        """Do what the probing thread does, once a second, until something is true."""
        end_s = self.clock.monotonic_s() + RETURN_S
        while not true():
            assert self.clock.monotonic_s() < end_s, self.tpu.health()
            self.tpu.tend()
            self.inference.probe()
            self.clock.wait(Event(), 1.0)


def _make_tpu(section: dict[str, Any], clock: SystemClock) -> EdgeTpu:
    config = TpuConfig.model_validate({key: value for key, value in section.items() if key != "models"})
    bus = LinuxTpuBus(power_cycle=config.power_cycle, clock=clock)
    assert choose(bus.devices(), config.device), "the bench file names an Edge TPU, and none is plugged in"
    return EdgeTpu("tpu", config, bus=bus, clock=clock, meter=RecordingMeter(clock))


def _models(section: dict[str, Any]) -> list[Model]:
    return [read_model(Path(folder)) for folder in section["models"]]


class TestEdgeTpu(suite.TestEveryBackend):
    """The contract, on the models of the bench: each needs a compiled file."""

    device = "edgetpu"

    @pytest.fixture
    def maker(self, section: dict[str, Any]) -> Iterator[Maker]:
        tpu = _make_tpu(section, SystemClock())
        compiled = {model.name: model.tflite_edgetpu for model in _models(section)}

        def suit(model: Model) -> Model | None:
            content = compiled.get(model.name)
            return replace(model, tflite_edgetpu=content) if content else None

        yield Maker(tpu.backend, "tflite_edgetpu", suit)
        tpu.close()


class TestFailover:
    device = "edgetpu"

    @pytest.fixture
    def bench_of(self, section: dict[str, Any]) -> Iterator[OnTheBench]:
        clock = SystemClock()
        tpu, model = _make_tpu(section, clock), _models(section)[0]
        inference = Inference(
            model,
            (tpu.backend(), CpuBackend()),
            clock,
            RecordingMeter(clock),
            deadline_s=None,
            probe_interval_s=30.0,
            return_passes=3,
        )
        inference.open()
        made = OnTheBench(tpu, inference, model, clock)
        made.until(lambda: made.serve() == "tpu")
        yield made
        inference.close()
        tpu.close()

    def test_it_gives_the_twins_numbers_and_goes_on_doing_so(self, bench_of: OnTheBench) -> None:
        assert bench_of.tpu.health().refused == ()
        assert {bench_of.serve() for _ in range(FRAMES)} == {"tpu"}

    def test_a_killed_worker_costs_no_decision_and_it_returns(self, bench_of: OnTheBench) -> None:
        worker = bench_of.tpu._crew.serving  # noqa: SLF001 - the fault is made from the inside
        assert worker is not None
        os.kill(worker.pid, signal.SIGKILL)
        assert bench_of.serve() in {"cpu", "tpu"}
        bench_of.until(lambda: bench_of.serve() == "tpu")

    def test_a_device_reset_under_it_costs_no_decision_and_it_returns(
        self, bench_of: OnTheBench, section: dict[str, Any]
    ) -> None:
        bus = LinuxTpuBus()
        device = choose(bus.devices(), str(section.get("device", "")))
        assert device is not None
        if device.bus is not Bus.USB:
            pytest.skip("only USB devices can be reset")
        try:
            bus.reset(device)
        except RungError as error:
            pytest.skip(str(error))
        assert bench_of.serve() in {"cpu", "tpu"}
        bench_of.until(lambda: bench_of.serve() == "tpu")

    def test_a_card_says_how_warm_it_is_and_a_stick_does_not(self, section: dict[str, Any]) -> None:
        bus = LinuxTpuBus()
        device = choose(bus.devices(), str(section.get("device", "")))
        assert device is not None
        assert (bus.temperature_c(device) is None) == (device.bus is Bus.USB)
