"""What only the kernel can do: reset a USB device, and take a device from its driver and give it back.

Both may block for tens of seconds in a driver, so a child process does them (``kernel_call``); what its errno means
for the recovery ladder stands here.
"""

import os
import sys
from errno import EACCES, EBUSY, ENODEV, ENOENT, ENOTTY, EPERM, EROFS
from pathlib import Path

from appliance.adapters.tpu_bus.programs import Run
from appliance.adapters.tpu_bus.refusal import NotPermittedError
from appliance.errors import BackendError, RungError

RESET_S, REBIND_S = 20.0, 30.0
"""Longest waits. The kernel gives a port reset five tries of a second each, and a control transfer 5 s."""
PROGRAM = Path(__file__).with_name("kernel_call.py")
_FORBIDDEN = frozenset({EACCES, EPERM, EROFS})
_RULES = (
    "install systemd/udev/rules.d/60-edge-tpu.rules, and run as a member of the group plugdev "
    "(systemd/sysusers.d/appliance.conf)"
)


class Kernel:
    """Asks the kernel, in a child process that ``run`` starts."""

    def __init__(self, run: Run) -> None:
        """``run`` is ``Programs.run``, or stands for it in tests."""
        self._run = run

    def reset(self, node: Path) -> bool:
        """Reset the USB device behind ``node``.

        Returns:
            True when it is still the same device; False when the kernel took it off the bus at once, because it came
            out of the reset with other descriptors (another firmware) or not at all.

        Raises:
            RungError: it is not allowed, or there is no such node.
            BackendError: the kernel failed, or did not end.
        """
        told = self._ask("reset", str(node), timeout_s=RESET_S)
        code = told.get("reset", told["open"])
        if told["open"] in _FORBIDDEN or code in _FORBIDDEN:
            msg = f"{node} may not be opened ({os.strerror(code)}): {_RULES}"
            raise NotPermittedError(msg)
        if told["open"] == ENOENT or code == ENOTTY:
            msg = f"{node} is no USB device file ({os.strerror(code)}): is /dev mounted, and not a copy?"
            raise RungError(msg)
        if "reset" in told and code == ENODEV:
            return False
        if code:
            msg = f"resetting {node} failed: {os.strerror(code)}"
            raise BackendError(msg)
        return True

    def rebind(self, driver: Path, name: str) -> None:
        """Unbind device ``name`` from the driver whose folder is ``driver``, and bind it again.

        Raises:
            RungError: it is not allowed, or there is no such driver.
            BackendError: the kernel failed, or did not end.
        """
        told = self._ask("rebind", str(driver), name, timeout_s=REBIND_S)
        unbound, bound = told["unbind"], told["bind"]
        if _FORBIDDEN & {unbound, bound}:
            msg = f"{driver} may not be written"
            raise NotPermittedError(msg)
        if unbound == bound == ENOENT:
            msg = f"there is no driver {driver}: is its module loaded?"
            raise RungError(msg)
        if bound == 0 and unbound in {0, ENODEV}:
            return
        if bound in {0, EBUSY}:
            msg = f"{name} could not be taken from its driver: {os.strerror(unbound)}"
            raise BackendError(msg)
        left = "it is left without its driver" if unbound == 0 else "it may have left the bus"
        msg = f"{name} could not be bound to its driver: {os.strerror(bound)}; {left}"
        raise BackendError(msg)

    def _ask(self, *words: str, timeout_s: float) -> dict[str, int]:
        """Return each step that was taken with its errno."""
        # -I and -S: neither the environment nor installed packages have a say, and it starts in 15 ms.
        (ended,) = self._run([(sys.executable, "-IS", str(PROGRAM), *words)], timeout_s)
        told = ended.text.split()
        if ended.code or len(told) not in {2, 4} or not all(code.isdecimal() for code in told[1::2]):
            msg = f"asking the kernel for a {words[0]} failed: {ended.text[-200:] or f'exit code {ended.code}'}"
            raise BackendError(msg)
        return dict(zip(told[::2], map(int, told[1::2]), strict=True))
