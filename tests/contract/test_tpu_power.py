"""Which ports are switched together, whose power may be cut, and what uhubctl is told: a real program in its place."""

import time
from pathlib import Path
from typing import Any

import pytest

from appliance.adapters.tpu_bus import LinuxTpuBus, power
from appliance.adapters.tpu_bus.refusal import NotPermittedError
from appliance.errors import BackendError, RungError
from tests.contract.tpu_boards import DISK, NETWORK, Machine, Uhubctl

CYCLE = f"-a cycle -d {power.OFF_S}"
HUNG_S = 3.0
"""When a uhubctl is taken for hung: enough for it to have started, and to have written down what it was asked."""
LEFT_S = 30.0
"""For whoever waits to be back; a uhubctl that is not killed takes a minute."""


def cycle(machine: Machine, program: Uhubctl, path: str, policy: power.Policy = "alone", **more: Any) -> None:  # noqa: ANN401 - the bus's own arguments
    bus = LinuxTpuBus(
        name="gate", power_cycle=policy, root=machine.folder, service=None, uhubctl=str(program.path), **more
    )
    bus.power_cycle(path)


@pytest.fixture
def program(tmp_path: Path) -> Uhubctl:
    return Uhubctl(tmp_path / "bin")


def machine(tmp_path: Path, board: str) -> Machine:
    return Machine(tmp_path / "root", board)


SWITCHED = [
    ("pc", "1-3", [f"-N -l 1 -p 3 {CYCLE}"]),
    ("pc", "1-1.4", [f"-N -l 1-1 -p 4 {CYCLE}"]),
    ("pc", "2-1.4.2", [f"-N -l 2-1.4 -p 2 {CYCLE}"]),
    ("pi4", "1-1.4", [f"-N -l 1-1 {CYCLE}", f"-N -l 2 {CYCLE}"]),
    ("pi4", "2-1", [f"-N -l 1-1 {CYCLE}", f"-N -l 2 {CYCLE}"]),
    ("pi4", "2-1.3", [f"-N -l 2-1 -p 3 {CYCLE}"]),
    ("pi4", "1-1.2.3", [f"-N -l 1-1.2 -p 3 {CYCLE}"]),
    ("pi5", "1-1", [f"-N -l 2 {CYCLE}", f"-N -l 4 {CYCLE}"]),
    ("pi5", "4-1", [f"-N -l 2 {CYCLE}", f"-N -l 4 {CYCLE}"]),
    ("pi5", "1-1.4", [f"-N -l 1-1 -p 4 {CYCLE}"]),
    ("pi3", "1-1.5", [f"-N -l 1-1 -p 2 {CYCLE}"]),
    ("pi3+", "1-1.1.3", [f"-N -l 1-1 -p 2 {CYCLE}"]),
    ("pi3", "1-1.5.2", [f"-N -l 1-1.5 -p 2 {CYCLE}"]),
]


@pytest.mark.parametrize(("board", "path", "expected"), SWITCHED)
def test_what_feeds_a_port_is_switched(
    tmp_path: Path, program: Uhubctl, board: str, path: str, expected: list[str]
) -> None:
    """A Pi 4 and a Pi 5 have one switch for all sockets; a hub that was plugged in has one for each of its own."""
    made = machine(tmp_path, board)
    made.tpu(path)
    cycle(made, program, path)
    assert program.asked == expected


def test_a_port_is_switched_though_its_device_has_left_the_bus(tmp_path: Path, program: Uhubctl) -> None:
    cycle(machine(tmp_path, "pi5"), program, "2-1")
    assert len(program.asked) == 2


@pytest.mark.parametrize(("board", "path"), [("zero", "1-1"), ("cm4", "1-1"), ("pi3", "1-1.1"), ("pi3+", "1-1.1.1")])
def test_where_nobody_knows_what_shares_a_switch_nothing_is_cut(
    tmp_path: Path, program: Uhubctl, board: str, path: str
) -> None:
    with pytest.raises(RungError, match="hub that has a switch for each port"):
        cycle(Machine(tmp_path / "root", board), program, path, "always")
    assert program.asked == []


