"""A broker of each kind with a link to it: what the link's contract suite runs on."""

from contextlib import ExitStack
from pathlib import Path
from threading import Event
from typing import Protocol

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from appliance.adapters.clock import SystemClock
from appliance.adapters.mqtt import PahoLink
from appliance.config import MqttConfig
from appliance.core.types import Message
from appliance.ports import Link
from appliance.sim.link import SimulatedBroker, SimulatedLink
from tests.broker import Mosquitto
from tests.waiting import eventually

WILL = Message("edge/n1/availability", "offline", qos=1, retain=True)
CONNECT_TIMEOUT_S = 10.0
"""Longer than a broker takes on a busy machine; no test waits for its end."""


class Bench(Protocol):
    """A broker of one kind, a link to it, and the eyes of a foreign client."""

    link: Link

    def start(self) -> None: ...
    def refuse(self) -> None: ...
    def stop(self) -> None: ...
    def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> None: ...
    def seen(self, topic: str) -> list[bytes]:
        """Payloads that a live subscriber got."""
        ...

    def retained(self, topic: str) -> bytes | None:
        """What a later subscriber finds."""
        ...


class PahoBench:
    """Mosquitto and a plain paho client as the foreigner."""

    def __init__(self, folder: Path, protocol: str, stack: ExitStack) -> None:
        self._folder, self._stack = folder, stack
        self._broker = Mosquitto(folder)
        config = MqttConfig.model_validate(
            {"port": self._broker.port, "protocol": protocol, "connect_timeout_s": CONNECT_TIMEOUT_S}
        )
        self.link: Link = PahoLink(config, client_id="link", will=WILL)
        self._live: list[mqtt.MQTTMessage] = []
        self._foreigner: mqtt.Client | None = None
        stack.callback(self.link.close)

    def start(self) -> None:
        self._stack.enter_context(self._broker)
        self._foreigner = self._client(self._live)

    def refuse(self) -> None:
        strict = Mosquitto(self._folder / "strict", settings="allow_anonymous false")
        strict_config = MqttConfig(port=strict.port, connect_timeout_s=CONNECT_TIMEOUT_S)
        self.link = PahoLink(strict_config, client_id="link", will=WILL)
        self._stack.enter_context(strict)

    def stop(self) -> None:
        self._broker.stop(kill=True)

    def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        assert self._foreigner is not None
        self._foreigner.publish(topic, payload, 1, retain).wait_for_publish(5.0)

    def seen(self, topic: str) -> list[bytes]:
        return [bytes(message.payload) for message in self._live if message.topic == topic]

    def retained(self, topic: str) -> bytes | None:
        found: list[mqtt.MQTTMessage] = []
        client = self._client(found)
        self.publish("contract/fence", b"")  # delivered after what was retained
        eventually(lambda: any(message.topic == "contract/fence" for message in found))
        client.disconnect()
        return next((bytes(message.payload) for message in found if message.topic == topic and message.retain), None)

    def _client(self, into: list[mqtt.MQTTMessage]) -> mqtt.Client:
        client = mqtt.Client(CallbackAPIVersion.VERSION2)
        subscribed = Event()
        client.on_message = lambda _client, _data, message: into.append(message)
        client.on_connect = lambda client, *_rest: client.subscribe("#", 1)
        client.on_subscribe = lambda *_rest: subscribed.set()
        client.connect("127.0.0.1", self._broker.port)
        client.loop_start()
        self._stack.callback(client.loop_stop)
        self._stack.callback(client.disconnect)
        assert subscribed.wait(5.0)
        return client


class SimulatedBench:
    """The broker in memory."""

    def __init__(self) -> None:
        self.broker = SimulatedBroker()
        self.broker.script.absent = True
        self.link: Link = SimulatedLink(self.broker, SystemClock(), will=WILL)

    def start(self) -> None:
        self.broker.script.absent = False

    def refuse(self) -> None:
        self.start()
        self.broker.script.refuse = "Not authorized"

    def stop(self) -> None:
        self.broker.script.absent = True
        self.broker.drop()

    def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        self.broker.publish(topic, payload, retain=retain)

    def seen(self, topic: str) -> list[bytes]:
        return [message.payload for message in self.broker.log(topic)]

    def retained(self, topic: str) -> bytes | None:
        return self.broker.retained(topic)
