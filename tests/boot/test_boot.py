"""The units as they are installed, under a systemd that booted: what starts, what starts again, what never does."""

import json
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.boot.booting import booted
from tests.boot.machine import CONFIG, HOME, HUB_PORT, STATE, STICK_UNIT, Machine
from tests.fleet.fleet import TERMS, TRIES, plugged_in
from tests.fleet.town import run
from tests.hub.hubs import Hub, hub_in, tuned
from tests.model_folders import TINY
from tests.system.crashing import BAD_VERSION, CRASH_AT, CRASHED
from tests.system.scenes import config, lamp
from tests.waiting import eventually

pytestmark = [pytest.mark.slow, pytest.mark.broker, pytest.mark.timeout(900)]

NAME = TINY.parent.name
APPLIANCE, UPDATE = "appliance.service", "appliance-update.service"
BROKER_PORT = 1883
WITHIN_S = 240.0
"""The updater's unit is nice, and idle where the disk is concerned: beside other work it takes its time."""
CONFIG_IS_WRONG = 78
WATCHDOG_S = 5
ASK_TO_RECOVER = """
from pathlib import Path
from appliance.adapters.tpu_bus.recovery_client import ask
from appliance.adapters.tpu_bus.recovery_request import SOCKET, Request
from appliance.errors import RungError

try:
    ask(Path("/", SOCKET), Request(action="rebind", path="1-1", tpu="tpu"), refusal="it may not")
except RungError as error:
    print(error)
"""


@pytest.fixture
def hub(tmp_path: Path) -> Hub:
    """A publisher; the machine is shipped with the model that it has fielded."""
    made = hub_in(tmp_path)
    made("field", TINY)
    return made


@pytest.fixture
def machine(tmp_path: Path, hub: Hub) -> Iterator[Machine]:
    """A device that watches a lamp, not started yet."""
    with booted(tmp_path / "machine", hub.public) as made:
        folder = CONFIG.parent
        channel = lamp(made.place(folder / "lamp.npz"))
        channel["sensor"] = {"kind": "replay", "file": str(folder / "lamp.npz"), "repeat": True}
        (made.place(folder / "root.json")).write_bytes((hub.public / "metadata" / "1.root.json").read_bytes())
        update = {"root_file": str(folder / "root.json"), "url": f"http://127.0.0.1:{HUB_PORT}"}
        made.configure(config(STATE, BROKER_PORT, {"lamp": channel}, update=update))
        made("chgrp", "-R", "appliance", folder)
        made("chmod", "-R", "g+rX", folder)
        yield made


def started(machine: Machine) -> int:
    """Start the appliance; gives its process in the machine."""
    machine("systemctl", "start", APPLIANCE)
    try:
        eventually(
            lambda: machine.shows(APPLIANCE, "StatusText").startswith("ok: 1 of 1 channels work"), within_s=WITHIN_S
        )
    except AssertionError:
        pytest.fail(f"{machine.shows(APPLIANCE, 'StatusText')}\n{machine('journalctl', '--no-pager', '-n', 60)}")
    return int(machine.shows(APPLIANCE, "MainPID"))


def published(hub: Hub, version: str, root: Path) -> None:
    hub("publish", tuned(TINY, root, version, noise=0.2), "--from", 1, "--no-pin-scales", *TERMS)


def test_it_decides_in_its_sandbox_beside_debians_broker_and_ends_when_it_is_told_to(machine: Machine) -> None:
    started(machine)
    heard = machine("mosquitto_sub", "-t", "edge/n1/lamp/event", "-C", 3, "-W", 30)
    assert [json.loads(line)["kind"] for line in heard.splitlines()] == ["red"] * 3
    machine("systemctl", "stop", APPLIANCE)
    assert (machine.shows(APPLIANCE, "Result"), machine.shows(APPLIANCE, "NRestarts")) == ("success", "0")
    assert "left behind" not in machine.journal(APPLIANCE)


def test_whatever_ends_it_it_is_started_again_and_goes_on(machine: Machine) -> None:
    before = started(machine)
    machine("systemctl", "kill", "--signal", signal.SIGKILL.value, APPLIANCE)
    eventually(lambda: machine.shows(APPLIANCE, "NRestarts") == "1", within_s=WITHIN_S)
    assert started(machine) != before


def test_one_that_hangs_is_ended_by_the_watchdog_and_started_again(machine: Machine) -> None:
    machine.drop_in(APPLIANCE, f"WatchdogSec={WATCHDOG_S}s", "TimeoutAbortSec=1s")
    hangs = started(machine)
    before = int(machine.shows(APPLIANCE, "NRestarts"))
    machine("systemctl", "kill", "--signal", signal.SIGSTOP.value, APPLIANCE)
    eventually(lambda: int(machine.shows(APPLIANCE, "NRestarts")) > before, within_s=WITHIN_S)
    assert started(machine) != hangs
    assert "Watchdog timeout" in machine("journalctl", "--no-pager", "--unit", APPLIANCE)


