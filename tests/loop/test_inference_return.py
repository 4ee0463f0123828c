"""A backend comes back when it has given the twin's numbers, often enough, and when it says that it is time."""

import numpy as np
import pytest

from appliance.adapters.backends.cpu import CpuBackend
from appliance.adapters.model_folder import read_model
from appliance.core.deadline import DEADLINE_CEILING_S, DEADLINE_FLOOR_S, ENOUGH_INVOKES
from appliance.core.model import Model
from appliance.core.types import Array, Outputs
from appliance.errors import BackendError, NoBackendError
from appliance.inference import Inference
from appliance.ports import Backend
from appliance.sim.backend import Act, ScriptedBackend
from appliance.sim.clock import ManualClock
from appliance.sim.meter import RecordingMeter
from tests.loop.bench import DEADLINE_S, INTERVAL_S, MODEL, TENSOR
from tests.model_folders import CARD

GOLDEN = len(MODEL.golden.inputs)
CARD_MODEL = read_model(CARD)
"""Its golden scores are far from the ends of their range, so that there is room on both sides."""
TOLERANCE = CARD_MODEL.golden.tolerance_lsb["score"]


class Shifted:
    """The CPU, whose scores are ``steps`` higher: other hardware that rounds its own way."""

    def __init__(self, name: str, steps: int) -> None:
        self.name, self.steps = name, steps
        self._inner = CpuBackend()

    def open(self, model: Model) -> None:
        self._inner.open(model)

    def invoke(self, tensor: Array, deadline_s: float) -> Outputs:
        return {"score": self._inner.invoke(tensor, deadline_s)["score"] + np.int8(self.steps)}

    def close(self) -> None:
        self._inner.close()


class SelfHealing(ScriptedBackend):
    """An accelerator that says itself when it is worth a try."""

    def __init__(self, clock: ManualClock) -> None:
        super().__init__(CpuBackend(), clock, name="tpu")
        self.wants = True
        self.trouble = ""
        self.heard: list[str] = []

    def due(self) -> bool:
        return self.wants

    def lost(self) -> str:
        return self.trouble

    def proven(self) -> None:
        self.heard.append("proven")

    def failed(self, reason: str) -> None:
        self.heard.append(f"failed: {reason}")

    def refused(self, reason: str) -> None:
        self.heard.append(reason)


def inference(
    *backends: Backend,
    clock: ManualClock,
    deadline_s: float | None = DEADLINE_S,
    passes: int = 1,
    model: Model = MODEL,
) -> Inference:
    return Inference(
        model,
        backends,
        clock,
        RecordingMeter(clock),
        deadline_s=deadline_s,
        probe_interval_s=INTERVAL_S,
        return_passes=passes,
    )


class TestParity:
    """Other hardware is held against the twin on this device, not against what the author's machine gave."""

    @pytest.mark.parametrize(
        ("tpu", "cpu", "serves"),
        [
            (0, 0, "tpu"),
            (TOLERANCE, 0, "tpu"),
            (TOLERANCE + 1, 0, "cpu"),
            (TOLERANCE, -TOLERANCE, "cpu"),
            (2 * TOLERANCE, TOLERANCE, "tpu"),
        ],
        ids=["same", "within", "beyond", "both within, but apart", "beyond the recorded, within the twin's"],
    )
    def test_it_serves_when_it_differs_from_the_twin_by_no_more_than_the_model_allows(
        self, tpu: int, cpu: int, serves: str
    ) -> None:
        clock = ManualClock(auto_advance=True)
        both = inference(Shifted("tpu", tpu), Shifted("cpu", cpu), clock=clock, model=CARD_MODEL)
        both.open()
        both.probe()
        assert both.infer(CARD_MODEL.golden.inputs[0]).backend == serves
        both.close()

    def test_the_reason_names_the_twin_and_is_what_health_tells(self) -> None:
        clock = ManualClock(auto_advance=True)
        both = inference(Shifted("tpu", 8), Shifted("cpu", 0), clock=clock, model=CARD_MODEL)
        both.open()
        both.probe()
        assert both.why_degraded.startswith("tpu: not the twin's outputs of card-example 1.0.0: score is 8 steps off")
        both.close()

    def test_without_the_twin_the_recorded_outputs_serve(self) -> None:
        clock = ManualClock(auto_advance=True)
        absent = ScriptedBackend(CpuBackend(), clock, name="cpu")
        absent.refuse(times=1)
        both = inference(Shifted("tpu", TOLERANCE), absent, clock=clock, model=CARD_MODEL)
        both.open()
        assert both.infer(CARD_MODEL.golden.inputs[0]).backend == "tpu"
        assert not both.degraded
        assert both.why_degraded == ""
        both.close()


