"""Subscribes to the appliance's alerts over the broker, as any dashboard would."""

import json
from collections import Counter, deque
from dataclasses import dataclass
from typing import Any

from appliance.adapters.mqtt_connect import make_client, open_client
from appliance.config import MqttConfig
from appliance.ports import Clock

SHOWN_MAX = 2
"""Alerts of each channel remembered for the view: a busy channel does not push the others out of it."""


@dataclass(frozen=True, slots=True)
class Heard:
    """One alert that made the round trip."""

    topic: str
    event: dict[str, Any]
    trip_ms: float
    """From capture on this machine to arrival here; meaningful because both clocks are the same."""


class Listener:
    """A second MQTT client. Its attributes are written by its network thread and read by the view."""

    def __init__(self, config: MqttConfig, base: str, clock: Clock) -> None:
        """``base`` is the device's topic, ``<root>/<node>``."""
        self.metrics: dict[str, Any] = {}
        """The newest numbers of the ``metrics`` topic."""
        self.heard: dict[str, deque[Heard]] = {}
        """The newest alerts of each channel, newest first."""
        self.count = 0
        self.by_channel: Counter[str] = Counter()
        """How many alerts of each channel came back."""
        self._metrics_topic = f"{base}/metrics"
        self._topics = [(f"{base}/+/event", 1), (self._metrics_topic, 0)]
        self._clock = clock
        self._config = config
        self._client = make_client(config, client_id="")
        self._client.on_connect = lambda client, *_: client.subscribe(self._topics)
        self._client.on_message = lambda _client, _data, message: self._take(message.topic, bytes(message.payload))

    def start(self) -> None:
        """Connect and listen in the background. Raises BrokerError."""
        open_client(self._client, self._config)
        self._client.loop_start()

    def stop(self) -> None:
        """Disconnect."""
        self._client.disconnect()
        self._client.loop_stop()

    def _take(self, topic: str, payload: bytes) -> None:
        """Remember an alert, or the newest numbers."""
        event = json.loads(payload)
        if topic == self._metrics_topic:
            self.metrics = event
            return
        trip_ms = self._clock.monotonic_s() * 1e3 - event["mono_ns"] / 1e6
        channel = str(event["channel"])
        self.heard.setdefault(channel, deque(maxlen=SHOWN_MAX)).appendleft(Heard(topic, event, trip_ms))
        self.by_channel[channel] += 1
        self.count += 1