def test_a_wrong_configuration_is_not_tried_again_and_again(machine: Machine) -> None:
    machine.place(CONFIG).write_text('[node]\nid = "n1"\nnmae = "a word that is none"\n')
    assert machine.run("systemctl", "start", APPLIANCE).returncode != 0
    assert machine.shows(APPLIANCE, "ActiveState") == "failed"
    assert machine.shows(APPLIANCE, "ExecMainStatus") == str(CONFIG_IS_WRONG)
    assert machine.shows(APPLIANCE, "NRestarts") == "0"
    assert "nmae" in machine.journal(APPLIANCE)


def test_an_update_is_fetched_by_its_unit_tried_by_the_appliance_and_kept(
    machine: Machine, hub: Hub, tmp_path: Path
) -> None:
    published(hub, "1.1.0", tmp_path / "models")
    machine.serve_hub()
    before = started(machine)
    machine("systemctl", "start", UPDATE)
    assert machine.shows(UPDATE, "Result") == "success"
    model = eventually(lambda: _ended(machine), within_s=WITHIN_S)
    assert (model["outcome"], model["running_version"]) == ("committed", "1.1.0")
    assert int(machine.shows(APPLIANCE, "MainPID")) == before, "nothing was started anew for it"
    machine("systemctl", "restart", APPLIANCE)
    started(machine)
    assert '"version": "1.1.0", "backend": "cpu", "event": "backend ready"' in machine.journal(APPLIANCE)


def test_a_model_that_ends_the_process_each_time_is_gone_after_its_tries(
    machine: Machine, hub: Hub, tmp_path: Path
) -> None:
    published(hub, BAD_VERSION, tmp_path / "models")
    machine.serve_hub()
    machine.drop_in(
        APPLIANCE,
        "ExecStart=",
        f"ExecStart={HOME}/bin/python -m tests.system.crashing run --config {CONFIG}",
        f"Environment={CRASH_AT}=infer",
        "RestartSec=100ms",
    )
    started(machine)
    machine("systemctl", "start", UPDATE)
    model = eventually(lambda: _ended(machine), within_s=WITHIN_S)
    assert (model["outcome"], model["running_version"]) == ("rolled_back", TINY.name)
    assert machine.shows(APPLIANCE, "NRestarts") == str(TRIES)
    started(machine)
    assert f"status={CRASHED}" in machine("journalctl", "--no-pager", "--unit", APPLIANCE)


def test_consent_starts_a_run_at_once(machine: Machine, hub: Hub, tmp_path: Path) -> None:
    hub("publish", tuned(TINY, tmp_path / "models", "1.1.0", noise=0.2), "--no-pin-scales", "--consent", *TERMS)
    machine.serve_hub()
    started(machine)
    machine("systemctl", "start", UPDATE)
    assert machine.updates()["models"][NAME]["held"] == "consent"
    machine("systemctl", "start", "appliance-update.path")
    machine("mosquitto_pub", "-t", f"edge/n1/model/{NAME}/set", "-m", "INSTALL")
    assert eventually(lambda: _ended(machine), within_s=WITHIN_S)["outcome"] == "committed"


def test_a_stick_is_mounted_taken_and_told_what_became_of_it(machine: Machine, hub: Hub, tmp_path: Path) -> None:
    published(hub, "1.1.0", tmp_path / "models")
    started(machine)
    (tmp_path / "stick").mkdir()
    with plugged_in(hub, tmp_path / "stick") as stick:
        machine.plug(stick.device)
        machine("systemctl", "start", STICK_UNIT.replace("@", f"@{stick.device}"))
        assert eventually(lambda: _ended(machine), within_s=WITHIN_S)["outcome"] == "committed"
        assert stick.device not in machine("cat", "/proc/mounts")
        name = f"edge-{machine('head', '-c', 12, '/etc/machine-id')}-result.txt"
        told = run("debugfs", "-R", f"cat /{name}", stick.image)
    assert f"{NAME}: {TINY.name} (came with the device)" in told, "what it has found"
    assert "; 1.1.0 is at " in told, "and what becomes of it"


@pytest.mark.parametrize(("user", "answer"), [("appliance", "no Edge TPU is plugged in"), ("nobody", "Permission")])
def test_the_recovery_service_answers_the_appliances_user_and_nobody_else(
    machine: Machine, user: str, answer: str
) -> None:
    machine("systemctl", "start", "appliance-tpu-recovery.socket")
    group = machine("id", "--group", "--name", user).strip()
    who = ("setpriv", "--reuid", user, "--regid", group, "--clear-groups")
    assert answer in machine(*who, HOME / "bin" / "python", "-c", ASK_TO_RECOVER)


def test_what_waits_for_something_starts_and_waits(machine: Machine) -> None:
    waiting = ("appliance-update.timer", "appliance-update.path", "appliance-tpu-recovery.socket")
    machine("systemctl", "start", *waiting)
    assert [machine.shows(unit, "ActiveState") for unit in waiting] == ["active"] * 3
    assert re.search(r"OnUnitInactive.*30min", machine.shows("appliance-update.timer", "TimersMonotonic"))


def _ended(machine: Machine) -> dict[str, str]:
    """What the status says of the model, once an attempt has ended; nothing before."""
    model: dict[str, str] = machine.updates()["models"][NAME]
    return model if model["outcome"] and model["stage"] == "idle" else {}
