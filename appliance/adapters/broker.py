"""An embedded MQTT broker (amqtt) in a process of its own, for machines where none is installed.

For demonstrations and benches: it speaks MQTT 3.1.1 only and keeps nothing. A device runs Debian's mosquitto.
``python -m appliance.adapters.broker PORT`` is the child.
"""

import asyncio
import contextlib
import logging
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

from appliance.errors import BrokerError

START_TIMEOUT_S = 20.0
"""Importing amqtt takes most of it on a small machine."""
STOP_TIMEOUT_S = 3.0
LOOK_S = 0.02
"""How often a starting broker is looked at."""
MOSQUITTO_SETTINGS = """
listener {port} 127.0.0.1
allow_anonymous true
set_tcp_nodelay true
"""
"""Without set_tcp_nodelay an answer waits for the acknowledgement of the one before (Nagle): 6 ms instead of 1."""
READY = "ready"
"""The line the child prints once it listens."""


class EmbeddedBroker:
    """An amqtt broker on a free loopback port, alive while the context is."""

    name = "the embedded broker (amqtt)"
    protocol: Literal["3.1.1"] = "3.1.1"

    def __init__(self) -> None:
        """Nothing is started yet."""
        self.port = 0
        self._child: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        """Start the child and wait until it listens. Raises BrokerError."""
        self.port = _free_port()
        command = [sys.executable, "-m", "appliance.adapters.broker", str(self.port)]
        self._child = subprocess.Popen(  # noqa: S603 - our own module, our own interpreter
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            start_new_session=True,  # Ctrl-C in a terminal is for the parent, whose last alerts are still to come
        )
        assert self._child.stdout is not None
        if self._child.stdout.readline().strip() != READY:
            self._stop()
            raise BrokerError(
                "the embedded broker did not start; is amqtt installed? pip install 'edge-appliance[demo]'"
            )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop the child."""
        self._stop()

    def _stop(self) -> None:
        """End the child: it leaves when its standard input closes, and is killed if it does not."""
        if self._child is None:
            return
        assert self._child.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._child.stdin.close()
        try:
            self._child.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait(STOP_TIMEOUT_S)
        self._child = None


def _free_port() -> int:
    """Return a loopback port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class LocalMosquitto:
    """Debian's mosquitto on a free loopback port, set up as on a device, alive while the context is."""

    name = "mosquitto"
    protocol: Literal["5"] = "5"

    def __init__(self, program: str) -> None:
        """``program`` is the path of mosquitto. Nothing is started yet."""
        self.port = 0
        self._program = program
        self._child: subprocess.Popen[bytes] | None = None
        self._folder = tempfile.TemporaryDirectory(prefix="appliance-mosquitto-")

    def __enter__(self) -> Self:
        """Start it and wait until it listens. Raises BrokerError."""
        self.port = _free_port()
        settings = Path(self._folder.name) / "mosquitto.conf"
        settings.write_text(MOSQUITTO_SETTINGS.format(port=self.port))
        command = [self._program, "-c", str(settings)]
        quiet = subprocess.DEVNULL
        self._child = subprocess.Popen(command, stdin=quiet, stdout=quiet, stderr=quiet)  # noqa: S603 - found on PATH
        deadline_s = time.monotonic() + START_TIMEOUT_S
        while not _listens(self.port):
            if self._child.poll() is not None or time.monotonic() > deadline_s:
                self._stop()
                message = f"{self._program} did not start on port {self.port}"
                raise BrokerError(message)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._child.wait(LOOK_S)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop it."""
        self._stop()

    def _stop(self) -> None:
        """End the child, within a bound."""
        if self._child is not None:
            self._child.kill()
            self._child.wait(STOP_TIMEOUT_S)
        self._folder.cleanup()


def local_broker() -> LocalMosquitto | EmbeddedBroker:
    """The broker to measure with: mosquitto where it is installed, else the embedded one. To be entered."""
    program = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin")
    return LocalMosquitto(program) if program else EmbeddedBroker()


def _listens(port: int) -> bool:
    """Whether something listens on this loopback port."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


async def _serve(port: int) -> None:
    """Serve until standard input closes: a dead parent ends its broker."""
    from amqtt.broker import Broker  # noqa: PLC0415 - an optional extra, imported only in the child

    listeners = {"default": {"type": "tcp", "bind": f"127.0.0.1:{port}"}}
    plugins = {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}}
    broker = Broker({"listeners": listeners, "plugins": plugins})
    await broker.start()
    print(READY, flush=True)  # noqa: T201 - the line the parent waits for
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    await broker.shutdown()


if __name__ == "__main__":
    logging.disable(logging.CRITICAL)
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_serve(int(sys.argv[1])))
