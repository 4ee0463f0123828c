"""Channels that share a model, the end of it, and anything that may happen in between."""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Thread
from typing import cast

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.adapters.backends.cpu import CpuBackend
from appliance.errors import BackendError, NoBackendError
from appliance.inference import Inference, prove
from appliance.sim.backend import Act, ScriptedBackend
from appliance.sim.clock import ManualClock
from appliance.sim.meter import RecordingMeter
from tests.loop.bench import DEADLINE_S, INTERVAL_S, MODEL, OPEN_S, TENSOR, Held, make_bench, running
from tests.waiting import eventually

TURNS_S = 30.0
"""For a turn to come where channels take turns: a bound for a busy machine, no measure."""


@contextmanager
def held(deadline_s: float) -> Iterator[tuple[Inference, Held, RecordingMeter, Thread]]:
    """A model in the middle of another channel's frame."""
    clock, backend = ManualClock(), Held(CpuBackend())
    meter = RecordingMeter(clock)
    inference = Inference(MODEL, (backend,), clock, meter, deadline_s=deadline_s, probe_interval_s=INTERVAL_S)
    inference.open()
    backend.held = True
    other = Thread(target=inference.infer, args=(TENSOR,), daemon=True)
    other.start()
    assert backend.asked.wait(30.0)
    yield inference, backend, meter, other
    backend.go.set()
    other.join(30.0)
    assert not other.is_alive()


class TestSharing:
    def test_a_channel_waits_for_its_turn_no_longer_than_the_deadline(self) -> None:
        with held(0.02) as (inference, _, meter, _):
            with pytest.raises(NoBackendError, match=r"busy; no turn within 0\.02 s"):
                inference.infer(TENSOR)
            assert meter.value("edge_inference_total", backend="none", outcome="busy") == 1.0

    def test_a_stall_of_anothers_frame_is_waited_out_with_the_twins_answer_to_it(self) -> None:
        """It has the turn for a deadline and for the twin: one deadline is too short a wait for the next channel."""
        inference = Inference(
            MODEL,
            (CpuBackend(), Held(CpuBackend()), Held(CpuBackend())),
            ManualClock(),
            RecordingMeter(ManualClock()),
            deadline_s=0.01,
            probe_interval_s=INTERVAL_S,
        )
        with pytest.raises(NoBackendError, match=r"no turn within 0\.03 s"), inference._turn:
            inference.infer(TENSOR)

    def test_the_end_leaves_a_backend_open_whose_frame_does_not_end(self) -> None:
        with held(0.02) as (inference, backend, _, _):
            inference.close()
            assert backend.closes == 0

    def test_the_end_waits_for_the_frame_in_progress(self) -> None:
        with held(30.0) as (inference, backend, _, other):
            ending = Thread(target=inference.close, daemon=True)
            ending.start()
            eventually(lambda: inference.active == "")
            assert backend.closes == 0
            backend.go.set()
            ending.join(30.0)
            other.join(30.0)
            assert backend.closes == 1

    def test_channels_take_turns_and_each_gets_its_own_answer(self) -> None:
        with running(deadline_s=TURNS_S) as bench:
            wrong: list[int] = []

            def channel(index: int) -> None:
                wanted = MODEL.golden.outputs[index]["scores"]
                for _ in range(50):
                    result = bench.inference.infer(MODEL.golden.inputs[index])
                    if not np.array_equal(result.outputs["scores"], wanted):
                        wrong.append(index)

            threads = [Thread(target=channel, args=(index,), daemon=True) for index in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(TURNS_S)
            assert bench.meter.value("edge_inference_total", backend="tpu", outcome="ok") == 201.0
            assert wrong == []


class TestTheEnd:
    def test_after_the_end_nothing_answers_and_nothing_is_probed(self) -> None:
        with running() as bench:
            bench.inference.close()
            bench.inference.close()
            opens = bench.cpu.opens
            bench.inference.probe()
            assert bench.cpu.opens == opens
            with pytest.raises(NoBackendError):
                bench.inference.infer(TENSOR)
            assert (bench.active("tpu"), bench.active("cpu")) == (0.0, 0.0)

    def test_a_backend_that_opens_after_the_end_is_let_go(self) -> None:
        bench = make_bench(auto_advance=False, open_s=OPEN_S)
        bench.inference.open()
        supervisor = Thread(target=bench.inference.probe, daemon=True)
        supervisor.start()
        eventually(lambda: bench.clock.waiting)
        bench.inference.close()
        bench.clock.advance(OPEN_S)
        supervisor.join(10.0)
        assert bench.inference.active == ""
        with pytest.raises(BackendError):
            bench.tpu.invoke(TENSOR, DEADLINE_S)

    def test_it_can_begin_again(self) -> None:
        with running() as bench:
            bench.inference.close()
            bench.inference.open()
            bench.inference.probe()
            assert bench.serve() == ("tpu", False)


ACTS = st.sampled_from(list(Act))
STEPS = st.lists(
    st.one_of(
        st.just("frame"),
        st.just("probe"),
        st.tuples(st.sampled_from(["tpu", "cpu"]), ACTS),
        st.floats(0.0, INTERVAL_S).map(lambda seconds: ("wait", seconds)),
    ),
    max_size=40,
)


@settings(max_examples=60)
@given(STEPS)
def test_whatever_fails_a_frame_gets_a_tagged_answer_in_time_or_an_explicit_none(
    steps: list[str | tuple[str, Act | float]],
) -> None:
    bench = make_bench()
    bench.inference.open()
    for step in steps:
        started_s = bench.clock.monotonic_s()
        if step == "probe":
            bench.inference.probe()
        elif step == "frame":
            served = bench.inference.active
            try:
                result = bench.inference.infer(TENSOR)
            except NoBackendError:
                assert bench.inference.active == ""
            else:
                assert result.backend == bench.inference.active
                assert result.degraded == (result.backend != "tpu")
                assert served
            assert bench.clock.monotonic_s() - started_s <= 2 * DEADLINE_S
        elif step[0] == "wait":
            bench.clock.advance(cast("float", step[1]))
        else:
            {"tpu": bench.tpu, "cpu": bench.cpu}[step[0]].then(cast("Act", step[1]))
    bench.inference.close()


@pytest.mark.parametrize(
    ("acts", "message"),
    [([Act.LIE], r"tpu: not the golden outputs of tiny-uint8"), ([Act.DIE], r"tpu: died"), ([Act.HANG], r"no answer")],
)
def test_a_proof_fails_with_its_reason(acts: list[Act], message: str) -> None:
    backend = ScriptedBackend(CpuBackend(), ManualClock(auto_advance=True), script=acts)
    backend.open(MODEL)
    with pytest.raises(BackendError, match=message):
        prove(backend, MODEL)


def test_a_proof_says_how_far_each_role_was_off() -> None:
    backend = CpuBackend()
    backend.open(MODEL)
    assert str(prove(backend, MODEL)) == "scores is 0 steps off (allowed: 1)"
