"""What is installed for updates: the run, its timer, the two things that start it early, and the stick's part."""

import subprocess
from pathlib import Path

import pytest

from appliance.config import UpdateConfig
from tests.units import SYSTEMD, exposed, values, wrong_with

RUN, TIMER, CONSENT = (SYSTEMD / f"appliance-update.{kind}" for kind in ("service", "timer", "path"))
STICK = SYSTEMD / "appliance-update-stick@.service"
RULES = SYSTEMD / "udev/rules.d/61-edge-update.rules"
DISPATCHER = SYSTEMD / "NetworkManager/dispatcher.d/50-appliance-update"
INSTALLED = (RUN, TIMER, CONSENT, STICK, SYSTEMD / "appliance.service")


def test_systemd_finds_nothing_wrong_with_the_units(tmp_path: Path) -> None:
    assert wrong_with(INSTALLED, tmp_path) == ""


@pytest.mark.parametrize("unit", [RUN, STICK], ids=lambda unit: unit.name)
def test_neither_process_may_do_much(unit: Path, tmp_path: Path) -> None:
    assert exposed(unit, tmp_path) == ""


@pytest.mark.parametrize("unit", [RUN, STICK], ids=lambda unit: unit.name)
def test_it_keeps_the_store_that_the_appliance_keeps_and_sees_no_device(unit: Path) -> None:
    appliance = SYSTEMD / "appliance.service"
    for key in ("User", "Group", "StateDirectory", "StateDirectoryMode", "UMask"):
        assert values(unit, key) == values(appliance, key), key
    assert values(unit, "PrivateDevices") == ["yes"]
    assert values(unit, "DevicePolicy") == ["closed"]


def test_what_a_stick_brings_meets_no_network() -> None:
    assert values(STICK, "PrivateNetwork") == ["yes"]
    assert values(STICK, "RestrictAddressFamilies") == ["AF_UNIX"]


def test_a_run_may_take_as_long_as_the_configuration_can_ask_for() -> None:
    (limit,) = values(RUN, "TimeoutStartSec")
    longest_s = next(each.le for each in UpdateConfig.model_fields["run_s_max"].metadata if hasattr(each, "le"))
    assert int(limit.removesuffix("h")) * 3600 > longest_s


def test_no_wall_clock_says_when_to_look() -> None:
    assert values(TIMER, "OnCalendar") == []
    assert values(TIMER, "OnBootSec")
    assert values(TIMER, "OnUnitInactiveSec")
    assert values(TIMER, "RandomizedDelaySec"), "a fleet that woke up together must not ask together"


def test_consent_and_a_returning_network_start_the_run_that_the_timer_starts() -> None:
    assert values(CONSENT, "Unit") == [RUN.name]
    assert RUN.name in DISPATCHER.read_text()
    assert DISPATCHER.stat().st_mode & 0o111


@pytest.mark.parametrize(("event", "started"), [("up", [RUN.name]), ("connectivity-change", [RUN.name]), ("down", [])])
def test_the_dispatcher_starts_a_run_when_the_network_comes_and_not_when_it_goes(
    event: str, started: list[str], tmp_path: Path
) -> None:
    said = tmp_path / "said"
    said.touch()
    (tmp_path / "systemctl").write_text(f'#!/bin/sh\necho "$@" >> {said}\n')
    (tmp_path / "systemctl").chmod(0o755)
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin"}
    subprocess.run([str(DISPATCHER), "wlan0", event], env=environment, timeout=10, check=True)
    assert said.read_text().split() == [word for unit in started for word in ("start", "--no-block", unit)]


def test_only_a_stick_with_the_label_starts_anything() -> None:
    (rule,) = [line for line in RULES.read_text().splitlines() if line and not line.startswith("#")]
    parts = [part.strip() for part in rule.split(",")]
    for condition in ('ACTION=="add"', 'SUBSYSTEM=="block"', 'ENV{ID_BUS}=="usb"', 'ENV{ID_FS_LABEL}=="EDGE-UPDATE"'):
        assert condition in parts
    assert 'ENV{SYSTEMD_WANTS}+="appliance-update-stick@%k.service"' in parts
