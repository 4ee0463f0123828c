"""Engines for workers of tests: they run in the worker's process, and tell or do what a test wants to know.

Imported there before anything else of the tests, so it imports nothing of them.
"""

import ctypes
import json
import os
import resource
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from threading import Event, Thread

from appliance.adapters.backends.engines import Answer, CpuEngine, Options, TfliteRunner
from appliance.adapters.backends.exchange import Signature
from appliance.core.types import Array

FAMILIES = {"unix": 1, "inet": 2, "inet6": 10, "netlink": 16, "packet": 17, "bluetooth": 31, "vsock": 40}
"""Families of sockets, as in linux/socket.h; Python has not all of them everywhere."""
IO_URING_SETUP = 425
CHATTER = b"I am a library that talks\n" * 8192
"""More than a pipe holds."""
HOARD_BYTES = 64 * 1024 * 1024
ANYBODY = ctypes.c_ulong(-1)
PR_SET_PTRACER = 0x59616D61
"""Yama's: says who may trace this process."""


def _outcome(attempt: Callable[[], object]) -> str:
    """What comes of an attempt, in a word."""
    try:
        attempt()
    except OSError as error:
        return str(error.errno and os.strerror(error.errno))
    return "done"


def _io_uring() -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    file = libc.syscall(IO_URING_SETUP, 1, ctypes.create_string_buffer(256))
    if file < 0:
        raise OSError(ctypes.get_errno(), "io_uring_setup")
    os.close(file)


def _in_a_thread() -> None:
    """Open a socket in a thread of its own."""
    raised: list[OSError] = []

    def attempt() -> None:
        try:
            socket.socket(socket.AF_INET).close()
        except OSError as error:
            raised.append(error)

    thread = Thread(target=attempt)
    thread.start()
    thread.join(timeout=10.0)
    if raised:
        raise raised[0]


def _in_a_child() -> None:
    """Open a socket in a process of its own."""
    script = "import socket, sys\ntry: socket.socket()\nexcept OSError as error: sys.exit(error.errno)"
    done = subprocess.run([sys.executable, "-S", "-c", script], check=False, timeout=30.0)
    if done.returncode:
        raise OSError(done.returncode, "socket")


class Surroundings(CpuEngine):
    """Tells what it may do where it is."""

    def facts(self) -> dict[str, str]:
        """Try what a worker must not be able to do."""
        tried = {
            name: _outcome(lambda family=family: socket.socket(family, socket.SOCK_DGRAM).close())  # type: ignore[misc]  # a default binds the loop's value
            for name, family in FAMILIES.items()
        }
        tried |= {
            "a thread's": _outcome(_in_a_thread),
            "a child's": _outcome(_in_a_child),
            "io_uring": _outcome(_io_uring),
        }
        return {
            "sockets": json.dumps(tried),
            "core": str(max(resource.getrlimit(resource.RLIMIT_CORE))),
            "modules": " ".join(sorted({name.partition(".")[0] for name in sys.modules})),
            "own modules": " ".join(sorted(name for name in sys.modules if name.startswith("appliance."))),
        }


class Traceable(CpuEngine):
    """Lets anybody trace its process, which Yama else allows its ancestors only."""

    def __init__(self, options: Options) -> None:
        super().__init__(options)
        ctypes.CDLL(None).prctl(PR_SET_PTRACER, ANYBODY, 0, 0, 0)


class Talkative(CpuEngine):
    """Writes to stderr without end, and does not look whether it was read."""

    def load(self, signature: Signature, content: bytes) -> TfliteRunner:
        """Load a model, with many words."""
        _talk()
        return Talker(super().load(signature, content)._network)


class Talker(TfliteRunner):
    """Talks at each invoke; ends with a word when its input is not zero."""

    def answer(self, tensor: Array, request: int) -> Answer:
        """Run, with many words."""
        if tensor.any():
            with suppress(BlockingIOError):
                os.write(2, b"F somewhere.cc:1] the last word\nbacktrace follows\n")
            os.abort()
        _talk()
        return super().answer(tensor, request)


class DiesInLoad(CpuEngine):
    """Ends as a library does that a file has confused."""

    def load(self, signature: Signature, content: bytes) -> TfliteRunner:
        """Read where nothing is."""
        ctypes.string_at(0)
        return super().load(signature, content)


class HangsInLoad(CpuEngine):
    """Never comes to an end."""

    def load(self, signature: Signature, content: bytes) -> TfliteRunner:
        """Wait, holding the interpreter's lock."""
        ctypes.PyDLL(None).pause()
        return super().load(signature, content)


class Hoards(CpuEngine):
    """Takes memory when it loads."""

    def load(self, signature: Signature, content: bytes) -> TfliteRunner:
        """Take it, and write to it."""
        self.hoard = bytearray(b"x" * HOARD_BYTES)
        return super().load(signature, content)


def _talk() -> None:
    """Write, and lose what nobody reads."""
    with suppress(BlockingIOError):
        os.write(2, CHATTER)


class Deaf(CpuEngine):
    """Closes its socket at an invoke and does not end: as a process that is stuck in a driver on its way out."""

    def load(self, signature: Signature, content: bytes) -> TfliteRunner:
        """Load a model."""
        return DeafRunner(super().load(signature, content)._network)


class DeafRunner(TfliteRunner):
    """Does what its engine says."""

    def answer(self, tensor: Array, request: int) -> Answer:
        """Close the socket that orders come by."""
        os.close(int(sys.argv[1]))
        Event().wait(600.0)
        return super().answer(tensor, request)
