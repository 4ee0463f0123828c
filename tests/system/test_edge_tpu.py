"""A whole appliance on a simulated Edge TPU: what dashboards see when it dies, and when it comes back."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from appliance.adapters.edgetpu import EdgeTpu
from appliance.adapters.ladder_file import LadderFile
from appliance.compose import Parts
from appliance.config import TpuConfig
from appliance.core.types import OutcomeState
from appliance.ports import Clock, Meter
from appliance.sim.tpu_bus import Outcome, Rung, SimulatedTpuBus
from appliance.sim.tpu_script import Act, Script
from appliance.trust.consistency import EDGETPU_FILE
from tests.broker import Mosquitto
from tests.edge import ENGINE
from tests.model_folders import TINY
from tests.networks import as_if_compiled, folder_with
from tests.system.device import BASE, NODE
from tests.system.running import Running, parsed
from tests.system.scenes import config, lamp
from tests.system.subscriber import Subscriber, mosquitto_sub
from tests.waiting import eventually

pytestmark = pytest.mark.broker

INVOKE_S = 2.0
"""A deadline that a sound Edge TPU does not miss on a busy machine, frame after frame; frames are good for longer."""


@dataclass
class Gate:
    """The appliance, its Edge TPU, and somebody who listens."""

    running: Running
    bus: SimulatedTpuBus
    script: Script
    subscriber: Subscriber

    def backends(self) -> list[tuple[str, bool]]:
        """Who judged, decision by decision."""
        return [(each.provenance.backend, each.provenance.degraded) for each in self.running.decisions("lamp")]

    def until_judged_by(self, backend: str) -> None:
        """Wait for a decision of ``backend`` after those that there are now."""
        so_far = len(self.backends())
        eventually(lambda: backend in {name for name, _ in self.backends()[so_far:]})

    def status(self) -> dict[str, object]:
        """The newest health report."""
        return json.loads(self.subscriber.until(f"{BASE}/status")[-1].payload)  # type: ignore[no-any-return] # an object


@pytest.fixture
def gate(tmp_path: Path, mosquitto: Mosquitto) -> Iterator[Gate]:
    hardware = tmp_path / "hardware"
    hardware.mkdir()
    bus, script = SimulatedTpuBus(hardware), Script(hardware)
    bus.plug()

    def make_tpu(name: str, section: TpuConfig, clock: Clock, meter: Meter, folder: Path) -> EdgeTpu:
        made = section.model_copy(update={"options": {"folder": str(hardware)}})
        kept = LadderFile(folder, name)
        return EdgeTpu(name, made, bus=bus, clock=clock, meter=meter, kept=kept, engine=ENGINE, jitter=lambda: 0.0)

    model = folder_with(TINY, tmp_path / "models", {EDGETPU_FILE: as_if_compiled((TINY / "model.tflite").read_bytes())})
    made = config(tmp_path, mosquitto.port, {"lamp": lamp(tmp_path / "lamp.npz")})
    made["models"] = {"tiny": {"folder": str(model), "backends": ["tpu", "cpu"], "invoke_deadline_s": INVOKE_S}}
    with (
        mosquitto_sub(tmp_path, mosquitto, "sub") as subscriber,
        Running(parsed(made, tmp_path), Parts(make_tpu=make_tpu)) as running,
    ):
        yield Gate(running, bus, script, subscriber)
    assert running.exit_code == 0


def test_a_dying_edge_tpu_costs_no_decision_and_dashboards_see_who_judges(gate: Gate) -> None:
    gate.until_judged_by("tpu")
    for act in (Act.ABORT, Act.HANG):
        gate.script.then(act)
        gate.until_judged_by("cpu")
        gate.until_judged_by("tpu")
    decisions = gate.running.decisions("lamp")
    assert {each.outcome_state for each in decisions} == {OutcomeState.RESULT}
    assert set(gate.backends()) == {("cpu", True), ("tpu", False)}
    assert gate.running.counted("edge_failover_total", reason="deadline") == 1.0
    assert gate.running.counted("edge_failover_total", reason="error") == 1.0
    assert gate.running.counted("edge_blind_seconds_total") == 0.0
    judged_by = {(each["backend"], each["degraded"]) for each in gate.subscriber.events("lamp")}
    assert judged_by <= {("cpu", True), ("tpu", False)}
    assert judged_by
    states = [each.json for each in gate.subscriber.heard(f"{BASE}/lamp/state")]
    assert {"cpu", "tpu"} <= {state["backend"] for state in states}


def test_one_that_does_not_come_back_is_a_problem_in_home_assistant_with_advice(gate: Gate) -> None:
    gate.until_judged_by("tpu")
    eventually(lambda: gate.status()["overall"] == "ok")
    assert not gate.status()["tpu_problem"]
    gate.bus.then(Rung.POWER_CYCLE, *[Outcome.REFUSED] * 10)
    gate.bus.unplug()
    eventually(lambda: gate.status()["tpu_problem"])
    sick = gate.status()
    assert (sick["overall"], sick["degraded"]) == ("degraded", True)
    assert sick["tpu_reason"], "whether a frame or a look noticed it first"
    assert sick["tpu_advice"]
    discovery = gate.subscriber.until(f"homeassistant/device/edge_{NODE}/config")[-1].json
    [problem] = [each for each in discovery["components"].values() if each["unique_id"].endswith("_tpu-problem")]
    assert problem["device_class"] == "problem"
    assert problem["state_topic"] == f"{BASE}/status"
    gate.bus.plug()
    gate.until_judged_by("tpu")
    eventually(lambda: not gate.status()["tpu_problem"])
    assert gate.status()["tpu_advice"] == ""
