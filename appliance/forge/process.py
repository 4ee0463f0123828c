"""Programs that the forge runs: bounded in time, told line by line, gone with all their children when it is over."""

import os
import selectors
import signal
import subprocess
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from appliance.errors import ForgeError

LINES_KEPT_MAX = 200
LINE_BYTES_MAX = 4096
"""Of a longer line the rest is told as further lines."""
LINES_TOLD_MAX = 6
"""Of a failed program's last lines, in the message."""
READ_BYTES = 65_536
END_TIMEOUT_S = 10.0
"""For the end of a process that has closed its output, or was killed."""
_OF_THE_CALLER = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "__PYVENV_LAUNCHER__")

Tell = Callable[[str], None]


def silent(_line: str) -> None:
    """Tell nobody."""


def run(
    command: Sequence[str],
    *,
    timeout_s: float,
    cwd: Path | None = None,
    variables: Mapping[str, str] | None = None,
    tell: Tell = silent,
) -> str:
    """Run a program to its end.

    Args:
        command: program and arguments.
        timeout_s: after this it is killed, and every process it started that stayed in its group.
        cwd: where it runs.
        variables: set in its environment in addition to this process's, less those that say which Python is whose.
        tell: is told each line it prints, on either stream, as it comes.

    Returns:
        The last ``LINES_KEPT_MAX`` lines it printed.

    Raises:
        ForgeError: it cannot be started, did not end in time or ended with another status than 0.
    """
    inherited = {name: value for name, value in os.environ.items() if name not in _OF_THE_CALLER}
    try:
        process = subprocess.Popen(  # noqa: S603 - programs of the forge's own choosing, no shell
            list(command),
            cwd=cwd,
            env={**inherited, "PYTHONUNBUFFERED": "1", **(variables or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    except OSError as error:
        msg = f"{command[0]} cannot be started: {error.strerror or error}"
        raise ForgeError(msg) from error
    lines: deque[str] = deque(maxlen=LINES_KEPT_MAX)
    try:
        ended = _follow(process, time.monotonic() + timeout_s, lines, tell)
    finally:
        _end(process)
    if not ended:
        msg = f"{_called(command)} did not end within {timeout_s:.0f} s and was stopped"
        raise ForgeError(msg)
    if process.returncode != 0:
        last = "\n  ".join([line for line in lines if line.strip()][-LINES_TOLD_MAX:])
        msg = f"{_called(command)} failed with status {process.returncode}:\n  {last or '(it printed nothing)'}"
        raise ForgeError(msg)
    return "\n".join(lines)


def _follow(process: subprocess.Popen[bytes], until_s: float, lines: deque[str], tell: Tell) -> bool:
    """Take its output until it closes it and ends; say whether that was in time."""
    assert process.stdout is not None
    begun = b""
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while (left_s := until_s - time.monotonic()) > 0:
            if not selector.select(left_s):
                continue
            got = os.read(process.stdout.fileno(), READ_BYTES)
            *whole, begun = (begun + got).replace(b"\r", b"\n").split(b"\n")
            if not got or len(begun) > LINE_BYTES_MAX:
                whole, begun = [*whole, begun], b""
            for line in whole:
                _tell(line, lines, tell)
            if not got:
                break
        else:
            return False  # perhaps it has ended itself, and a child of it keeps the output open
    try:
        process.wait(max(0.0, min(END_TIMEOUT_S, until_s - time.monotonic())))
    except subprocess.TimeoutExpired:
        return False
    return True


def _tell(line: bytes, lines: deque[str], tell: Tell) -> None:
    text = line.decode("utf-8", "replace").rstrip()
    if text:
        lines.append(text)
        tell(text)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Kill it with its children unless it has ended."""
    if process.returncode is None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    assert process.stdout is not None
    process.stdout.close()
    try:
        process.wait(END_TIMEOUT_S)
    except subprocess.TimeoutExpired as error:  # stuck in the kernel: no signal reaches it
        msg = f"process {process.pid} cannot be ended"
        raise ForgeError(msg) from error


def _called(command: Sequence[str]) -> str:
    """Name a program for people: without paths, and no more than its first words."""
    words = [Path(word).name if word.startswith("/") else word for word in command if word != "-I"]
    return " ".join(words[:4])
