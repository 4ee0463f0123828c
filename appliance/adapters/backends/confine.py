"""What the worker's process gives up before it does anything else. Standard library only: it runs first.

It sees raw frames, and it runs a library that we did not write. So the kernel ends it with its parent, whatever that
library does at the time, and refuses it every network.
"""

import contextlib
import ctypes
import errno
import fcntl
import os
import resource
import select
import signal
import struct

# From the kernel's headers: linux/prctl.h, linux/seccomp.h, linux/bpf_common.h, linux/audit.h.
_PR_SET_NO_NEW_PRIVS, _PR_SET_SECCOMP, _SECCOMP_MODE_FILTER = 38, 22, 2
_LOAD, _IF_EQUAL, _IF_AT_LEAST, _RETURN = 0x20, 0x15, 0x35, 0x06
_ALLOW, _REFUSE = 0x7FFF0000, 0x00050000 | errno.EACCES
_NUMBER_AT, _ARCHITECTURE_AT, _FIRST_ARGUMENT_AT = 0, 4, 16
_X32_SYSCALLS = 0x40000000
"""On x86-64 the same calls have second numbers from here on."""
_IO_URING_SETUP = 425
"""The same on every architecture; a ring opens sockets without calling socket(2)."""
_AF_NETLINK = 16
"""How the kernel tells of USB devices; no packet leaves the device through it."""
_POINTER_BYTES = struct.calcsize("P")
_ARM = (0x40000028, 281)
ARCHITECTURES = {
    ("x86_64", 8): (0xC000003E, 41),
    ("aarch64", 8): (0xC00000B7, 198),
    ("aarch64", 4): _ARM,  # the 32-bit Raspberry Pi OS, which has a 64-bit kernel
    ("armv8l", 4): _ARM,
    ("armv7l", 4): _ARM,
    ("armv6l", 4): _ARM,
}
"""Machine and size of this program's pointers to its audit number, and the number of socket(2) there."""


def end_with_parent(life: int) -> None:
    """Let the kernel kill this process as soon as the other end of the pipe ``life`` is closed.

    By a signal of the kernel's (F_SETSIG, fcntl(2)), because no thread of ours can be relied upon: the library may
    hold the interpreter's lock for ever. PR_SET_PDEATHSIG would not do: it looks at the thread that started us.
    """
    fcntl.fcntl(life, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(life, fcntl.F_SETSIG, signal.SIGKILL)
    fcntl.fcntl(life, fcntl.F_SETFL, fcntl.fcntl(life, fcntl.F_GETFL) | os.O_ASYNC)
    poll = select.poll()
    poll.register(life, select.POLLIN)
    if poll.poll(0):  # it was closed before the kernel was asked to tell
        os.kill(os.getpid(), signal.SIGKILL)


def leave_no_core() -> None:
    """Write no core file: it would hold frames, and an aborting library would fill the SD card.

    One byte is less than any core. Of 0 bytes the kernel would still make one where it hands cores to a program, as
    systemd-coredump; 1 is its word for none at all (linux/fs/coredump.c).
    """
    with contextlib.suppress(OSError, ValueError):  # a sandbox that refuses has its own limit (LimitCORE=0)
        resource.setrlimit(resource.RLIMIT_CORE, (1, 1))


def forbid_network(machine: str | None = None, pointer_bytes: int = _POINTER_BYTES) -> bool:
    """Let socket(2) make nothing but netlink sockets in this process from now on; say whether the kernel agreed.

    Args:
        machine: as uname(2) has it; default: this one. A machine that is not in ``ARCHITECTURES`` is not confined.
        pointer_bytes: of a program on it; default: this one's.
    """
    known = ARCHITECTURES.get((machine or os.uname().machine, pointer_bytes))
    if known is None:
        return False
    code = _program(*known)
    instructions = ctypes.create_string_buffer(code, len(code))
    program = struct.pack("HP", len(code) // 8, ctypes.addressof(instructions))  # struct sock_fprog
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    zero = ctypes.c_ulong(0)
    if prctl(_PR_SET_NO_NEW_PRIVS, ctypes.c_ulong(1), zero, zero, zero) != 0:
        return False
    return bool(prctl(_PR_SET_SECCOMP, ctypes.c_ulong(_SECCOMP_MODE_FILTER), program, zero, zero) == 0)


def _program(architecture: int, socket_number: int) -> bytes:
    """Return the filter (seccomp(2)): each row is an instruction, rows to skip when true and when false, a value."""
    rows = (
        (_LOAD, 0, 0, _ARCHITECTURE_AT),
        (_IF_EQUAL, 0, 7, architecture),
        (_LOAD, 0, 0, _NUMBER_AT),
        (_IF_EQUAL, 5, 0, _IO_URING_SETUP),
        (_IF_AT_LEAST, 4, 0, _X32_SYSCALLS),
        (_IF_EQUAL, 0, 2, socket_number),
        (_LOAD, 0, 0, _FIRST_ARGUMENT_AT),
        (_IF_EQUAL, 0, 1, _AF_NETLINK),
        (_RETURN, 0, 0, _ALLOW),
        (_RETURN, 0, 0, _REFUSE),
    )
    return b"".join(struct.pack("HBBI", *row) for row in rows)
