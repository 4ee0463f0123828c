"""Foreign MQTT clients in processes of their own, and what they heard."""

import json
import subprocess
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.broker import Mosquitto
from tests.system.device import BASE
from tests.waiting import eventually

AMQTT_CLIENT = Path(__file__).with_name("amqtt_client.py")


@dataclass(frozen=True, slots=True)
class Heard:
    """One message as a foreign client reports it."""

    retain: bool
    qos: int
    topic: str
    payload: str

    @property
    def json(self) -> dict[str, Any]:
        """The payload as the JSON object that it is."""
        value = json.loads(self.payload)
        assert isinstance(value, dict), self.payload
        return value


class Subscriber:
    """A client on all topics. It prints ``<retain> <qos> <topic> <payload>`` for each message, and reconnects."""

    def __init__(self, folder: Path, broker: Mosquitto, name: str, command: Sequence[str]) -> None:
        """Start nothing yet; ``name`` is its client id."""
        folder.mkdir(parents=True, exist_ok=True)
        self._file = folder / f"{name}.txt"
        self._broker = broker
        self._name = name
        self._command = command
        self._stack = ExitStack()

    def heard(self, topic: str | None = None) -> list[Heard]:
        """What came so far, on ``topic`` or on all."""
        whole = self._file.read_text().rpartition("\n")[0]
        found = []
        for line in whole.splitlines():
            retain, qos, name, payload = (*line.split(" ", 3), "")[:4]
            found.append(Heard(retain == "1", int(qos), name, payload))
        return found if topic is None else [each for each in found if each.topic == topic]

    def until(self, topic: str, payload: str | None = None, *, count: int = 1) -> list[Heard]:
        """Wait for messages on ``topic``; returns them all."""

        def probe() -> list[Heard]:
            found = [each for each in self.heard(topic) if payload in {None, each.payload}]
            return found if len(found) >= count else []

        return eventually(probe)

    def events(self, channel: str) -> list[dict[str, Any]]:
        """The steps of events of a channel, in the order in which they came, repeats included."""
        return [each.json for each in self.heard(f"{BASE}/{channel}/event")]

    def seqs(self, channel: str) -> list[int]:
        """The sequence numbers of a channel's alerts in the order of their first arrival (at least once: repeats)."""
        return list(dict.fromkeys(event["seq"] for event in self.events(channel)))

    def __enter__(self) -> Self:
        before = self._subscriptions()
        output = self._stack.enter_context(self._file.open("wb"))
        process = self._stack.enter_context(subprocess.Popen(self._command, stdout=output))
        self._stack.callback(process.kill)
        eventually(lambda: self._subscriptions() > before)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def _subscriptions(self) -> int:
        return self._broker.log().count(f"Sending SUBACK to {self._name}")


def mosquitto_sub(folder: Path, broker: Mosquitto, name: str, *options: str) -> Subscriber:
    """Eclipse's C client, as people use it on the command line."""
    common = ["stdbuf", "-oL", "mosquitto_sub", "-p", str(broker.port), "-i", name, "-q", "1", "-t", "#"]
    return Subscriber(folder, broker, name, [*common, "-F", "%r %q %t %p", *options])


def lasting_sub(folder: Path, broker: Mosquitto, name: str) -> Subscriber:
    """``mosquitto_sub`` with a session that a broker with persistence keeps over its restart."""
    return mosquitto_sub(folder, broker, name, "-c")


def amqtt_sub(folder: Path, broker: Mosquitto, name: str) -> Subscriber:
    """The client of amqtt, an implementation that shares no code with mosquitto or paho."""
    return Subscriber(folder, broker, name, [sys.executable, str(AMQTT_CLIENT), str(broker.port), name])


def publish(broker: Mosquitto, topic: str, payload: str, *options: str) -> None:
    """Publish one message at QoS 1 with a foreign client, and wait until the broker has it."""
    command = ["mosquitto_pub", "-p", str(broker.port), "-q", "1", "-t", topic, "-m", payload, *options]
    subprocess.run(command, check=True, timeout=10)
