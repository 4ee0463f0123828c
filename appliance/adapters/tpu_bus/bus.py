"""The buses as Linux shows them: ``ports.TpuBus`` on sysfs, usbfs, uhubctl and udev.

What this process may not do (the appliance runs without rights, and ``/sys`` is read-only to it) the recovery service
does for it, where that is installed: rebinding a driver and switching a port's power need root.
"""

import os
from collections.abc import Callable
from pathlib import Path
from threading import Event

from appliance.adapters.clock import SystemClock
from appliance.adapters.tpu_bus.hotplug import Arrivals, Listener, listen_to_udev
from appliance.adapters.tpu_bus.kernel import Kernel
from appliance.adapters.tpu_bus.power import Policy, PowerSwitch
from appliance.adapters.tpu_bus.programs import Programs, Run
from appliance.adapters.tpu_bus.recovery_client import ask
from appliance.adapters.tpu_bus.recovery_request import SOCKET, Action, Request
from appliance.adapters.tpu_bus.refusal import NotPermittedError
from appliance.adapters.tpu_bus.sysfs import Sysfs
from appliance.core.accelerator import Bus, TpuDevice
from appliance.errors import BackendError, RungError, UnfitError
from appliance.ports import Clock

RETURN_S = 3.0
"""How long a device that came out of its reset as another one is waited for: enumerating takes up to a second."""
LOOK_S = 0.05


class LinuxTpuBus:
    """Implements ``ports.TpuBus``; made without touching anything."""

    def __init__(
        self,
        *,
        name: str = "tpu",
        power_cycle: Policy = "alone",
        root: Path = Path("/"),
        service: Path | None = Path("/") / SOCKET,
        clock: Clock | None = None,
        kernel: Kernel | None = None,
        run: Run | None = None,
        uhubctl: str | None = None,
        listen: Callable[[], Listener] | None = None,
    ) -> None:
        """Serve one Edge TPU of the configuration.

        Args:
            name: its key under ``tpus``.
            power_cycle: its ``power_cycle``.
            root: of ``/sys``, ``/dev`` and ``/proc``; tests have a tree of files there.
            service: socket of the recovery service; None: do without.
            clock: where waits pass.
            kernel: what asks the kernel; default: a child process for each question.
            run: what runs uhubctl; default: a process, bounded.
            uhubctl: its path; default: where it is found.
            listen: opens what hears of arrivals beside looking; default: udev, where it runs.
        """
        self._programs = Programs()
        self._sysfs = Sysfs(root)
        self._name = name
        self._service = service
        self._clock = clock or SystemClock()
        self._kernel = kernel or Kernel(self._programs.run)
        self._power = PowerSwitch(self._sysfs, power_cycle, run or self._programs.run, name=name, uhubctl=uhubctl)
        self._arrivals = Arrivals(self._sysfs.devices, listen or (lambda: listen_to_udev(root)))

    @property
    def abandoned(self) -> int:
        """How many processes of ours hang in the kernel and could not be ended."""
        return self._programs.abandoned

    def devices(self) -> tuple[TpuDevice, ...]:
        """List those that are there now, USB first, each bus in the order of its paths."""
        return self._sysfs.devices()

    def check_access(self, device: TpuDevice) -> None:
        """See whether this process may open a device's file, if it is still there. Raises UnfitError."""
        file = self._sysfs.below(device.node)
        if file.exists() and not os.access(file, os.R_OK | os.W_OK):
            msg = (
                f"{device}: {device.node}: permission denied; install systemd/udev/rules.d/60-edge-tpu.rules, let the "
                "appliance's user be in its group, and plug it in again"
            )
            raise UnfitError(msg)

    def reset(self, device: TpuDevice) -> None:
        """Reset a device on USB, found again by its path: it has another device file each time it comes back.

        Raises:
            RungError: it is not there, not on USB, or may not be opened; the message says what would allow it.
            BackendError: the kernel failed, did not end, or the device did not come back.
        """
        if device.bus is not Bus.USB:
            msg = f"{device}: only USB devices can be reset; rebinding its driver resets one on PCIe"
            raise RungError(msg)
        present = self._sysfs.present(device.path)
        if not self._kernel.reset(self._sysfs.below(present.node)):
            self._await_return(present)

    def rebind(self, device: TpuDevice) -> None:
        """Take a device from its driver and give it back: the port's on USB, apex on PCIe.

        Raises:
            RungError: it is not there, or neither we nor a recovery service may; the message says what would allow it.
            BackendError: the kernel failed; when the device is left without its driver, the message says so.
        """
        self._or_ask("rebind", device.path, self._rebind)

    def power_cycle(self, path: str) -> None:
        """Cut the power of the USB port at ``path`` and give it back.

        Raises:
            RungError: it cannot be switched, others would lose their power, or neither we nor a recovery service may.
            BackendError: uhubctl failed, or did not end.
        """
        self._or_ask("power_cycle", path, self._power.cycle)

    def temperature_c(self, device: TpuDevice) -> float | None:
        """Measure; None on USB. Raises BackendError for a reading that is impossible, or none."""
        return self._sysfs.temperature_c(device)

    def arrivals(self) -> tuple[str, ...]:
        """Return the paths at which an Edge TPU has appeared since the last call; the first call begins to listen.

        One that comes back as another (the runtime has opened it, a reset, a bad cable) appears again.
        """
        return self._arrivals.heard()

    def close(self) -> None:
        """Stop listening for arrivals, for good. Idempotent."""
        self._arrivals.close()

    def _rebind(self, path: str) -> None:
        device = self._sysfs.present(path)
        if device.bus is Bus.USB:
            driver, name = "sys/bus/usb/drivers/usb", path
        else:
            driver, name = "sys/bus/pci/drivers/apex", self._sysfs.pci_address(path)
        self._kernel.rebind(self._sysfs.root / driver, name)

    def _or_ask(self, action: Action, path: str, do: Callable[[str], None]) -> None:
        """Do it, or have it done by the recovery service where we may not."""
        try:
            do(path)
        except NotPermittedError as error:
            if self._service is None:
                raise
            ask(self._service, Request(action=action, path=path, tpu=self._name), refusal=str(error))

    def _await_return(self, before: TpuDevice) -> None:
        """Wait for a device that the kernel enumerates anew. Raises BackendError when it does not come."""
        end_s = self._clock.monotonic_s() + RETURN_S
        while self._clock.monotonic_s() < end_s:
            now = self._sysfs.find(before.path)
            if now is not None and now.node != before.node:
                return
            self._clock.wait(Event(), LOOK_S)
        msg = f"{before}: it left the bus at its reset and did not come back within {RETURN_S:g} s"
        raise BackendError(msg)
