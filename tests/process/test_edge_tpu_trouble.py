"""Whose fault it is: the device's climbs the ladder; software, a poisonous model, or the appliance's end do not."""

from dataclasses import replace
from pathlib import Path
from threading import Thread

import pytest

from appliance.adapters.edgetpu import Claims, EdgeTpu
from appliance.adapters.edgetpu.residents import REFUSED_RETRY_S
from appliance.adapters.ladder_file import Kept, LadderFile
from appliance.adapters.model_folder import read_model
from appliance.config import TpuConfig
from appliance.core.recovery import ROUNDS_MAX, State
from appliance.errors import BackendError, ModelError
from appliance.sim.meter import RecordingMeter
from appliance.sim.tpu_bus import Outcome, Rung, SimulatedTpuBus
from appliance.sim.tpu_script import Act
from tests.edge import DEADLINE_S, ENGINE, LeapingClock, compiled, edge, frame
from tests.model_folders import CARD, TINY
from tests.waiting import eventually


class TestTheDevice:
    def test_one_that_only_ever_reports_errors_in_order_climbs_the_ladder_too(self, tmp_path: Path) -> None:
        """What libedgetpu does when its driver fails, and the process lives."""
        with edge(tmp_path) as bench:
            for _ in range(3):
                bench.script.then(Act.FAIL)
                bench.tick()
                bench.clock.leap(10.0)
                bench.tick()
            assert bench.tpu.health().state is not State.OPENING
            assert bench.bus.tried
            bench.tick_until_serves()

    def test_one_that_loses_its_link_under_frames_is_counted_as_reset(self, tmp_path: Path) -> None:
        with edge(tmp_path) as bench:
            bench.tick()
            for _ in range(3):
                bench.script.then(Act.VANISH)
                assert bench.backend == "cpu"
                bench.bus.enumerate_again(dfu=True)
                bench.tick_until_serves()
            assert bench.tpu.health().resets_1h == 3

    def test_a_socket_that_is_empty_for_ever_is_never_told_to_be_replaced(self, tmp_path: Path) -> None:
        kept = LadderFile(tmp_path, "tpu")
        with edge(tmp_path, plugged=False, kept=kept) as bench:
            for _ in range(30 * ROUNDS_MAX):
                bench.clock.leap(8000.0)
                bench.tick()
                assert bench.tpu.health().state is not State.REPLACE
            bench.bus.plug()
            bench.tick()
            assert bench.backend == "tpu"
        assert kept.load().rounds == 0

    def test_a_stick_that_appears_while_the_appliance_starts_is_tried_though_one_was_given_up(
        self, tmp_path: Path
    ) -> None:
        kept = LadderFile(tmp_path, "tpu")
        kept.save(Kept(replace_hardware=True, rounds=ROUNDS_MAX))
        with edge(tmp_path, plugged=False, kept=kept) as bench:
            bench.bus.plug()
            bench.tick()
            bench.tick()
            assert bench.backend == "tpu"

    def test_another_stick_that_comes_and_goes_does_not_hurry_this_ones_ladder(self, tmp_path: Path) -> None:
        with edge(tmp_path, config=TpuConfig(device="usb:0")) as bench:
            bench.bus.then(Rung.POWER_CYCLE, *[Outcome.REFUSED] * 20)
            bench.bus.then(Rung.RESET, *[Outcome.REFUSED] * 20)
            bench.bus.then(Rung.REBIND, *[Outcome.REFUSED] * 20)
            for _ in range(20):
                bench.script.then(Act.OPEN_ABORT)
            bench.tick_until(State.CPU_ONLY, leap_s=10.0)
            for _ in range(5):
                bench.bus.plug("3-1")
                bench.tick()
                bench.bus.unplug("3-1")
                bench.tick()
            assert bench.tpu.health().state is State.CPU_ONLY


class TestTheSoftware:
    def test_a_device_that_nobody_may_open_is_said_to_be_that_and_never_reset(self, tmp_path: Path) -> None:
        with edge(tmp_path) as bench:
            bench.bus.forbid()
            for _ in range(20):
                bench.clock.leap(8000.0)
                bench.tick()
            health = bench.tpu.health()
            assert health.state is State.UNFIT
            assert "permission denied" in health.reason
            assert not bench.bus.tried
            assert bench.backend == "cpu"

    def test_an_engine_that_cannot_be_made_climbs_no_rung(self, tmp_path: Path) -> None:
        with edge(tmp_path) as bench:
            bench.tpu._engine = "tests.nowhere:Engine"
            for _ in range(5):
                bench.clock.leap(8000.0)
                bench.tick()
            assert bench.tpu.health().state is State.UNFIT
            assert not bench.bus.tried