@pytest.mark.parametrize("path", ["", "apex_0", "usb1", "1-1.4/../../x", "1-1.", "-1", "1-1.4\n", "1_1"])
def test_what_is_no_port_of_usb_is_not_switched(tmp_path: Path, program: Uhubctl, path: str) -> None:
    with pytest.raises(RungError, match="only the ports of USB"):
        cycle(machine(tmp_path, "pc"), program, path, "always")
    assert program.asked == []


def test_never_means_never(tmp_path: Path, program: Uhubctl) -> None:
    with pytest.raises(RungError, match=r'tpus\.gate\.power_cycle is "never"'):
        cycle(machine(tmp_path, "pc"), program, "1-1", "never")
    assert program.asked == []


@pytest.mark.parametrize("board", ["pi4", "pi5"])
def test_devices_that_would_lose_their_power_too_are_named_with_the_key_that_allows_it(
    tmp_path: Path, program: Uhubctl, board: str
) -> None:
    made = machine(tmp_path, board)
    made.tpu("2-1")
    made.hub("1-2")
    made.plug("1-2.1", "HD Webcam")
    made.plug("1-1.3", "")
    with pytest.raises(RungError) as raised:
        cycle(made, program, "2-1")
    assert "0951:1666 (1-1.3), HD Webcam (1-2.1)" in str(raised.value)
    assert 'tpus.gate.power_cycle = "always"' in str(raised.value)
    assert "Hub" not in str(raised.value), "a hub is no loss by itself"
    assert program.asked == []


def test_always_cuts_them_and_says_so(tmp_path: Path, program: Uhubctl, caplog: pytest.LogCaptureFixture) -> None:
    made = machine(tmp_path, "pi5")
    made.plug("1-2", "HD Webcam")
    cycle(made, program, "2-1", "always")
    assert len(program.asked) == 2
    assert "HD Webcam (1-2)" in caplog.text


def test_another_edge_tpu_on_the_same_switch_is_another_device(tmp_path: Path, program: Uhubctl) -> None:
    made = machine(tmp_path, "pi5")
    made.tpu("2-1")
    made.tpu("4-1")
    with pytest.raises(RungError, match=r"Edge TPU \(4-1\)"):
        cycle(made, program, "2-1")


def test_a_hub_with_a_switch_for_each_port_cuts_nobody_else(tmp_path: Path, program: Uhubctl) -> None:
    made = machine(tmp_path, "pi4")
    made.hub("2-1")
    made.tpu("2-1.3")
    made.plug("2-1.2", "Disk", DISK)
    made.plug("2-1.30", "HD Webcam")
    made.plug("1-1.3", "HD Webcam")
    cycle(made, program, "2-1.3")
    assert program.asked == [f"-N -l 2-1 -p 3 {CYCLE}"]


def test_what_hangs_in_the_other_half_of_the_socket_is_cut_as_well(tmp_path: Path, program: Uhubctl) -> None:
    """A USB 3 socket is two ports; the Edge TPU was on the slow one, and somebody plugs a disk into the same hole."""
    made = machine(tmp_path, "pc")
    made.peers("1-1.4", "2-1.4")
    made.peers("1-3", "2-2")
    made.plug("2-1.4", "Disk", DISK)
    made.plug("2-2", "HD Webcam")
    with pytest.raises(RungError, match=r"Disk \(2-1\.4\)"):
        cycle(made, program, "1-1.4", "always")
    with pytest.raises(RungError, match="HD Webcam"):
        cycle(made, program, "1-3")


def test_something_else_that_is_plugged_in_there_now_is_spared(tmp_path: Path, program: Uhubctl) -> None:
    made = machine(tmp_path, "pc")
    made.plug("1-3", "Heart monitor")
    with pytest.raises(RungError, match="Heart monitor"):
        cycle(made, program, "1-3", "always")
    assert program.asked == []


@pytest.mark.parametrize("policy", ["alone", "always"])
@pytest.mark.parametrize("how", ["interface", "block"])
def test_a_disk_is_never_cut_mounted_or_not(tmp_path: Path, program: Uhubctl, policy: power.Policy, how: str) -> None:
    """The system may have been started from it, and below an overlay or a crypt device that does not show."""
    made = machine(tmp_path, "pi5")
    made.hub("1-2")
    if how == "interface":
        made.plug("1-2.4", "Portable SSD", DISK)
    else:
        made.plug("1-2.4", "Portable SSD")
        made.holds("block", "sda", "1-2.4")
    with pytest.raises(RungError, match=r"a disk and is never cut: Portable SSD \(1-2\.4\)"):
        cycle(made, program, "2-1", policy)
    assert program.asked == []


