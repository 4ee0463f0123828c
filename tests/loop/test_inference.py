"""A lost backend costs no decision: faults 1, 2, 3 and 5 of an accelerator, without one."""

from dataclasses import replace
from threading import Thread
from typing import cast

import numpy as np
import pytest

from appliance.adapters.backends.cpu import CpuBackend
from appliance.errors import BackendError, ModelError, NoBackendError
from appliance.inference import Inference
from appliance.sim.backend import Act, ScriptedBackend
from tests.loop.bench import DEADLINE_S, INTERVAL_S, MODEL, OPEN_S, TENSOR, Closing, Unsuited, make_bench, running
from tests.waiting import eventually


class TestWhileBothWork:
    def test_the_first_of_the_order_answers_and_nothing_is_degraded(self) -> None:
        with running() as bench:
            assert [bench.serve() for _ in range(3)] == [("tpu", False)] * 3
            assert bench.inference.active == "tpu"
            assert not bench.inference.degraded
            assert (bench.active("tpu"), bench.active("cpu")) == (1.0, 0.0)

    def test_each_answer_is_counted_and_timed(self) -> None:
        with running() as bench:
            bench.tpu.then(Act.SLOW)
            bench.serve()
            labels = {"model": "tiny-uint8", "backend": "tpu"}
            assert bench.meter.value("edge_inference_total", outcome="ok", **labels) == 2.0
            took_s = bench.meter.observations("edge_stage_duration_seconds", stage="invoke", **labels)
            assert took_s == pytest.approx([0.0, 0.2])


class TestOpening:
    def test_the_twin_answers_the_first_frame_while_the_accelerator_takes_its_time(self) -> None:
        bench = make_bench(auto_advance=False, open_s=OPEN_S)
        bench.inference.open()
        supervisor = Thread(target=bench.inference.probe, daemon=True)
        supervisor.start()
        eventually(lambda: bench.clock.waiting)
        assert bench.serve() == ("cpu", True)
        assert bench.inference.degraded
        bench.clock.advance(OPEN_S / 2)
        assert bench.serve() == ("cpu", True)
        bench.clock.advance(OPEN_S / 2)
        supervisor.join(10.0)
        assert bench.serve() == ("tpu", False)
        assert bench.failovers("cpu", "tpu", "recovered") == 1.0
        bench.inference.close()

    def test_an_accelerator_that_lies_is_not_trusted_and_is_named(self, caplog: pytest.LogCaptureFixture) -> None:
        bench = make_bench()
        bench.tpu.then(Act.LIE)
        bench.inference.open()
        bench.inference.probe()
        assert bench.serve() == ("cpu", True)
        assert bench.active("tpu") == 0.0
        assert bench.failovers("cpu", "tpu", "recovered") == 0.0
        assert "tpu: not the twin's outputs of tiny-uint8 1.0.0: scores is" in caplog.text
        with pytest.raises(BackendError):  # let go: another process may have it
            bench.tpu.invoke(TENSOR, DEADLINE_S)
        bench.inference.close()

    def test_without_an_accelerator_the_twin_serves_from_the_start(self) -> None:
        bench = make_bench()
        bench.tpu.refuse(times=1)
        bench.inference.open()
        bench.inference.probe()
        assert bench.serve() == ("cpu", True)
        bench.inference.close()

    def test_without_the_twin_the_accelerator_serves(self) -> None:
        bench = make_bench()
        bench.cpu.refuse(times=1)
        bench.inference.open()
        assert bench.serve() == ("tpu", False)
        bench.inference.close()

    def test_when_no_backend_is_there_every_reason_is_told_and_probing_goes_on(self) -> None:
        bench = make_bench()
        bench.tpu.refuse(times=1)
        bench.cpu.refuse(times=1)
        with pytest.raises(NoBackendError, match=r"tiny-uint8 1\.0\.0: cpu: no device; tpu: no device"):
            bench.inference.open()
        assert bench.inference.active == ""
        bench.inference.probe()
        assert bench.serve() == ("tpu", False)
        bench.inference.close()

    def test_when_no_backend_gives_the_golden_outputs_the_model_is_at_fault(self) -> None:
        bench = make_bench()
        bench.tpu.then(Act.LIE)
        bench.cpu.then(Act.LIE)
        with pytest.raises(
            ModelError, match=r"cpu: not the golden outputs of tiny-uint8 1\.0\.0: scores is 1\d\d steps"
        ):
            bench.inference.open()

    def test_when_one_lies_and_the_other_is_absent_the_model_is_not_at_fault(self) -> None:
        bench = make_bench()
        bench.tpu.refuse(times=1)
        bench.cpu.then(Act.LIE)
        with pytest.raises(NoBackendError, match=r"not the golden outputs .*; tpu: no device"):
            bench.inference.open()

    def test_a_file_that_contradicts_its_description_is_told_and_nothing_stays_open(self) -> None:
        wrong = replace(MODEL, input=replace(MODEL.input, zero_point=1))
        bench = make_bench(model=wrong)
        with pytest.raises(ModelError, match=r"input: model\.tflite has"):
            bench.inference.open()
        with pytest.raises(BackendError):
            bench.cpu.invoke(TENSOR, DEADLINE_S)


