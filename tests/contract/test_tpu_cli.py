"""``appliance tpu``: what a person is told of the Edge TPUs that are there."""

import os
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from appliance.sim import tpu_tree
from appliance.tpu_cli import app


def tpu(*words: object) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words], env={"COLUMNS": "200"}, prog_name="appliance tpu")


def test_without_a_device_it_says_what_was_looked_for_and_ends_with_69(tmp_path: Path) -> None:
    told = tpu("list", "--root", tmp_path)
    assert told.exit_code == 69
    assert told.stdout == ""
    for word in ("1a6e:089a", "18d1:9302", "/dev/apex_*"):
        assert word in told.stderr


def test_each_device_is_one_line(tmp_path: Path) -> None:
    tpu_tree.plug(tmp_path)
    tpu_tree.plug(tmp_path, "1-1.4", speed_mbps=480)
    tpu_tree.enter_runtime(tmp_path, "1-1.4")
    tpu_tree.set_temperature(tmp_path, 61.25)
    told = tpu("list", "--root", tmp_path)
    assert told.exit_code == 0
    slow, fast, card = [line for line in told.stdout.splitlines() if "/dev/" in line]
    for words, line in (
        (("usb 1-1.4", "ready (18d1:9302)", "USB 2, 480 Mbit/s: slow", "/dev/bus/usb/001/"), slow),
        (("usb 2-1", "bootloader (1a6e:089a)", "USB 3, 5000 Mbit/s", "/dev/bus/usb/002/", "yes", "not measured"), fast),
        (("pci apex_0", "ready", "PCIe", "/dev/apex_0", "yes", "61.2 C"), card),
    ):
        assert all(word in line for word in words), line


def test_what_is_wrong_with_a_card_stands_in_its_line(tmp_path: Path) -> None:
    tpu_tree.set_temperature(tmp_path, -87.9)
    told = tpu("list", "--root", tmp_path)
    assert told.exit_code == 0
    assert "the PCIe link is lost" in " ".join(told.stdout.split())


def test_a_device_that_may_not_be_opened_names_the_group_to_join(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    really = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: "/dev/" not in str(path) and really(path, mode))
    tpu_tree.plug(tmp_path)
    assert "no: join the group plugdev" in tpu("list", "--root", tmp_path).stdout
    tpu_tree.unplug(tmp_path)
    tpu_tree.set_temperature(tmp_path, 50.0)
    assert "no: join the group apex" in tpu("list", "--root", tmp_path).stdout


def test_only_root_serves_requests(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    told = tpu("recover", "--config", tmp_path / "appliance.toml")
    assert told.exit_code == 77
    assert "needs root" in told.stderr


def test_the_help_teaches_and_does_not_offer_what_only_systemd_needs() -> None:
    told = tpu("--help")
    assert "list" in told.stdout
    assert "recover" not in told.stdout
    assert "Example: appliance tpu list" in tpu("list", "--help").stdout
