"""What systemd hears from us, read from real sockets; and silence where there is no systemd."""

import configparser
import contextlib
import os
import shutil
import socket
import subprocess
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from appliance.adapters.systemd import (
    SEND_TIMEOUT_S,
    STATUS_CHARS_MAX,
    Systemd,
    datagram_send,
    make_service_manager,
    python_send,
    watchdog_interval_s,
)
from appliance.ports import ServiceManager
from tests.conftest import without

UNIT = Path(__file__).parents[2] / "systemd" / "appliance.service"
MESSAGE_BYTES_MAX = 4096
MESSAGES_MAX = 1_000_000


class Listener:
    """The service manager's end of the socket."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind("\0" + address[1:] if address.startswith("@") else address)
        self.socket.settimeout(10.0)

    def hear(self) -> str:
        return self.socket.recv(MESSAGE_BYTES_MAX).decode()


@pytest.fixture(params=["path", "abstract"])
def listener(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Listener]:
    made = Listener(str(tmp_path / "notify") if request.param == "path" else f"@appliance-test-{uuid.uuid4()}")
    yield made
    made.socket.close()


@pytest.fixture(params=["datagram", "systemd-python"])
def manager(request: pytest.FixtureRequest, listener: Listener, monkeypatch: pytest.MonkeyPatch) -> ServiceManager:
    """Both ways to send; systemd-python reads the process's own environment."""
    monkeypatch.setenv("NOTIFY_SOCKET", listener.address)
    send = datagram_send(listener.address) if request.param == "datagram" else python_send()
    if send is None:
        without("libsystemd-dev pkg-config gcc python3-dev")  # what compiles systemd-python, the extra `systemd`
    return Systemd(send, 5.0)


def test_systemd_hears_each_word_of_the_protocol(manager: ServiceManager, listener: Listener) -> None:
    manager.ready()
    manager.watchdog()
    manager.status("gate: 15 frames/s, ä")
    manager.stopping()
    assert [listener.hear() for _ in range(4)] == ["READY=1", "WATCHDOG=1", "STATUS=gate: 15 frames/s, ä", "STOPPING=1"]


def test_a_status_cannot_smuggle_a_message_of_its_own(manager: ServiceManager, listener: Listener) -> None:
    manager.status("sensor says\nSTOPPING=1\r\n")
    assert listener.hear() == "STATUS=sensor says STOPPING=1"


def test_a_status_is_cut_to_a_bound(manager: ServiceManager, listener: Listener) -> None:
    manager.status("x" * 100_000)
    assert listener.hear() == "STATUS=" + "x" * STATUS_CHARS_MAX


def test_a_manager_that_is_gone_is_no_fault_of_ours(manager: ServiceManager, listener: Listener) -> None:
    listener.socket.close()
    if not listener.address.startswith("@"):
        Path(listener.address).unlink()
    manager.watchdog()


def test_a_manager_that_does_not_read_cannot_hold_us(listener: Listener) -> None:
    plug = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    plug.setblocking(False)
    target = "\0" + listener.address[1:] if listener.address.startswith("@") else listener.address
    with plug, contextlib.suppress(BlockingIOError):
        for _ in range(MESSAGES_MAX):
            plug.sendto(b"x", target)
    began_s = time.monotonic()
    Systemd(datagram_send(listener.address), 5.0).watchdog()
    assert SEND_TIMEOUT_S * 0.9 <= time.monotonic() - began_s < SEND_TIMEOUT_S + 5.0


def test_the_environment_chooses_the_manager(listener: Listener, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", listener.address)
    monkeypatch.setenv("WATCHDOG_USEC", "30000000")
    monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()))
    manager = make_service_manager()
    manager.ready()
    assert listener.hear() == "READY=1"
    assert manager.watchdog_interval_s == 15.0


def test_without_systemd_there_is_silence() -> None:
    manager = make_service_manager({"WATCHDOG_USEC": "30000000"})
    manager.ready()
    manager.watchdog()
    manager.status("nobody reads this")
    manager.stopping()
    assert manager.watchdog_interval_s is None


OURS = str(os.getpid())


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "30000000"}, 15.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": OURS}, 15.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "-5"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({"WATCHDOG_USEC": ""}, None),
    ],
)
def test_the_watchdog_is_fed_twice_in_its_time_when_it_is_ours(environ: dict[str, str], expected: float | None) -> None:
    assert watchdog_interval_s(environ) == expected


def unit(section: str) -> dict[str, str]:
    """A section of our unit; where a key stands several times, its last value."""
    parser = configparser.ConfigParser(strict=False, interpolation=None, comment_prefixes="#", delimiters="=")
    parser.optionxform = str  # type: ignore[assignment,method-assign]  # documented way to keep capitals
    parser.read_string(UNIT.read_text())
    return dict(parser[section])


def test_the_unit_restarts_for_ever_but_not_over_a_wrong_configuration() -> None:
    service = unit("Service")
    assert (service["Type"], service["Restart"], service["RestartPreventExitStatus"]) == ("notify", "always", "78")
    assert unit("Unit")["StartLimitIntervalSec"] == "0"
    assert "WatchdogSec" in service


def test_the_unit_does_not_need_a_broker_or_a_network() -> None:
    assert {"Requires", "BindsTo", "Requisite", "PartOf"}.isdisjoint(unit("Unit"))
    assert "network" not in UNIT.read_text().partition("[Service]")[0].partition("After=")[2]


def test_the_unit_hides_neither_cameras_nor_the_state_of_the_clock() -> None:
    service = unit("Service")
    assert {"PrivateDevices", "ProtectClock", "ProcSubset"}.isdisjoint(service)
    assert "char-video4linux" in UNIT.read_text()
    assert "clock_adjtime" in service["SystemCallFilter"]


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
def test_systemd_finds_nothing_wrong_with_the_unit(tmp_path: Path) -> None:
    copy = tmp_path / UNIT.name
    program = unit("Service")["ExecStart"].partition(" ")[0]
    copy.write_text(UNIT.read_text().replace(program, "/bin/true"))  # ours is not installed where tests run
    check = ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", str(copy)]
    done = subprocess.run(check, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert UNIT.name not in done.stderr
