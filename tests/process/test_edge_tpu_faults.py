"""Faults 1 to 5 and 13 of an Edge TPU, and their kin, on the real process boundary: no decision is lost."""

import os
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from threading import Thread

import pytest

from appliance.adapters.edgetpu import tpu
from appliance.adapters.edgetpu.residents import REFUSED_RETRY_S
from appliance.adapters.edgetpu.watch import GROWTH_BYTES_MAX, LATE_MAX, LOOK_S
from appliance.adapters.ladder_file import Kept, LadderFile
from appliance.adapters.model_folder import read_model
from appliance.config import TpuConfig
from appliance.core.recovery import STABLE_S, State
from appliance.sim.tpu_bus import Outcome, Rung
from appliance.sim.tpu_script import Act
from tests.edge import DEADLINE_S, NO_ANSWER, Edge, compiled, edge, frame
from tests.model_folders import CARD
from tests.waiting import eventually
from tests.workers import LONG_S, open_files, own_files

LATE_S = DEADLINE_S + 1.0
"""When a late answer comes: a busy machine that looks late whether it came in time is not to find it."""


@pytest.fixture
def serving(tmp_path: Path) -> Iterator[Edge]:
    """An Edge TPU that serves."""
    with edge(tmp_path) as bench:
        bench.tick()
        assert bench.backend == "tpu"
        yield bench


