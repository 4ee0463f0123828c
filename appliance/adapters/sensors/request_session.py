"""One MQTT 5 session that receives requests and sends answers, on a thread of its own.

The thread alone touches paho's client (an external event loop, as paho calls it): answers are handed to it through a
bounded queue, so that neither the broker nor the network can hold up whoever answers. It blocks nowhere but in
``poll``, and so always ends.
"""

import os
import select
import socket
import ssl
import time
import weakref
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from threading import Event, Thread

from paho.mqtt.client import Client, ConnectFlags, DisconnectFlags, MQTTMessage
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from appliance.adapters.mqtt_connect import make_client, open_client
from appliance.config import MqttConfig
from appliance.errors import BrokerError, ConfigError, SensorError
from appliance.ports import Clock

ANSWERS_WAITING_MAX = 1000
"""Answers not yet handed to the broker; more are refused."""
CLOSE_TIMEOUT_S = 1.0
"""How long the last answers and the DISCONNECT may take to leave; then the socket is closed under them."""
JOIN_TIMEOUT_S = 3.0
"""Longest wait for the thread: ``CLOSE_TIMEOUT_S``, one poll and some."""
POLL_MAX_S = 1.0
"""The longest single wait, so that paho's keepalive is served."""
READS_MAX = 100
"""Reads in one go from a TLS socket that holds more than one packet already decrypted."""
RECEIVE_MAXIMUM = 65_535
"""Unacknowledged messages that a broker takes unless it says otherwise (MQTT 5, 3.2.2.3.3)."""


@dataclass(frozen=True, slots=True)
class Request:
    """A message as it came."""

    payload: bytes
    retained: bool
    response_topic: str
    """Empty when the sender wants no answer."""
    correlation: bytes


@dataclass(frozen=True, slots=True)
class Answer:
    """A message to send (QoS 1, not retained)."""

    topic: str
    payload: bytes
    correlation: bytes


