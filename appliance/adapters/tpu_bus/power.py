"""Switches the power of a USB port off and on with uhubctl, and knows what else would lose its power.

``alone`` means that no other device is cut, and ``always`` that others may be. Two things are never cut, whatever the
configuration says: a disk, because the system may have been started from it and a file system that loses its disk is
lost, mounted or not (what lies below an overlay, LVM or a crypt device does not show in the mounts); and the network
while a file system comes over it. A technician who wants this rung beside a USB disk needs a hub that switches its
ports one by one.

Sources: uhubctl's README (the boards' wiring), mvp/uhubctl#605 (2.5 does not see the root hubs of a Pi 5), #587 (bus
numbers differ between systems, so hubs are found by what they are).
"""

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from appliance.adapters.tpu_bus.programs import Ended, Run
from appliance.adapters.tpu_bus.refusal import NotPermittedError
from appliance.adapters.tpu_bus.sysfs import TPU_IDS, USB_PATH, Sysfs, UsbDevice, is_below, split
from appliance.core.accelerator import SUPERSPEED_MBPS
from appliance.errors import BackendError, RungError
from appliance.log import get

OFF_S = 3
"""How long the power is off, in whole seconds as old versions of uhubctl take it: capacitors have to run dry."""
CYCLE_S = 30.0
"""Longest run of uhubctl: the time off, and a control transfer of at most 5 s for some ports."""
ON_S = 10.0
"""Longest run of uhubctl that only switches on."""
VL805_HUB = (0x2109, 0x3431)
"""The USB 2 half of the hub that is soldered to a Pi 4."""
GANGED_BOARDS = ("Raspberry Pi 4", "Raspberry Pi 5")
"""Boards that have one switch for all sockets, though their hubs claim one for each; also the 400 and the 500."""
SEARCHED = ("/usr/local/sbin", "/usr/sbin", "/sbin")
"""Where Debian keeps it, beside PATH: a user's PATH lacks them."""

Policy = Literal["never", "alone", "always"]
_REMEDY = "use a USB hub that has a switch for each port"

log = get(__name__)


@dataclass(frozen=True, slots=True)
class Supply:
    """What one switch feeds."""

    switches: tuple[tuple[str, str], ...]
    """Hub and port as uhubctl takes them, all to be off at the same time; no port: all of the hub's."""
    feeds: tuple[str, ...] | None
    """The ports, as paths, that lose their power; None: every device of the board."""


FIXED_BOARDS = {
    "Raspberry Pi 3 Model B Plus": Supply((("1-1", "2"),), ("1-1.2", "1-1.3", "1-1.4", "1-1.1.2", "1-1.1.3")),
    "Raspberry Pi 3 Model B": Supply((("1-1", "2"),), ("1-1.2", "1-1.3", "1-1.4", "1-1.5")),
    "Raspberry Pi 2 Model B": Supply((("1-1", "2"),), ("1-1.2", "1-1.3", "1-1.4", "1-1.5")),
}
"""Boards whose hub switches all sockets by its port 2; the first name that fits counts."""


