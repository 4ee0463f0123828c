"""Asks the kernel for what may take it for ever. A program of its own, which imports next to nothing.

``python -IS kernel_call.py reset NODE`` or ``... rebind DRIVER NAME``. It says in words how far it came, each step
with its errno, 0 where it went well: ``open 0 reset 19``, ``unbind 0 bind 0``.
"""

import fcntl
import os
import select
import signal
import sys
from pathlib import Path

USBDEVFS_RESET = ord("U") << 8 | 20
"""``_IO('U', 20)`` of linux/usbdevice_fs.h: without an argument it has neither direction nor size."""
BIND_TRIES = 3
BIND_WAIT_S = 0.2
"""Between two tries: a device that was just unbound may not be ready."""


def reset(node: str) -> str:
    """Reset the device behind ``node`` as unplugging and plugging would; blocks as long as the kernel likes."""
    try:
        opened = os.open(node, os.O_WRONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        return f"open {error.errno}"
    try:
        fcntl.ioctl(opened, USBDEVFS_RESET, 0)
    except OSError as error:
        return f"open 0 reset {error.errno}"
    return "open 0 reset 0"


def rebind(driver: Path, name: str) -> str:
    """Take ``name`` from its driver and give it back, though taking it failed: it must never stay without one."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    unbound = _write(driver / "unbind", name)
    for _ in range(BIND_TRIES):
        bound = _write(driver / "bind", name)
        if bound == 0 or unbound != 0:
            break
        select.select([], [], [], BIND_WAIT_S)
    return f"unbind {unbound} bind {bound}"


def _write(file: Path, name: str) -> int:
    """Write ``name`` to one of the kernel's files; returns the errno."""
    try:
        opened = os.open(file, os.O_WRONLY | os.O_CLOEXEC)  # not O_CREAT: a file that is not there is an answer, too
        try:
            os.write(opened, name.encode())
        finally:
            os.close(opened)
    except OSError as error:
        return error.errno or 1
    return 0


if __name__ == "__main__":
    wanted, *words = sys.argv[1:]
    sys.stdout.write(reset(words[0]) if wanted == "reset" else rebind(Path(words[0]), words[1]))
