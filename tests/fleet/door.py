"""A device of the fleet: its own network, broker, state and processes, and a dashboard that listens to its broker."""

import json
import signal
import subprocess
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.broker import Mosquitto
from tests.fleet.dashboard import Dashboard
from tests.fleet.town import House
from tests.fleet.versions import NAME
from tests.process.update_fleet import done, started
from tests.system.crashing import CRASH_AT
from tests.system.device import Device, scrape
from tests.system.scenes import config, lamp
from tests.waiting import eventually

MQTT_PORT, METRICS_PORT = 1883, 9100
CHANNEL = "lamp"
CRASHING = Path(__file__).parents[1] / "system" / "crashing.py"
WITHIN_S = 180.0


class Door:
    """Runs from ``with`` to its end: ``appliance run`` as a service, ``appliance update`` when it is called."""

    def __init__(self, folder: Path, name: str, house: House, factory: Path, update: Mapping[str, object]) -> None:
        """``update`` is the section of that name."""
        folder.mkdir()
        self.name, self.house = name, house
        self._folder, self._state = folder, folder / "state"
        self._broker = Mosquitto(folder / "mosquitto", port=MQTT_PORT)
        self._dashboard = Dashboard(house, MQTT_PORT, f"edge/{name}/#")
        watched = lamp(folder / "lamp.npz")
        tree = config(
            folder,
            MQTT_PORT,
            {CHANNEL: watched},
            node={"id": name, "state_dir": str(self._state)},
            models={"tiny": {"folder": str(factory)}},
            health={"metrics_port": METRICS_PORT},
            update=update,
        )
        program = (sys.executable, str(CRASHING), "run", "--config")
        self.appliance = Device(folder, tree, program=program, environment={CRASH_AT: "infer"})
        self._stack = ExitStack()

    def start(self) -> None:
        """Start the appliance, as systemd does after each of its ends."""
        self.house.call(self.appliance.start)

    def updating(self) -> subprocess.Popen[str]:
        """Begin a run of the updater."""
        return self.house.call(lambda: started("run", "--config", self.appliance.file))

    def take(self, place: Path, result: Path) -> int:
        """Let the updater take what is on a stick; gives its exit code."""
        words = ("import", place, "--config", self.appliance.file, "--result", result)
        return self._ended(*self.house.call(lambda: done(*words)))

    def _ended(self, code: int, out: str, err: str) -> int:
        print(f"{self.name}: the updater ended with {code}: {out}{err}")
        return code

    def part_bytes(self) -> int:
        """How much of a bundle has come, on its way to the medium or there."""
        return sum(file.stat().st_size for file in self._state.glob("models/inbox/*.part"))

    def shown(self, leaf: str) -> dict[str, Any]:
        """The newest on one of the device's topics."""
        return self._dashboard.newest(f"edge/{self.name}/{leaf}")

    def told(self, leaf: str) -> list[dict[str, Any]]:
        """All that came on one of the device's topics."""
        return self._dashboard.all(f"edge/{self.name}/{leaf}")

    @property
    def standing(self) -> dict[str, Any]:
        """Home Assistant's update entity."""
        return self.shown(f"model/{NAME}/state")

    def until(self, **facts: object) -> None:
        """Wait until the update entity says so."""
        eventually(lambda: facts.items() <= self.standing.items(), within_s=WITHIN_S)

    def until_decided_by(self, version: str) -> None:
        """Wait until the newest decision is a version's."""
        eventually(lambda: self.shown(f"{CHANNEL}/state").get("model_version") == version, within_s=WITHIN_S)

    def deciding(self) -> list[str]:
        """Whose decisions were shown, in order, each version once for each time that it took over."""
        versions = [each["model_version"] for each in self.told(f"{CHANNEL}/state")]
        return [now for now, before in zip(versions, [None, *versions], strict=False) if now != before]

    def unanswered(self) -> list[dict[str, Any]]:
        """Decisions that were shown and are none, but for the one that says that the appliance was stopped."""
        states = self.told(f"{CHANNEL}/state")
        return [each for each in states if each["outcome_state"] != "result" and each["reason"] != "stopped"]

    def decisions(self, **labels: str) -> float:
        """How many this life of the appliance has made."""
        return self.house.call(lambda: scrape(METRICS_PORT, "edge_decisions_total", **labels)) or 0.0

    def alerts(self) -> list[int]:
        """The durable numbers of all alerts that came, in order, repeats left out."""
        return sorted({each["seq"] for each in self.told(f"{CHANNEL}/event")})

    def __enter__(self) -> Self:
        with self._stack as stack:
            self.house.call(self._broker.start)
            stack.push(self._broker)
            stack.enter_context(self._dashboard)
            self.start()
            stack.push(self.appliance)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            print(f"{self.name}: {json.dumps(self.standing)}")
        self._stack.__exit__(kind, error, trace)

    def end(self) -> int:
        """Stop the appliance; gives its exit code."""
        return self.appliance.end(signal.SIGTERM)


def look(*doors: Door) -> list[int]:
    """Let the updaters of devices run side by side, each to its end; gives their exit codes."""
    runs = [(door, door.updating()) for door in doors]
    told = [(door, run, run.communicate(timeout=WITHIN_S)) for door, run in runs]
    return [door._ended(run.returncode, out, err) for door, run, (out, err) in told]
