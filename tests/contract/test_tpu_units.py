"""What is installed for Edge TPUs: the recovery service's units, udev's rules, the groups and folders."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from appliance.adapters.tpu_bus.recovery_request import ANSWER_S, SEEN, SOCKET
from appliance.core.accelerator import USB_ID_DFU, USB_ID_RUNTIME
from tests.units import SYSTEMD, exposed, values, wrong_with

SOCKET_UNIT = SYSTEMD / "appliance-tpu-recovery.socket"
SERVICE_UNIT = SYSTEMD / "appliance-tpu-recovery@.service"
RULES = SYSTEMD / "udev/rules.d/60-edge-tpu.rules"
INSTALLED = (SOCKET_UNIT, SERVICE_UNIT, SYSTEMD / "appliance.service")


def test_systemd_finds_nothing_wrong_with_the_units(tmp_path: Path) -> None:
    assert wrong_with(INSTALLED, tmp_path) == ""


def test_the_recovery_service_may_do_little_though_it_is_root(tmp_path: Path) -> None:
    assert exposed(SERVICE_UNIT, tmp_path) == ""


def test_only_the_appliance_reaches_the_service_and_one_request_at_a_time() -> None:
    assert values(SOCKET_UNIT, "ListenStream") == [f"/{SOCKET}"]
    assert (values(SOCKET_UNIT, "SocketUser"), values(SOCKET_UNIT, "SocketMode")) == (["appliance"], ["0600"])
    assert (values(SOCKET_UNIT, "Accept"), values(SOCKET_UNIT, "MaxConnections")) == (["yes"], ["1"])


def test_the_service_has_no_network_and_no_capability_and_writes_where_the_kernel_listens_only() -> None:
    assert values(SERVICE_UNIT, "RestrictAddressFamilies") == ["AF_UNIX AF_NETLINK"]
    assert values(SERVICE_UNIT, "CapabilityBoundingSet") == [""]
    assert values(SERVICE_UNIT, "ProtectSystem") == ["strict"]
    assert values(SERVICE_UNIT, "ReadOnlyPaths") == ["/sys"]
    (written,) = values(SERVICE_UNIT, "ReadWritePaths")
    assert all(path.lstrip("-").startswith("/sys/") for path in written.split())


def test_the_service_answers_before_it_is_ended_and_the_appliance_waits_for_the_answer() -> None:
    (limit,) = values(SERVICE_UNIT, "TimeoutStartSec")
    assert float(limit.removesuffix("s")) > ANSWER_S


def test_the_rules_know_both_states_of_a_stick_and_the_card() -> None:
    rules = RULES.read_text()
    for vendor, product in (USB_ID_DFU, USB_ID_RUNTIME):
        assert f'ATTR{{idVendor}}=="{vendor:04x}", ATTR{{idProduct}}=="{product:04x}"' in rules
    assert 'SUBSYSTEM=="apex", GROUP="apex", MODE="0660"' in rules
    assert 'ATTR{power/control}="on"' in rules
    assert f"/{SEEN}/%k" in rules, "the service switches power only where udev has seen one"


def test_every_group_of_the_rules_is_the_appliances() -> None:
    groups = set(re.findall(r'GROUP="(\w+)"', RULES.read_text()))
    assert groups == {"plugdev", "apex"}
    members = (SYSTEMD / "sysusers.d/appliance.conf").read_text()
    assert all(f"m appliance {group}" in members for group in groups)
    assert "char-apex rw" in values(SYSTEMD / "appliance.service", "DeviceAllow")


def test_udevs_record_is_roots_own() -> None:
    folders = (SYSTEMD / "tmpfiles.d/appliance.conf").read_text().splitlines()
    assert {f"d /{SEEN} 0755 root root -", f"d /{Path(SEEN).parent} 0755 root root -"} <= set(folders)


def test_udev_finds_nothing_wrong_with_the_rules() -> None:
    able = shutil.which("udevadm") and subprocess.run(["udevadm", "verify", "--help"], capture_output=True, check=False)
    if not able or able.returncode:
        pytest.skip("`udevadm verify` came with systemd 254; Debian 12 has 252")
    check = ["udevadm", "verify", "--resolve-names=never", str(RULES)]
    done = subprocess.run(check, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
