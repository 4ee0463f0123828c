"""An Edge TPU with the engine and the library that a device has: it opens, serves, and is not blamed for software."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from appliance.adapters.backends.cpu import CpuBackend
from appliance.adapters.edgetpu import EdgeTpu
from appliance.adapters.model_folder import read_model
from appliance.config import TpuConfig
from appliance.core.advice import advice
from appliance.core.recovery import State
from appliance.inference import Inference
from appliance.sim.meter import RecordingMeter
from appliance.sim.tpu_bus import SimulatedTpuBus
from tests.edge import LeapingClock, compiled
from tests.model_folders import TINY
from tests.process.delegate.library import LABEL, DelegateLibrary, another_runtime
from tests.workers import LONG_S


@dataclass
class Site:
    """A model on an Edge TPU, the bus that it sits on, and its twin."""

    tpu: EdgeTpu
    bus: SimulatedTpuBus
    clock: LeapingClock
    inference: Inference

    def tick(self) -> None:
        """What the probing thread does once a second; the ladder's waits are over."""
        self.clock.leap(1.0)
        self.tpu.tend()
        self.inference.probe()

    @property
    def state(self) -> State:
        return self.tpu.health().state

    @property
    def answers(self) -> str:
        """Who answers the golden input, and rightly."""
        model = self.inference.model
        result = self.inference.infer(model.golden.inputs[0])
        wanted = model.golden.outputs[0]
        assert all((result.outputs[role] == wanted[role]).all() for role in wanted)
        return result.backend


@contextmanager
def site(folder: Path, **config: object) -> Iterator[Site]:
    """Everything but the device: a stick is plugged in, and the library opens nothing."""
    bus, clock = SimulatedTpuBus(folder / "bus"), LeapingClock()
    bus.plug()
    meter = RecordingMeter(clock)
    tpu = EdgeTpu("tpu", TpuConfig().model_copy(update=config), bus=bus, clock=clock, meter=meter, jitter=lambda: 0.0)
    inference = Inference(
        compiled(read_model(TINY)),
        (tpu.backend(), CpuBackend()),
        clock,
        meter,
        deadline_s=LONG_S,
        probe_interval_s=30.0,
    )
    inference.open()
    try:
        yield Site(tpu, bus, clock, inference)
    finally:
        inference.close()
        tpu.close()


def of(delegate: DelegateLibrary, fault: str = "", **config: object) -> dict[str, object]:
    """The configuration that names our library."""
    options = delegate.options(fault)
    return {"library": options.pop("library"), "options": options, **config}


def test_it_opens_serves_at_the_clock_that_is_configured_and_lets_the_device_go(delegate: DelegateLibrary) -> None:
    with site(delegate.folder, **of(delegate, device="usb", performance="low")) as place:
        assert place.answers == "cpu"
        place.tick()
        assert (place.answers, place.state) == ("tpu", State.SERVING)
        assert delegate.journal("open") == ["performance=Low"]
    assert delegate.journal("destroy") == ["device=usb:0"]


def test_one_crash_is_an_accident_and_the_device_is_opened_again(delegate: DelegateLibrary) -> None:
    delegate.once("prepare-crash")
    with site(delegate.folder, **of(delegate)) as place:
        place.tick()
        assert (place.answers, place.state) == ("cpu", State.RESPAWN)
        assert "died (SIGSEGV)" in place.inference.why_degraded
        place.tick()
        assert (place.answers, place.state) == ("tpu", State.AFTER_RESPAWN)
        assert len(delegate.journal("open")) == 3, "served, tried in a process that is thrown away, served"


class TestSoftwareThatDoesNotFit:
    """No rung of the ladder helps, and nobody is sent to replace the hardware."""

    def unfit(self, place: Site) -> str:
        """See that it is told, and that the hardware is left alone; returns what is told."""
        for _ in range(3):
            place.tick()
            assert (place.answers, place.state) == ("cpu", State.UNFIT)
        assert list(place.bus.tried) == []
        health = place.tpu.health()
        assert advice(health).startswith("its software is missing or does not fit together: install ")
        assert health.reason in place.inference.why_degraded
        return health.reason

    def test_a_pair_that_crashes_is_named(self, delegate: DelegateLibrary) -> None:
        with site(delegate.folder, **of(delegate, "prepare-crash", runtime="ai-edge-litert")) as place:
            told = self.unfit(place)
        assert f"{LABEL} crash (SIGSEGV)" in told
        assert "install a pair that is" in told

    def test_a_library_that_is_missing_is_named(self, tmp_path: Path) -> None:
        with site(tmp_path, library=str(tmp_path / "libedgetpu.so.1")) as place:
            assert "install libedgetpu1-std" in self.unfit(place)

    def test_another_runtime_that_fits_takes_over_without_a_rung(
        self, delegate: DelegateLibrary, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        packages = another_runtime(tmp_path)
        monkeypatch.setenv("PYTHONPATH", str(packages))
        monkeypatch.syspath_prepend(packages)
        with site(delegate.folder, **of(delegate, "prepare-crash")) as place:
            place.tick()
            assert place.state is State.RESPAWN
            place.tick()
            assert (place.answers, place.state) == ("tpu", State.AFTER_RESPAWN)
            assert list(place.bus.tried) == []
        assert delegate.journal("open")[-1] == "performance=Max"
        assert "Test.Loader=tflite_runtime.interpreter" in delegate.journal("option")
