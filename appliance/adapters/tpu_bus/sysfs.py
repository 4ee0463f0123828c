"""What the kernel says of USB and PCIe in ``/sys`` and ``/dev``, read as text; no device is opened.

A device may go while it is read. Its folder is held by a descriptor, so that what is read belongs to one device and
not half to the one that came after it; what cannot be read is taken for gone.
"""

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from appliance.core.accelerator import USB_ID_DFU, USB_ID_RUNTIME, Bus, TpuDevice
from appliance.errors import BackendError, RungError

ENTRIES_MAX = 1024
"""Entries of one folder that are looked at; a machine with more devices than that is none of ours."""
READ_BYTES_MAX = 256
"""Of one attribute; the longest that is read, a product's name, has at most 126 characters (USB 3.2, 9.6.9)."""
MOUNTS_BYTES_MAX = 1_000_000
TEMPERATURE_C_MIN, TEMPERATURE_C_MAX = -40.0, 150.0
"""Outside of this the reading is no temperature: -87.9 C says that the PCIe link is lost (edgetpu#843)."""
TPU_IDS = frozenset({USB_ID_DFU, USB_ID_RUNTIME})
USB_PATH = re.compile(r"[0-9]{1,3}-[0-9]{1,3}(?:\.[0-9]{1,3}){0,6}")
"""Bus, port, and the ports of the hubs below it, as the kernel names USB devices; seven tiers at most."""
APEX_NAME = re.compile(r"apex_[0-9]{1,2}")
NETWORK_FILE_SYSTEMS = frozenset({"nfs", "nfs4", "cifs", "smb3"})
_ROOT_HUB = re.compile(r"usb([0-9]{1,3})")
_CLASS_HUB, _CLASS_STORAGE = "09", "08"
"""Of a device and of an interface (usb.org, defined class codes)."""
_ATTRIBUTES = ("idVendor", "idProduct", "busnum", "devnum", "speed", "bDeviceClass", "product")
_USB, _APEX = "sys/bus/usb/devices", "sys/class/apex"


@dataclass(frozen=True, slots=True)
class UsbDevice:
    """A USB device of any kind."""

    path: str
    """``1-1.4``; of a root hub only its bus, ``1``, as uhubctl has it."""
    ids: tuple[int, int]
    """Vendor and product."""
    node: str
    """``/dev/bus/usb/001/004``."""
    speed_mbps: int | None
    hub: bool
    name: str
    """What its maker calls it, for people."""


