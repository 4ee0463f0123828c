"""What may hang in the kernel, in real processes: each for a bounded time, none left behind without being counted."""

import os
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from errno import EACCES, EBUSY, EINVAL, EIO, ENODEV, ENOENT, ENOTTY, EPERM, EROFS, ETIMEDOUT
from pathlib import Path
from threading import Event

import pytest

from appliance.adapters.tpu_bus import LinuxTpuBus
from appliance.adapters.tpu_bus.kernel import Kernel
from appliance.adapters.tpu_bus.programs import ABANDONED_MAX, TEXT_BYTES_MAX, Ended, Programs
from appliance.adapters.tpu_bus.refusal import NotPermittedError
from appliance.errors import ApplianceError, BackendError, RungError
from appliance.sim import tpu_tree
from appliance.sim.clock import ManualClock
from tests.waiting import eventually

pytestmark = pytest.mark.slow

HANG = (
    "import signal, threading\n"
    "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
    "print('hangs', flush=True)\n"
    "threading.Event().wait(60)\n"
)
RUNS_S = 3.0
"""How long a program may run that never ends: enough for it to have started what it starts."""
LEFT_S = 30.0
"""For whoever ran one to be back, half of what it would take by itself."""


def python(code: str) -> tuple[str, ...]:
    return (sys.executable, "-IS", "-c", code)


class Stubborn:
    """Programs that our SIGKILL does not end, as if they hung in a driver; they end with the context."""

    def __init__(self) -> None:
        self._groups: list[int] = []
        self.programs = Programs(kill=lambda group, _number: self._groups.append(group))

    def end(self) -> None:
        while self._groups:
            os.killpg(self._groups.pop(), signal.SIGKILL)
        eventually(lambda: self.programs.abandoned == 0)


@pytest.fixture
def stubborn() -> Iterator[Stubborn]:
    made = Stubborn()
    yield made
    made.end()


