"""The story's device: ``appliance run`` as a process of its own, watched over MQTT as a dashboard would."""

import contextlib
import json
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from threading import Condition
from time import monotonic
from typing import Any

import tomli_w

from appliance import config as configuration
from appliance.adapters.mqtt_connect import make_client, open_client
from appliance.config import MqttConfig
from appliance.errors import BrokerError

STOP_S = 15.0
"""How long the appliance is given to end."""
FRAME_AGE_MAX_S = 60.0
"""The story is of updates: a frame is judged however busy this machine is, and none is late in a trial."""
NODE, CHANNEL, MODEL = "demo", "street", "person"


@dataclass(frozen=True, slots=True)
class Moment:
    """Something changed on the device."""

    at_s: float
    """Since the device started."""
    stage: str
    deciding: str
    """Version of the model that decides."""
    words: str


@dataclass(slots=True)
class Seen:
    """What the broker has told; changed by its client's thread, read under ``Follower.changed``."""

    moments: list[Moment] = field(default_factory=list)
    standing: dict[str, Any] = field(default_factory=dict)
    """The newest of the model's update topic."""
    deciding: str = ""
    """Version of the model that made the newest decision."""
    outcome: str = ""
    decisions: Counter[str] = field(default_factory=Counter)
    """States that were told, by the version that decided."""
    reports: list[dict[str, Any]] = field(default_factory=list)


class Follower:
    """A dashboard: subscribes, and remembers what changed."""

    def __init__(self, mqtt: MqttConfig, told: Callable[[Moment], None]) -> None:
        """``told`` is called for each change, on the client's thread."""
        self.seen, self.changed = Seen(), Condition()
        self._told, self._mqtt, self._begun_s = told, mqtt, monotonic()
        base = f"{mqtt.root}/{NODE}"
        self._takers = {
            f"{base}/model/{MODEL}/state": self._stand,
            f"{base}/model/{MODEL}/report": self._report,
            f"{base}/{CHANNEL}/state": self._decided,
        }
        self._client = make_client(mqtt, client_id="")
        self._client.on_connect = lambda client, *_: client.subscribe([(topic, 1) for topic in self._takers])
        self._client.on_message = lambda _client, _data, message: self._take(message.topic, bytes(message.payload))

    def start(self) -> None:
        """Connect and listen in the background. Raises BrokerError."""
        open_client(self._client, self._mqtt)
        self._client.loop_start()

    def stop(self) -> None:
        """Disconnect."""
        self._client.disconnect()
        self._client.loop_stop()

    def wait(self, what: Callable[[Seen], bool], timeout_s: float) -> bool:
        """Wait until something is so; say whether it became so in time."""
        with self.changed:
            return self.changed.wait_for(lambda: what(self.seen), timeout_s)

    def _take(self, topic: str, payload: bytes) -> None:
        with self.changed:
            if payload:
                self._takers[topic](json.loads(payload))
            self.changed.notify_all()

    def _stand(self, standing: dict[str, Any]) -> None:
        before, self.seen.standing = self.seen.standing, standing
        if standing["stage"] != before.get("stage"):
            under_way = standing["stage"] != "idle"
            self._note(str(standing["progress"] if under_way else standing["reason"]))

    def _decided(self, state: dict[str, Any]) -> None:
        version = str(state["model_version"])
        if state["outcome_state"] != "result":
            return
        self.seen.outcome = str(state["outcome"])
        self.seen.decisions[version] += 1
        if version != self.seen.deciding:
            self.seen.deciding = version
            self._note(f"{version} decides now")

    def _report(self, report: dict[str, Any]) -> None:
        self.seen.reports.append(report)

    def _note(self, words: str) -> None:
        stage = str(self.seen.standing.get("stage", ""))
        moment = Moment(monotonic() - self._begun_s, stage, self.seen.deciding, words)
        self.seen.moments.append(moment)
        self._told(moment)


def write_config(file: Path, *, factory: Path, root: Path, url: str, mqtt: MqttConfig, footage: Path) -> None:
    """Write the device's configuration: a camera, the factory's model, and whom it takes updates from."""
    rule = {"name": "person", "labels": ["person"], "threshold": 0.5, "release": 0.35, "hold_n": 3, "hold_m": 5}
    tree = {
        "node": {"id": NODE, "name": "Demo", "state_dir": str(file.parent / "state")},
        "mqtt": {"port": mqtt.port, "protocol": mqtt.protocol, "discovery": False},
        "models": {MODEL: {"folder": str(factory)}},
        "channels": {
            CHANNEL: {
                "model": MODEL,
                "state_interval_s": 0.5,
                "frame_age_max_s": FRAME_AGE_MAX_S,
                "sensor": {"kind": "camera", "source": str(footage), "repeat": True},
                "rules": [rule],
            }
        },
        "update": {"root_file": str(root), "url": url},
        "log": {"level": "warning", "format": "human"},
    }
    file.write_text(tomli_w.dumps(tree), encoding="utf-8")
    configuration.load(file)  # a mistake of ours is told here


@contextlib.contextmanager
def running(config: Path, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run the appliance while the context lasts. Raises BrokerError when it does not end."""
    command = [sys.executable, "-m", "appliance", "run", "--config", str(config)]
    with log.open("wb") as stream:
        process = subprocess.Popen(command, stdout=stream, stderr=stream)  # noqa: S603 - our own program
        try:
            yield process
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(STOP_S)
                msg = f"the appliance did not end within {STOP_S:g} s"
                raise BrokerError(msg) from None
