"""A dashboard on a device's own broker: remembers all that it is told."""

import json
from collections import defaultdict
from threading import Event
from types import TracebackType
from typing import Any, Self

from appliance.adapters.mqtt_connect import make_client, open_client
from appliance.config import MqttConfig
from tests.fleet.town import Place

SUBSCRIBED_S = 15.0


class Dashboard:
    """Listens from ``with`` to its end."""

    def __init__(self, place: Place, port: int, topic: str) -> None:
        """``topic`` is the filter of what it listens to."""
        self._place, self._config = place, MqttConfig(port=port)
        self._heard: defaultdict[str, list[bytes]] = defaultdict(list)
        self._ready = Event()
        self._client = make_client(self._config, client_id="dashboard")
        self._client.on_connect = lambda client, *_: client.subscribe(topic, 1)
        self._client.on_subscribe = lambda *_: self._ready.set()
        self._client.on_message = lambda _client, _data, told: self._heard[told.topic].append(bytes(told.payload))

    def newest(self, topic: str) -> dict[str, Any]:
        """The last that came on a topic, an object; empty while nothing has."""
        told = self._heard[topic]
        return _object(told[-1]) if told else {}

    def all(self, topic: str) -> list[dict[str, Any]]:
        """All that came on a topic, in order."""
        return [_object(each) for each in list(self._heard[topic])]

    def __enter__(self) -> Self:
        self._place.call(lambda: open_client(self._client, self._config))
        self._client.loop_start()
        assert self._ready.wait(SUBSCRIBED_S)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.disconnect()
        self._client.loop_stop()


def _object(payload: bytes) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(payload or b"{}")
    return told