def test_programs_run_at_the_same_time_and_what_they_say_is_kept(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reads, writes = (
        python(f"import os, sys; os.open({str(pipe)!r}, os.{how}); print('off'); print('on', file=sys.stderr)")
        for how in ("O_RDONLY", "O_WRONLY")  # opening one end waits for who opens the other
    )
    first, second, third = Programs().run([reads, writes, python("raise SystemExit(3)")], 20.0)
    assert sorted(first.text.split()) == sorted(second.text.split()) == ["off", "on"]
    assert (first.code, third) == (0, Ended(3, ""))


def test_a_program_that_hangs_is_killed_with_what_it_started(tmp_path: Path) -> None:
    file = tmp_path / "pid"
    programs, began_s = Programs(), time.monotonic()
    with pytest.raises(BackendError, match=rf"sh did not end within {RUNS_S:g} s"):
        programs.run([("/bin/sh", "-c", f"sleep 60 & echo $! > {file}; wait")], RUNS_S)
    assert time.monotonic() - began_s < LEFT_S
    assert programs.abandoned == 0
    eventually(lambda: file.exists() and file.read_text().endswith("\n"))
    eventually(lambda: not _runs(int(file.read_text())))


def _runs(pid: int) -> bool:
    """Whether it is there, and not only its entry that nobody has collected."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_process_that_cannot_be_ended_is_left_behind_counted_and_forgotten_when_it_ends(stubborn: Stubborn) -> None:
    began_s = time.monotonic()
    with pytest.raises(BackendError):
        stubborn.programs.run([python(HANG)], 0.1)
    assert time.monotonic() - began_s < LEFT_S
    assert stubborn.programs.abandoned == 1
    stubborn.end()


def test_no_more_are_started_once_several_hang(stubborn: Stubborn) -> None:
    with pytest.raises(BackendError):
        stubborn.programs.run([python(HANG)] * ABANDONED_MAX, 0.1)
    with pytest.raises(RungError, match="reboot"):
        stubborn.programs.run([python("print('no')")], 1.0)


def test_a_program_that_talks_without_end_costs_no_memory() -> None:
    (ended,) = Programs().run([python("import os\nwhile True: os.write(1, b'x' * 999)")], 20.0)
    assert ended.code != 0
    assert 0 < len(ended.text) <= TEXT_BYTES_MAX


def test_a_program_that_is_not_there_cannot_be_tried_and_those_before_it_are_ended() -> None:
    programs = Programs()
    with pytest.raises(RungError, match="nowhere"):
        programs.run([python(HANG), ("/nowhere",)], 5.0)
    assert programs.abandoned == 0


@pytest.fixture
def kernel() -> Kernel:
    return Kernel(Programs().run)


def test_a_file_that_is_no_device_is_not_reset(kernel: Kernel, tmp_path: Path) -> None:
    (tmp_path / "003").touch()
    with pytest.raises(RungError, match="no USB device file"):
        kernel.reset(tmp_path / "003")
    with pytest.raises(RungError, match="No such file"):
        kernel.reset(tmp_path / "004")
    with pytest.raises(RungError):
        kernel.reset(Path("/dev/null"))  # a real device that does not know the request


def test_the_bus_resets_by_a_real_request_to_the_file_that_sysfs_names(tmp_path: Path) -> None:
    tpu_tree.plug(tmp_path)
    bus = LinuxTpuBus(root=tmp_path, service=None)
    with pytest.raises(RungError, match="dev/bus/usb/002/001 is no USB device file"):
        bus.reset(bus.devices()[0])
    assert bus.abandoned == 0


def driver(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / "unbind").touch()
    (folder / "bind").touch()
    return folder


def test_the_bus_unbinds_and_binds_by_real_writes(tmp_path: Path) -> None:
    usb = driver(tmp_path / "sys/bus/usb/drivers/usb")
    tpu_tree.plug(tmp_path)
    bus = LinuxTpuBus(root=tmp_path, service=None)
    bus.rebind(bus.devices()[0])
    assert (usb / "unbind").read_text() == (usb / "bind").read_text() == tpu_tree.PLACE


def test_a_card_is_rebound_by_its_address_on_the_pci_bus(tmp_path: Path) -> None:
    apex = driver(tmp_path / "sys/bus/pci/drivers/apex")
    tpu_tree.set_temperature(tmp_path, 50.0)
    bus = LinuxTpuBus(root=tmp_path, service=None)
    with pytest.raises(RungError, match="apex_0"):
        bus.rebind(bus.devices()[0])
    (tmp_path / "sys/class/apex/apex_0/device").symlink_to("../../../devices/pci0000:00/0000:01:00.0")
    bus.rebind(bus.devices()[0])
    assert (apex / "unbind").read_text() == (apex / "bind").read_text() == "0000:01:00.0"


def test_what_could_not_be_unbound_is_bound_all_the_same(kernel: Kernel, tmp_path: Path) -> None:
    usb = driver(tmp_path / "usb")
    (usb / "unbind").unlink()
    with pytest.raises(BackendError, match="could not be taken from its driver"):
        kernel.rebind(usb, "1-1.4")
    assert (usb / "bind").read_text() == "1-1.4"


def test_a_device_that_stays_without_its_driver_is_told(kernel: Kernel, tmp_path: Path) -> None:
    usb = driver(tmp_path / "usb")
    (usb / "bind").unlink()
    with pytest.raises(BackendError, match="left without its driver"):
        kernel.rebind(usb, "1-1.4")


def test_a_driver_that_is_not_there_cannot_be_tried(kernel: Kernel, tmp_path: Path) -> None:
    with pytest.raises(RungError, match="no driver"):
        kernel.rebind(tmp_path / "apex", "0000:01:00.0")


RESETS: dict[str, type[ApplianceError] | bool] = {
    "open 0 reset 0": True,
    f"open 0 reset {ENODEV}": False,
    f"open 0 reset {EIO}": BackendError,
    f"open 0 reset {ETIMEDOUT}": BackendError,
    f"open {ENODEV}": BackendError,
    f"open 0 reset {ENOTTY}": RungError,
    f"open {ENOENT}": RungError,
    f"open {EACCES}": NotPermittedError,
    f"open {EPERM}": NotPermittedError,
    f"open 0 reset {EPERM}": NotPermittedError,
    "": BackendError,
    "Traceback (most recent call last): no": BackendError,
    "open": BackendError,
}
REBINDS: dict[str, type[ApplianceError] | bool] = {
    "unbind 0 bind 0": True,
    f"unbind {ENODEV} bind 0": True,
    f"unbind {ENODEV} bind {ENODEV}": BackendError,
    f"unbind 0 bind {ENODEV}": BackendError,
    f"unbind {EIO} bind {EBUSY}": BackendError,
    f"unbind {EIO} bind 0": BackendError,
    f"unbind 0 bind {EINVAL}": BackendError,
    f"unbind {ENOENT} bind {ENOENT}": RungError,
    f"unbind {EACCES} bind {EACCES}": NotPermittedError,
    f"unbind {EROFS} bind {EROFS}": NotPermittedError,
    "bind": BackendError,
}


@pytest.mark.parametrize(("told", "expected"), RESETS.items())
def test_each_way_a_reset_ends_has_its_reaction(told: str, expected: type[ApplianceError] | bool) -> None:  # noqa: FBT001 - a parameter of the table
    kernel = Kernel(_says(told))
    if isinstance(expected, bool):
        assert kernel.reset(Path("/dev/bus/usb/002/003")) is expected
        return
    with pytest.raises(expected) as raised:
        kernel.reset(Path("/dev/bus/usb/002/003"))
    assert type(raised.value) is expected
    if expected is NotPermittedError:
        assert "60-edge-tpu.rules" in str(raised.value)
        assert "plugdev" in str(raised.value)


@pytest.mark.parametrize(("told", "expected"), REBINDS.items())
def test_each_way_a_rebinding_ends_has_its_reaction(told: str, expected: type[ApplianceError] | bool) -> None:  # noqa: FBT001 - a parameter of the table
    kernel = Kernel(_says(told))
    if isinstance(expected, bool):
        kernel.rebind(Path("/sys/bus/usb/drivers/usb"), "1-1.4")
        return
    with pytest.raises(expected) as raised:
        kernel.rebind(Path("/sys/bus/usb/drivers/usb"), "1-1.4")
    assert type(raised.value) is expected


class _says:  # noqa: N801 - reads as a word in its place
    """A child process that says ``text``."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __call__(self, commands: Sequence[Sequence[str]], timeout_s: float) -> list[Ended]:
        assert len(commands) == 1
        assert timeout_s > 0
        return [Ended(0, self.text)]


class Enumerating(ManualClock):
    """A clock that brings the device back when it has been waited for three times."""

    def __init__(self, folder: Path, *, comes: bool) -> None:
        super().__init__(auto_advance=True)
        self._folder, self._comes, self._waits = folder, comes, 0

    def wait(self, event: Event, timeout_s: float) -> bool:
        self._waits += 1
        if self._waits == 3 and self._comes:
            tpu_tree.enumerate_again(self._folder, dfu=True)
        return super().wait(event, timeout_s)


@pytest.mark.parametrize("comes", [True, False])
def test_a_device_that_a_reset_made_another_is_waited_for_until_it_is_back(tmp_path: Path, comes: bool) -> None:  # noqa: FBT001 - a parameter of the table
    """Its old file is still shown when the kernel has given it up: that is not its return."""
    tpu_tree.plug(tmp_path)
    clock = Enumerating(tmp_path, comes=comes)
    bus = LinuxTpuBus(root=tmp_path, service=None, clock=clock, kernel=Kernel(_says(f"open 0 reset {ENODEV}")))
    before_s, (device,) = clock.monotonic_s(), bus.devices()
    if comes:
        bus.reset(device)
        assert bus.devices()[0].node != device.node
    else:
        with pytest.raises(BackendError, match="did not come back within 3 s"):
            bus.reset(device)
        assert clock.monotonic_s() - before_s < 3.2
