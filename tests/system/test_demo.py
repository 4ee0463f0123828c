"""README's first command: a real process finds people in real footage, and its alerts come back over a broker."""

import contextlib
import fcntl
import os
import pty
import re
import shutil
import signal
import struct
import subprocess
import sys
import termios
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import tomli_w

from tests.waiting import eventually

ROOT = Path(__file__).parents[2]
TIMEOUT_S = 60.0
DELIVERED, NOT_DELIVERED, WRONG = 0, 1, 78
ROWS, COLUMNS = 60, 120
STACKS_CHARACTERS = 6000
"""What is shown of one that did not end: the stacks of its threads, and what it drew last."""
CTRL_C = b"\x03"
LOCAL_FLAGS = 3
"""Of a terminal's attributes, the place of these (termios)."""
UPPER_HALF = "▀"
EXAMPLES = ("people-walking", "fraud", "heartbeat", "machine")
MODELS = ("person", "fraud", "heartbeat", "machine")
CHANNELS = ("street", "till", "wearer", "pump")
SHOW_CURSOR = "\x1b[?25h"


def demo(*words: str, clone: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """Run it to its end, away from a terminal."""
    command = [sys.executable, "-m", "appliance", "demo", *words]
    environment = {**os.environ, "PYTHONPATH": str(clone)}
    return subprocess.run(
        command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False, cwd=clone, env=environment
    )


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A clone of the repository, as far as the demo needs it, to change things in."""
    for folder in ("appliance", "examples", *(f"models/{name}" for name in MODELS)):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__", "evaluation"))
    return tmp_path


@dataclass
class Terminal:
    """A demo in a terminal of its own, as a person has it."""

    process: subprocess.Popen[bytes]
    master: int
    seen: bytes = b""
    children: list[int] = field(default_factory=list)

    def text(self) -> str:
        """All that was drawn so far."""
        with contextlib.suppress(OSError):  # nothing new, or the other side is closed
            self.seen += os.read(self.master, 1 << 20)
        return self.seen.decode(errors="replace")

    def until(self, pattern: str) -> str:
        """Wait until something is drawn; colours and cursor movements do not count."""
        found = eventually(lambda: re.search(pattern, plain(self.text())), within_s=TIMEOUT_S)
        assert found is not None
        return found[0]

    def type(self, keys: bytes) -> None:
        """What the terminal's line discipline makes a signal of, reaches the whole foreground group."""
        self.children = children_of(self.process.pid)
        os.write(self.master, keys)

    def end(self, keys: bytes = b"") -> int:
        """Wait for the end, typing ``keys`` and reading all the while: a full terminal would block it.

        What hangs says where.
        """
        try:
            self._ended(TIMEOUT_S, keys)
        except AssertionError:
            self.process.send_signal(signal.SIGABRT)  # Python's fault handler then tells where each thread stands
            self._ended(TIMEOUT_S)
            pytest.fail(f"it did not end within {TIMEOUT_S:g} s:\n{plain(self.text())[-STACKS_CHARACTERS:]}")
        self.text()
        return self.process.wait()

    def _ended(self, within_s: float, keys: bytes = b"") -> None:
        def has() -> bool:
            with contextlib.suppress(OSError):  # the other side is closed
                os.write(self.master, keys)
            self.text()
            return self.process.poll() is not None

        eventually(has, within_s=within_s)


def plain(text: str) -> str:
    """Text without escape sequences (ECMA-48, CSI)."""
    return re.sub(r"\x1b\[[0-?]*[ -/]*[@-~]", "", text)


def children_of(pid: int) -> list[int]:
    tasks = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(child) for task in tasks for child in task.read_text().split()]


@contextmanager
def terminal() -> Iterator[Terminal]:
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
    kept = termios.tcgetattr(slave)
    kept[LOCAL_FLAGS] |= termios.NOFLSH  # Ctrl-C is to take nothing with it that was drawn and is not yet read
    termios.tcsetattr(slave, termios.TCSANOW, kept)
    os.set_blocking(master, False)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm-256color", "COLORTERM": "truecolor"}
    command = [
        "setsid",
        "--ctty",
        sys.executable,
        "-X",
        "faulthandler",
        "-m",
        "appliance",
        "demo",
    ]  # a session with this terminal
    process = subprocess.Popen(command, stdin=slave, stdout=slave, stderr=slave, cwd=ROOT, env=environment)
    os.close(slave)
    try:
        yield Terminal(process, master)
    finally:
        process.kill()
        process.wait()
        os.close(master)


