"""A disk that cannot be used at the start: the device decides all the same, delivers what it can, and says so."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from appliance.config import OutboxConfig
from appliance.outbox import Outbox
from appliance.sim.clock import ManualClock
from appliance.sim.meter import RecordingMeter
from tests.broker import Mosquitto
from tests.mounts import fill, small_disk
from tests.system.device import BASE, Device
from tests.system.scenes import cards, config
from tests.system.subscriber import mosquitto_sub
from tests.waiting import eventually

ALERTS = 30
WORDS = "outbox is in memory until the next start: check the disk"


@contextmanager
def unmakeable(folder: Path) -> Iterator[Path]:
    """A state folder that nobody can make: a file stands in its way."""
    (folder / "file").touch()
    yield folder / "file" / "state"


@contextmanager
def full(folder: Path) -> Iterator[Path]:
    """A state folder on a file system without a free byte."""
    state = folder / "full"
    with small_disk(state, "64k"):
        fill(state)
        yield state


@pytest.mark.broker
@pytest.mark.parametrize("make_folder", [unmakeable, full])
def test_a_disk_that_cannot_be_used_stops_neither_decisions_nor_alerts(
    tmp_path: Path, mosquitto: Mosquitto, make_folder: Callable[[Path], AbstractContextManager[Path]]
) -> None:
    with make_folder(tmp_path) as state:
        made = config(tmp_path, mosquitto.port, {"desk": cards(tmp_path / "cards.npz", ALERTS, rate_hz=50.0)})
        made = {**made, "node": {"id": "n1", "state_dir": str(state)}}
        with mosquitto_sub(tmp_path, mosquitto, "sub") as subscriber, Device(tmp_path, made) as device:
            assert device.end() == 0
            eventually(lambda: len(subscriber.seqs("desk")) >= ALERTS)
            seqs = subscriber.seqs("desk")
            assert seqs == list(range(seqs[0], seqs[0] + ALERTS))
            assert seqs[0] > 1  # numbers of this boot that the disk may hold are not given out again
            status = subscriber.heard(f"{BASE}/status")[0].json
            assert status["overall"] != "ok"
            assert WORDS in status["faults"]
            assert len(device.log("outbox is in memory until the next start")) == 1


@pytest.mark.broker
def test_a_second_appliance_on_the_same_state_is_refused_and_not_run_from_memory(
    tmp_path: Path, mosquitto: Mosquitto
) -> None:
    first = Outbox(tmp_path / "state" / "outbox.db", OutboxConfig(), ManualClock(), RecordingMeter())
    (tmp_path / "state").mkdir()
    first.open()
    made = config(tmp_path, mosquitto.port, {"desk": cards(tmp_path / "cards.npz", 3, rate_hz=50.0)})
    device = Device(tmp_path, made)
    device.start()
    assert device.end() == 69
    assert "in use by another process" in device.text()
    first.close()
