"""Notices Edge TPUs that appear: by looking which are there, and by udev's events, whichever is first.

Looking agrees with ``devices`` at every moment: a device that came back has another device file. What comes and goes
between two looks only udev tells, through pyudev (extra ``usb``). Each appearance is told once: an event that comes
after the look that has shown its device file is old news.
"""

import importlib
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from appliance.adapters.tpu_bus.sysfs import APEX_NAME, TPU_IDS, USB_PATH
from appliance.core.accelerator import TpuDevice
from appliance.log import get

EVENTS_MAX = 64
"""Of one call; the rest waits for the next."""
NODES_MAX = 64
"""Device files remembered as told; a bus gives the same one again after 127 devices."""
UDEV_SOCKET = Path("run/udev/control")
"""There while udev runs."""
FILTERS = (("usb", "usb_device"), ("apex", None))
"""Subsystem and type of the events that concern us."""

log = get(__name__)


class Appearance(NamedTuple):
    """An Edge TPU that has appeared."""

    path: str
    node: str
    """Its device file."""


class Listener(Protocol):
    """Somebody who hears of appearances."""

    def heard(self) -> Sequence[Appearance]:
        """Return those since the last call. Never blocks. Raises OSError when some were lost."""
        ...


class UdevListener:
    """Hears udev's events over netlink, through pyudev."""

    def __init__(self, source: str = "udev", filters: tuple[tuple[str, str | None], ...] = FILTERS) -> None:
        """Begin to listen. Raises ImportError without pyudev or libudev, OSError without netlink.

        Args:
            source: ``udev``, or ``kernel`` for events of the kernel that udev has not seen; for tests.
            filters: subsystem and type of device of the events that are let through; for tests.
        """
        pyudev = importlib.import_module("pyudev")
        self._monitor: Any = pyudev.Monitor.from_netlink(pyudev.Context(), source=source)
        for subsystem, kind in filters:
            self._monitor.filter_by(subsystem, kind)
        self._monitor.start()

    def heard(self) -> list[Appearance]:
        """Return the Edge TPUs that were added. Raises OSError when the socket has lost events (ENOBUFS)."""
        appeared = []
        for _ in range(EVENTS_MAX):
            event = self._monitor.poll(timeout=0)
            if event is None:
                break
            if event.action == "add" and is_tpu(event.sys_name, event.properties.get("PRODUCT", "")):
                appeared.append(Appearance(event.sys_name, event.device_node or ""))
        return appeared


class Arrivals:
    """Tells each appearance once; begins with the first question."""

    def __init__(
        self,
        devices: Callable[[], tuple[TpuDevice, ...]],
        listen: Callable[[], Listener],
    ) -> None:
        """``devices`` lists what is there; ``listen`` opens a listener, or raises ImportError or OSError."""
        self._devices = devices
        self._listen = listen
        self._listener: Listener | None = None
        self._there: set[Appearance] | None = None
        """What the last look has shown; None before the first."""
        self._told: deque[str] = deque(maxlen=NODES_MAX)
        self._closed = False

    def heard(self) -> tuple[str, ...]:
        """Return the paths of Edge TPUs that have appeared since the last call; of none at the first."""
        if self._closed:
            return ()
        if self._there is None:
            self._open()
        appeared = self._looked()
        appeared += [each for each in self._listened() if each.node not in self._told]
        self._told.extend(each.node for each in appeared)
        return tuple(dict.fromkeys(each.path for each in appeared))

    def close(self) -> None:
        """Stop listening, for good."""
        self._closed = True
        self._listener = None

    def _open(self) -> None:
        """Take what is there for known, and begin to listen."""
        try:
            self._listener = self._listen()
        except (ImportError, OSError) as error:
            log.info("hot-plug is noticed by looking, not by udev's events", reason=str(error))
        self._looked()
        self._told.extend(each.node for each in self._there or ())

    def _looked(self) -> list[Appearance]:
        """Compare what is there with the last look; the first one has nothing to compare."""
        now = [Appearance(device.path, device.node) for device in self._devices()]
        before, self._there = self._there, set(now)
        return [] if before is None else [each for each in now if each not in before]

    def _listened(self) -> Sequence[Appearance]:
        if self._listener is None:
            return ()
        try:
            return self._listener.heard()
        except OSError as error:
            log.warning("udev's events were lost; looking goes on", reason=error.strerror)
            return ()


def listen_to_udev(root: Path) -> UdevListener:
    """Listen where udev runs. Raises ImportError, OSError."""
    if not (root / UDEV_SOCKET).exists():
        raise OSError("udev does not run")
    try:
        return UdevListener()
    except ImportError as error:
        msg = f"{error}: pip install 'edge-appliance[usb]'"
        raise ImportError(msg) from error


def is_tpu(name: str, product: str) -> bool:
    """Say whether an event is of an Edge TPU.

    Args:
        name: the kernel's name of the device.
        product: of a USB device, as the kernel puts it into the event: vendor, product and release in hexadecimal
            digits without leading zeros, ``1a6e/89a/100``.
    """
    if APEX_NAME.fullmatch(name):
        return True
    try:
        vendor, model, _ = (int(part, 16) for part in product.split("/"))
    except ValueError:
        return False
    return bool(USB_PATH.fullmatch(name)) and (vendor, model) in TPU_IDS
