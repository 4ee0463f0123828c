"""The appliance's reason to be: people on real footage become alerts, and no picture leaves the device."""

import signal
from pathlib import Path

import pytest

from tests.broker import Mosquitto
from tests.model_folders import PERSON
from tests.system.device import BASE, ROOT, Device
from tests.system.scenes import Section, config
from tests.system.subscriber import mosquitto_sub

pytestmark = pytest.mark.broker

FOOTAGE = ROOT / "examples" / "footage" / "people-walking.avi"
PAYLOAD_BYTES_MAX = 4_000
"""Discovery is the longest message there is; a picture of the footage is ten times as long."""


def test_a_person_on_real_footage_becomes_an_alert_with_a_box_and_without_a_picture(
    tmp_path: Path, mosquitto: Mosquitto
) -> None:
    rule: Section = {
        "name": "person",
        "labels": ["person"],
        "threshold": 0.6,
        "release": 0.45,
        "hold_n": 2,
        "hold_m": 3,
    }
    street: Section = {
        "model": "person",
        "sensor": {"kind": "camera", "source": str(FOOTAGE), "repeat": True},
        "rules": [rule],
    }
    made = config(tmp_path, mosquitto.port, {"street": street}, models={"person": {"folder": str(PERSON)}})
    with mosquitto_sub(tmp_path, mosquitto, "sub") as subscriber:
        with Device(tmp_path, made) as device:
            alert = subscriber.until(f"{BASE}/street/event")[0].json
            state = subscriber.until(f"{BASE}/street/state")[-1].json
            assert device.end(signal.SIGTERM) == 0
        assert (alert["event_type"], alert["label"], alert["model"], alert["seq"]) == ("new", "person", "person", 1)
        assert 0.6 <= alert["score"] <= 1.0
        assert 0.0 <= alert["box_ymin"] < alert["box_ymax"] <= 1.0
        assert 0.0 <= alert["box_xmin"] < alert["box_xmax"] <= 1.0
        assert alert["frame_age_ms"] < 1000
        assert state["outcome"] in {"person", "clear"}
        assert max(len(each.payload) for each in subscriber.heard()) < PAYLOAD_BYTES_MAX
    left = {path.name for path in (tmp_path / "state").iterdir()}
    assert all(name.startswith(("outbox.db", "node-id", "clock-floor")) for name in left), left
