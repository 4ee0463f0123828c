"""A fake accelerator fails as scripted, within the deadline, and comes back when it is opened."""

import numpy as np
import pytest

from appliance.adapters.backends.cpu import CpuBackend
from appliance.adapters.model_folder import read_model
from appliance.errors import BackendError
from appliance.sim.backend import LIE_STEPS, Act, ScriptedBackend
from appliance.sim.clock import ManualClock
from tests.model_folders import TINY

DEADLINE_S = 0.5
MODEL = read_model(TINY)
TENSOR = MODEL.golden.inputs[0]
TRUTH = MODEL.golden.outputs[0]["scores"]


@pytest.mark.parametrize(
    ("act", "slow_s", "lasts_s"), [(Act.DIE, 0.1, 0.0), (Act.HANG, 0.1, DEADLINE_S), (Act.SLOW, 0.5, DEADLINE_S)]
)
def test_once_dead_it_answers_nothing_until_it_is_opened_again(act: Act, slow_s: float, lasts_s: float) -> None:
    clock = ManualClock(auto_advance=True)
    backend = ScriptedBackend(CpuBackend(), clock, script=[Act.ANSWER, act], slow_s=slow_s)
    backend.open(MODEL)
    backend.invoke(TENSOR, DEADLINE_S)
    started_s = clock.monotonic_s()
    for _ in range(2):
        with pytest.raises(BackendError, match="tpu: "):
            backend.invoke(TENSOR, DEADLINE_S)
        assert clock.monotonic_s() - started_s == lasts_s
    backend.open(MODEL)
    assert np.array_equal(backend.invoke(TENSOR, DEADLINE_S)["scores"], TRUTH)


def test_a_lie_is_far_off_in_every_element() -> None:
    backend = ScriptedBackend(CpuBackend(), ManualClock(), script=[Act.LIE])
    backend.open(MODEL)
    lie = backend.invoke(TENSOR, DEADLINE_S)["scores"]
    assert lie.dtype == TRUTH.dtype
    assert (np.abs(lie.astype(int) - TRUTH.astype(int)) == LIE_STEPS).all()


def test_it_is_absent_as_often_as_told() -> None:
    backend = ScriptedBackend(CpuBackend(), ManualClock())
    backend.refuse(times=2)
    for _ in range(2):
        with pytest.raises(BackendError, match="tpu: no device"):
            backend.open(MODEL)
    backend.open(MODEL)
    assert backend.opens == 3
