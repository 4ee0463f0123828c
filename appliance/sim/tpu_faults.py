"""What can happen to a simulated Edge TPU: every act of its script, and what hands, cables and heat do.

Each fault can be mended, by a person or by itself, so that one can follow the other for as long as a soak lasts.
"""

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from appliance.core.accelerator import Bus
from appliance.sim import tpu_tree
from appliance.sim.tpu_bus import Outcome, Rung, SimulatedTpuBus
from appliance.sim.tpu_script import Act, Script

STICK, CARD = "stick", "card"
"""A device on USB, and one on PCIe."""
CARD_PATH = "apex_0"
CARD_TEMP_C = 45.0
LATE_S = (0.2, 3.0)
OPEN_S = (0.5, 2.5)
LEAK_BYTES = 24 * 1024 * 1024
LEAKS = 6
"""More than the growth at which a worker is replaced, in pieces that fit into an invoke's deadline."""
LINK_LOST_C = -87.9
"""What a card's sensor reads when its PCIe link is gone (edgetpu#843)."""
OTHER_PORT = "2-2"


@dataclass(frozen=True, slots=True)
class Plugged:
    """A simulated Edge TPU, and what can be done to it from outside."""

    name: str
    """STICK or CARD."""
    bus: SimulatedTpuBus
    script: Script

    def plug(self) -> None:
        """Put it in, where none is."""
        if self.name == CARD:
            self.bus.set_temperature(CARD_TEMP_C, CARD_PATH)
        elif not self.bus.devices():
            self.bus.plug()

    @property
    def sticks(self) -> list[str]:
        """The ports of the sticks that are there."""
        return [each.path for each in self.bus.devices() if each.bus is Bus.USB]


Do = Callable[[Plugged, Random], None]


def _nothing(_device: Plugged, _random: Random) -> None:
    """It mends itself, or the ladder does."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One kind of fault."""

    name: str
    begin: Do
    mend: Do = _nothing
    """What a person or the device itself does some seconds later."""
    devices: tuple[str, ...] = (STICK, CARD)
    """To which it can happen."""


def _act(act: Act, values: tuple[float, float] = (0.0, 0.0), times: int = 1) -> Do:
    """Let an act happen: while a frame is judged, or when the device is opened next, which an abort brings about.

    A lie, too, is told when it is opened: told to a frame it could not be known.
    """

    def begin(device: Plugged, random: Random) -> None:
        if act.opening or act is Act.LIE:
            device.script.then(Act.ABORT)
        for _ in range(times):
            device.script.then(act, random.uniform(*values))

    return begin


def _unplug(device: Plugged, _random: Random) -> None:
    for path in device.sticks:
        device.bus.unplug(path)


def _replug(device: Plugged, _random: Random) -> None:
    device.plug()


def _move(device: Plugged, random: Random) -> None:
    """Pull it out and put it into the other port."""
    there = device.sticks
    _unplug(device, random)
    device.bus.plug(tpu_tree.PLACE if OTHER_PORT in there else OTHER_PORT)


def _reset(device: Plugged, _random: Random) -> None:
    """It leaves the bus and comes back as its bootloader, with the other id."""
    for path in device.sticks:
        device.bus.enumerate_again(path, dfu=True)


def _stick_in_dfu(device: Plugged, _random: Random) -> None:
    """It never leaves its bootloader again; somebody has to bring another one."""
    for path in device.sticks:
        device.bus.stick_in_dfu(path)


def _exchange(device: Plugged, random: Random) -> None:
    """Put another stick in its place."""
    _unplug(device, random)
    _replug(device, random)


def _sicken(device: Plugged, random: Random) -> None:
    """It answers no more and does not open, and rungs fail as they can, until one heals it."""
    for path in device.sticks or [CARD_PATH]:
        tpu_tree.sicken(device.bus.folder, path)
    for rung in Rung:
        device.bus.then(rung, *random.choices(list(Outcome), k=random.randint(0, 2)))
    device.script.then(Act.ABORT)


def _well_again(device: Plugged, random: Random) -> None:
    """Somebody switches it off and on."""
    for path in device.sticks or [CARD_PATH]:
        tpu_tree.heal(device.bus.folder, path)
    _come_back(device, random)


def _come_back(device: Plugged, _random: Random) -> None:
    """Be on the bus again."""
    if device.name == CARD:
        device.plug()
    elif not device.sticks:
        device.bus.enumerate_again(tpu_tree.PLACE, dfu=True)
        device.bus.enumerate_again(OTHER_PORT, dfu=True)


def _lose_link(device: Plugged, _random: Random) -> None:
    device.bus.set_temperature(LINK_LOST_C, CARD_PATH)


FAULTS: tuple[Fault, ...] = (
    *(Fault(act.value, _act(act), _come_back) for act in Act if act not in {Act.LATE, Act.LEAK, Act.OPEN_SLOWLY}),
    Fault("late", _act(Act.LATE, LATE_S)),
    Fault("leak", _act(Act.LEAK, (LEAK_BYTES, LEAK_BYTES), LEAKS)),
    Fault("open_slowly", _act(Act.OPEN_SLOWLY, OPEN_S)),
    Fault("unplugged", _unplug, _replug, (STICK,)),
    Fault("moved", _move, devices=(STICK,)),
    Fault("reset", _reset, devices=(STICK,)),
    Fault("stuck_in_dfu", _stick_in_dfu, _exchange, (STICK,)),
    Fault("link_lost", _lose_link, _come_back, (CARD,)),
    Fault("rungs_fail", _sicken, _well_again),
)
"""Every kind; those of the script by its words."""


def pull(device: Plugged, random: Random) -> None:
    """Take a device out that was given up, as a technician does; ``bring`` another one."""
    if device.name == STICK:
        _unplug(device, random)
    else:
        tpu_tree.remove(device.bus.folder, CARD_PATH)


def bring(device: Plugged, random: Random) -> None:
    """Put a device in that is well."""
    device.plug()
    if device.name == CARD:
        _well_again(device, random)