class TestLosingABackend:
    @pytest.mark.parametrize(
        ("act", "lasts_s", "reason"), [(Act.DIE, 0.0, "error"), (Act.HANG, DEADLINE_S, "deadline")]
    )
    def test_the_twin_answers_the_very_frame_and_the_rest_tagged_degraded(
        self, act: Act, lasts_s: float, reason: str
    ) -> None:
        with running() as bench:
            bench.tpu.then(act)
            started_s = bench.clock.monotonic_s()
            assert bench.serve() == ("cpu", True)
            assert bench.clock.monotonic_s() - started_s == lasts_s
            assert bench.serve() == ("cpu", True)
            assert bench.tpu.invokes == len(MODEL.golden.inputs) + 2, "a dropped backend is not asked again"
            assert bench.failovers("tpu", "cpu", reason) == 1.0
            assert (bench.active("tpu"), bench.active("cpu")) == (0.0, 1.0)
            assert bench.meter.value("edge_inference_total", backend="tpu", outcome="error") == 1.0

    def test_a_slow_answer_within_the_deadline_is_an_answer(self) -> None:
        with running() as bench:
            bench.tpu.then(Act.SLOW)
            assert bench.serve() == ("tpu", False)

    def test_when_all_are_lost_every_reason_is_told_and_the_frame_has_no_answer(self) -> None:
        with running() as bench:
            bench.tpu.then(Act.DIE)
            bench.cpu.then(Act.DIE)
            with pytest.raises(NoBackendError, match=r"no backend answers \(tpu: died .*; cpu: died .*\)"):
                bench.inference.infer(TENSOR)
            assert bench.failovers("cpu", "none", "error") == 1.0
            assert (bench.active("tpu"), bench.active("cpu")) == (0.0, 0.0)
            assert bench.meter.value("edge_inference_total", backend="none", outcome="lost") == 1.0
            assert bench.inference.degraded

    def test_a_bug_in_a_backend_is_not_taken_for_a_loss_and_leaves_no_turn_taken(self) -> None:
        with running() as bench:
            with pytest.raises(AssertionError):
                bench.inference.infer(np.zeros(3, np.uint8))
            assert bench.serve() == ("tpu", False)


