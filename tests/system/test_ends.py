"""How an appliance ends, as its subscribers see it."""

import signal
import time
from pathlib import Path

import pytest

from tests.broker import Mosquitto
from tests.system.device import BASE, Device
from tests.system.scenes import config, lamp
from tests.system.subscriber import mosquitto_sub
from tests.waiting import eventually

pytestmark = pytest.mark.broker

AVAILABILITY = f"{BASE}/availability"
STOP_TIMEOUT_S = 10.0
"""Of the 20 s that the unit grants."""


@pytest.fixture
def device(tmp_path: Path, mosquitto: Mosquitto) -> Device:
    return Device(tmp_path, config(tmp_path, mosquitto.port, {"lamp": lamp(tmp_path / "lamp.npz")}))


def test_the_broker_says_offline_for_a_process_that_was_killed_and_says_it_to_late_comers_too(
    tmp_path: Path, mosquitto: Mosquitto, device: Device
) -> None:
    with mosquitto_sub(tmp_path, mosquitto, "early") as early, device:
        early.until(AVAILABILITY, "online")
        device.end(signal.SIGKILL)
        early.until(AVAILABILITY, "offline")
        with mosquitto_sub(tmp_path, mosquitto, "late") as late:
            (will,) = late.until(AVAILABILITY)
            assert (will.payload, will.retain, will.qos) == ("offline", True, 1)
        device.start()
        early.until(AVAILABILITY, "online", count=2)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_clean_stop_says_offline_itself_before_it_disconnects_and_exits_0_in_time(
    tmp_path: Path, mosquitto: Mosquitto, device: Device, number: signal.Signals
) -> None:
    with mosquitto_sub(tmp_path, mosquitto, "early") as early, device:
        early.until(f"{BASE}/lamp/event")
        started_s = time.monotonic()
        assert device.end(number) == 0
        assert time.monotonic() - started_s < STOP_TIMEOUT_S
        eventually(lambda: "Client edge-n1 disconnected." in mosquitto.log())
        said = [line for line in mosquitto.log().splitlines() if " from edge-n1" in line]
        assert "'edge/n1/availability', ... (7 bytes)" in said[-2], "offline, and nothing after it"
        assert "Received DISCONNECT" in said[-1]
        early.until(AVAILABILITY, "offline")
    assert not device.log("left behind")
    assert device.log("stopped")


def test_after_a_clean_stop_no_retained_state_reads_as_if_somebody_still_looked(
    tmp_path: Path, mosquitto: Mosquitto
) -> None:
    made = config(tmp_path, mosquitto.port, {"gate": lamp(tmp_path / "lamp.npz")})
    with mosquitto_sub(tmp_path, mosquitto, "live") as live, Device(tmp_path, made) as device:
        live.until(f"{BASE}/gate/state")
        assert device.end(signal.SIGTERM) == 0
    with mosquitto_sub(tmp_path, mosquitto, "late") as late:
        [state] = late.until(f"{BASE}/gate/state")
        assert (state.json["red"], state.json["outcome"], state.json["reason"]) == (None, "unknown", "stopped")
        assert late.until(f"{BASE}/gate/availability")[-1].payload == "offline"
