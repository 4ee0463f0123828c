"""Two versions of a model on one Edge TPU: one decides while the other is tried, and is unloaded after."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from appliance.adapters.backends.cpu import CpuBackend
from appliance.adapters.backends.servant import MODELS_MAX
from appliance.adapters.model_folder import read_model
from appliance.bench.edge import PASSES
from appliance.core.model import Model
from appliance.core.recovery import State
from appliance.inference import Inference
from appliance.sim.tpu_script import Act
from tests.edge import DEADLINE_S, Edge, compiled, edge
from tests.model_folders import TINY
from tests.waiting import eventually

pytestmark = pytest.mark.slow

MODEL = compiled(read_model(TINY))


def version(number: int) -> Model:
    """Another model of the same name."""
    content = MODEL.tflite + bytes([number])  # behind the flatbuffer's end, where no runtime looks
    return replace(MODEL, version=f"{number}.0.0", tflite_edgetpu=content)


@contextmanager
def beside(bench: Edge, model: Model) -> Iterator[Inference]:
    """A candidate on the same Edge TPU; tended as the probing thread does."""
    inference = Inference(
        model,
        (bench.tpu.backend(), CpuBackend()),
        bench.clock,
        bench.meter,
        deadline_s=DEADLINE_S,
        probe_interval_s=30.0,
        return_passes=PASSES,
    )
    inference.show(live=False)
    inference.open()
    try:
        yield inference
    finally:
        inference.close()


def tick_both(bench: Edge, other: Inference) -> str:
    bench.clock.leap(1.0)
    bench.tick()
    other.probe()
    return other.active


def test_a_candidate_is_proven_beside_the_running_model_and_unloaded_when_it_is_let_go(tmp_path: Path) -> None:
    with edge(tmp_path, model=MODEL) as bench:
        bench.tick_until_serves()
        first = bench.tpu._crew.serving
        with beside(bench, version(2)) as candidate:
            eventually(lambda: tick_both(bench, candidate) == "tpu")
            assert bench.backend == "tpu", "the running one decides on meanwhile"
        bench.tpu.let_go(version(2))
        assert bench.backend == "cpu", "the very next frame is answered by the twin, and the worker replaced"
        bench.tick_until_serves()
        assert bench.backend == "tpu"
        assert bench.tpu._crew.serving is not first
        assert len(bench.tpu._residents._numbers) == 1
        assert bench.tpu.health().state is State.SERVING


def test_more_updates_than_a_worker_holds_models_leave_it_with_one(tmp_path: Path) -> None:
    with edge(tmp_path, model=MODEL) as bench:
        bench.tick_until_serves()
        for number in range(2, MODELS_MAX + 4):
            with beside(bench, version(number)) as candidate:
                eventually(lambda other=candidate: tick_both(bench, other) == "tpu")  # type: ignore[misc]  # a default binds the loop's value
            bench.tpu.let_go(version(number))
            bench.decide()
            bench.tick_until_serves()
        assert len(bench.tpu._residents._numbers) == 1


def test_a_candidate_that_ends_the_worker_is_kept_off_and_not_the_version_that_runs(tmp_path: Path) -> None:
    with edge(tmp_path, model=MODEL) as bench:
        bench.tick_until_serves()
        bench.script.then(Act.OPEN_CRASH)
        with beside(bench, version(2)) as candidate:
            candidate.probe()
            assert candidate.active == "cpu"
            bench.tick_until_serves()
            assert bench.backend == "tpu"
            [refused] = bench.tpu.health().refused
            assert refused.startswith("tiny-uint8 2.0.0: ")
        bench.tpu.let_go(version(2))
        assert bench.tpu.health().refused == ()
