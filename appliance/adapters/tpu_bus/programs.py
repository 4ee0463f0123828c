"""Runs programs that may hang in the kernel: each for a bounded time, then it is killed, then it is left behind.

A process that is stuck in a driver (state D) cannot be ended by anybody, not even by SIGKILL; a thread that is stuck
there would keep this whole process from ending (frigate#5186). So whatever touches a bus runs in a process of its own.
It goes on when we end: a port that is off is switched on again, a driver that is unbound is bound.
"""

import fcntl
import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from appliance.errors import BackendError, RungError

KILLED_S = 0.5
"""How long a killed process is waited for; the kernel needs milliseconds, unless a driver holds it."""
ABANDONED_MAX = 4
"""Processes left behind, beyond which no more are started: the bus is beyond help."""
TEXT_BYTES_MAX = 65_536
"""What one program may say; more is refused by the kernel."""


@dataclass(frozen=True, slots=True)
class Ended:
    """A program that ended by itself."""

    code: int
    text: str
    """All it said, errors too."""


Run = Callable[[Sequence[Sequence[str]], float], list[Ended]]
"""Run commands at the same time, all within so many seconds. Raises as ``Programs.run``."""


class Programs:
    """Starts programs and remembers those that could not be ended."""

    def __init__(self, kill: Callable[[int, int], None] = os.killpg) -> None:
        """Nothing runs yet. ``kill`` ends a process group."""
        self._kill = kill
        self._left: list[subprocess.Popen[bytes]] = []

    @property
    def abandoned(self) -> int:
        """How many are left behind and still there."""
        self._left = [each for each in self._left if each.poll() is None]
        return len(self._left)

    def run(self, commands: Sequence[Sequence[str]], timeout_s: float) -> list[Ended]:
        """Run ``commands`` at the same time.

        Raises:
            RungError: one cannot be started, or too many of earlier ones still hang.
            BackendError: one has not ended within ``timeout_s``; all are killed then.
        """
        if self.abandoned >= ABANDONED_MAX:
            msg = f"{self.abandoned} earlier attempts still hang in the kernel; only a reboot ends them"
            raise RungError(msg)
        end_s = time.monotonic() + timeout_s
        started: list[tuple[subprocess.Popen[bytes], int]] = []
        try:
            for command in commands:
                started.append(_start(command))  # noqa: PERF401 - those before one that cannot be started must be ended
            for (process, _), command in zip(started, commands, strict=True):
                _await(process, command, end_s, timeout_s)
            return [Ended(process.returncode, _said(output)) for process, output in started]
        finally:
            self._end([process for process, _ in started])
            for _, output in started:
                os.close(output)

    def _end(self, processes: Sequence[subprocess.Popen[bytes]]) -> None:
        """Kill what still runs, and leave behind what is not ended by that."""
        running = [process for process in processes if process.poll() is None]
        for process in running:
            self._kill(process.pid, signal.SIGKILL)
        end_s = time.monotonic() + KILLED_S
        for process in running:
            try:
                process.wait(max(0.0, end_s - time.monotonic()))
            except subprocess.TimeoutExpired:
                self._left.append(process)


def _start(command: Sequence[str]) -> tuple[subprocess.Popen[bytes], int]:
    """Start a program; what it says goes to a piece of memory that cannot grow, so nobody need read along."""
    output = os.memfd_create("said", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.ftruncate(output, TEXT_BYTES_MAX)
    fcntl.fcntl(output, fcntl.F_ADD_SEALS, fcntl.F_SEAL_GROW)
    try:
        process = subprocess.Popen(  # noqa: S603 - our own script, or the program that was found as uhubctl
            list(command),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,  # so that what it starts itself can be killed with it
            cwd="/",
        )
    except OSError as error:
        os.close(output)
        msg = f"{command[0]} cannot be started: {error.strerror}"
        raise RungError(msg) from error
    return process, output


def _await(process: subprocess.Popen[bytes], command: Sequence[str], end_s: float, timeout_s: float) -> None:
    try:
        process.wait(max(0.0, end_s - time.monotonic()))
    except subprocess.TimeoutExpired:
        msg = f"{os.path.basename(command[0])} did not end within {timeout_s:g} s"  # noqa: PTH119 - a name, no path
        raise BackendError(msg) from None


def _said(output: int) -> str:
    """What was written: the program shares the descriptor's offset."""
    return os.pread(output, os.lseek(output, 0, os.SEEK_CUR), 0).decode("utf-8", "replace")