@pytest.mark.slow
def test_it_ends_by_itself_with_0_once_an_alert_made_the_round_trip() -> None:
    ended = demo("--seconds", "15")
    assert ended.returncode == DELIVERED, ended.stderr
    told = re.search(r"(\d+) decisions, (\d+) alerts published, (\d+) received back over the broker", ended.stdout)
    assert told is not None
    decisions, published, received = map(int, told.groups())
    assert decisions > published >= received >= 1
    for channel in CHANNELS:
        assert re.search(rf"^  {channel}: [1-9]\d* decisions, \d+ alerts published, ", ended.stdout, re.MULTILINE)
    assert re.search(r"^street: (person|near|clear) score [\d.]+ on cpu, [\d.]+ frames/s, ", ended.stdout, re.MULTILINE)
    assert "Traceback" not in ended.stderr


@pytest.mark.slow
def test_a_demo_whose_alerts_cannot_come_ends_with_1_and_says_so(clone: Path) -> None:
    for name in EXAMPLES:
        tree = tomllib.loads((clone / "examples" / f"{name}.toml").read_text())
        for channel in tree["channels"].values():
            channel.pop("fallback", None)
            for rule in channel["rules"]:
                rule |= {"threshold": 1.0, "release": 1.0, "hold_n": 1000, "hold_m": 1000}
        (clone / "examples" / f"{name}.toml").write_text(tomli_w.dumps(tree))
    ended = demo("--seconds", "10", clone=clone)
    assert ended.returncode == NOT_DELIVERED, ended.stderr
    assert "no alert made the round trip" in ended.stdout
    assert re.search(r"[1-9]\d* decisions, 0 alerts published, 0 received", ended.stdout), "it ran, and saw nothing"


def test_without_its_footage_it_says_what_is_missing(clone: Path) -> None:
    shutil.rmtree(clone / "examples")
    ended = demo("--seconds", "1", clone=clone)
    assert ended.returncode == WRONG
    assert ended.stderr.splitlines()[-1].startswith(f"appliance: {clone}/examples/people-walking.toml: not there; the")
    assert "Traceback" not in ended.stderr


def test_in_a_terminal_it_draws_what_it_sees_and_ctrl_c_ends_it_cleanly() -> None:
    with terminal() as screen:
        screen.until(r"[1-9]\d* alerts received over MQTT")
        screen.until(UPPER_HALF)  # another channel's alert may come before the first picture
        drawn = plain(screen.text())
        for shown in (
            "what the model sees (stays here)",
            "channels",
            "frames/s",
            "capture to publish: p50",
            "Ctrl-C ends",
        ):
            assert shown in drawn
        assert re.search(r"mosquitto_sub -h 127\.0\.0\.1 -p \d+ -t 'edge/#' -v|amqtt_sub --url mqtt://127", drawn)
        screen.type(CTRL_C)
        assert screen.end(CTRL_C) == DELIVERED, "who presses it again and again ends nothing in the middle"
        text = screen.text()
        assert "received back over the broker" in plain(text)
        assert "Traceback" not in text
        assert "connection lost" not in text, "the broker takes what the appliance says at its end"
        assert text.rindex(SHOW_CURSOR) > text.rindex(UPPER_HALF), "the cursor is given back"
        assert not any(Path(f"/proc/{child}").exists() for child in screen.children), "no broker is left behind"


@pytest.mark.slow
def test_an_interrupt_of_the_process_alone_ends_it_and_its_broker() -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
    command = [sys.executable, "-m", "appliance", "demo"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=environment) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if re.search(r" [1-9]\d* received", line):
                break
        children = children_of(process.pid)
        process.send_signal(signal.SIGINT)
        rest = process.stdout.read()
        assert process.wait(TIMEOUT_S) == DELIVERED
    assert "received back over the broker" in rest
    assert not any(Path(f"/proc/{child}").exists() for child in children)