class TestReturning:
    def test_it_must_give_the_golden_outputs_several_times_in_a_row(self) -> None:
        clock = ManualClock(auto_advance=True)
        tpu = ScriptedBackend(CpuBackend(), clock, name="tpu")
        both = inference(tpu, CpuBackend(), clock=clock, passes=3)
        both.open()
        tpu.then(*[Act.ANSWER] * (3 * GOLDEN - 1), Act.LIE)
        both.probe()
        assert both.infer(TENSOR).backend == "cpu"
        assert tpu.invokes == 3 * GOLDEN
        clock.advance(INTERVAL_S)
        both.probe()
        assert both.infer(TENSOR).backend == "tpu"
        assert tpu.invokes == 6 * GOLDEN + 1
        both.close()

    def test_one_that_knows_when_it_is_time_is_asked_and_no_interval_counts(self) -> None:
        clock = ManualClock(auto_advance=True)
        tpu = SelfHealing(clock)
        both = inference(tpu, CpuBackend(), clock=clock)
        both.open()
        both.probe()
        tpu.then(Act.DIE)
        assert both.infer(TENSOR).backend == "cpu"
        tpu.wants, opens = False, tpu.opens
        clock.advance(100 * INTERVAL_S)
        both.probe()
        assert tpu.opens == opens
        tpu.wants = True
        both.probe()
        assert both.infer(TENSOR).backend == "tpu"
        assert tpu.heard == ["proven", "proven"]
        both.close()

    def test_it_hears_why_it_is_not_trusted(self) -> None:
        clock = ManualClock(auto_advance=True)
        tpu = SelfHealing(clock)
        tpu.then(Act.LIE)
        both = inference(tpu, CpuBackend(), clock=clock)
        both.open()
        both.probe()
        assert len(tpu.heard) == 1
        assert "not the twin's outputs" in tpu.heard[0]
        both.close()

    def test_it_is_not_told_that_it_lies_when_it_did_not_answer(self) -> None:
        clock = ManualClock(auto_advance=True)
        tpu = SelfHealing(clock)
        tpu.then(Act.DIE)
        both = inference(tpu, CpuBackend(), clock=clock)
        both.open()
        both.probe()
        assert tpu.heard == ["failed: tpu: died (SIGABRT)"]
        assert both.why_degraded == "tpu: died (SIGABRT)"
        both.close()

    def test_one_that_knows_itself_lost_is_dropped_before_a_frame_meets_it(self) -> None:
        clock = ManualClock(auto_advance=True)
        tpu = SelfHealing(clock)
        both = inference(tpu, CpuBackend(), clock=clock)
        both.open()
        both.probe()
        invokes, opens = tpu.invokes, tpu.opens
        tpu.trouble, tpu.wants = "tpu: unplugged", False
        both.probe()
        assert (both.active, both.why_degraded) == ("cpu", "tpu: unplugged")
        assert both.infer(TENSOR).backend == "cpu"
        assert (tpu.invokes, tpu.opens) == (invokes, opens)
        both.close()

    def test_with_nobody_left_it_is_tried_whatever_it_says(self) -> None:
        clock = ManualClock(auto_advance=True)
        tpu, cpu = SelfHealing(clock), ScriptedBackend(CpuBackend(), clock, name="cpu")
        both = inference(tpu, cpu, clock=clock)
        both.open()
        both.probe()
        tpu.then(Act.DIE)
        cpu.then(Act.DIE)
        tpu.wants = False
        cpu.refuse(times=1)
        with pytest.raises(NoBackendError):
            both.infer(TENSOR)
        both.probe()
        assert both.infer(TENSOR).backend == "tpu"
        both.close()


