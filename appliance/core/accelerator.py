"""Edge TPUs as they are seen from outside: which there are, and how one is doing. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from appliance.core.recovery import State

USB_ID_DFU = (0x1A6E, 0x089A)
"""Vendor and product before the first opening: the bootloader, which waits for its firmware."""
USB_ID_RUNTIME = (0x18D1, 0x9302)
"""Vendor and product once the runtime has loaded the firmware; every power cut leads back to the bootloader."""
SUPERSPEED_MBPS = 5000
"""USB 3; on USB 2 (480) an inference takes some ten times as long (frigate#7034)."""


class Bus(StrEnum):
    """What an Edge TPU is attached to; the words that device choice uses."""

    USB = "usb"
    PCI = "pci"


@dataclass(frozen=True, slots=True)
class TpuDevice:
    """An Edge TPU that is there now, known without opening it."""

    bus: Bus
    path: str
    """Where it is plugged in, the same after it came back: ``1-1.4`` as the kernel names USB ports, or ``apex_0``."""
    node: str
    """Its device file, another one each time it comes back: ``/dev/bus/usb/002/003`` or ``/dev/apex_0``."""
    dfu: bool = False
    """It is in its bootloader: normal before the first opening, a fault when it stays there."""
    speed_mbps: int | None = None
    """What the USB link negotiated; None where it is not known."""

    def __str__(self) -> str:
        """Say bus and place."""
        return f"{self.bus.value} {self.path}"


def choose(devices: Sequence[TpuDevice], wanted: str) -> TpuDevice | None:
    """Return the device that ``wanted`` names among ``devices``; None when it is not there.

    Args:
        devices: those that are there, in the runtime's order.
        wanted: as the runtime takes it (libedgetpu, ``edgetpu.h``): empty is any, ``usb`` and ``pci`` the first of
            that bus, ``usb:N`` and ``pci:N`` number N of it, ``:N`` number N of all; N counts from 0.
    """
    bus, _, number = wanted.partition(":")
    fitting = [device for device in devices if not bus or device.bus.value == bus]
    index = int(number or 0)
    return fitting[index] if index < len(fitting) else None


@dataclass(frozen=True, slots=True, kw_only=True)
class TpuHealth:
    """What is known of one Edge TPU of the configuration."""

    name: str
    """Its key under ``tpus``."""
    state: State
    device: TpuDevice | None
    """What is there now; None when nothing is."""
    performance: str
    """Clock it is run at: ``low``, ``medium``, ``high`` or ``max``."""
    cooling: bool = False
    """``performance`` is below what the configuration asks for, because it got slow."""
    temperature_c: float | None = None
    """None where it cannot be measured (every USB stick), never a made-up number."""
    resets_1h: int = 0
    """Times in the last hour that it left the bus and came back without being asked to."""
    aborts_1h: int = 0
    """Times in the last hour that its worker died or had to be killed."""
    reason: str = ""
    """Why it does not serve, in the words of the error; empty while it does."""
    refused: tuple[str, ...] = ()
    """Models that it is not used for because its numbers differ from the CPU's: ``<model>: <how far>`` each."""
