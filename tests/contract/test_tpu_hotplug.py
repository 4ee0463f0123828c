"""Arrivals: each appearance is told once, whoever notices it first; and udev's events are heard for real."""

import os
import shutil
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.adapters.tpu_bus import LinuxTpuBus
from appliance.adapters.tpu_bus.hotplug import Appearance, Arrivals, Listener, UdevListener, is_tpu, listen_to_udev
from appliance.core.accelerator import Bus, TpuDevice
from appliance.sim import tpu_tree
from tests.conftest import cannot
from tests.waiting import eventually

EVENTS = Path(__file__).with_name("udev_events.py")
ROOT = Path(__file__).parents[2]
SYNTHETIC = Path("/sys/class/mem/null/uevent")
"""A device that every machine has; writing here makes the kernel announce it again, which changes nothing."""


class Udev:
    """Hears of a device when the test says so, and may lose what it heard."""

    def __init__(self) -> None:
        self.pending: deque[Appearance] = deque()
        self.loses = False

    def heard(self) -> Sequence[Appearance]:
        if self.loses:
            self.loses = False
            self.pending.clear()
            raise OSError(105, "No buffer space available")
        told = list(self.pending)
        self.pending.clear()
        return told


class Port:
    """A USB port, the arrivals there, and what udev will say of them later."""

    def __init__(self, listen: Callable[[], Listener] | None) -> None:
        self._there: TpuDevice | None = None
        self._number = 0
        self.late: deque[Appearance] = deque()
        self.arrivals = Arrivals(self.devices, listen or (lambda: listen_to_udev(Path("/nowhere"))))

    def devices(self) -> tuple[TpuDevice, ...]:
        return (self._there,) if self._there else ()

    def plug(self) -> None:
        self._number += 1
        self._there = TpuDevice(Bus.USB, "2-1", f"/dev/bus/usb/002/{self._number:03}", dfu=True)
        self.late.append(Appearance("2-1", self._there.node))

    def unplug(self) -> None:
        self._there = None


STEPS = st.lists(st.sampled_from(["plug", "unplug", "event", "ask"]), max_size=30)


@given(steps=STEPS)
def test_each_appearance_is_told_once_whether_looking_or_udev_comes_first(steps: list[str]) -> None:
    udev = Udev()
    port = Port(lambda: udev)
    assert port.arrivals.heard() == ()
    untold: set[str] = set()
    for step in [*steps, *["event"] * len(steps), "ask"]:
        if step == "event" and port.late:
            udev.pending.append(port.late.popleft())
        elif step == "plug":
            port.plug()
            untold.add(port.late[-1].node)
        elif step == "unplug":
            port.unplug()
        elif step == "ask":
            noticed = {event.node for event in udev.pending} | {device.node for device in port.devices()}
            assert port.arrivals.heard() == (("2-1",) if untold & noticed else ())
            untold -= noticed
    assert not untold


@given(steps=STEPS)
def test_without_udev_what_is_there_when_somebody_asks_is_told_once(steps: list[str]) -> None:
    port = Port(None)
    assert port.arrivals.heard() == ()
    seen: set[str] = set()
    for step in steps:
        if step in {"plug", "unplug"}:
            getattr(port, step)()
        if step == "ask":
            new = {device.node for device in port.devices()} - seen
            assert port.arrivals.heard() == ("2-1",) * len(new)
            seen |= new


def test_only_udev_tells_of_what_came_and_went_between_two_looks() -> None:
    udev = Udev()
    port = Port(lambda: udev)
    port.arrivals.heard()
    port.plug()
    port.unplug()
    udev.pending.extend(port.late)
    assert port.arrivals.heard() == ("2-1",)


def test_events_that_were_lost_cost_nothing_that_a_look_can_see(caplog: pytest.LogCaptureFixture) -> None:
    udev = Udev()
    port = Port(lambda: udev)
    port.arrivals.heard()
    port.plug()
    udev.loses = True
    assert port.arrivals.heard() == ("2-1",)
    assert "No buffer space" in caplog.text
    udev.pending.extend(port.late)
    assert port.arrivals.heard() == ()


def test_what_is_there_from_the_beginning_has_not_arrived_though_its_event_comes_late() -> None:
    udev = Udev()
    port = Port(lambda: udev)
    port.plug()
    assert port.arrivals.heard() == ()
    udev.pending.extend(port.late)
    assert port.arrivals.heard() == ()


@pytest.mark.parametrize(
    ("missing", "words"), [("udev", "udev does not run"), ("pyudev", "pip install 'edge-appliance[usb]'")]
)
def test_where_udev_cannot_be_heard_that_is_said_once_and_looking_serves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, missing: str, words: str
) -> None:
    caplog.set_level("INFO")
    if missing == "pyudev":
        (tmp_path / "run/udev").mkdir(parents=True)
        (tmp_path / "run/udev/control").touch()
        monkeypatch.setitem(sys.modules, "pyudev", None)
    bus = LinuxTpuBus(root=tmp_path, service=None)
    bus.arrivals()
    tpu_tree.plug(tmp_path)
    assert bus.arrivals() == (tpu_tree.PLACE,)
    assert bus.arrivals() == ()
    assert sum(words in record.getMessage() for record in caplog.records) == 1


@pytest.mark.parametrize(
    ("name", "product", "expected"),
    [
        ("2-1", "1a6e/89a/100", True),
        ("1-1.4.2", "18d1/9302/0", True),
        ("apex_0", "", True),
        ("2-1:1.0", "1a6e/89a/100", False),
        ("2-1", "18d1/89a/100", False),
        ("2-1", "1a6e/89a", False),
        ("2-1", "", False),
        ("2-1", "x/y/z", False),
        ("apex_control", "", False),
    ],
)
def test_an_event_says_whether_it_is_of_an_edge_tpu(name: str, product: str, expected: bool) -> None:  # noqa: FBT001 - a parameter of the table
    assert is_tpu(name, product) is expected


def own_network() -> tuple[str, ...]:
    """A command that runs another as root of a network of its own; a skip where that is not allowed."""
    command = ("unshare", "--net", "--map-root-user")
    if (
        shutil.which("unshare") is None
        or subprocess.run([*command, "true"], capture_output=True, check=False).returncode
    ):
        cannot("no network namespace can be made here")
    return command


def test_what_udev_sends_over_netlink_is_heard() -> None:
    """Both ids and PCIe; no other device, no interface, no other action. Sent in udev's place to the real libudev."""
    done = subprocess.run(
        [*own_network(), sys.executable, str(EVENTS)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "2-1 /dev/bus/usb/002/004",
        "2-1 /dev/bus/usb/002/005",
        "apex_0 /dev/apex_0",
    ]


def test_an_event_of_the_kernel_comes_through_the_same_way(monkeypatch: pytest.MonkeyPatch) -> None:
    if not os.access(SYNTHETIC, os.W_OK):
        cannot("only root may have the kernel announce a device")
    monkeypatch.setattr("appliance.adapters.tpu_bus.hotplug.is_tpu", lambda name, _product: name == "null")
    listener = UdevListener("kernel", (("mem", None),))
    assert list(listener.heard()) == []
    SYNTHETIC.write_text("change")
    SYNTHETIC.write_text("add")
    assert eventually(listener.heard) == [Appearance("null", "/dev/null")]
