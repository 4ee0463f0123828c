"""A real publisher on a thread: real outbox, real link, real time; and a foreign subscriber."""

import json
import subprocess
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from threading import Event, Thread
from types import TracebackType
from typing import Self

from appliance.adapters.clock import SystemClock
from appliance.adapters.mqtt import PahoLink
from appliance.board import Board
from appliance.config import MqttConfig, OutboxConfig
from appliance.core.types import Message
from appliance.outbox import Outbox
from appliance.publisher import Publisher
from appliance.sim.meter import RecordingMeter
from tests.waiting import eventually

ONLINE = Message("edge/n1/availability", "online", retain=True)
OFFLINE = Message("edge/n1/availability", "offline", retain=True)
DISCOVERY = Message("homeassistant/device/edge_n1/config", {"device": {}}, retain=True)
EVENT = "edge/n1/gate/event"
COMMAND = "edge/n1/cmd"
JOIN_TIMEOUT_S = 10.0


class RealPublisher:
    """Publishes what ``alert`` and ``board`` are given, until the end of the ``with`` block."""

    def __init__(self, folder: Path, **mqtt: object) -> None:
        """``mqtt`` is the section of that name; reconnects are quick unless it says otherwise."""
        quick = {"reconnect_min_s": 0.05, "reconnect_max_s": 0.2, "connect_timeout_s": 2.0}
        self.config = MqttConfig.model_validate(quick | mqtt)
        self.clock = SystemClock()
        self.meter = RecordingMeter(self.clock)
        self.link = PahoLink(self.config, client_id="edge-n1", will=OFFLINE)
        self.outbox = Outbox(
            folder / "outbox.db", OutboxConfig(attempts_max=3), self.clock, self.meter, on_add=self.link.wake
        )
        self.board = Board(on_put=self.link.wake)
        self.commands: list[tuple[str, bytes]] = []
        self.publisher = Publisher(
            self.link,
            self.outbox,
            self.board,
            self.clock,
            self.meter,
            self.config,
            sync_interval_s=0.5,
            announce=lambda: [DISCOVERY],
            on_command=lambda topic, payload: self.commands.append((topic, payload)),
            birth_topic="homeassistant/status",
            command_topics=[COMMAND],
            online=ONLINE,
            offline=OFFLINE,
            jitter=lambda: 0.0,
        )
        self._stop = Event()
        self._thread = Thread(target=self.publisher.run, args=(self._stop,), daemon=True)

    def alert(self, number: int, **more: object) -> None:
        mono_ns = round(self.clock.monotonic_s() * 1e9)
        payload: Mapping[str, object] = {"channel": "gate", "mono_ns": mono_ns, "n": number, **more}
        self.outbox.add([Message(EVENT, payload)])

    def until_sent(self) -> None:
        eventually(lambda: self.outbox.depth().rows == 0)

    def stop(self) -> None:
        self._stop.set()
        self.publisher.wake()
        self._thread.join(JOIN_TIMEOUT_S)
        assert not self._thread.is_alive(), "the publisher did not stop in time"

    def __enter__(self) -> Self:
        self.outbox.open()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        self.outbox.close()


class Subscriber:
    """``mosquitto_sub`` on everything, with a session that the broker keeps; it reconnects by itself."""

    def __init__(self, folder: Path, port: int, *options: str) -> None:
        self._file = folder / "subscriber.txt"
        command = ["mosquitto_sub", "-p", str(port), "-i", "subscriber", "-c", "-q", "1", "-t", "#", *options]
        # The topic, whether it was retained, and the payload, one message a line.
        self._command = ["stdbuf", "-oL", *command, "-F", "%t %r %p"]
        self._stack = ExitStack()

    def messages(self, topic: str | None = None) -> list[tuple[str, bool, str]]:
        """Topic, retained flag and payload of what came so far."""
        found = []
        for line in self._file.read_text().rpartition("\n")[0].splitlines():  # a line may be half there
            name, retained, payload = (*line.split(" ", 2), "")[:3]
            if topic in {None, name}:
                found.append((name, retained == "1", payload))
        return found

    def numbers(self) -> list[int]:
        """The numbers of the alerts that came, in order."""
        return [json.loads(payload)["n"] for _, _, payload in self.messages(EVENT)]

    def __enter__(self) -> Self:
        output = self._stack.enter_context(self._file.open("wb"))
        process = self._stack.enter_context(subprocess.Popen(self._command, stdout=output))
        self._stack.callback(process.kill)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()
