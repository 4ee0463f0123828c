"""Sends what udev sends: events over netlink, in the form that libudev reads. Run in a network of its own.

``unshare --net --map-root-user python udev_events.py`` listens as the appliance does, sends, and prints what was heard:
libudev believes root only, and in a network of our own no real program hears of devices that do not exist.
The form is systemd's (src/libsystemd/sd-device/device-monitor.c): a header in front of the event's properties.
"""

import socket
import struct
import sys

from appliance.adapters.tpu_bus.hotplug import UdevListener

NETLINK_KOBJECT_UEVENT = 15
UDEV_GROUP = 2
MAGIC = 0xFEEDCAFE
HEADER = struct.Struct("=8sIIIIIIII")


def murmur(text: str, seed: int = 0) -> int:
    """MurmurHash2 of 32 bits: what the kernel's filter compares in place of a subsystem's name."""
    raw, factor, mask = text.encode(), 0x5BD1E995, 0xFFFFFFFF
    value = seed ^ len(raw)
    for at in range(0, len(raw) - 3, 4):
        part = int.from_bytes(raw[at : at + 4], "little") * factor & mask
        part = (part ^ part >> 24) * factor & mask
        value = (value * factor & mask) ^ part
    rest = raw[len(raw) & ~3 :]
    if rest:
        value = (value ^ int.from_bytes(rest, "little")) * factor & mask
    value = (value ^ value >> 13) * factor & mask
    return value ^ value >> 15


def message(properties: dict[str, str]) -> bytes:
    """One event."""
    body = b"".join(f"{key}={value}\0".encode() for key, value in properties.items())
    hashes = [murmur(properties["SUBSYSTEM"]), murmur(properties["DEVTYPE"]) if "DEVTYPE" in properties else 0, 0, 0]
    header = (b"libudev\0", socket.htonl(MAGIC), HEADER.size, HEADER.size, len(body), *map(socket.htonl, hashes))
    return HEADER.pack(*header) + body


def usb(action: str, path: str, product: str, node: str, kind: str = "usb_device") -> dict[str, str]:
    """The properties of a USB event."""
    where = f"/devices/pci0000:00/usb2/{path}"
    number = {"MAJOR": "189", "MINOR": "4", "SEQNUM": "5000"}
    told = {"ACTION": action, "DEVPATH": where, "SUBSYSTEM": "usb", "DEVTYPE": kind, "PRODUCT": product}
    return told | number | {"DEVNAME": f"/dev/bus/usb/{node}"}


def apex(action: str) -> dict[str, str]:
    """The properties of an event of a card on PCIe."""
    told = {"ACTION": action, "DEVPATH": "/devices/pci0000:00/apex/apex_0", "SUBSYSTEM": "apex", "SEQNUM": "5001"}
    return told | {"MAJOR": "120", "MINOR": "0", "DEVNAME": "/dev/apex_0"}


EVENTS = (
    usb("add", "2-1", "1a6e/89a/100", "002/004"),
    usb("bind", "2-1", "1a6e/89a/100", "002/004"),
    usb("add", "2-1:1.0", "1a6e/89a/100", "002/004", kind="usb_interface"),
    usb("remove", "2-1", "1a6e/89a/100", "002/004"),
    usb("add", "2-1", "18d1/9302/100", "002/005"),
    usb("add", "1-1.4", "951/1666/110", "001/009"),
    {**usb("add", "sda", "", "001/009"), "SUBSYSTEM": "block", "DEVTYPE": "disk"},
    apex("add"),
    apex("remove"),
)


def main() -> None:
    """Listen, send, and print what was heard."""
    listener = UdevListener()
    assert listener.heard() == []
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_KOBJECT_UEVENT) as channel:
        for event in EVENTS:
            channel.sendto(message(event), (0, UDEV_GROUP))
    sys.stdout.write("\n".join(f"{path} {node}" for path, node in listener.heard()))


if __name__ == "__main__":
    main()