class Sysfs:
    """The kernel's view below ``root``. Never raises but where it says so."""

    def __init__(self, root: Path) -> None:
        """Read below ``root``, ``/`` on a device."""
        self.root = root

    def usb(self) -> tuple[UsbDevice, ...]:
        """List the USB devices that are there, hubs too, in the order of their paths."""
        found = (self._usb_device(name) for name in self._names(_USB))
        return tuple(sorted((device for device in found if device), key=lambda device: _order(device.path)))

    def devices(self) -> tuple[TpuDevice, ...]:
        """List the Edge TPUs that are there, USB first, each bus in the order of its paths."""
        on_usb = [
            TpuDevice(Bus.USB, each.path, each.node, dfu=each.ids == USB_ID_DFU, speed_mbps=each.speed_mbps)
            for each in self.usb()
            if each.ids in TPU_IDS
        ]
        names = {name for folder in (_APEX, "dev") for name in self._names(folder) if APEX_NAME.fullmatch(name)}
        on_pci = [TpuDevice(Bus.PCI, name, f"/dev/{name}") for name in sorted(names, key=_order)]
        return (*on_usb, *on_pci)

    def find(self, path: str) -> TpuDevice | None:
        """Return the Edge TPU that is plugged in at ``path`` now."""
        return next((device for device in self.devices() if device.path == path), None)

    def present(self, path: str) -> TpuDevice:
        """Return the Edge TPU at ``path``. Raises RungError when there is none."""
        device = self.find(path)
        if device is None:
            msg = f"no Edge TPU is plugged in at {path}"
            raise RungError(msg)
        return device

    def below(self, node: str) -> Path:
        """Return where a device file really is: below ``root``."""
        return self.root / node.lstrip("/")

    def temperature_c(self, device: TpuDevice) -> float | None:
        """Measure; None on USB, which has no sensor. Raises BackendError for what is no temperature."""
        if device.bus is not Bus.PCI:
            return None
        if not (self.root / _APEX / device.path / "temp").exists():
            return None
        text = self.text(f"{_APEX}/{device.path}/temp")
        try:
            temp_c = int(text) / 1000
        except ValueError:
            msg = f"{device}: its temperature cannot be read ({text[:20]!r}): the PCIe link may be lost"
            raise BackendError(msg) from None
        if not TEMPERATURE_C_MIN <= temp_c <= TEMPERATURE_C_MAX:
            msg = f"{device}: {temp_c:.1f} C is no temperature: the PCIe link is lost"
            raise BackendError(msg)
        return temp_c

    def pci_address(self, name: str) -> str:
        """Return the PCI address of ``apex_0``, as ``0000:01:00.0``. Raises RungError when it is not known."""
        address = Path(os.path.realpath(self.root / _APEX / name / "device")).name
        if not re.fullmatch(r"[0-9a-f]{4,8}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]", address):
            msg = f"the kernel does not say where {name} is on the PCI bus"
            raise RungError(msg)
        return address

    def board(self) -> str:
        """Return the board's name, as ``Raspberry Pi 4 Model B Rev 1.5``; empty where there is none."""
        return self.text("proc/device-tree/model").replace("\0", "")

    def peer(self, path: str) -> str | None:
        """Return the other half of a USB 3 socket: the same hole, seen by the hub of the other speed."""
        hub, port = split(path)
        interface = f"{hub}:1.0/{hub}-port{port}" if "-" in hub else f"{hub}-0:1.0/usb{hub}-port{port}"
        there = Path(os.path.realpath(self.root / _USB / interface / "peer")).name
        match = re.fullmatch(r"(?:usb([0-9]+)|([0-9]+-[0-9.]+))-port([0-9]+)", there)
        if match is None:
            return None
        root_hub, outer, number = match.groups()
        return f"{root_hub}-{number}" if root_hub else f"{outer}.{number}"

    def storage(self) -> frozenset[str]:
        """Return the USB paths that hold a disk, with or without a driver; those of the hubs above it, too."""
        drives = {
            name.partition(":")[0]
            for name in self._names(_USB)
            if ":" in name and self.text(f"{_USB}/{name}/bInterfaceClass") == _CLASS_STORAGE
        }
        return frozenset(drives | self._usb_paths_of("sys/class/block"))

    def network(self) -> frozenset[str]:
        """Return the USB paths that hold a network interface; those of the hubs above it, too."""
        return self._usb_paths_of("sys/class/net")

    def mounts_network(self) -> bool:
        """Say whether a file system comes over the network."""
        lines = self.text("proc/self/mountinfo", MOUNTS_BYTES_MAX).splitlines()
        kinds = (line.partition(" - ")[2].partition(" ")[0] for line in lines)
        return not NETWORK_FILE_SYSTEMS.isdisjoint(kinds)

    def text(self, path: str, bytes_max: int = READ_BYTES_MAX) -> str:
        """Read a small file below ``root`` without the blanks around it; empty when it cannot be read."""
        return _read(self.root / path, bytes_max=bytes_max)

    def _usb_device(self, name: str) -> UsbDevice | None:
        root_hub = _ROOT_HUB.fullmatch(name)
        if not root_hub and not USB_PATH.fullmatch(name):
            return None
        with _opened(self.root / _USB / name) as folder:
            told = {each: _read(each, folder) for each in _ATTRIBUTES}
        try:
            ids = int(told["idVendor"], 16), int(told["idProduct"], 16)
            node = f"/dev/bus/usb/{int(told['busnum']):03}/{int(told['devnum']):03}"
        except ValueError:  # gone, or going
            return None
        return UsbDevice(
            path=root_hub[1] if root_hub else name,
            ids=ids,
            node=node,
            speed_mbps=int(told["speed"]) if told["speed"].isdecimal() else None,
            hub=told["bDeviceClass"] == _CLASS_HUB,
            name=_name(ids, told),
        )

    def _usb_paths_of(self, folder: str) -> frozenset[str]:
        """The USB paths that the entries of a class lie below, from where their links lead."""
        links = (os.path.realpath(self.root / folder / name) for name in self._names(folder))
        start = os.path.realpath(self.root)
        parts = {part for link in links for part in Path(os.path.relpath(link, start)).parts}
        return frozenset(part for part in parts if USB_PATH.fullmatch(part))

    def _names(self, folder: str) -> list[str]:
        try:
            with os.scandir(self.root / folder) as entries:
                return [entry.name for entry in islice(entries, ENTRIES_MAX)]
        except OSError:
            return []


def split(path: str) -> tuple[str, str]:
    """Return the hub, as uhubctl has it, and the port that ``path`` names: ``1-1.4`` is port 4 of ``1-1``."""
    hub, _, port = path.rpartition("." if "." in path else "-")
    return hub, port


def is_below(path: str, hub: str) -> bool:
    """Say whether ``path`` is ``hub`` or plugged in somewhere below it."""
    return path == hub or path.startswith(f"{hub}." if "-" in hub else f"{hub}-")


def _name(ids: tuple[int, int], told: Mapping[str, str]) -> str:
    """Name a device for people; an Edge TPU in its bootloader does not know its own name."""
    if ids in TPU_IDS:
        return "Edge TPU"
    printable = "".join(letter for letter in told["product"] if letter.isprintable())
    return printable or f"{ids[0]:04x}:{ids[1]:04x}"


def _order(path: str) -> list[int]:
    """Sort ports as numbers: 10 comes after 9."""
    return [int(number) for number in re.findall(r"[0-9]+", path)]


@contextmanager
def _opened(folder: Path) -> Iterator[int | None]:
    """Hold a folder; None when it is not there."""
    try:
        held = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        yield None
        return
    try:
        yield held
    finally:
        os.close(held)


def _read(file: Path | str, folder: int | None = None, bytes_max: int = READ_BYTES_MAX) -> str:
    """Read a small text, ``file`` being in ``folder`` when it is relative; empty when it cannot be read."""
    if folder is None and not Path(file).is_absolute():
        return ""
    try:
        opened = os.open(file, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK, dir_fd=folder)
        with os.fdopen(opened, "rb") as stream:
            return stream.read(bytes_max).decode("utf-8", "replace").strip()
    except OSError:
        return ""