class PowerSwitch:
    """Cuts power where that is allowed."""

    def __init__(self, sysfs: Sysfs, policy: Policy, run: Run, *, name: str, uhubctl: str | None = None) -> None:
        """``name`` is the key under ``tpus``; ``uhubctl`` the program's path, default: where it is found."""
        self._sysfs = sysfs
        self._policy = policy
        self._run = run
        self._name = name
        self._uhubctl = uhubctl

    def cycle(self, path: str) -> None:
        """Cut the power of the port at ``path`` and give it back.

        Raises:
            RungError: it cannot or may not be done.
            BackendError: uhubctl failed, or did not end.
        """
        if self._policy == "never":
            msg = f'tpus.{self._name}.power_cycle is "never"'
            raise RungError(msg)
        if not USB_PATH.fullmatch(path):
            msg = f"{path}: only the ports of USB have a power switch"
            raise RungError(msg)
        usb = self._sysfs.usb()
        supply = self._supply(path, usb)
        self._check(path, supply, usb)
        self._switch(supply.switches)

    def _supply(self, path: str, usb: Sequence[UsbDevice]) -> Supply:
        """Find what is switched together with ``path``. Raises RungError where nobody knows."""
        hub, port = split(path)
        board = self._sysfs.board()
        fixed = next((supply for name, supply in FIXED_BOARDS.items() if board.startswith(name)), None)
        if fixed is not None and path in (fixed.feeds or ()):
            return fixed
        if not board.startswith("Raspberry Pi") or not _is_on_the_board(hub, usb, fixed=fixed is not None):
            peer = self._sysfs.peer(path)
            return Supply(((hub, port),), (path, peer) if peer else (path,))
        hubs = [each.path for each in usb if _is_switch(each)]
        if not board.startswith(GANGED_BOARDS) or not hubs:
            msg = f"{board}: it is not known which of its ports share a switch; {_REMEDY}"
            raise RungError(msg)
        return Supply(tuple((each, "") for each in hubs), None)

    def _check(self, path: str, supply: Supply, usb: Sequence[UsbDevice]) -> None:
        """Raise RungError where something would lose its power that must not."""
        there = next((device for device in usb if device.path == path), None)
        if there is not None and there.ids not in TPU_IDS:
            msg = f"{path}: something else is plugged in there now: {there.name}"
            raise RungError(msg)
        cut = [each for each in usb if not each.hub and each.path != path and _feeds(supply, each)]
        _spare(cut, self._sysfs.storage(), "a disk")
        if self._sysfs.mounts_network():
            _spare(cut, self._sysfs.network(), "the way to a file system")
        if cut and self._policy != "always":
            msg = (
                f"{path} shares its switch with {_list(cut)}, which would lose their power; to allow that, set "
                f'tpus.{self._name}.power_cycle = "always"'
            )
            raise RungError(msg)
        if cut:
            log.warning("cutting the power of other devices, too", path=path, devices=_list(cut))

    def _switch(self, switches: Sequence[tuple[str, str]]) -> None:
        """Switch all off at the same time and on again; each uhubctl does both, so that none stays off if we end."""
        program = self._found()
        # -N: no names are read from devices, among them the one that does not answer.
        commands = [(program, "-N", "-l", hub, *(("-p", port) if port else ())) for hub, port in switches]
        try:
            ended = self._run([(*command, "-a", "cycle", "-d", str(OFF_S)) for command in commands], CYCLE_S)
        except BackendError as error:
            self._give_back(commands, error)
            raise
        for each, (hub, _) in zip(ended, switches, strict=True):
            _judge(each, hub)

    def _give_back(self, commands: Sequence[Sequence[str]], error: BackendError) -> None:
        """Switch on what a uhubctl that had to be killed may have left off. Raises BackendError."""
        try:
            self._run([(*command, "-a", "on") for command in commands], ON_S)
        except (BackendError, RungError) as another:
            msg = f"{error}; the power may be off still: {another}"
            raise BackendError(msg) from another

    def _found(self) -> str:
        """Return the program's path. Raises RungError where it is not installed."""
        path = os.pathsep.join((os.environ.get("PATH", os.defpath), *SEARCHED))
        program = self._uhubctl or shutil.which("uhubctl", path=path)
        if program is None:
            raise RungError("uhubctl is not installed: apt-get install uhubctl")
        return program


def _is_on_the_board(hub: str, usb: Sequence[UsbDevice], *, fixed: bool) -> bool:
    """Say whether a hub is a part of a Raspberry Pi, and not one that somebody plugged in."""
    if "-" not in hub or (fixed and hub in {"1-1", "1-1.1"}):
        return True
    return any(each.path == hub and each.ids == VL805_HUB for each in usb)


def _is_switch(device: UsbDevice) -> bool:
    """Say whether uhubctl must be told of a hub: it finds the USB 2 half of a root hub by itself."""
    return device.ids == VL805_HUB or ("-" not in device.path and (device.speed_mbps or 0) >= SUPERSPEED_MBPS)


def _feeds(supply: Supply, device: UsbDevice) -> bool:
    return supply.feeds is None or any(is_below(device.path, port) for port in supply.feeds)


def _spare(devices: Sequence[UsbDevice], paths: frozenset[str], what: str) -> None:
    """Raise RungError when one of ``devices`` is at one of ``paths``."""
    spared = [each for each in devices if each.path in paths]
    if spared:
        msg = f"the power is shared with {what} and is never cut: {_list(spared)}; {_REMEDY}"
        raise RungError(msg)


def _list(devices: Sequence[UsbDevice]) -> str:
    return ", ".join(f"{device.name} ({device.path})" for device in devices)


def _judge(ended: Ended, hub: str) -> None:
    """Say what uhubctl's words mean; its exit code is 0 though a hub did not obey."""
    text = ended.text.lower()
    if "permission problem" in text:
        msg = f"uhubctl may not switch hub {hub}"
        raise NotPermittedError(msg)
    if "no compatible" in text:
        msg = f"hub {hub} cannot switch its ports, or uhubctl is too old for it (a Pi 5 needs 2.6)"
        raise RungError(msg)
    if ended.code or "failed to control port power" in text:
        msg = f"uhubctl could not switch hub {hub}: {ended.text.strip()[-200:]}"
        raise BackendError(msg)
