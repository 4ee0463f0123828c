"""The buses without hardware: Edge TPUs in a folder (``tpu_tree``), and rungs that work or do not, on a script."""

from collections import deque
from enum import StrEnum
from pathlib import Path

from appliance.core.accelerator import SUPERSPEED_MBPS, USB_ID_DFU, Bus, TpuDevice
from appliance.errors import BackendError, RungError, UnfitError
from appliance.sim import tpu_tree

TEMPERATURE_C_MIN, TEMPERATURE_C_MAX = -40.0, 150.0
TRIED_MAX = 1000
"""Tries that are remembered."""


class Rung(StrEnum):
    """What can be tried."""

    RESET = "reset"
    REBIND = "rebind"
    POWER_CYCLE = "power_cycle"


class Outcome(StrEnum):
    """What comes of a try."""

    HEALS = "heals"
    """A sick device opens again. A power cut leads to the bootloader, also from off the bus, as in reality."""
    NOTHING = "nothing"
    """It goes well, and changes nothing."""
    DFU = "dfu"
    """A device that is plugged in comes back in its bootloader, as sick or well as it was."""
    LOSES = "loses"
    """The device leaves the bus, and the try fails."""
    REFUSED = "refused"
    """It cannot be tried: RungError."""
    FAILS = "fails"
    """It fails and changes nothing: BackendError."""


class SimulatedTpuBus:
    """Implements ``ports.TpuBus`` on the files of ``folder``, which are those that Linux shows.

    Each try takes the next outcome of its rung's script; without one, it heals. Beyond the port it is the hand that
    plugs and unplugs. It does not model the time that a rung takes, nor one that hangs.
    """

    def __init__(self, folder: Path) -> None:
        """Look at ``folder``; what is there already is there."""
        self.folder = folder
        self.tried: deque[tuple[Rung, str]] = deque(maxlen=TRIED_MAX)
        """Which rung was tried where, oldest first."""
        self._script: dict[Rung, deque[Outcome]] = {rung: deque() for rung in Rung}
        self._known: set[tuple[str, str]] | None = None
        self._closed = self._forbidden = False

    def then(self, rung: Rung, *outcomes: Outcome) -> None:
        """Add outcomes to the end of a rung's script."""
        self._script[rung].extend(outcomes)

    def plug(self, path: str = tpu_tree.PLACE, *, speed_mbps: int = SUPERSPEED_MBPS) -> None:
        """Plug a stick in: it shows in its bootloader."""
        tpu_tree.plug(self.folder, path, speed_mbps=speed_mbps)

    def unplug(self, path: str = tpu_tree.PLACE) -> None:
        """Pull it out."""
        tpu_tree.unplug(self.folder, path)

    def open_by_runtime(self, path: str | None = None) -> bool:
        """Do what happens when the runtime opens it; returns whether it opens."""
        return tpu_tree.enter_runtime(self.folder, path)

    def enumerate_again(self, path: str = tpu_tree.PLACE, *, dfu: bool = False) -> None:
        """Let it leave the bus and come back, as a bad cable does."""
        tpu_tree.enumerate_again(self.folder, path, dfu=dfu)

    def stick_in_dfu(self, path: str = tpu_tree.PLACE) -> None:
        """Let it never leave its bootloader again."""
        tpu_tree.stick_in_dfu(self.folder, path)

    def set_temperature(self, temp_c: float, name: str = "apex_0") -> None:
        """Let a card on PCIe be so warm; it is put there if it is not."""
        tpu_tree.set_temperature(self.folder, temp_c, name)

    def devices(self) -> tuple[TpuDevice, ...]:
        """List those that are there now."""
        on_usb = [
            TpuDevice(Bus.USB, each.path, each.node, dfu=each.ids == USB_ID_DFU, speed_mbps=each.speed_mbps)
            for each in tpu_tree.sticks(self.folder)
        ]
        return (*on_usb, *(TpuDevice(Bus.PCI, name, f"/dev/{name}") for name in tpu_tree.cards(self.folder)))

    def forbid(self) -> None:
        """Let nobody open a device from now on."""
        self._forbidden = True

    def check_access(self, device: TpuDevice) -> None:
        """Allow it, unless it was forbidden. Raises UnfitError."""
        if self._forbidden:
            msg = f"{device}: permission denied, by the script"
            raise UnfitError(msg)

    def reset(self, device: TpuDevice) -> None:
        """Reset a stick, as the script says. Raises RungError, BackendError."""
        if device.bus is not Bus.USB:
            msg = f"{device}: only USB devices can be reset"
            raise RungError(msg)
        self._try(Rung.RESET, device.path)

    def rebind(self, device: TpuDevice) -> None:
        """Rebind a device, as the script says. Raises RungError, BackendError."""
        self._try(Rung.REBIND, device.path)

    def power_cycle(self, path: str) -> None:
        """Cut a port's power, as the script says. Raises RungError, BackendError."""
        if "-" not in path:
            msg = f"{path}: only the ports of USB have a power switch"
            raise RungError(msg)
        self._try(Rung.POWER_CYCLE, path)

    def temperature_c(self, device: TpuDevice) -> float | None:
        """Say how warm a card is; None where there is no sensor. Raises BackendError for what is no temperature."""
        if device.bus is not Bus.PCI:
            return None
        if not tpu_tree.has_sensor(self.folder, device.path):
            return None
        text = tpu_tree.temperature_text(self.folder, device.path)
        temp_c = int(text) / 1000 if text.lstrip("-").isdigit() else None
        if temp_c is None or not TEMPERATURE_C_MIN <= temp_c <= TEMPERATURE_C_MAX:
            msg = f"{device}: {text or 'nothing'} is no temperature: the PCIe link is lost"
            raise BackendError(msg)
        return temp_c

    def arrivals(self) -> tuple[str, ...]:
        """Return the paths at which a device has appeared since the last call; the first call begins to listen."""
        if self._closed:
            return ()
        now = self.devices()
        known, self._known = self._known, {(device.path, device.node) for device in now}
        return tuple(each.path for each in now if known is not None and (each.path, each.node) not in known)

    def close(self) -> None:
        """Stop listening. Idempotent."""
        self._closed = True

    def _try(self, rung: Rung, path: str) -> None:
        """Do what the script says."""
        self.tried.append((rung, path))
        outcome = self._script[rung].popleft() if self._script[rung] else Outcome.HEALS
        if outcome is Outcome.REFUSED:
            msg = f"{rung.value} of {path}: refused by the script"
            raise RungError(msg)
        if rung is not Rung.POWER_CYCLE and not tpu_tree.present(self.folder, path):
            msg = f"no Edge TPU is plugged in at {path}"
            raise RungError(msg)
        if outcome is Outcome.LOSES:
            tpu_tree.remove(self.folder, path)
        if outcome in {Outcome.FAILS, Outcome.LOSES}:
            msg = f"{rung.value} of {path}: {outcome.value}, by the script"
            raise BackendError(msg)
        if outcome is Outcome.HEALS:
            tpu_tree.heal(self.folder, path)
        if outcome is Outcome.DFU or (outcome is Outcome.HEALS and rung is Rung.POWER_CYCLE):
            tpu_tree.enumerate_again(self.folder, path, dfu=True)
