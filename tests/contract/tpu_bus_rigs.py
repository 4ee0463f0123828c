"""Benches for the buses of Edge TPUs: both kinds over a folder of files, with a kernel that does what it is told."""

from collections import deque
from collections.abc import Sequence
from errno import EACCES, EIO, ENODEV
from pathlib import Path
from typing import Protocol

from appliance.adapters.tpu_bus import LinuxTpuBus
from appliance.adapters.tpu_bus.kernel import PROGRAM, Kernel
from appliance.adapters.tpu_bus.programs import Ended
from appliance.ports import TpuBus
from appliance.sim import tpu_tree
from appliance.sim.clock import ManualClock
from appliance.sim.tpu_bus import Outcome, Rung, SimulatedTpuBus

PLACE = tpu_tree.PLACE


class Rig(Protocol):
    """A bus over ``folder``, where ``tpu_tree`` plugs and unplugs."""

    bus: TpuBus
    folder: Path

    def then(self, rung: Rung, outcome: Outcome) -> None:
        """What comes of the next try of ``rung``."""
        ...


class SimulatedRig:
    """The simulation."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.bus: TpuBus = SimulatedTpuBus(folder)

    def then(self, rung: Rung, outcome: Outcome) -> None:
        assert isinstance(self.bus, SimulatedTpuBus)
        self.bus.then(rung, outcome)


class LinuxRig:
    """The device's bus; in the kernel's place, and in uhubctl's, somebody who changes the files."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._script: dict[Rung, deque[Outcome]] = {rung: deque() for rung in Rung}
        self.bus: TpuBus = LinuxTpuBus(
            root=folder,
            service=None,
            clock=ManualClock(auto_advance=True),
            kernel=Kernel(self._kernel),
            run=self._power,
            uhubctl="uhubctl",
        )

    def then(self, rung: Rung, outcome: Outcome) -> None:
        self._script[rung].append(outcome)

    def _kernel(self, commands: Sequence[Sequence[str]], timeout_s: float) -> list[Ended]:
        """Answer as ``kernel_call`` does: each step with its errno."""
        assert timeout_s > 0
        (command,) = commands
        wanted, where, *name = command[command.index(str(PROGRAM)) + 1 :]
        if wanted == "reset":
            code = self._happen(Rung.RESET, self._place(where))
            return [Ended(0, f"open {code}" if code == EACCES else f"open 0 reset {code}")]
        assert where == str(self.folder / "sys/bus/usb/drivers/usb")
        code = self._happen(Rung.REBIND, name[0])
        return [Ended(0, f"unbind {code} bind {code}")]

    def _power(self, commands: Sequence[Sequence[str]], timeout_s: float) -> list[Ended]:
        """Answer as uhubctl does."""
        assert timeout_s > 0
        (command,) = commands
        place = f"{command[command.index('-l') + 1]}-{command[command.index('-p') + 1]}"
        code = self._happen(Rung.POWER_CYCLE, place)
        words = {0: "Sent power on request", EACCES: "No compatible devices detected at location", EIO: "libusb: -1"}
        return [Ended(int(code != 0), words[code])]

    def _place(self, node: str) -> str:
        return next(each.path for each in tpu_tree.sticks(self.folder) if node == f"{self.folder}{each.node}")

    def _happen(self, rung: Rung, place: str) -> int:
        """Do what the script says; returns the errno."""
        outcome = self._script[rung].popleft() if self._script[rung] else Outcome.HEALS
        if outcome in {Outcome.REFUSED, Outcome.FAILS}:
            return EACCES if outcome is Outcome.REFUSED else EIO
        if outcome is Outcome.LOSES:
            tpu_tree.remove(self.folder, place)
            return ENODEV if rung is Rung.RESET else EIO
        if outcome is Outcome.HEALS:
            tpu_tree.heal(self.folder, place)
        if outcome is Outcome.DFU or (rung is Rung.POWER_CYCLE and outcome is Outcome.HEALS):
            tpu_tree.enumerate_again(self.folder, place, dfu=True)
            return ENODEV if rung is Rung.RESET else 0  # the kernel gives the device up when its descriptors change
        return 0
