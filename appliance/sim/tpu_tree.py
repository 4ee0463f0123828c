"""Edge TPUs in a folder: the files that Linux shows of them, written by hand. All their state is in the files.

A bench, a bus and a worker in another process see the same device, whoever unplugged it or opened it. What changes is
one rename under a lock, so that a process killed at any moment leaves a device as it was before or as it is after.
Imports next to nothing: a worker's child begins with it.

It does not model what goes over the bus, hubs, nor the time that enumerating takes.
"""

import fcntl
import select
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from appliance.core.accelerator import SUPERSPEED_MBPS, USB_ID_DFU, USB_ID_RUNTIME

PLACE = "2-1"
"""Where a stick is plugged in when nobody says: the first port of the USB 3 bus."""
LOCK_S = 5.0
"""Longest wait for another process's change, which takes a millisecond."""
_LOOK_S = 0.001
_DEVICES, _APEX, _STATE = "sys/bus/usb/devices", "sys/class/apex", "sim"


@dataclass(frozen=True, slots=True)
class Stick:
    """A USB stick as the files show it."""

    path: str
    ids: tuple[int, int]
    """Vendor and product."""
    node: str
    speed_mbps: int


def plug(folder: Path, path: str = PLACE, *, speed_mbps: int = SUPERSPEED_MBPS, dfu: bool = True) -> None:
    """Plug a stick in; its bootloader shows first, as after every power-on."""
    with _change(folder):
        _mark(folder, path, "socket", str(speed_mbps))
        _appear(folder, path, dfu=dfu)


def unplug(folder: Path, path: str = PLACE) -> None:
    """Pull a stick or a card out: nothing brings it back but plugging it in."""
    with _change(folder):
        _vanish(folder, path)
        shutil.rmtree(folder / _STATE / path, ignore_errors=True)


def remove(folder: Path, path: str | None = None) -> None:
    """Let a device vanish from the bus though it is plugged in, as one does that has crashed; the first by default."""
    with _change(folder):
        _vanish(folder, _first(folder) if path is None else path)


def enumerate_again(folder: Path, path: str = PLACE, *, dfu: bool = False) -> bool:
    """Let a stick come back with another device file; returns whether it is plugged in."""
    with _change(folder):
        if not _marked(folder, path, "socket"):
            return False
        _appear(folder, path, dfu=dfu)
        return True


def enter_runtime(folder: Path, path: str | None = None) -> bool:
    """Do what happens when the runtime opens the device, the first one where no path is given.

    Returns:
        Whether it opens: not when it is not there, sick, or stuck in its bootloader.
    """
    with _change(folder):
        there = {stick.path: stick for stick in sticks(folder)}
        path = _first(folder) if path is None else path
        if not _is_there(folder, path) or _marked(folder, path, "sick"):
            return False
        if path in there and there[path].ids == USB_ID_DFU:
            if _marked(folder, path, "stuck"):
                return False
            _appear(folder, path, dfu=False)
        return True


def present(folder: Path, path: str | None = None) -> bool:
    """Say whether a device is on the bus at ``path``; any device where none is given."""
    if path is None:
        return bool(sticks(folder) or cards(folder))
    return _is_there(folder, path)


def sicken(folder: Path, path: str = PLACE) -> None:
    """Let a device be on the bus and not open, until something heals it."""
    with _change(folder):
        _mark(folder, path, "sick")


def heal(folder: Path, path: str = PLACE) -> None:
    """Let it open again."""
    with _change(folder):
        (folder / _STATE / path / "sick").unlink(missing_ok=True)


def is_sick(folder: Path, path: str = PLACE) -> bool:
    """Say whether it was made sick and nothing has healed it."""
    return bool(_marked(folder, path, "sick"))


def stick_in_dfu(folder: Path, path: str = PLACE) -> None:
    """Let a stick never leave its bootloader again (edgetpu#914)."""
    with _change(folder):
        _mark(folder, path, "stuck")
        if _is_there(folder, path):
            _appear(folder, path, dfu=True)


def set_temperature(folder: Path, temp_c: float, name: str = "apex_0") -> None:
    """Put a card on PCIe, if it is not there, and let it be so warm."""
    with _change(folder):
        temp = folder / _APEX / name / "temp"
        temp.parent.mkdir(parents=True, exist_ok=True)
        part = folder / _STATE / "temp.part"
        part.write_text(f"{round(temp_c * 1000)}\n")
        part.replace(temp)
        (folder / "dev").mkdir(exist_ok=True)
        (folder / "dev" / name).touch()


def has_sensor(folder: Path, name: str) -> bool:
    """Say whether a card has a sensor for its temperature."""
    return (folder / _APEX / name / "temp").exists()


