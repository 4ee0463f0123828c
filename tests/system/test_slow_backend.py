"""Fault 12: a backend too slow for the frame's age answers *no result*, never *nothing there*; and recovers."""

from collections.abc import Callable
from pathlib import Path

import pytest

from appliance.adapters.backends.registry import make_backend
from appliance.adapters.clock import SystemClock
from appliance.compose import Parts
from appliance.config import BackendName, ModelConfig
from appliance.core.types import Decision, OutcomeState
from appliance.ports import Backend
from appliance.sim.backend import Act, ScriptedBackend
from tests.broker import Mosquitto
from tests.system.device import BASE
from tests.system.running import Running, parsed
from tests.system.scenes import config, lamp
from tests.system.subscriber import mosquitto_sub
from tests.waiting import eventually

pytestmark = pytest.mark.broker

AGE_MAX_S = 0.1
SLOW_S = 0.25
DEADLINE_S = 0.5


@pytest.mark.parametrize(
    ("slow_s", "acts", "reason"),
    [
        (SLOW_S, 6, "0.1 s"),  # it answers, too late to be true
        (2 * DEADLINE_S, 1, "no answer within"),  # it does not answer within its deadline, and is dropped
    ],
)
def test_a_slow_backend_gives_no_result_and_never_an_empty_one(
    tmp_path: Path, mosquitto: Mosquitto, slow_s: float, acts: int, reason: str
) -> None:
    scripted: list[ScriptedBackend] = []

    def make(name: BackendName, settings: ModelConfig) -> Backend:
        scripted.append(ScriptedBackend(make_backend(name, settings), SystemClock(), name=name, slow_s=slow_s))
        return scripted[0]

    channel = {**lamp(tmp_path / "lamp.npz"), "frame_age_max_s": AGE_MAX_S}
    made = config(tmp_path, mosquitto.port, {"lamp": channel})
    made["models"]["tiny"]["invoke_deadline_s"] = DEADLINE_S  # type: ignore[index] # a section is a mapping
    with (
        mosquitto_sub(tmp_path, mosquitto, "sub") as subscriber,
        Running(parsed(made, tmp_path), Parts(make_backend=make)) as appliance,
    ):
        first = judged(appliance, 0)
        scripted[0].then(*[Act.SLOW] * acts)
        blind = eventually(lambda: [each for each in appliance.decisions("lamp")[first:] if is_blind(each)])
        recovered = judged(appliance, appliance.decisions("lamp").index(blind[0]))
        states = [each.json for each in subscriber.until(f"{BASE}/lamp/state", count=3)]
    assert recovered
    blind = [each for each in appliance.decisions("lamp") if is_blind(each)]
    assert reason in blind[0].reason
    for decision in blind:
        assert decision.rules == {"red": None}
        assert not decision.predictions
        assert not decision.alerts
    for decision in appliance.decisions("lamp"):
        if not is_blind(decision):
            assert decision.frame_age_s <= AGE_MAX_S
    shown = [state for state in states if state["outcome_state"] == "no_result"]
    assert shown, "subscribers were told"
    for state in shown:
        assert (state["red"], state["outcome"], state["score"]) == (None, "unknown", None)
        assert state["reason"]


def is_blind(decision: Decision) -> bool:
    return decision.outcome_state is OutcomeState.NO_RESULT


def judged(appliance: Running, after: int) -> int:
    """Wait until a frame after the first ``after`` ones was judged; returns how many decisions there are then."""

    def probe() -> int:
        decisions = appliance.decisions("lamp")
        return len(decisions) if any(not is_blind(each) for each in decisions[after:]) else 0

    wait: Callable[[], int] = probe
    return eventually(wait)
