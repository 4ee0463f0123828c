"""Updates in the appliance as a device runs it: real processes, a real broker, the real store."""

import json
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from appliance.adapters.slots import Slots
from appliance.trust.manifest import Terms
from appliance.trust.state import ModelState, Stage
from tests.broker import Mosquitto
from tests.model_folders import TINY
from tests.system.crashing import CRASH_AT, CRASHED
from tests.system.device import BASE, Device
from tests.system.scenes import config, lamp
from tests.system.subscriber import Subscriber, mosquitto_sub, publish
from tests.updates import laid_ready, newer
from tests.waiting import eventually

pytestmark = [pytest.mark.broker, pytest.mark.slow]

NAME = TINY.parent.name
TERMS = Terms(shadow_frames=10, agreement_min=0.9, decisions_min=20, duration_s=1.0)
CRASHING = (sys.executable, str(Path(__file__).with_name("crashing.py")), "run", "--config")
WITHIN_S = 60.0


def device_of(folder: Path, broker: Mosquitto, *, crash_at: str = "") -> Device:
    """A device with updates, that watches a lamp; version 2.0.0 may end its process."""
    root = folder / "root.json"
    root.write_text("{}")
    channels = {"lamp": lamp(folder / "lamp.npz")}
    tree = config(folder, broker.port, channels, update={"root_file": str(root)})
    return Device(folder, tree, program=CRASHING, environment={**os.environ, CRASH_AT: crash_at})


def slots_of(folder: Path) -> Slots:
    return Slots(folder / "state" / "models")


def until_ended(slots: Slots) -> ModelState:
    """Wait until nothing is under way."""
    eventually(lambda: slots.load(NAME).stage is Stage.IDLE, within_s=WITHIN_S)
    return slots.load(NAME)


@contextmanager
def listening(folder: Path, broker: Mosquitto) -> Iterator[Subscriber]:
    with mosquitto_sub(folder, broker, "sub") as subscriber:
        yield subscriber


def newest(subscriber: Subscriber, topic: str) -> dict[str, Any]:
    told = subscriber.heard(f"{BASE}/{topic}")
    return json.loads(told[-1].payload) if told else {}


def test_a_better_model_is_tried_committed_and_serves_after_a_restart(tmp_path: Path, mosquitto: Mosquitto) -> None:
    slots = slots_of(tmp_path)
    model_id = laid_ready(slots, newer(TINY, tmp_path / "new"), TERMS)
    with listening(tmp_path, mosquitto) as subscriber:
        with device_of(tmp_path, mosquitto) as device:
            state = until_ended(slots)
            assert (state.committed, state.outcome) == (model_id, "committed")
            eventually(lambda: newest(subscriber, "lamp/state").get("model_version") == "2.0.0")
            eventually(lambda: newest(subscriber, f"model/{NAME}/state").get("installed_version") == "2.0.0")
            eventually(lambda: newest(subscriber, f"model/{NAME}/report").get("running_id") == model_id)
            assert device.end(signal.SIGTERM) == 0
        states = [json.loads(each.payload) for each in subscriber.heard(f"{BASE}/lamp/state")]
        assert {each["outcome_state"] for each in states if each["reason"] != "stopped"} == {"result"}
    with listening(tmp_path / "again", mosquitto) as subscriber, device_of(tmp_path, mosquitto):
        eventually(lambda: newest(subscriber, "status").get("models") == f"{NAME} 2.0.0")


@pytest.mark.parametrize("where", ["open", "infer"])
def test_a_model_that_ends_the_process_each_time_is_given_up_within_its_tries(
    where: str, tmp_path: Path, mosquitto: Mosquitto
) -> None:
    slots = slots_of(tmp_path)
    model_id = laid_ready(slots, newer(TINY, tmp_path / "new"), TERMS)
    device = device_of(tmp_path, mosquitto, crash_at=where)
    crashes = 0
    for _ in range(TERMS.tries + 1):
        with device:
            eventually(lambda: not device.runs or slots.load(NAME).stage is Stage.IDLE, within_s=WITHIN_S)
            if device.runs:
                break
            assert device.end() == CRASHED
            crashes += 1
    assert crashes == TERMS.tries, "the self-test, which was passed, has used up none"
    state = slots.load(NAME)
    assert (state.committed, state.outcome) == (None, "rolled_back")
    assert model_id in slots.condemned()
    with listening(tmp_path, mosquitto) as subscriber, device:
        eventually(lambda: newest(subscriber, "lamp/state").get("model_version") == "1.0.0")


def test_a_committed_model_that_is_damaged_does_not_keep_the_device_from_deciding(
    tmp_path: Path, mosquitto: Mosquitto
) -> None:
    slots = slots_of(tmp_path)
    model_id = laid_ready(slots, newer(TINY, tmp_path / "new"), TERMS, stage=Stage.COMMITTED)
    with slots.locked(NAME):
        slots.save(slots.load(NAME).model_copy(update={"committed": model_id}))
    folder = slots.folder(model_id)
    assert folder is not None
    (folder / "labels.txt").chmod(0o644)
    (folder / "labels.txt").write_bytes(b"red\ngreen\nblack\n")
    with listening(tmp_path, mosquitto) as subscriber, device_of(tmp_path, mosquitto):
        eventually(lambda: newest(subscriber, "lamp/state").get("model_version") == "1.0.0")


def test_install_is_written_down_as_consent_and_answered_and_a_retained_one_is_not(
    tmp_path: Path, mosquitto: Mosquitto
) -> None:
    slots = slots_of(tmp_path)
    model_id = laid_ready(slots, newer(TINY, tmp_path / "new"), TERMS, stage=Stage.IDLE)
    topic = f"{BASE}/model/{NAME}/set"
    publish(mosquitto, topic, "INSTALL", "-r")
    with listening(tmp_path, mosquitto) as subscriber, device_of(tmp_path, mosquitto):
        eventually(lambda: newest(subscriber, f"model/{NAME}/state").get("latest_version") == "2.0.0")
        assert slots.file(f"consent/{NAME}") is None
        publish(mosquitto, topic, "INSTALL")
        answer = eventually(lambda: newest(subscriber, "cmd/result"))
        assert (answer["command"], answer["ok"]) == (f"INSTALL {NAME}", True)
        assert slots.file(f"consent/{NAME}") == model_id.encode()
