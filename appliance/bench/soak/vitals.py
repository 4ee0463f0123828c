"""What an operating system knows of this process: memory, open files, threads, children."""

import os
import stat
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from appliance.adapters.backends.child import MAIN
from appliance.compose.cost import resident_bytes

MIB = 1024 * 1024
SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - looked at, not written
_PROC = Path("/proc")


class Process(NamedTuple):
    """A child."""

    pid: int
    zombie: bool
    """It has ended, and nobody has asked how."""
    worker: bool


class Vitals(NamedTuple):
    """What is held at one moment."""

    files: int
    threads: int
    memories: int
    """Anonymous pieces of shared memory that are open or mapped here (memfd)."""


NOTHING = Vitals(0, 0, 0)


def vitals() -> Vitals:
    """Look now."""
    links = [_link(entry) for entry in (_PROC / "self" / "fd").iterdir()]
    threads = len(list((_PROC / "self" / "task").iterdir()))
    mapped = (_PROC / "self" / "maps").read_text().count("/memfd:")
    return Vitals(len([link for link in links if link]), threads, mapped + sum("/memfd:" in link for link in links))


def resident_mib() -> float:
    """Resident memory of this process, its shared memory included."""
    return resident_bytes() / MIB


def children() -> list[Process]:
    """List this process's children."""
    found = []
    for entry in _PROC.iterdir():
        if not entry.name.isdigit():
            continue
        with suppress(OSError):  # gone meanwhile
            state, parent = (entry / "stat").read_text().rpartition(")")[2].split()[:2]
            if int(parent) == os.getpid():
                command = (entry / "cmdline").read_bytes()
                found.append(Process(int(entry.name), state == "Z", MAIN.encode() in command))
    return found


def workers() -> list[int]:
    """Name the workers that live."""
    return [each.pid for each in children() if each.worker and not each.zombie]


def shared_memory() -> set[str]:
    """Name this user's files in ``/dev/shm``: what a process that ends badly may leave behind."""
    found = set()
    with suppress(OSError):
        for entry in os.scandir(SHARED_MEMORY):
            status = entry.stat(follow_symlinks=False)
            if stat.S_ISREG(status.st_mode) and status.st_uid == os.geteuid():
                found.add(entry.name)
    return found


def _link(entry: Path) -> str:
    """What an open file is; empty for one that is closed by now, as that of the listing itself."""
    try:
        return str(entry.readlink())
    except OSError:
        return ""
