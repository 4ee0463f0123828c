"""The other side of the ``transactions`` sensor: asks over MQTT 5 as a card terminal does, and times the answers."""

from collections.abc import Callable
from threading import Event
from types import TracebackType
from typing import Any, Self

from paho.mqtt.client import MQTTMessage
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from appliance.adapters.clock import SystemClock
from appliance.adapters.mqtt_connect import make_client, open_client
from appliance.config import MqttConfig

CORRELATION_BYTES = 4


class Terminal:
    """One card terminal, connected while the context is. Its attributes are written by its network thread."""

    def __init__(
        self,
        config: MqttConfig,
        topic: str,
        question: bytes | Callable[[int], bytes],
        *,
        answer_topic: str = "terminal/answer",
    ) -> None:
        """``topic`` is the channel's; ``question`` (a JSON object) is what is asked, always or by number."""
        self.took_s: dict[int, float] = {}
        """From asking to the first answer, by number."""
        self.answers: dict[int, bytes] = {}
        """The first answer to each question, by number."""
        self.answered = Event()
        """Set once any answer has come."""
        self._config = config
        self._topic = f"{topic}/request"
        self._question = question
        self._answer_topic = answer_topic
        self._clock = SystemClock()
        self._asked_s: dict[int, float] = {}
        self._client = make_client(config, client_id="")
        self._client.on_connect = lambda client, *_: client.subscribe(answer_topic, qos=1)
        self._client.on_message = lambda _client, _data, message: self._hear(message)

    def __enter__(self) -> Self:
        """Connect. Raises BrokerError."""
        open_client(self._client, self._config)
        self._client.loop_start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Disconnect."""
        self._client.disconnect()
        self._client.loop_stop()

    def ask(self, number: int) -> None:
        """Send question ``number`` (0 to 2**32 - 1), which its answer will carry as correlation data."""
        properties: Any = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call] # paho leaves it untyped
        properties.ResponseTopic = self._answer_topic
        properties.CorrelationData = number.to_bytes(CORRELATION_BYTES, "big")
        self._asked_s[number] = self._clock.monotonic_s()
        question = self._question if isinstance(self._question, bytes) else self._question(number)
        self._client.publish(self._topic, question, qos=1, properties=properties)

    def _hear(self, message: MQTTMessage) -> None:
        """Note when an answer came."""
        properties: Any = message.properties
        number = int.from_bytes(properties.CorrelationData, "big")
        if number not in self.took_s:
            self.took_s[number] = self._clock.monotonic_s() - self._asked_s[number]
            self.answers[number] = bytes(message.payload)
        self.answered.set()
