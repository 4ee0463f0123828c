"""Debian's mosquitto, started for one test on a free loopback port, stoppable and restartable."""

import shutil
import signal
import socket
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.waiting import eventually

START_TIMEOUT_S = 30.0
"""For mosquitto to start, and to read what it kept: a bound, no measure."""
RUNNING = " running\n"
"""How the line ends that it writes once it has its port."""
LOG_LINES = 20
"""Of its log, shown of one that ended."""


def mosquitto_path() -> str | None:
    """Where mosquitto is; Debian keeps it in /usr/sbin, which is not on every user's PATH."""
    return shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin")


def free_port() -> int:
    """A TCP port on loopback that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Mosquitto:
    """A real broker. ``settings`` are extra lines of mosquitto.conf; ``port`` is a free one if none is given."""

    def __init__(self, folder: Path, *, settings: str = "", persistence: bool = False, port: int | None = None) -> None:
        self.port = port or free_port()
        self._folder = folder
        self._folder.mkdir(parents=True, exist_ok=True)
        keep = f"persistence true\npersistence_location {folder}/\nautosave_interval 1\n" if persistence else ""
        self._conf = folder / "mosquitto.conf"
        access = "" if "allow_anonymous" in settings else "allow_anonymous true\n"
        self._conf.write_text(f"listener {self.port} 127.0.0.1\n{access}user root\n{keep}{settings}\n")
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        program = mosquitto_path()
        assert program is not None, "mosquitto is not installed: apt-get install mosquitto"
        log = (self._folder / "mosquitto.log").open("ab")
        with log:
            before = self.log().count(RUNNING)
            self._process = subprocess.Popen([program, "-v", "-c", str(self._conf)], stdout=log, stderr=log)
        eventually(lambda: self._answers() and self.log().count(RUNNING) > before, within_s=START_TIMEOUT_S)

    def _answers(self) -> bool:
        """Whether there is an answer on the port; that it is ours, and not somebody else's, only its log says."""
        if self._process is not None and self._process.poll() is not None:
            tail = "\n".join(self.log().splitlines()[-LOG_LINES:])
            msg = f"mosquitto has ended with {self._process.returncode} instead of serving port {self.port}:\n{tail}"
            raise AssertionError(msg)
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def stop(self, *, kill: bool = False) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL if kill else signal.SIGTERM)
            self._process.wait(timeout=10)
            self._process = None

    def pause(self) -> None:
        """Freeze the broker: connections stay open and nothing answers."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def log(self) -> str:
        """What the broker printed so far."""
        return (self._folder / "mosquitto.log").read_text(errors="replace")

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)
        self.stop(kill=True)
