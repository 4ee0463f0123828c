"""The broker, through paho-mqtt: the real ``ports.Link``."""

import os
import select
import time
import weakref
from collections.abc import Sequence

from paho.mqtt.client import Client

from appliance.adapters.mqtt_connect import make_client, open_client
from appliance.adapters.mqtt_session import Session
from appliance.config import MqttConfig
from appliance.core.types import Message
from appliance.core.wire import encode
from appliance.errors import BrokerError, ConfigError
from appliance.ports import LinkEvent

__all__ = ["PahoLink", "make_client", "open_client"]


class PahoLink:
    """One connection to the broker at a time. See ``ports.Link`` for what it promises.

    A message sent with QoS 0 is never acknowledged. ``connect`` takes at most ``connect_timeout_s`` for the answer
    to CONNECT, and as long again for each address of the host that does not answer at all.
    """

    def __init__(self, config: MqttConfig, *, client_id: str, will: Message) -> None:
        """``will`` is what the broker publishes when we vanish. Raises ConfigError for a file that is unusable."""
        self._config = config
        self._client_id = client_id
        self._will = will
        self._session: Session | None = None
        self._tokens = 0
        make_client(config, client_id)  # shows at the start what is wrong with the files it names
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        weakref.finalize(self, os.close, self._wake)

    def connect(self, subscriptions: Sequence[str]) -> None:
        """Open a session; an earlier one is closed first. Raises BrokerError."""
        self.close()
        deadline_s = time.monotonic() + self._config.connect_timeout_s
        client = self._client()
        session = Session(client)
        try:
            open_client(client, self._config)
            session.establish(subscriptions, deadline_s)
        except BrokerError:
            session.abort()
            raise
        self._session = session

    def _client(self) -> Client:
        """Make a client for one session, with our will. Raises BrokerError when its files are gone by now."""
        try:
            client = make_client(self._config, self._client_id)
        except ConfigError as error:  # they were good at the start: this may pass, so it is not the end
            raise BrokerError(str(error)) from error
        client.will_set(self._will.topic, encode(self._will.payload), self._will.qos, self._will.retain)
        return client

    def publish(self, topic: str, payload: bytes, *, qos: int, retain: bool) -> int:
        """Write a message to the socket; what the socket has no room for leaves with the next ``poll``."""
        if self._session is None:
            raise BrokerError("there is no session")
        self._tokens += 1
        self._session.publish(self._tokens, topic, payload, qos, retain)
        return self._tokens

    def poll(self, timeout_s: float) -> list[LinkEvent]:
        """Return what happened, after at most ``timeout_s`` (and at most a second, for the keepalive)."""
        session = self._session
        if session is None:
            self._wait_for_wake(timeout_s)
            return []
        events = session.take_events()
        if events:
            return events
        if session.over:
            self._wait_for_wake(timeout_s)
        else:
            session.drive(timeout_s, self._wake)
        return session.take_events()

    def _wait_for_wake(self, timeout_s: float) -> None:
        """Wait as ``poll`` does while there is nobody to talk to."""
        poller = select.poll()
        poller.register(self._wake, select.POLLIN)
        if poller.poll(max(0.0, timeout_s) * 1000):
            os.eventfd_read(self._wake)

    def wake(self) -> None:
        """Make ``poll`` return at once: the running one, or else the next."""
        os.eventfd_write(self._wake, 1)

    def close(self) -> None:
        """End the session cleanly, within ``mqtt_session.CLOSE_TIMEOUT_S``."""
        session, self._session = self._session, None
        if session is not None:
            session.close()