@pytest.mark.parametrize(("kind", "cut"), [("ext4", True), ("nfs4", False), ("cifs", False)])
def test_the_network_is_cut_only_while_no_file_system_comes_over_it(
    tmp_path: Path,
    program: Uhubctl,
    kind: str,
    cut: bool,  # noqa: FBT001 - a parameter of the table
) -> None:
    made = machine(tmp_path, "pi5")
    made.plug("1-2", "LTE modem", NETWORK)
    made.mounts(kind)
    if cut:
        cycle(made, program, "2-1", "always")
    else:
        with pytest.raises(RungError, match="LTE modem"):
            cycle(made, program, "2-1", "always")
    assert bool(program.asked) is cut


def test_ethernet_that_another_switch_of_the_board_feeds_is_not_in_the_way(tmp_path: Path, program: Uhubctl) -> None:
    made = machine(tmp_path, "pi3+")
    made.mounts("nfs")
    made.tpu("1-1.2")
    cycle(made, program, "1-1.2")
    assert program.asked == [f"-N -l 1-1 -p 2 {CYCLE}"]


def test_all_switches_are_off_at_the_same_time(tmp_path: Path) -> None:
    """Each waits until both have come: a socket of a Pi 5 has no power only while both its switches are off."""
    both = f"[ -e {tmp_path}/2 ] && [ -e {tmp_path}/4 ]"
    wait = f"i=0; while ! {{ {both}; }}; do i=$((i+1)); [ $i -le 100 ] || exit 9; sleep 0.1; done"
    program = Uhubctl(tmp_path / "bin", first=f"touch {tmp_path}/$3; {wait}")
    cycle(machine(tmp_path, "pi5"), program, "2-1")


@pytest.mark.parametrize(
    ("says", "code", "error", "words"),
    [
        ("No compatible devices detected at location 2!", 1, RungError, "2.6"),
        ("There were permission problems while accessing USB.\nNo compatible devices", 1, NotPermittedError, "may not"),
        ("Failed to control port power!: Input/output error", 0, BackendError, "could not switch"),
        ("libusb: error", 1, BackendError, "libusb: error"),
    ],
)
def test_the_words_of_uhubctl_are_understood(
    tmp_path: Path, says: str, code: int, error: type[Exception], words: str
) -> None:
    program = Uhubctl(tmp_path / "bin", says=says, code=code)
    with pytest.raises(error, match=words) as raised:
        cycle(machine(tmp_path, "pc"), program, "2-1")
    assert type(raised.value) is error


def test_a_uhubctl_that_hangs_is_killed_and_the_power_given_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(power, "CYCLE_S", HUNG_S)
    program = Uhubctl(tmp_path / "bin", first='case "$*" in *cycle*) sleep 60;; esac')
    began_s = time.monotonic()
    with pytest.raises(BackendError, match=rf"uhubctl did not end within {HUNG_S:g} s"):
        cycle(machine(tmp_path, "pi5"), program, "2-1")
    assert time.monotonic() - began_s < LEFT_S
    assert program.asked[-2:] == ["-N -l 4 -a cycle -d 3", "-N -l 4 -a on"]
    assert "-N -l 2 -a on" in program.asked


def test_a_port_that_may_have_stayed_without_power_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(power, "CYCLE_S", 0.2)
    monkeypatch.setattr(power, "ON_S", 0.2)
    program = Uhubctl(tmp_path / "bin", first="sleep 60")
    with pytest.raises(BackendError, match="the power may be off still"):
        cycle(machine(tmp_path, "pc"), program, "1-3")


def test_uhubctl_is_found_on_the_path(tmp_path: Path, program: Uhubctl, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", f"{program.path.parent}:/bin:/usr/bin")
    made = machine(tmp_path, "pc")
    LinuxTpuBus(root=made.folder, service=None).power_cycle("1-3")
    assert program.asked == [f"-N -l 1 -p 3 {CYCLE}"]


def test_without_uhubctl_there_is_nothing_to_switch_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(power, "SEARCHED", ())
    with pytest.raises(RungError, match="apt-get install uhubctl"):
        LinuxTpuBus(root=machine(tmp_path, "pc").folder, service=None).power_cycle("1-3")
