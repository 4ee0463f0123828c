"""Boards with USB devices plugged in, as trees of files, and a ``uhubctl`` that writes down what it is asked."""

import os
from pathlib import Path

from appliance.adapters.tpu_bus.sysfs import split
from appliance.sim import tpu_tree

DISK, NETWORK = "disk", "network"
HUB_IDS, STICK_IDS = "1d6b:0002", "0951:1666"
BOARDS = {
    "pi5": ("Raspberry Pi 5 Model B Rev 1.0", {"usb1": 480, "usb2": 5000, "usb3": 480, "usb4": 5000}),
    "pi4": ("Raspberry Pi 4 Model B Rev 1.5", {"usb1": 480, "usb2": 5000}),
    "pi3+": ("Raspberry Pi 3 Model B Plus Rev 1.3", {"usb1": 480}),
    "pi3": ("Raspberry Pi 3 Model B Rev 1.2", {"usb1": 480}),
    "zero": ("Raspberry Pi Zero 2 W Rev 1.0", {"usb1": 480}),
    "cm4": ("Raspberry Pi Compute Module 4 Rev 1.1", {"usb1": 480}),
    "pc": ("", {"usb1": 480, "usb2": 10000}),
}


class Machine:
    """A board's USB in ``folder``."""

    def __init__(self, folder: Path, board: str) -> None:
        self.folder = folder
        self._number = 100
        model, root_hubs = BOARDS[board]
        if model:
            (folder / "proc/device-tree").mkdir(parents=True)
            (folder / "proc/device-tree/model").write_bytes(model.encode() + b"\0")
        for name, speed_mbps in root_hubs.items():
            self._show(name, name[3:], HUB_IDS, speed_mbps, "09", "xHCI Host Controller")
        if board == "pi4":
            self.hub("1-1", ids="2109:3431", name="USB2.0 Hub")
        if board in {"pi3", "pi3+"}:
            self.hub("1-1", ids="0424:2514")
            self.plug("1-1.1" if board == "pi3" else "1-1.1.1", "Ethernet", NETWORK, ids="0424:ec00")
        if board == "pi3+":
            self.hub("1-1.1", ids="0424:2514")

    def hub(self, path: str, *, ids: str = "2109:0817", name: str = "Hub") -> None:
        """Plug in a hub."""
        self._show(path, path.partition("-")[0], ids, 5000 if path.startswith("2") else 480, "09", name)

    def tpu(self, path: str) -> None:
        """Plug in an Edge TPU."""
        tpu_tree.plug(self.folder, path)

    def plug(self, path: str, name: str, *serves: str, ids: str = STICK_IDS) -> None:
        """Plug in something else, which may be a disk or a network interface."""
        self._show(path, path.partition("-")[0], ids, 480, "00", name)
        if DISK in serves:
            (self.folder / f"sys/bus/usb/devices/{path}:1.0").mkdir()
            (self.folder / f"sys/bus/usb/devices/{path}:1.0/bInterfaceClass").write_text("08\n")
        if NETWORK in serves:
            self.holds("net", f"wwan{self._number}", path)

    def holds(self, kind: str, name: str, path: str) -> None:
        """Let the device at ``path`` hold an entry of a class, ``net`` or ``block``."""
        folder = self.folder / "sys/class" / kind
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).symlink_to(f"../../devices/pci0000:00/usb1/{path}/{path}:1.0/{kind}/{name}")

    def peers(self, path: str, other: str) -> None:
        """Let two ports be the two halves of one socket."""
        ports = []
        for each in (path, other):
            hub, port = split(each)
            name = f"{hub}:1.0/{hub}-port{port}" if "-" in hub else f"{hub}-0:1.0/usb{hub}-port{port}"
            ports.append(self.folder / "sys/bus/usb/devices" / name)
            ports[-1].mkdir(parents=True, exist_ok=True)
        (ports[0] / "peer").symlink_to(ports[1])

    def mounts(self, kind: str) -> None:
        """Let a file system of ``kind`` be mounted."""
        (self.folder / "proc/self").mkdir(parents=True, exist_ok=True)
        lines = ["22 1 0:21 / / rw - ext4 /dev/mmcblk0p2 rw", f"30 22 0:40 / /srv rw,x - {kind} 10.0.0.2:/srv rw"]
        filler = "".join(f"{number} 22 0:41 / /run/{number} rw - tmpfs tmpfs rw\n" for number in range(100, 300))
        (self.folder / "proc/self/mountinfo").write_text(filler + "\n".join(lines) + "\n")

    def _show(self, path: str, bus: str, ids: str, speed_mbps: int, kind: str, name: str) -> None:
        self._number += 1
        vendor, product = ids.split(":")
        told = {
            "idVendor": vendor, "idProduct": product, "busnum": bus, "devnum": str(self._number),
            "speed": str(speed_mbps), "bDeviceClass": kind, "product": name,
        }  # fmt: skip
        folder = self.folder / "sys/bus/usb/devices" / path
        folder.mkdir(parents=True, exist_ok=True)
        for file, value in told.items():
            (folder / file).write_text(f"{value}\n")


class Uhubctl:
    """A program that writes down its arguments, says ``says`` and ends with ``code``."""

    def __init__(self, folder: Path, *, says: str = "Sent power on request", code: int = 0, first: str = "") -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._log = folder / "asked"
        self.path = folder / "uhubctl"
        self.path.write_text(f"#!/bin/sh\necho \"$*\" >> {self._log}\n{first}\necho '{says}'\nexit {code}\n")
        os.chmod(self.path, 0o755)  # noqa: PTH101, S103 - a program

    @property
    def asked(self) -> list[str]:
        """What it was asked, each as one line, sorted: two may run at the same time."""
        return sorted(self._log.read_text().splitlines()) if self._log.exists() else []