class TestProbing:
    def test_a_dropped_backend_is_left_alone_for_the_interval_then_proven_and_served_from(self) -> None:
        with running() as bench:
            bench.tpu.then(Act.DIE)
            bench.serve()
            opens = bench.tpu.opens
            bench.clock.advance(INTERVAL_S - 0.1)
            bench.inference.probe()
            assert (bench.tpu.opens, bench.serve()) == (opens, ("cpu", True))
            bench.clock.advance(0.1)
            bench.inference.probe()
            assert (bench.tpu.opens, bench.serve()) == (opens + 1, ("tpu", False))
            assert bench.failovers("cpu", "tpu", "recovered") == 2.0  # the first was the start

    @pytest.mark.parametrize("act", [Act.LIE, Act.DIE, Act.HANG])
    def test_a_backend_that_fails_its_proof_waits_another_interval(self, act: Act) -> None:
        with running() as bench:
            bench.tpu.then(Act.DIE, act)
            bench.serve()
            bench.clock.advance(INTERVAL_S)
            bench.inference.probe()
            assert bench.serve() == ("cpu", True)
            opens = bench.tpu.opens
            bench.inference.probe()
            assert bench.tpu.opens == opens
            bench.clock.advance(INTERVAL_S)
            bench.inference.probe()
            assert bench.serve() == ("tpu", False)

    def test_the_first_failure_and_the_recovery_are_logged_and_no_repeat(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        with running() as bench:
            caplog.set_level("INFO")
            bench.tpu.then(Act.DIE)
            bench.tpu.refuse(times=5)
            bench.serve()
            for _ in range(6):
                bench.clock.advance(INTERVAL_S)
                bench.inference.probe()
            assert bench.serve() == ("tpu", False)
            events = [cast("dict[str, object]", record.msg) for record in caplog.records]
            assert [event["event"] for event in events] == ["fault", "recovered", "backend ready"]
            assert events[0]["reason"] == "tpu: died (SIGABRT)"
            assert (events[1]["failures"], events[1]["duration_s"]) == (6, 6 * INTERVAL_S)

    def test_the_last_golden_vector_counts_as_much_as_the_first(self) -> None:
        with running() as bench:
            bench.tpu.then(Act.DIE, *[Act.ANSWER] * (len(MODEL.golden.inputs) - 1), Act.LIE)
            bench.serve()
            bench.clock.advance(INTERVAL_S)
            bench.inference.probe()
            assert bench.serve() == ("cpu", True)

    def test_while_none_serves_there_is_no_waiting_and_the_twin_is_first(self) -> None:
        with running() as bench:
            bench.tpu.then(Act.DIE)
            bench.cpu.then(Act.DIE)
            with pytest.raises(NoBackendError):
                bench.inference.infer(TENSOR)
            opens = bench.tpu.opens
            bench.inference.probe()
            assert bench.serve() == ("cpu", True)
            assert bench.tpu.opens == opens, "with the twin back, the accelerator waits its interval"

    def test_the_hardware_is_let_go_by_the_probe_and_not_by_the_frame(self) -> None:
        bench = make_bench()
        closing = Closing(CpuBackend())
        tpu = ScriptedBackend(closing, bench.clock)
        inference = Inference(
            MODEL, (tpu, bench.cpu), bench.clock, bench.meter, deadline_s=DEADLINE_S, probe_interval_s=INTERVAL_S
        )
        inference.open()
        inference.probe()
        tpu.then(Act.DIE)
        closes = closing.closes
        inference.infer(TENSOR)
        assert closing.closes == closes
        inference.probe()
        assert closing.closes == closes + 1
        inference.probe()
        assert closing.closes == closes + 1
        inference.close()

    def test_frames_are_answered_while_the_hardware_opens_and_a_second_probe_returns_at_once(self) -> None:
        bench = make_bench(auto_advance=False, open_s=OPEN_S)
        bench.inference.open()
        supervisor = Thread(target=bench.inference.probe, daemon=True)
        supervisor.start()
        eventually(lambda: bench.clock.waiting)
        for _ in range(10):
            assert bench.serve() == ("cpu", True)
        bench.inference.probe()
        assert bench.tpu.opens == 1
        bench.clock.advance(OPEN_S)
        supervisor.join(10.0)
        assert not supervisor.is_alive()
        bench.inference.close()

    def test_a_file_that_does_not_suit_the_accelerator_is_not_tried_again(self) -> None:
        bench = make_bench()
        unsuited = Unsuited(CpuBackend())
        inference = Inference(
            MODEL, (unsuited, bench.cpu), bench.clock, bench.meter, deadline_s=DEADLINE_S, probe_interval_s=INTERVAL_S
        )
        inference.open()
        for _ in range(3):
            inference.probe()
            bench.clock.advance(INTERVAL_S)
        assert unsuited.opens == 1
        assert inference.infer(TENSOR).backend == "cpu"
        inference.close()
