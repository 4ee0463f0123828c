"""What a service manager hears from the process, by sd_notify(3) on a real socket, and what exit code it gets."""

import hashlib
import os
import shutil
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from tests.broker import Mosquitto, free_port
from tests.model_folders import TINY
from tests.system.device import BASE, END_TIMEOUT_S, Device
from tests.system.scenes import Section, cards, config, lamp
from tests.system.subscriber import mosquitto_sub
from tests.waiting import eventually

MISBEHAVING = Path(__file__).with_name("misbehaving.py")
WATCHDOG_S = 4.0
"""Half of it, between two feedings, a busy machine may lose."""
STALL_AFTER_S = 3.0
"""Longer than a sound channel takes for a decision on a busy machine."""
EXIT_BUG, EXIT_CONFIG = 70, 78


class Manager:
    """The socket of a service manager, and what was said to it so far, each with its monotonic time."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "notify"
        self.heard: list[tuple[float, str]] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(self.path))
        self._socket.setblocking(False)

    def listen(self) -> list[str]:
        """All that was said."""
        while True:
            try:
                message = self._socket.recv(4096).decode()
            except BlockingIOError:
                return [text for _, text in self.heard]
            self.heard.append((time.monotonic(), message))

    def until_ended(self, device: Device, number: signal.Signals | None = None) -> int:
        """Wait for a device's end, after a signal if one is given, listening: it waits while nobody does."""
        if number is not None:
            os.kill(device.pid, number)
        eventually(lambda: self.listen() is not None and not device.runs, within_s=END_TIMEOUT_S)
        return device.end()

    def close(self) -> None:
        self._socket.close()

    @property
    def environment(self) -> dict[str, str]:
        """What systemd would set."""
        return {"NOTIFY_SOCKET": str(self.path), "WATCHDOG_USEC": str(round(WATCHDOG_S * 1e6))}


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    made = Manager(tmp_path)
    yield made
    made.close()


def pictures(file: Path) -> Section:
    """A channel whose sensor is captured ahead of the loop, on a thread of its own."""
    return lamp(file)


def records(file: Path) -> Section:
    """A channel whose sensor is captured by the loop itself."""
    return cards(file, 100_000, rate_hz=20.0)


def device(
    tmp_path: Path,
    manager: Manager,
    how: str = "",
    odd: Callable[[Path], Section] = records,
    *,
    port: int | None = None,
    **sections: Section,
) -> Device:
    """A device without a broker; ``how`` its channel ``odd`` misbehaves, and ``yard`` does not."""
    channels = {"odd": odd(tmp_path / "odd.npz"), "yard": lamp(tmp_path / "yard.npz")}
    for channel in channels.values():
        channel["capture_timeout_s"] = STALL_AFTER_S / 2
    health: Section = {"stall_after_s": STALL_AFTER_S, "status_interval_s": 0.5}
    made = config(tmp_path, port or free_port(), channels, health=health) | sections
    environment = manager.environment
    if how:
        return Device(tmp_path, made, program=(sys.executable, str(MISBEHAVING), how), environment=environment)
    return Device(tmp_path, made, environment=environment)


def test_the_manager_hears_that_it_is_ready_works_and_stops(tmp_path: Path, manager: Manager) -> None:
    with device(tmp_path, manager) as made:
        eventually(lambda: manager.listen().count("WATCHDOG=1") >= 4)
        assert manager.until_ended(made, signal.SIGTERM) == 0
    heard = manager.listen()
    assert heard[0] == "READY=1"
    assert heard.count("READY=1") == 1
    assert "STOPPING=1" in heard
    assert "WATCHDOG=1" not in heard[heard.index("STOPPING=1") :]
    fed_s = [at_s for at_s, text in manager.heard if text == "WATCHDOG=1"]
    gaps_s = [after - before for before, after in pairwise(fed_s)]
    assert max(gaps_s) < WATCHDOG_S
    (first, *_) = [text for text in heard if text.startswith("STATUS=")]
    assert "2 of 2 channels work" in first
    assert "broker not connected" in first


@pytest.mark.slow
def test_the_watchdog_is_not_fed_any_more_once_one_channel_makes_no_progress(tmp_path: Path, manager: Manager) -> None:
    with device(tmp_path, manager, "hang") as made:
        eventually(lambda: manager.listen() and made.log("fault", fault="stall"))
        fed = manager.listen().count("WATCHDOG=1")
        assert fed >= 2, "it was fed while both channels decided"
        status = sum(text.startswith("STATUS=") for text in manager.listen())
        eventually(lambda: sum(text.startswith("STATUS=") for text in manager.listen()) >= status + 3)
        assert manager.listen().count("WATCHDOG=1") == fed, "though the other channel decides and the process lives"
        assert made.runs
        assert "odd" in made.log("fault", fault="stall")[0]["reason"]
        assert "yard" not in made.log("fault", fault="stall")[0]["reason"]
        assert manager.until_ended(made, signal.SIGTERM) == 0, (
            "a channel that hangs does not keep the process from its end"
        )
        assert made.log("left behind")


@pytest.mark.broker
@pytest.mark.parametrize("odd", [pictures, records])
def test_a_bug_in_one_channel_ends_the_process_so_that_it_is_started_again(
    tmp_path: Path, manager: Manager, mosquitto: Mosquitto, odd: Callable[[Path], Section]
) -> None:
    with mosquitto_sub(tmp_path, mosquitto, "sub") as subscriber:
        with device(tmp_path, manager, "crash", odd, port=mosquitto.port) as made:
            assert manager.until_ended(made) == EXIT_BUG
        subscriber.until(f"{BASE}/availability", "offline")
        assert subscriber.events("odd"), "what was decided before is not lost"
    (crash,) = made.log("crashed")
    assert "ZeroDivisionError: a bug that nobody thought of" in crash["exception"]
    assert "STOPPING=1" in manager.listen()


def lying_model(folder: Path) -> Path:
    """A model folder whose digests are right, and whose golden vectors say what the model does not."""
    shutil.copytree(TINY, folder)
    golden = folder / "golden" / "golden.npz"
    with np.load(golden) as arrays:
        changed = {name: array if name.startswith("input") else 255 - array for name, array in arrays.items()}
    before = hashlib.sha256(golden.read_bytes()).hexdigest()
    np.savez(golden, **changed)
    description = folder / "model.toml"
    text = description.read_text()
    assert before in text
    description.write_text(text.replace(before, hashlib.sha256(golden.read_bytes()).hexdigest()))
    return folder


def test_it_is_not_ready_before_its_models_are_proven(tmp_path: Path, manager: Manager) -> None:
    models: Section = {"tiny": {"folder": str(lying_model(tmp_path / "tiny-uint8" / "1.0.0"))}}
    with device(tmp_path, manager, odd=pictures, models=models) as made:
        assert manager.until_ended(made) == EXIT_CONFIG
    assert manager.listen() == []
    (line,) = [line for line in made.text().splitlines() if line.startswith("appliance:")]
    assert "golden" in line
    assert "tiny-uint8" in line