class TestOneModel:
    def test_a_file_that_contradicts_its_description_leaves_the_device_well_and_is_tried_again_later(
        self, tmp_path: Path
    ) -> None:
        tiny = compiled(read_model(TINY))
        wrong = replace(tiny, input=replace(tiny.input, zero_point=1))
        with edge(tmp_path) as bench:
            backend = bench.tpu.backend()
            with pytest.raises(ModelError):
                backend.open(wrong)
            assert bench.tpu.health().state is State.SERVING
            assert not backend.due()
            bench.clock.leap(REFUSED_RETRY_S)
            assert backend.due()

    def test_one_that_ends_the_worker_while_it_is_loaded_does_not_take_it_from_the_others(self, tmp_path: Path) -> None:
        with edge(tmp_path) as bench:
            poison, card = bench.tpu.backend(), compiled(read_model(CARD))
            bench.tick()
            bench.script.then(Act.OPEN_ABORT)
            with pytest.raises(BackendError, match="SIGABRT"):
                poison.open(card)
            assert not poison.due()
            bench.tick()
            assert bench.backend == "tpu"
            assert not bench.bus.tried
            assert bench.tpu.health().refused

    def test_one_that_comes_first_and_ends_the_worker_twice_lets_the_others_go_first(self, tmp_path: Path) -> None:
        with edge(tmp_path) as bench:
            poison, card = bench.tpu.backend(), compiled(read_model(CARD))
            for _ in range(2):
                bench.script.then(Act.OPEN_ABORT)
                with pytest.raises(BackendError):
                    poison.open(card)
                bench.clock.leap(10.0)
            assert not poison.due()
            bench.tick_until_serves()
            assert bench.backend == "tpu"


class TestTheEnd:
    @pytest.mark.parametrize("act", [Act.OPEN_SLOWLY, Act.OPEN_HANG])
    def test_while_the_device_is_being_opened_is_quick_and_counts_for_nothing(self, tmp_path: Path, act: Act) -> None:
        kept = LadderFile(tmp_path, "tpu")
        with edge(tmp_path, kept=kept) as bench:
            bench.script.then(act, 30.0)
            opening = Thread(target=bench.tick, daemon=True)
            opening.start()
            worker = eventually(lambda: bench.tpu._crew.serving)
            assert worker is not None
            bench.tpu.close()
            opening.join(10.0)
            assert not opening.is_alive()
            assert not Path(f"/proc/{worker.pid}").exists()
            assert bench.tpu._crew.serving is None
            bench.tick()
            assert bench.tpu._crew.serving is None, "nothing is started after the end"
        assert kept.load() == Kept()


class TestTwoEdgeTpus:
    def test_the_one_that_is_pulled_out_does_not_take_the_others_device(self, tmp_path: Path) -> None:
        bus, clock = SimulatedTpuBus(tmp_path), LeapingClock()
        bus.plug("2-1")
        bus.plug("2-2")
        claims, tiny = Claims(), compiled(read_model(TINY))
        made = [
            EdgeTpu(
                name,
                TpuConfig(device=device, options={"folder": str(tmp_path)}),
                bus=SimulatedTpuBus(tmp_path),
                clock=clock,
                meter=RecordingMeter(clock),
                engine=ENGINE,
                jitter=lambda: 0.0,
            )
            for name, device in (("first", ":0"), ("second", ":1"))
        ]
        backends = [tpu.backend() for tpu in made]
        try:
            for tpu, backend in zip(made, backends, strict=True):
                tpu.agree(claims)
                backend.open(tiny)
                backend.proven()
            assert [tpu._climb.option for tpu in made] == ["usb:0", "usb:1"]
            bus.unplug("2-1")
            for _ in range(5):
                clock.leap(10.0)
                for tpu in made:
                    tpu.tend()
            assert backends[1].invoke(frame(tiny, 1), DEADLINE_S)
            assert made[0]._climb.device is None
            assert made[1].health().state is State.SERVING
            assert made[1]._climb.option == "usb:0", "numbers shift, places do not"
            with pytest.raises(BackendError):
                backends[0].open(tiny)
            bus.plug("2-3")
            made[0].tend()
            backends[0].open(tiny)
            assert backends[0].invoke(frame(tiny, 1), DEADLINE_S)
        finally:
            for tpu in made:
                tpu.close()
