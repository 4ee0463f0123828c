"""What a worker's process gives up: its end is its parent's, and the kernel refuses it every network.

That no socket can be made in a worker is shown in ``test_worker.py``, on the machine that runs the tests. Here the
filter is run as the kernel runs it, for the machines that are not at hand.
"""

import errno
import os
import signal
import struct
import subprocess
import sys

import pytest

from appliance.adapters.backends import confine
from appliance.adapters.backends.confine import ARCHITECTURES

ALLOWED, REFUSED = 0x7FFF0000, 0x00050000 | errno.EACCES
AF_UNIX, AF_INET, AF_INET6, AF_NETLINK, AF_PACKET = 1, 2, 10, 16, 17
IO_URING_SETUP = 425
X86_64, AARCH64, ARM = (0xC000003E, 41), (0xC00000B7, 198), (0x40000028, 281)
NEEDED = {
    X86_64: (0, 16, 42, 47, 53, 59, 257, 435),
    AARCH64: (29, 56, 63, 98, 199, 212, 221),
    ARM: (3, 54, 297, 0xF0005),
}
"""Calls that a worker or its library makes: read, ioctl, connect, recvmsg, socketpair, execve, openat, futex, TLS."""
TIMEOUT_S = 60.0
_TO_DIE_BY = """
import os, sys
from appliance.adapters.backends import confine

confine.end_with_parent(int(sys.argv[1]))
os.write(1, b"lives")
os.read(0, 1)
"""


def judged(program: bytes, architecture: int, number: int, argument: int = 0) -> int:
    """What the kernel does with a system call: runs a filter as seccomp(2) and linux/filter.h have it."""
    call = struct.pack("=IIQQ", number, architecture, 0, argument)
    rows = list(struct.iter_unpack("=HBBI", program))
    held, at = 0, 0
    while True:
        code, if_true, if_false, value = rows[at]
        at += 1
        if code == 0x20:  # BPF_LD | BPF_W | BPF_ABS
            (held,) = struct.unpack_from("=I", call, value)
        elif code == 0x15:  # BPF_JMP | BPF_JEQ | BPF_K
            at += if_true if held == value else if_false
        elif code == 0x35:  # BPF_JMP | BPF_JGE | BPF_K
            at += if_true if held >= value else if_false
        else:
            assert code == 0x06, "BPF_RET | BPF_K"
            return int(value)


@pytest.mark.parametrize("known", [X86_64, AARCH64, ARM], ids=["x86-64", "aarch64", "arm"])
class TestFilter:
    def test_it_lets_sockets_to_the_kernel_be_made_and_no_others(self, known: tuple[int, int]) -> None:
        program, (architecture, socket_number) = confine._program(*known), known
        assert judged(program, architecture, socket_number, AF_NETLINK) == ALLOWED
        for family in (AF_UNIX, AF_INET, AF_INET6, AF_PACKET, AF_NETLINK + (1 << 8), 2**32 - 1):
            assert judged(program, architecture, socket_number, family) == REFUSED

    def test_it_lets_no_other_way_to_a_socket(self, known: tuple[int, int]) -> None:
        program, (architecture, socket_number) = confine._program(*known), known
        assert judged(program, architecture, IO_URING_SETUP) == REFUSED
        assert judged(program, architecture, 0x40000000 + socket_number, AF_NETLINK) == REFUSED, "x32's numbers"
        for other in {X86_64, AARCH64, ARM, (0x40000003, 359)} - {known}:
            assert judged(program, other[0], other[1], AF_NETLINK) == REFUSED, "another architecture's numbers"

    def test_it_lets_everything_else_pass(self, known: tuple[int, int]) -> None:
        program = confine._program(*known)
        assert {judged(program, known[0], number, AF_INET) for number in NEEDED[known]} == {ALLOWED}


@pytest.mark.parametrize(
    ("machine", "pointer_bytes", "known"),
    [
        ("x86_64", 8, X86_64),
        ("aarch64", 8, AARCH64),
        ("aarch64", 4, ARM),
        ("armv7l", 4, ARM),
        ("x86_64", 4, None),
        ("riscv64", 8, None),
    ],
)
def test_a_program_gets_the_filter_of_its_own_architecture_and_not_of_its_kernels(
    machine: str, pointer_bytes: int, known: tuple[int, int] | None
) -> None:
    """Or a 32-bit program on a 64-bit kernel, as on many a Raspberry Pi, could make no system call at all."""
    assert ARCHITECTURES.get((machine, pointer_bytes)) == known


def test_where_the_machine_is_not_known_nothing_is_forbidden_and_that_is_said() -> None:
    before = _seccomp_mode()
    assert not confine.forbid_network("riscv64")
    assert not confine.forbid_network("x86_64", 4)
    assert _seccomp_mode() == before


def test_a_process_whose_parent_was_gone_before_it_could_ask_ends_by_itself() -> None:
    life, parents_end = os.pipe()
    os.close(parents_end)
    done = subprocess.run(
        [sys.executable, "-c", _TO_DIE_BY, str(life)],
        pass_fds=[life],
        check=False,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        timeout=TIMEOUT_S,
    )
    os.close(life)
    assert done.returncode == -signal.SIGKILL
    assert done.stdout == b""


def test_a_process_ends_when_the_last_who_could_hold_its_life_has_closed_it() -> None:
    life, parents_end = os.pipe()
    also = os.dup(parents_end)
    with subprocess.Popen(
        [sys.executable, "-c", _TO_DIE_BY, str(life)],
        pass_fds=[life],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        os.close(life)
        assert process.stdout is not None
        assert process.stdout.read(5) == b"lives"
        os.close(parents_end)
        assert process.poll() is None
        os.close(also)
        assert process.wait(TIMEOUT_S) == -signal.SIGKILL


def _seccomp_mode() -> str:
    with open("/proc/self/status", encoding="ascii") as status:  # noqa: PTH123 - read line by line
        return next(line for line in status if line.startswith("Seccomp:"))
