"""Fault 12: a backend too slow for the frame's age answers *no result*, never *nothing there*; and recovers."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

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
from tests.system.subscriber import Subscriber, mosquitto_sub
from tests.waiting import eventually

pytestmark = pytest.mark.broker

AGE_MAX_S = 0.1
SLOW_S = 0.6
"""Later than any frame's age, by as much as a busy machine takes from the look at it to the decision's time."""
DEADLINE_S = 1.0


@pytest.mark.parametrize(
    ("slow_s", "acts", "reason"),
    [
        (SLOW_S, 3, "0.1 s"),  # it answers, too late to be true
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
        met = eventually(lambda: met_by(appliance.decisions("lamp")[first:], reason))
        recovered = judged(appliance, appliance.decisions("lamp").index(met[0]))
        shown = eventually(lambda: shown_blind(subscriber))  # subscribers are told
    assert recovered
    for decision in filter(is_blind, appliance.decisions("lamp")):
        assert decision.rules == {"red": None}
        assert not decision.predictions
        assert not decision.alerts
    for decision in appliance.decisions("lamp"):
        if not is_blind(decision):
            assert decision.frame_age_s < min(slow_s, DEADLINE_S)
    for state in shown:
        assert (state["red"], state["outcome"], state["score"]) == (None, "unknown", None)
        assert state["reason"]


def is_blind(decision: Decision) -> bool:
    return decision.outcome_state is OutcomeState.NO_RESULT


def met_by(decisions: list[Decision], reason: str) -> list[Decision]:
    """Those without a result for this reason: on a busy machine a frame may be too old before it meets anything."""
    return [each for each in decisions if is_blind(each) and reason in each.reason]


def shown_blind(subscriber: Subscriber) -> list[dict[str, Any]]:
    """The states that were heard so far and say that there is no result."""
    states = [each.json for each in subscriber.heard(f"{BASE}/lamp/state")]
    return [state for state in states if state["outcome_state"] == "no_result"]


def judged(appliance: Running, after: int) -> int:
    """Wait until a frame after the first ``after`` ones was judged; returns how many decisions there are then."""

    def probe() -> int:
        decisions = appliance.decisions("lamp")
        return len(decisions) if any(not is_blind(each) for each in decisions[after:]) else 0

    wait: Callable[[], int] = probe
    return eventually(wait)
