"""Reading what the kernel shows: whatever stands there, and whatever goes while it is read, nothing is raised."""

import os
from pathlib import Path
from threading import Event, Thread

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.adapters.tpu_bus import sysfs
from appliance.adapters.tpu_bus.sysfs import Sysfs, is_below, split
from appliance.sim import tpu_tree
from tests.contract.tpu_boards import Machine

ATTRIBUTES = ("idVendor", "idProduct", "busnum", "devnum", "speed", "bDeviceClass", "product")
LIKELY = st.sampled_from(
    [b"1a6e\n", b"089a\n", b"18d1", b"9302", b"2", b"3\n", b"480", b"09", b"", b"-1", b"1_0", b"\xff"]
)
VALUES = st.one_of(st.none(), LIKELY, st.binary(max_size=400))


@settings(max_examples=50)
@given(name=st.sampled_from(["1-1.4", "2-1", "usb2", "1-1:1.0", "x"]), values=st.tuples(*[VALUES] * len(ATTRIBUTES)))
def test_whatever_the_files_hold_a_device_is_whole_or_not_there(
    name: str, values: tuple[bytes | None, ...], tmp_path_factory: pytest.TempPathFactory
) -> None:
    root = tmp_path_factory.mktemp("sys")
    folder = root / "sys/bus/usb/devices" / name
    folder.mkdir(parents=True)
    for attribute, value in zip(ATTRIBUTES, values, strict=True):
        if value is not None:
            (folder / attribute).write_bytes(value)
    for device in Sysfs(root).usb():
        assert device.path in {name, name.removeprefix("usb")}
        assert device.node.startswith("/dev/bus/usb/")
        assert device.name.isprintable()
    assert {device.path for device in Sysfs(root).devices()} <= {"1-1.4", "2-1"}


@pytest.mark.parametrize("attribute", ["idVendor", "idProduct", "busnum", "devnum"])
@pytest.mark.parametrize("how", ["missing", "unreadable", "folder"])
def test_a_device_that_is_going_is_gone(tmp_path: Path, attribute: str, how: str) -> None:
    tpu_tree.plug(tmp_path)
    file = tmp_path / "sys/bus/usb/devices" / tpu_tree.PLACE / attribute
    file.unlink()
    if how == "unreadable":
        file.symlink_to("/proc/self/mem")  # reading there fails with EIO, as in sysfs once a device has gone
    if how == "folder":
        file.mkdir()
    assert Sysfs(tmp_path).devices() == ()


def test_no_device_is_half_of_one_and_half_of_the_next(tmp_path: Path) -> None:
    """It changes its id under a reader, as it does each time it is opened."""
    tpu_tree.plug(tmp_path)
    stop = Event()
    bus = Sysfs(tmp_path)

    def change() -> None:
        while not stop.is_set():
            tpu_tree.enter_runtime(tmp_path)
            tpu_tree.enumerate_again(tmp_path, dfu=True)

    thread = Thread(target=change, daemon=True)
    thread.start()
    states: dict[str, set[bool]] = {}
    while len(states) < 40:
        for device in bus.devices():
            states.setdefault(device.node, set()).add(device.dfu)
        for each in bus.usb():
            assert each.ids in sysfs.TPU_IDS
    stop.set()
    thread.join(10.0)
    assert all(len(dfu) == 1 for dfu in states.values())


def test_what_is_no_edge_tpu_is_not_one(tmp_path: Path) -> None:
    machine = Machine(tmp_path, "pi4")
    machine.plug("1-1.2", "Disk", ids="1a6e:9302")
    machine.plug("1-1.3", "Disk", ids="18d1:089a")
    machine.tpu("2-1")
    (tmp_path / "sys/class/apex/apex_control").mkdir(parents=True)
    assert [device.path for device in Sysfs(tmp_path).devices()] == ["2-1"]


def test_a_card_that_only_its_device_file_shows_is_there(tmp_path: Path) -> None:
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev/apex_3").touch()
    (device,) = Sysfs(tmp_path).devices()
    assert (device.path, device.node) == ("apex_3", "/dev/apex_3")


def test_a_folder_without_end_is_not_read_to_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sysfs, "ENTRIES_MAX", 8)
    folder = tmp_path / "dev"
    folder.mkdir()
    for number in range(30):
        (folder / f"apex_{number}").touch()
    assert len(Sysfs(tmp_path).devices()) == 8


def test_no_device_file_is_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Opening one may wake it, and holds it against whoever has to have it."""
    tpu_tree.plug(tmp_path)
    tpu_tree.set_temperature(tmp_path, 50.0)
    opened: list[str] = []
    really = os.open

    def noted(path: "os.PathLike[str] | str", *rest: int, dir_fd: int | None = None) -> int:
        opened.append(os.fspath(path))
        return really(path, *rest, dir_fd=dir_fd)

    monkeypatch.setattr(os, "open", noted)
    assert len(Sysfs(tmp_path).devices()) == 2
    assert opened
    assert not [path for path in opened if path.startswith(str(tmp_path / "dev"))]


@pytest.mark.parametrize(
    ("path", "hub", "port"),
    [("1-1.4", "1-1", "4"), ("2-1", "2", "1"), ("1-1.4.10", "1-1.4", "10"), ("10-2", "10", "2")],
)
def test_a_path_names_its_hub_and_port(path: str, hub: str, port: str) -> None:
    assert split(path) == (hub, port)
    assert is_below(path, hub)
    assert not is_below(hub, path)


def test_a_port_with_a_longer_number_is_not_below_one_with_a_shorter() -> None:
    assert not is_below("1-10", "1-1")
    assert not is_below("10-1", "1")
    assert is_below("1-1.4", "1-1.4")


def test_a_long_file_of_the_kernel_is_read_to_its_end() -> None:
    """Which gives a page at a time, as the list of mounts."""
    assert len(Sysfs(Path("/")).text("proc/self/maps", 1_000_000)) > 2 * os.sysconf("SC_PAGESIZE")
