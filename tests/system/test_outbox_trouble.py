"""Fault 9: what may happen to the outbox of a running device, and what then becomes of alerts and of the loop."""

import time
from pathlib import Path

import pytest

from appliance import config as configuration
from appliance.config import OutboxConfig
from appliance.core.types import Message
from appliance.outbox import Depth, Outbox
from appliance.sim.clock import ManualClock
from appliance.sim.meter import RecordingMeter
from tests.broker import Mosquitto, free_port
from tests.mounts import small_disk
from tests.system.device import BASE, Device, scrape
from tests.system.running import Running
from tests.system.scenes import cards, config, lamp
from tests.system.subscriber import mosquitto_sub
from tests.waiting import eventually

DISK = "8m"
"""Room for the outbox's log, which is cut at 4 MiB, and no more."""
ALERTS = 1200
"""Twelve seconds of them: the disk is full, and has room again, long before the last."""
BACKLOG = 100_000
PATIENCE_RATIO = 5.0
"""How much longer a start may take with a backlog; reading it all would make it some fifty times as long."""


@pytest.mark.slow
@pytest.mark.broker
def test_a_full_disk_stops_neither_decisions_nor_alerts_and_both_come_through_when_there_is_room(
    tmp_path: Path, mosquitto: Mosquitto
) -> None:
    port = free_port()
    channel = cards(tmp_path / "cards.npz", ALERTS, rate_hz=100.0)
    made = config(tmp_path, mosquitto.port, {"desk": channel}, health={"metrics_port": port, "status_interval_s": 0.5})

    def decisions() -> int:
        return int(scrape(port, "edge_decisions_total", outcome_state="result") or 0)

    with small_disk(tmp_path / "state", DISK), mosquitto_sub(tmp_path, mosquitto, "sub", "-c") as subscriber:
        mosquitto.pause()
        with Device(tmp_path, made) as device:
            eventually(lambda: decisions() >= 20)
            ballast = tmp_path / "state" / "ballast"
            fill(ballast)
            eventually(lambda: device.log("fault", fault="outbox"))
            before = decisions()
            eventually(lambda: decisions() >= before + 50)
            ballast.unlink()
            mosquitto.resume()
            eventually(lambda: device.log("recovered", fault="outbox"))
            assert device.end() == 0
            eventually(lambda: len(subscriber.seqs("desk")) >= ALERTS)
        assert subscriber.seqs("desk") == list(range(1, ALERTS + 1))
        status = subscriber.heard(f"{BASE}/status")[-1].json
        assert (status["spool_dropped"], status["spool_dead_letters"]) == (0, 0)


def fill(file: Path) -> None:
    """Write until the disk is full."""
    with file.open("wb", buffering=0) as ballast:
        try:
            while True:
                ballast.write(b"x" * 4096)
        except OSError:
            return


@pytest.mark.broker
def test_a_channel_whose_alerts_the_broker_refuses_does_not_hold_up_the_others(tmp_path: Path) -> None:
    acl = tmp_path / "acl"
    acl.write_text(f"topic readwrite #\ntopic deny {BASE}/poison/event\n")
    channels = {
        "poison": cards(tmp_path / "poison.npz", 3, rate_hz=50.0),
        "desk": cards(tmp_path / "desk.npz", 50, rate_hz=50.0),
    }
    with (
        Mosquitto(tmp_path / "strict", settings=f"acl_file {acl}") as strict,
        mosquitto_sub(tmp_path, strict, "sub") as subscriber,
        Device(tmp_path, config(tmp_path, strict.port, channels, health={"status_interval_s": 0.5})) as device,
    ):
        assert device.end() == 0
        eventually(lambda: len(subscriber.seqs("desk")) >= 50)
        depth = left_in(tmp_path / "state" / "outbox.db")
        assert (depth.dead_letters, depth.rows) == (3, 0)
        assert len(device.log("fault", fault=f"refused {BASE}/poison/event")) == 1


def left_in(file: Path) -> Depth:
    """What is in the outbox of a device that has ended."""
    outbox = Outbox(file, OutboxConfig(), ManualClock(), RecordingMeter())
    outbox.open()
    depth = outbox.depth()
    outbox.close()
    return depth


def backlog(file: Path) -> None:
    """Leave ``BACKLOG`` alerts for the next start."""
    outbox = Outbox(file, OutboxConfig(), ManualClock(), RecordingMeter())
    outbox.open()
    payload = {"seq": 0, "channel": "lamp", "mono_ns": 1, "filler": "x" * 300}
    for _ in range(10):
        outbox.add([Message(f"{BASE}/lamp/event", payload)] * (BACKLOG // 10))
    assert outbox.depth().rows == BACKLOG
    outbox.close()


def first_decision_s(file: Path) -> float:
    """How long an appliance takes from its configuration to its first decision."""
    started_s = time.monotonic()
    with Running(configuration.load(file)) as appliance:
        decision = eventually(lambda: appliance.decisions("lamp")[:1])[0]
    return decision.decided_s - started_s


@pytest.mark.slow
def test_a_hundred_thousand_waiting_alerts_do_not_delay_the_first_decision(tmp_path: Path) -> None:
    files = {}
    for name in ("empty", "full"):
        folder = tmp_path / name
        (folder / "state").mkdir(parents=True)
        device = Device(folder, config(folder, free_port(), {"lamp": lamp(folder / "lamp.npz")}))
        files[name] = device.file
    backlog(tmp_path / "full" / "state" / "outbox.db")
    first_decision_s(files["empty"])  # what is done once in a process: imports, caches
    took_s = [{name: first_decision_s(file) for name, file in files.items()} for _ in range(3)]
    assert min(each["full"] for each in took_s) < PATIENCE_RATIO * min(each["empty"] for each in took_s)