@pytest.fixture
def _graceful(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for a late answer as long as it takes on a busy machine."""
    monkeypatch.setattr(tpu, "LATE_GRACE_S", LONG_S)


class TestTheFrameThatMeetsTheFault:
    """Faults 1 and 2 of the list, and what else an invoke can come to."""

    @pytest.mark.parametrize(
        ("act", "value", "told", "label"),
        [
            (Act.ABORT, 0.0, "died (SIGABRT): F simulated/usb_driver.cc:857] transfer failed", "error"),
            (Act.CRASH, 0.0, "died (SIGSEGV)", "error"),
            (Act.VANISH, 0.0, "died (SIGABRT)", "error"),
            (Act.HANG, 0.0, NO_ANSWER, "deadline"),
            (Act.LATE, LATE_S, NO_ANSWER, "deadline"),
            (Act.FOREIGN, 0.0, NO_ANSWER, "deadline"),
            (Act.FAIL, 0.0, "the device reports an error", "error"),
        ],
        ids=lambda value: value.value if isinstance(value, Act) else None,
    )
    def test_is_answered_by_the_twin_and_says_so(
        self, serving: Edge, act: Act, value: float, told: str, label: str
    ) -> None:
        serving.script.then(act, value)
        result = serving.decide()
        assert (result.backend, result.degraded) == ("cpu", True)
        assert told in serving.inference.why_degraded
        labels = {"from": "tpu", "to": "cpu", "reason": label}
        assert serving.meter.value("edge_failover_total", **labels) == 1.0
        assert serving.script.left() == 0, "the fault has happened"

    @pytest.mark.parametrize("act", [Act.ABORT, Act.CRASH, Act.HANG, Act.FOREIGN])
    def test_after_it_the_edge_tpu_comes_back_by_itself(self, serving: Edge, act: Act) -> None:
        serving.script.then(act)
        serving.decide()
        serving.tick_until(State.AFTER_RESPAWN)
        assert serving.backend == "tpu"
        assert not serving.inference.degraded
        assert serving.tpu.health().reason == ""
        assert serving.tpu.health().aborts_1h == 1
        assert serving.rung("respawn", "returned") == 1.0

    @pytest.mark.usefixtures("_graceful")
    def test_one_late_answer_costs_one_frame_and_no_worker(self, serving: Edge) -> None:
        serving.script.then(Act.LATE, LATE_S)
        assert serving.backend == "cpu"
        serving.tick()
        assert serving.backend == "tpu"
        health = serving.tpu.health()
        assert (health.state, health.aborts_1h) == (State.SERVING, 0)
        serving.tick()
        labels = {"tpu": "tpu", "reason": "late"}
        assert serving.meter.value("edge_tpu_answers_discarded_total", **labels) == 1.0

    @pytest.mark.usefixtures("_graceful")
    def test_answers_that_are_late_again_and_again_keep_the_model_off_and_reset_nothing(self, serving: Edge) -> None:
        for _ in range(LATE_MAX):
            assert serving.backend == "tpu"
            serving.script.then(Act.LATE, LATE_S)
            assert serving.backend == "cpu"
            serving.tick()
        health = serving.tpu.health()
        assert (health.state, health.aborts_1h) == (State.SERVING, 0)
        assert health.refused == ("tiny-uint8 1.0.0: tpu: answers later than its deadline, again and again",)
        assert not serving.bus.tried
        serving.clock.leap(REFUSED_RETRY_S)
        serving.tick()
        assert serving.backend == "tpu"

    def test_an_error_told_in_order_costs_one_frame_and_no_worker(self, serving: Edge) -> None:
        serving.script.then(Act.FAIL)
        assert serving.backend == "cpu"
        serving.tick()
        assert serving.backend == "tpu"
        assert serving.tpu.health().aborts_1h == 0

    def test_a_worker_that_is_killed_from_outside_is_replaced_before_a_frame_meets_it(self, serving: Edge) -> None:
        worker = serving.tpu._crew.serving
        assert worker is not None
        os.kill(worker.pid, signal.SIGKILL)
        eventually(lambda: not worker.alive)
        serving.tick()
        assert serving.tpu.health().state is not State.SERVING
        assert serving.backend == "tpu"


class TestOpening:
    """Fault 3: opening takes long, or fails, or kills."""

    def test_the_twin_answers_from_the_first_frame_while_the_device_opens(self, tmp_path: Path) -> None:
        with edge(tmp_path) as bench:
            bench.script.then(Act.OPEN_SLOWLY, 0.7)
            opening = Thread(target=bench.tick, daemon=True)
            opening.start()
            answered = 0
            while opening.is_alive():
                assert bench.decide().backend in {"cpu", "tpu"}
                answered += bench.inference.active == "cpu"
            opening.join(10.0)
            assert answered > 10
            assert bench.backend == "tpu"

    @pytest.mark.parametrize(
        ("act", "told"),
        [
            (Act.OPEN_FAIL, "the device does not open"),
            (Act.OPEN_ABORT, "died (SIGABRT)"),
        ],
    )
    def test_one_that_fails_is_told_and_tried_again(self, tmp_path: Path, act: Act, told: str) -> None:
        with edge(tmp_path) as bench:
            bench.script.then(act)
            bench.tick()
            assert bench.backend == "cpu"
            assert told in bench.inference.why_degraded
            assert bench.tpu.health().state is State.RESPAWN
            bench.clock.leap(1.0)
            bench.tick()
            assert bench.backend == "tpu"

    def test_one_that_hangs_is_ended_at_its_deadline(self, tmp_path: Path) -> None:
        with edge(tmp_path, config=TpuConfig(open_deadline_s=1.0)) as bench:
            bench.script.then(Act.OPEN_HANG)
            bench.tick()
            assert bench.backend == "cpu"
            assert "no answer to load tiny-uint8 within 1 s" in bench.inference.why_degraded
            assert bench.tpu.health().aborts_1h == 1

    def test_without_a_device_nothing_is_started_and_the_twin_serves(self, tmp_path: Path) -> None:
        with edge(tmp_path, plugged=False) as bench:
            bench.tick()
            assert bench.backend == "cpu"
            assert "no Edge TPU is seen on USB or PCIe" in bench.inference.why_degraded
            assert bench.tpu._crew.serving is None


class TestTheBus:
    """Faults 4 and 13: the device leaves, comes back under another id, or never leaves its bootloader."""

    def test_one_that_comes_back_as_bootloader_is_opened_again_at_once(self, serving: Edge) -> None:
        serving.bus.then(Rung.POWER_CYCLE, Outcome.REFUSED)
        serving.bus.unplug()
        serving.tick_until(State.CPU_ONLY, leap_s=10.0)
        assert serving.backend == "cpu"
        serving.bus.plug()
        assert serving.bus.devices()[0].dfu
        serving.tick()
        assert serving.backend == "tpu"
        assert not serving.bus.devices()[0].dfu
        assert serving.tpu.health().device == serving.bus.devices()[0]

    def test_one_that_falls_off_the_bus_between_two_frames_is_noticed_without_a_frame(self, serving: Edge) -> None:
        serving.bus.unplug()
        serving.tick()
        assert serving.tpu._crew.serving is None
        assert "it has left the bus" in serving.tpu.health().reason
        assert serving.backend == "cpu"

    def test_one_that_was_reset_by_nobody_is_counted_as_that(self, serving: Edge) -> None:
        serving.bus.enumerate_again()
        serving.tick()
        health = serving.tpu.health()
        assert (health.resets_1h, health.aborts_1h, health.state) == (1, 0, State.AFTER_RESPAWN)
        assert serving.backend == "tpu"

    def test_one_that_was_pulled_out_and_plugged_in_again_has_left_the_bus_once(self, serving: Edge) -> None:
        serving.bus.unplug()
        serving.tick()
        serving.bus.plug()
        serving.tick_until_serves()
        assert serving.tpu.health().resets_1h == 1

    def test_one_that_is_given_up_stays_so_over_a_restart_and_gets_one_try(self, tmp_path: Path) -> None:
        kept = LadderFile(tmp_path, "tpu")
        with edge(tmp_path, kept=kept) as bench:
            for rung in Rung:
                bench.bus.then(rung, *[Outcome.DFU] * 20)
            bench.bus.stick_in_dfu()
            bench.tick_until(State.REPLACE, leap_s=10_000.0)
            rounds = kept.load().rounds
        with edge(tmp_path, kept=LadderFile(tmp_path, "tpu")) as bench:
            for _ in range(5):
                bench.clock.leap(100_000.0)
                bench.tick()
            assert bench.tpu.health().state is State.REPLACE
            assert not bench.bus.tried, "no reset, no power cycle: one new worker, and no more"
            assert bench.rung("last_try", "failed") == 1.0
        assert LadderFile(tmp_path, "tpu").load() == Kept(
            replace_hardware=True, rounds=rounds, dfu_rounds=2, path="2-1"
        )

    def test_one_that_never_leaves_its_bootloader_is_given_up(self, serving: Edge) -> None:
        for rung in Rung:
            serving.bus.then(rung, *[Outcome.DFU] * 20)
        serving.bus.stick_in_dfu()
        serving.script.then(Act.ABORT)
        serving.decide()
        serving.tick_until(State.REPLACE, leap_s=10_000.0)
        cycles = [rung for rung, _ in serving.bus.tried if rung is Rung.POWER_CYCLE]
        assert 0 < len(cycles) <= 3
        tried = len(serving.bus.tried)
        for _ in range(5):
            serving.clock.leap(100_000.0)
            serving.tick()
        assert len(serving.bus.tried) == tried, "nothing is tried any more"
        assert serving.backend == "cpu"

    def test_a_card_whose_sensor_reads_minus_88_degrees_has_lost_its_link(self, tmp_path: Path) -> None:
        with edge(tmp_path, plugged=False) as bench:
            bench.bus.set_temperature(61.5)
            bench.tick()
            assert bench.backend == "tpu"
            bench.clock.leap(LOOK_S)
            bench.tick()
            assert bench.tpu.health().temperature_c == 61.5
            bench.bus.set_temperature(-87.9)
            bench.clock.leap(LOOK_S)
            bench.tpu.tend()
            health = bench.tpu.health()
            assert "is no temperature: the PCIe link is lost" in health.reason
            assert (health.state, health.temperature_c, health.aborts_1h) == (State.RESPAWN, None, 0)
            result = bench.inference.infer(frame(bench.model, 1))
            assert (result.backend, result.degraded) == ("cpu", True)


class TestTheLadder:
    def test_each_rung_is_tried_in_its_order_until_one_helps(self, serving: Edge) -> None:
        serving.bus.then(Rung.RESET, Outcome.NOTHING)
        serving.bus.then(Rung.REBIND, Outcome.REFUSED)
        for _ in range(2):
            serving.script.then(Act.OPEN_ABORT)
        serving.script.then(Act.ABORT)
        serving.decide()
        serving.tick_until(State.AFTER_POWER_CYCLE, leap_s=10.0)
        assert [rung for rung, _ in serving.bus.tried] == [Rung.RESET, Rung.REBIND, Rung.POWER_CYCLE]
        assert serving.rung("respawn", "failed") == 1.0
        assert serving.rung("reset", "failed") == 1.0
        assert serving.rung("rebind", "unavailable") == 1.0
        assert serving.rung("power_cycle", "returned") == 1.0
        assert serving.backend == "tpu"

    def test_a_reset_of_ours_is_not_counted_as_one_that_nobody_asked_for(self, serving: Edge) -> None:
        serving.script.then(Act.ABORT)
        serving.decide()
        serving.tick_until(State.AFTER_RESPAWN)
        serving.bus.then(Rung.RESET, Outcome.LOSES)
        serving.script.then(Act.ABORT)
        serving.decide()
        serving.tick_until(State.REBIND)
        serving.bus.enumerate_again()
        serving.tick_until_serves()
        assert serving.tpu.health().resets_1h == 0

    def test_after_a_stable_while_the_next_loss_begins_at_the_bottom_again(self, serving: Edge) -> None:
        serving.script.then(Act.ABORT)
        serving.decide()
        serving.tick_until(State.AFTER_RESPAWN)
        serving.clock.leap(STABLE_S)
        serving.tick()
        assert serving.tpu.health().state is State.SERVING
        serving.script.then(Act.ABORT)
        serving.decide()
        serving.tick_until(State.AFTER_RESPAWN)
        assert len(serving.bus.tried) == 0

    def test_one_lost_again_before_that_goes_one_rung_up(self, serving: Edge) -> None:
        for _ in range(2):
            serving.script.then(Act.ABORT)
            assert serving.backend == "cpu"
            serving.tick_until_serves()
        assert [rung for rung, _ in serving.bus.tried] == [Rung.RESET]


class TestParity:
    """Fault 5: other numbers than the CPU's."""

    def test_a_model_with_other_numbers_is_not_used_and_health_says_why(self, tmp_path: Path) -> None:
        with edge(tmp_path) as bench:
            bench.script.then(Act.LIE)
            bench.tick()
            assert bench.backend == "cpu"
            [refused] = bench.tpu.health().refused
            assert refused.startswith("tiny-uint8 1.0.0: tpu: not the twin's outputs")
            assert bench.tpu.health().state is State.SERVING, "the hardware answers: nothing is reset"
            bench.tick()
            assert bench.backend == "cpu", "it is not tried again at once"
            bench.clock.leap(REFUSED_RETRY_S)
            bench.tick()
            assert bench.backend == "tpu"
            assert bench.tpu.health().refused == ()

    def test_after_a_return_it_is_proven_anew(self, serving: Edge) -> None:
        serving.script.then(Act.ABORT)
        serving.script.then(Act.LIE)
        serving.decide()
        serving.tick()
        assert serving.backend == "cpu"
        assert len(serving.tpu.health().refused) == 1


class TestSharing:
    def test_two_models_share_one_worker_and_each_is_loaded_once(self, tmp_path: Path) -> None:
        with edge(tmp_path) as bench:
            card = compiled(read_model(CARD))
            backend = bench.tpu.backend()
            bench.tick()
            backend.open(card)
            assert backend.invoke(frame(card, 1), DEADLINE_S).keys() == card.outputs.keys()
            assert bench.backend == "tpu"
            worker = bench.tpu._crew.serving
            backend.open(card)
            assert bench.tpu._crew.serving is worker
            assert len(bench.tpu._residents._numbers) == 2

    def test_a_model_that_cannot_be_loaded_beside_another_leaves_it_alone(self, serving: Edge) -> None:
        worker = serving.tpu._crew.serving
        serving.script.then(Act.OPEN_FAIL)
        other = serving.tpu.backend()
        with pytest.raises(Exception, match="does not open"):
            other.open(replace(compiled(read_model(CARD))))
        assert serving.tpu._crew.serving is worker
        assert serving.backend == "tpu"
        assert not other.due()


class TestTheWorkerItself:
    def test_one_that_leaks_is_replaced_in_order(self, tmp_path: Path) -> None:
        with edge(tmp_path, deadline_s=10.0) as bench:  # it takes a while to fill so much memory
            bench.tick()
            bench.script.then(Act.LEAK, 1.2 * GROWTH_BYTES_MAX)
            assert bench.backend == "tpu"
            before = bench.tpu._crew.serving
            bench.clock.leap(LOOK_S)
            bench.tpu.tend()
            result = bench.decide()
            assert (result.backend, result.degraded) == ("cpu", True), "it is asked no more"
            assert "has grown by more than 128 MiB" in bench.inference.why_degraded
            bench.tick()
            assert bench.backend == "tpu"
            assert bench.tpu._crew.serving is not before
            assert bench.tpu.health().state is State.SERVING, "it is no fault of the hardware"
            assert bench.tpu.health().aborts_1h == 0

    def test_closing_leaves_no_process_and_no_file_behind(self, tmp_path: Path) -> None:
        before = own_files()
        with edge(tmp_path) as bench:
            bench.tick()
            worker = bench.tpu._crew.serving
            assert worker is not None
            assert bench.backend == "tpu"
        assert not Path(f"/proc/{worker.pid}").exists()
        assert open_files() == before
