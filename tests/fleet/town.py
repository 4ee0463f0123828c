"""A town of network namespaces: the publisher's with a bridge, one for each device, and a cable from each to it.

Nothing of it is seen outside: what has to run in a place is called on a thread that has entered it, and the processes
that it starts stay there.
"""

import ctypes
import json
import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from tests.waiting import eventually

T = TypeVar("T")

COMMAND_S = 20.0
CALL_S = 240.0
"""Longest stay in a place."""
NETWORK = "10.77.0"
CLONE_NEWNET = 0x40000000
"""setns(2): a namespace of networks."""
BURST_BYTES, QUEUE_MS = 8192, 200
_libc = ctypes.CDLL(None, use_errno=True)


def run(*command: object) -> str:
    """Run a command that must succeed; gives what it printed."""
    words = [str(word) for word in command]
    return subprocess.run(words, capture_output=True, text=True, timeout=COMMAND_S, check=True).stdout


def why_not() -> str:
    """Say why no town, and no stick, can be had on this machine; empty where they can."""
    if os.geteuid() != 0:
        return "network namespaces take root"
    if shutil.which("ip") is None or shutil.which("tc") is None:
        return "needs ip and tc: apt-get install iproute2"
    if not Path("/dev/loop-control").exists():
        return "a stick takes a loop device"
    try:
        with Town(["probe"]) as town:
            town.houses["probe"].shape("1mbit")
    except subprocess.CalledProcessError as error:
        return f"{' '.join(error.cmd)}: {error.stderr.strip()}"
    return ""


@dataclass(frozen=True, slots=True)
class Place:
    """A network namespace of its own: its own loopback, its own address."""

    namespace: str
    address: str

    def call(self, what: Callable[[], T]) -> T:
        """Do something in this place; what it starts stays there."""
        with ThreadPoolExecutor(1) as pool:
            return pool.submit(self._entered, what).result(CALL_S)

    def _entered(self, what: Callable[[], T]) -> T:
        with Path("/run/netns", self.namespace).open("rb") as there:
            if _libc.setns(there.fileno(), CLONE_NEWNET):
                raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), self.namespace)
        return what()


@dataclass(frozen=True, slots=True)
class House(Place):
    """A device's place, and its end of a cable."""

    port: str
    """The cable's other end, on the bridge."""
    hub: str
    """The namespace that the bridge is in."""

    def cut(self) -> None:
        """Pull the cable: no carrier."""
        run("ip", "-n", self.hub, "link", "set", self.port, "down")

    def mend(self) -> None:
        """Plug it in again."""
        run("ip", "-n", self.hub, "link", "set", self.port, "up")

    def shape(self, rate: str) -> None:
        """Let no more through to the device than ``rate``, as tc spells it: a token bucket."""
        shaped = ("tbf", "rate", rate, "burst", BURST_BYTES, "latency", f"{QUEUE_MS}ms")
        run("tc", "-n", self.hub, "qdisc", "replace", "dev", self.port, "root", *shaped)

    def received_bytes(self) -> int:
        """Everything that has come through the cable so far, headers too."""
        told: list[dict[str, Any]] = json.loads(run("ip", "-n", self.namespace, "-s", "-j", "link", "show", "eth0"))
        return int(told[0]["stats64"]["rx"]["bytes"])


class Town:
    """Stands from ``with`` to its end, whatever happens in it; then nothing of it is left."""

    def __init__(self, names: Iterable[str]) -> None:
        """``names`` are those of the devices."""
        mine = f"fleet-{os.getpid()}"
        self.hub = Place(f"{mine}-hub", f"{NETWORK}.1")
        self.houses = {
            name: House(f"{mine}-{name}", f"{NETWORK}.{number + 2}", port=f"port{number}", hub=self.hub.namespace)
            for number, name in enumerate(names)
        }
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with self._stack as stack:
            for place in (self.hub, *self.houses.values()):
                run("ip", "netns", "add", place.namespace)
                stack.callback(_remove, place.namespace)
                run("ip", "-n", place.namespace, "link", "set", "lo", "up")
            run("ip", "-n", self.hub.namespace, "link", "add", "bridge", "type", "bridge")
            _address(self.hub, "bridge")
            for house in self.houses.values():
                other_end = ("peer", "name", "eth0", "netns", house.namespace)
                run("ip", "-n", house.hub, "link", "add", house.port, "type", "veth", *other_end)
                run("ip", "-n", house.hub, "link", "set", house.port, "master", "bridge", "up")
                _address(house, "eth0")
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()


def _address(place: Place, interface: str) -> None:
    run("ip", "-n", place.namespace, "address", "add", f"{place.address}/24", "dev", interface)
    run("ip", "-n", place.namespace, "link", "set", interface, "up")


def _remove(namespace: str) -> None:
    """Remove a place, and what a test that failed has left running there."""
    for pid in run("ip", "netns", "pids", namespace).split():
        with suppress(ProcessLookupError):
            os.kill(int(pid), signal.SIGKILL)
    eventually(lambda: not run("ip", "netns", "pids", namespace))
    run("ip", "netns", "delete", namespace)