class TestDeadlines:
    def test_without_a_configured_one_it_follows_what_the_backend_needs(self) -> None:
        clock = ManualClock(auto_advance=True)
        asked: list[float] = []

        class Asked(ScriptedBackend):
            def invoke(self, tensor: Array, deadline_s: float) -> Outputs:
                asked.append(deadline_s)
                return super().invoke(tensor, deadline_s)

        tpu = Asked(CpuBackend(), clock, name="tpu", slow_s=0.03)
        both = inference(tpu, CpuBackend(), clock=clock, deadline_s=None)
        both.open()
        both.probe()
        asked.clear()
        tpu.then(*[Act.SLOW] * ENOUGH_INVOKES)
        for _ in range(ENOUGH_INVOKES + 1):
            both.infer(TENSOR)
        assert asked[0] == DEADLINE_CEILING_S
        assert asked[-1] == pytest.approx(0.3)
        assert DEADLINE_FLOOR_S <= asked[-1] <= DEADLINE_CEILING_S
        both.close()

    def test_it_is_learned_anew_after_a_return_and_from_the_proof(self) -> None:
        """A stick that comes back on a slower link is no stalled one."""
        clock = ManualClock(auto_advance=True)
        tpu = ScriptedBackend(CpuBackend(), clock, name="tpu", slow_s=0.15)
        both = inference(tpu, CpuBackend(), clock=clock, deadline_s=None, passes=ENOUGH_INVOKES // GOLDEN + 1)
        both.open()
        both.probe()
        for _ in range(2 * ENOUGH_INVOKES):
            assert both.infer(TENSOR).backend == "tpu"
        tpu.then(Act.DIE, *[Act.SLOW] * 1000)
        assert both.infer(TENSOR).backend == "cpu"
        clock.advance(INTERVAL_S)
        both.probe()
        for _ in range(ENOUGH_INVOKES):
            assert both.infer(TENSOR).backend == "tpu"
        both.close()

    def test_it_never_exceeds_what_the_frames_age_allows(self) -> None:
        clock = ManualClock(auto_advance=True)
        tpu = ScriptedBackend(CpuBackend(), clock, name="tpu", slow_s=0.04)
        both = Inference(
            MODEL,
            (tpu, CpuBackend()),
            clock,
            RecordingMeter(clock),
            deadline_s=None,
            probe_interval_s=INTERVAL_S,
            deadline_max_s=0.25,
        )
        both.open()
        both.probe()
        for acts in ([Act.HANG], [*[Act.SLOW] * (2 * ENOUGH_INVOKES), Act.HANG]):
            tpu.then(*acts)
            for _ in acts[:-1]:
                both.infer(TENSOR)
            begun_s = clock.monotonic_s()
            assert both.infer(TENSOR).backend == "cpu"
            assert clock.monotonic_s() - begun_s == pytest.approx(0.25)
            clock.advance(INTERVAL_S)
            both.probe()
        both.close()

    def test_a_stall_costs_the_frame_what_the_deadline_allows_and_the_twin_answers_it(self) -> None:
        clock = ManualClock(auto_advance=True)
        tpu = ScriptedBackend(CpuBackend(), clock, name="tpu", slow_s=0.03)
        both = inference(tpu, CpuBackend(), clock=clock, deadline_s=None)
        both.open()
        both.probe()
        tpu.then(*[Act.SLOW] * ENOUGH_INVOKES, Act.HANG)
        for _ in range(ENOUGH_INVOKES):
            both.infer(TENSOR)
        begun_s = clock.monotonic_s()
        result = both.infer(TENSOR)
        assert (result.backend, result.degraded) == ("cpu", True)
        assert clock.monotonic_s() - begun_s == pytest.approx(0.3)
        with pytest.raises(BackendError):
            tpu.invoke(TENSOR, DEADLINE_S)
        both.close()
