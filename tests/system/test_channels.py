"""Several channels in one process: what happens to one does not happen to the others."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import cv2
import pytest

from tests.broker import Mosquitto, free_port
from tests.system.device import BASE, Device, scrape
from tests.system.scenes import RED, Section, config, lamp, picture
from tests.system.subscriber import Subscriber, mosquitto_sub
from tests.waiting import eventually

pytestmark = pytest.mark.broker

RATE_HZ = 10.0
REOPEN_S = 0.8
"""From one attempt to open the dead sensor to the next, at least: eight frames of the live channel."""
REOPENS = 6
RATIO_MIN = 0.8
"""Of the live channel's decisions beside a dead one, over those of the rate at which its sensor delivers; one that
waits for the other's attempts makes a quarter. Both are counted, and nothing is timed: a busy machine holds up both."""


def watching(pictures: Path) -> Section:
    """A channel whose camera is a folder of pictures, which may or may not be there."""
    return {
        "model": "tiny",
        "sensor": {"kind": "camera", "source": str(pictures), "repeat": True},
        "rules": [{"name": "red", "labels": ["red"], "threshold": 0.5}],
        "reopen_min_s": REOPEN_S,
        "reopen_max_s": REOPEN_S,
    }


def plug_in(pictures: Path) -> None:
    """Let the camera appear, all at once."""
    making = pictures.with_suffix(".new")
    making.mkdir()
    for number in range(2):
        assert cv2.imwrite(str(making / f"{number}.png"), picture(RED))
    making.rename(pictures)


class Pair:
    """A device with a camera that is not there, and one that is."""

    def __init__(self, folder: Path, broker: Mosquitto, subscriber: Subscriber) -> None:
        self.pictures = folder / "pictures"
        self.subscriber = subscriber
        self.port = free_port()
        channels = {"gate": watching(self.pictures), "yard": lamp(folder / "yard.npz", rate_hz=RATE_HZ)}
        health: Section = {"metrics_port": self.port, "status_interval_s": 60.0}
        self.device = Device(folder, config(folder, broker.port, channels, health=health))

    def counted(self, name: str, channel: str) -> float:
        return scrape(self.port, name, channel=channel) or 0.0

    def availability(self, channel: str) -> list[str]:
        return [each.payload for each in self.subscriber.heard(f"{BASE}/{channel}/availability")]

    def status(self) -> dict[str, object]:
        return self.subscriber.until(f"{BASE}/status")[-1].json


@pytest.fixture
def pair(tmp_path: Path, mosquitto: Mosquitto) -> Iterator[Pair]:
    with mosquitto_sub(tmp_path, mosquitto, "sub") as subscriber:
        made = Pair(tmp_path, mosquitto, subscriber)
        with made.device:
            yield made


def test_a_dead_sensor_is_told_once_harms_no_other_channel_and_comes_back_by_itself(pair: Pair) -> None:
    eventually(lambda: pair.counted("edge_decisions_total", "yard") >= 10)
    before = pair.counted("edge_decisions_total", "yard")
    reopens = pair.counted("edge_sensor_reopens_total", "gate")
    eventually(lambda: pair.counted("edge_sensor_reopens_total", "gate") >= reopens + REOPENS)
    decided = pair.counted("edge_decisions_total", "yard") - before
    assert decided > RATIO_MIN * RATE_HZ * REOPEN_S * (REOPENS - 1), "the live channel keeps its rate"

    eventually(lambda: pair.availability("gate") == ["offline"])
    assert pair.availability("yard") == ["online"]
    (fault,) = pair.device.log("fault", fault="gate:sensor")
    assert str(pair.pictures) in fault["reason"]
    assert pair.device.log(level="warning") == [fault], "one message, and no flood"
    eventually(lambda: "gate" in str(pair.status()["faults"]))
    assert (pair.status()["overall"], pair.status()["channels_failed"]) == ("degraded", 1)
    blind = pair.subscriber.until(f"{BASE}/gate/state")[-1].json
    assert (blind["red"], blind["outcome"], blind["outcome_state"]) == (None, "unknown", "no_result")

    plug_in(pair.pictures)
    eventually(lambda: pair.availability("gate") == ["offline", "online"])
    eventually(lambda: pair.subscriber.heard(f"{BASE}/gate/state")[-1].json["red"] == "ON")
    eventually(lambda: pair.status()["overall"] == "ok")  # though the next interval is a minute away
    (recovered,) = pair.device.log("recovered")
    assert recovered["fault"] == "gate:sensor"

    shutil.rmtree(pair.pictures)
    eventually(lambda: pair.availability("gate") == ["offline", "online", "offline"])
    assert pair.availability("yard") == ["online"]
    assert pair.device.runs