def temperature_text(folder: Path, name: str) -> str:
    """Read what a card's sensor says, millidegrees; empty where it says nothing."""
    try:
        return (folder / _APEX / name / "temp").read_text().strip()
    except OSError:
        return ""


def sticks(folder: Path) -> list[Stick]:
    """List the sticks on the bus, in the order of their paths."""
    found = []
    for link in sorted((folder / _DEVICES).glob("*-*"), key=lambda link: _numbers(link.name)):
        try:
            shown = link.readlink().name
            bus, number, vendor, product, speed = shown.split("_")
        except (OSError, ValueError):  # gone, or a device that somebody else put there
            continue
        node = f"/dev/bus/usb/{bus}/{number}"
        found.append(Stick(link.name, (int(vendor, 16), int(product, 16)), node, int(speed)))
    return found


def cards(folder: Path) -> list[str]:
    """List the cards on PCIe."""
    return sorted((link.name for link in (folder / _APEX).glob("apex_*")), key=_numbers)


def _first(folder: Path) -> str:
    """The first device on a bus; empty when there is none."""
    return next(iter((*(stick.path for stick in sticks(folder)), *cards(folder))), "")


def _appear(folder: Path, path: str, *, dfu: bool) -> None:
    """Put a device's files behind its link, in one rename; it has another number each time, as the kernel gives."""
    speed = _marked(folder, path, "socket") or str(SUPERSPEED_MBPS)
    number = _next_number(folder)
    vendor, product = USB_ID_DFU if dfu else USB_ID_RUNTIME
    bus = int(path.partition("-")[0])
    shown = folder / "sys/devices/sim" / f"{bus:03}_{number:03}_{vendor:04x}_{product:04x}_{speed}"
    told = {"idVendor": f"{vendor:04x}", "idProduct": f"{product:04x}", "busnum": str(bus), "devnum": str(number)}
    shown.mkdir(parents=True)
    for name, value in (told | {"speed": speed, "bDeviceClass": "00"}).items():
        (shown / name).write_text(f"{value}\n")
    node = folder / "dev/bus/usb" / f"{bus:03}" / f"{number:03}"
    node.parent.mkdir(parents=True, exist_ok=True)
    node.touch()
    link, part = folder / _DEVICES / path, folder / _STATE / "link.part"
    link.parent.mkdir(parents=True, exist_ok=True)
    before = _shown(link)
    part.unlink(missing_ok=True)
    part.symlink_to(Path("../../../devices/sim") / shown.name)
    part.replace(link)
    _sweep(folder, before)


def _vanish(folder: Path, path: str) -> None:
    if not path:
        return
    link = folder / _DEVICES / path
    before = _shown(link)
    link.unlink(missing_ok=True)
    _sweep(folder, before)
    shutil.rmtree(folder / _APEX / path, ignore_errors=True)
    (folder / "dev" / path).unlink(missing_ok=True)


def _sweep(folder: Path, shown: str) -> None:
    """Remove the files of a device that its link leads to no more."""
    if shown:
        bus, number, *_ = shown.split("_")
        (folder / "dev/bus/usb" / bus / number).unlink(missing_ok=True)
        shutil.rmtree(folder / "sys/devices/sim" / shown, ignore_errors=True)


def _shown(link: Path) -> str:
    try:
        return link.readlink().name
    except OSError:
        return ""


def _is_there(folder: Path, path: str) -> bool:
    return bool(path) and ((folder / _DEVICES / path).is_symlink() or (folder / _APEX / path).is_dir())


def _mark(folder: Path, path: str, what: str, value: str = "yes") -> None:
    place = folder / _STATE / path
    place.mkdir(parents=True, exist_ok=True)
    (place / what).write_text(value)


def _marked(folder: Path, path: str, what: str) -> str:
    try:
        return (folder / _STATE / path / what).read_text()
    except OSError:
        return ""


def _next_number(folder: Path) -> int:
    counter = folder / _STATE / "number"
    number = int(counter.read_text()) + 1 if counter.exists() else 1
    part = counter.with_name("number.part")
    part.write_text(str(number))
    part.replace(counter)
    return number


def _numbers(name: str) -> list[int]:
    return [int(digits) for digits in "".join(each if each.isdigit() else " " for each in name).split()]


@contextmanager
def _change(folder: Path) -> Iterator[None]:
    """Be the only one who changes the folder. Raises TimeoutError when another does not come to an end."""
    (folder / _STATE).mkdir(parents=True, exist_ok=True)
    with (folder / _STATE / "lock").open("w") as lock:
        for _ in range(round(LOCK_S / _LOOK_S)):
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                select.select([], [], [], _LOOK_S)
        else:
            msg = f"{folder} is held by another process"
            raise TimeoutError(msg)
        yield