class RequestSession:
    """From CONNECT to the end of one session; opening again takes a new one.

    ``on_request`` and ``on_end`` are called on the session's thread and must not block; ``on_end`` once, with the
    reason, or with an empty one when the thread died of a bug.
    """

    def __init__(self, topic: str, *, on_request: Callable[[Request], None], on_end: Callable[[str], None]) -> None:
        """Nothing is connected yet."""
        self._topic = topic
        self._on_request = on_request
        self._on_end = on_end
        self._outgoing: deque[Answer] = deque()
        self._unacknowledged = 0
        self._window = RECEIVE_MAXIMUM
        self._settled = Event()
        """The broker has confirmed the subscription, or the session is over."""
        self._over = ""
        self._stop = Event()
        self._client: Client | None = None
        self._thread = Thread(target=self._run, name=topic, daemon=True)
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._close_wake = weakref.finalize(self, os.close, self._wake)

    def start(self, config: MqttConfig, client_id: str, clock: Clock) -> None:
        """Connect and subscribe. Raises SensorError, after at most twice ``connect_timeout_s``."""
        try:
            client = make_client(config, client_id)
            client.max_inflight_messages_set(0)  # the window is ours: paho does not heed the broker's
            client.on_connect = self._on_connect
            client.on_subscribe = self._on_subscribe
            client.on_disconnect = self._on_disconnect
            client.on_publish = self._on_publish
            client.on_message = self._on_message
            self._window = config.inflight_max
            open_client(client, config)
        except (BrokerError, ConfigError) as error:
            raise SensorError(str(error)) from error
        self._client = client
        self._thread.start()
        if not clock.wait(self._settled, config.connect_timeout_s):
            raise SensorError("the broker took the connection and did not answer in time")
        if self._over:
            raise SensorError(self._over)

    def send(self, answer: Answer) -> bool:
        """Let an answer be sent; False when the session is over or too many wait. From any thread, never blocks."""
        if not self._over and len(self._outgoing) < ANSWERS_WAITING_MAX:
            self._outgoing.append(answer)
            os.eventfd_write(self._wake, 1)
            return True
        return False

    def stop(self) -> bool:
        """Send what waits, disconnect; False when the thread did not end. Once, and nothing is sent after it.

        Bounded by ``JOIN_TIMEOUT_S``.
        """
        self._stop.set()
        os.eventfd_write(self._wake, 1)
        if self._client is not None:
            self._thread.join(JOIN_TIMEOUT_S)
        if self._thread.is_alive():
            return False
        self._over = self._over or "closed"
        self._close_wake()
        return True

    def _run(self) -> None:
        """Move bytes until the session is over."""
        assert self._client is not None, "start sets it"
        try:
            while not self._over and not self._stop.is_set():
                self._send_waiting()
                self._move(POLL_MAX_S)
            self._say_goodbye()
        finally:
            sock = self._client.socket()
            if sock is not None:
                sock.close()
            self._settled.set()
            self._on_end(self._over)

    def _say_goodbye(self) -> None:
        """Let the last answers leave, then DISCONNECT."""
        assert self._client is not None, "start sets it"
        deadline_s = time.monotonic() + CLOSE_TIMEOUT_S
        while (self._outgoing or self._unacknowledged) and not self._over and time.monotonic() < deadline_s:
            self._send_waiting()
            self._move(max(0.0, deadline_s - time.monotonic()))
        self._client.disconnect()
        while not self._over and time.monotonic() < deadline_s:
            self._move(max(0.0, deadline_s - time.monotonic()))
        self._over = self._over or "closed"

    def _send_waiting(self) -> None:
        """Hand answers to paho, as many as the broker's window has room for."""
        assert self._client is not None, "start sets it"
        while self._outgoing and self._unacknowledged < self._window and not self._over:
            answer = self._outgoing.popleft()
            properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call] # paho leaves it untyped
            if answer.correlation:
                properties.CorrelationData = answer.correlation
            self._unacknowledged += 1
            self._client.publish(answer.topic, answer.payload, qos=1, properties=properties)

    def _move(self, timeout_s: float) -> None:
        """Wait for bytes, for room to write or to be woken; then move bytes both ways."""
        assert self._client is not None, "start sets it"
        sock = self._client.socket()
        if sock is None or self._over:
            return
        decrypted = isinstance(sock, ssl.SSLSocket) and sock.pending() > 0
        poller = select.poll()
        poller.register(sock, select.POLLIN | (select.POLLOUT if self._client.want_write() else 0))
        poller.register(self._wake, select.POLLIN)
        ready = dict(poller.poll(0 if decrypted else min(timeout_s, POLL_MAX_S) * 1000))
        if self._wake in ready:
            os.eventfd_read(self._wake)
        if decrypted or ready.get(sock.fileno(), 0) & ~select.POLLOUT:
            self._read(self._client)
            _acknowledge_at_once(sock)
        if self._client.want_write():
            self._client.loop_write()
        self._client.loop_misc()

    def _read(self, client: Client) -> None:
        """Read what has come; from a TLS socket also what it holds decrypted, which no poll would show."""
        for _ in range(READS_MAX):
            client.loop_read()
            sock = client.socket()
            if not (isinstance(sock, ssl.SSLSocket) and sock.pending() > 0):
                break

    def _on_connect(
        self, client: Client, _data: object, _flags: ConnectFlags, reason: ReasonCode, properties: Properties | None
    ) -> None:
        if reason.is_failure:
            self._over = self._over or f"the broker refused the connection: {reason}"
            return
        self._window = min(self._window, getattr(properties, "ReceiveMaximum", RECEIVE_MAXIMUM))
        client.subscribe(self._topic, qos=1)

    def _on_subscribe(
        self, _client: Client, _data: object, _mid: int, reasons: list[ReasonCode], _properties: Properties | None
    ) -> None:
        if reasons[0].is_failure:
            self._over = f"the broker refused {self._topic}: {reasons[0]}; allow it in the broker's access list"
        self._settled.set()

    def _on_disconnect(
        self, _client: Client, _data: object, _flags: DisconnectFlags, reason: ReasonCode, _props: Properties | None
    ) -> None:
        self._over = self._over or f"the broker was lost: {reason}"

    def _on_publish(self, _client: Client, _data: object, _mid: int, _reason: ReasonCode, _props: Properties) -> None:
        self._unacknowledged -= 1

    def _on_message(self, _client: Client, _data: object, message: MQTTMessage) -> None:
        if self._stop.is_set():
            return  # nobody is left to judge it
        topic = str(getattr(message.properties, "ResponseTopic", ""))
        correlation = bytes(getattr(message.properties, "CorrelationData", b""))
        self._on_request(Request(bytes(message.payload), bool(message.retain), topic, correlation))


def _acknowledge_at_once(sock: object) -> None:
    """Do not let TCP delay its acknowledgement of what was just read (tcp(7); to be said again after each read).

    A broker without ``set_tcp_nodelay`` (mosquitto's default) holds the next request back until then: measured at 200
    requests/s on loopback, a median of 27 ms from request to answer, 6 ms with this, 1 ms with that setting.
    """
    if isinstance(sock, socket.socket) and sock.family in {socket.AF_INET, socket.AF_INET6}:
        with suppress(OSError):  # the connection is gone; the next read says so
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
