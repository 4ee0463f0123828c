"""One session with the broker: a paho client of its own, driven by the caller's thread, thrown away at its end.

A fresh client for each session means that nothing of paho's in-memory queue outlives it: what was not acknowledged
is still in the outbox, and the outbox alone decides what is sent again. There is no paho thread either (paho calls
this an external event loop), so that the publisher's thread writes an alert straight to the socket.
"""

import os
import select
import ssl
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from paho.mqtt.client import Client, ConnectFlags, DisconnectFlags, MQTTMessage
from paho.mqtt.enums import MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from appliance.errors import BrokerError
from appliance.log import get
from appliance.ports import Acknowledged, LinkEvent, Lost, Received

CLOSE_TIMEOUT_S = 1.0
"""How long a DISCONNECT may take to leave; then the socket is closed under it."""
POLL_MAX_S = 1.0
"""The longest single wait, so that paho's keepalive is served whatever the caller asks for."""
RECEIVE_MAXIMUM = 65_535
"""Unacknowledged messages that a broker takes unless it says otherwise (MQTT 5, 3.2.2.3.3)."""
NOT_NOW = frozenset({0x80, 0x83, 0x97})
"""Reasons of a PUBACK that are about the broker, not the message (unspecified, implementation specific, quota
exceeded; MQTT 5, 3.4.2.1): the message is kept, and the session ends as if the broker had failed."""
_log = get(__name__)


@dataclass(frozen=True, slots=True)
class _Outgoing:
    """A message and the token that its acknowledgement will carry."""

    token: int
    topic: str
    payload: bytes
    qos: int
    retain: bool

    def packet_bytes(self) -> int:
        """Size of the PUBLISH packet without properties (MQTT 5, 3.3)."""
        remaining = 2 + len(self.topic.encode()) + (2 if self.qos else 0) + 1 + len(self.payload)
        length_bytes = max(1, -(-remaining.bit_length() // 7))
        return 1 + length_bytes + remaining


class Session:
    """From CONNECT to the end. ``over`` says why it ended; empty while it has not."""

    def __init__(self, client: Client) -> None:
        """``client`` is not connected yet; its callbacks become ours."""
        self.over = ""
        self._client = client
        self._accepted = False
        self._subscribed = False
        self._subscriptions: Sequence[str] = ()
        self._events: list[LinkEvent] = []
        self._tokens: dict[int, int] = {}
        self._held: deque[_Outgoing] = deque()  # bounded by the publisher's own window
        self._receive_maximum = RECEIVE_MAXIMUM
        self._packet_bytes_max: int | None = None
        client.on_connect = self._on_connect
        client.on_subscribe = self._on_subscribe
        client.on_disconnect = self._on_disconnect
        client.on_publish = self._on_publish
        client.on_message = self._on_message

    def establish(self, subscriptions: Sequence[str], deadline_s: float) -> None:
        """Wait until the broker has accepted the connection and confirmed ``subscriptions``.

        Raises BrokerError when it refuses, ends the connection, or ``deadline_s`` (monotonic) passes.
        """
        self._subscriptions = subscriptions
        while not (self._accepted and self._subscribed):
            if self.over:
                raise BrokerError(self.over)
            remaining_s = deadline_s - time.monotonic()
            if remaining_s <= 0:
                raise BrokerError("the broker took the connection and did not answer in time")
            self.drive(remaining_s, None)

    def publish(self, token: int, topic: str, payload: bytes, qos: int, retain: bool) -> None:  # noqa: FBT001 - the port's names
        """Send a message now, or as soon as the broker's own window has room. Raises BrokerError when it is over."""
        message = _Outgoing(token, topic, payload, qos, retain)
        if self.over:
            raise BrokerError(self.over)
        if self._packet_bytes_max is not None and message.packet_bytes() > self._packet_bytes_max:
            self._refuse(message, f"larger than the broker's maximum packet size, {self._packet_bytes_max} bytes")
        elif qos and len(self._tokens) >= self._receive_maximum:
            self._held.append(message)
        else:
            self._send(message)

    def drive(self, timeout_s: float, wake: int | None) -> None:
        """Wait for bytes, for room to write, or for the descriptor ``wake``; then move bytes both ways."""
        sock = self._client.socket()
        if sock is None or self.over:
            return
        # What TLS has decrypted already, poll would not show.
        decrypted = isinstance(sock, ssl.SSLSocket) and sock.pending() > 0
        at_once = bool(self._events) or decrypted
        poller = select.poll()
        poller.register(sock, select.POLLIN | (select.POLLOUT if self._client.want_write() else 0))
        if wake is not None:
            poller.register(wake, select.POLLIN)
        ready = dict(poller.poll(0 if at_once else max(0.0, min(timeout_s, POLL_MAX_S)) * 1000))
        if wake is not None and wake in ready:
            os.eventfd_read(wake)
        if decrypted or ready.get(sock.fileno(), 0) & ~select.POLLOUT:
            self._client.loop_read()
        if self._client.want_write():
            self._client.loop_write()
        self._client.loop_misc()
        while self._held and not self.over and len(self._tokens) < self._receive_maximum:
            self._send(self._held.popleft())

    def take_events(self) -> list[LinkEvent]:
        """Return what happened since the last call, in order."""
        events, self._events = self._events, []
        return events

    def close(self) -> None:
        """Say goodbye, which cancels the will, and close the socket within ``CLOSE_TIMEOUT_S``."""
        deadline_s = time.monotonic() + CLOSE_TIMEOUT_S
        self._client.on_message = None  # what still arrives belongs to nobody
        self._client.disconnect()
        while self._client.socket() is not None and not self.over and time.monotonic() < deadline_s:
            self.drive(deadline_s - time.monotonic(), None)
        self.abort()

    def abort(self) -> None:
        """Close the socket as it is; the broker publishes the will."""
        sock = self._client.socket()
        if sock is not None:
            sock.close()
        self._end("closed")

    def _send(self, message: _Outgoing) -> None:
        """Hand a message to paho, which writes it to the socket at once."""
        try:
            info = self._client.publish(message.topic, message.payload, message.qos, message.retain)
        except ValueError as error:  # a topic or a size that MQTT has no encoding for
            self._refuse(message, str(error))
            return
        if info.rc != MQTTErrorCode.MQTT_ERR_SUCCESS:
            self._end(f"connection lost: {info.rc.name}")
            raise BrokerError(self.over)
        if message.qos:
            self._tokens[info.mid] = message.token

    def _refuse(self, message: _Outgoing, reason: str) -> None:
        """Say that a message cannot be sent, ever. At QoS 0 nobody waits for the answer."""
        _log.warning("message cannot be sent", topic=message.topic, reason=reason)
        if message.qos:
            self._events.append(Acknowledged(message.token, refused=reason))

    def _end(self, reason: str) -> None:
        """Remember the end of the session, once."""
        if not self.over:
            self.over = reason
            self._events.append(Lost(reason))

    def _on_connect(
        self, client: Client, _data: object, _flags: ConnectFlags, reason: ReasonCode, properties: Properties | None
    ) -> None:
        if reason.is_failure:
            self._end(f"the broker refused the connection: {reason}")
            return
        self._receive_maximum = getattr(properties, "ReceiveMaximum", RECEIVE_MAXIMUM)
        if client.protocol == MQTTProtocolVersion.MQTTv5:
            self._packet_bytes_max = getattr(properties, "MaximumPacketSize", None)
        self._accepted = True
        self._subscribed = not self._subscriptions
        if self._subscriptions:
            client.subscribe([(topic, 1) for topic in self._subscriptions])

    def _on_subscribe(
        self, _client: Client, _data: object, _mid: int, reasons: list[ReasonCode], _properties: Properties | None
    ) -> None:
        for topic, reason in zip(self._subscriptions, reasons, strict=True):
            if reason.is_failure:  # alerts matter more than commands: go on without
                _log.warning("subscription refused", topic=topic, reason=str(reason))
        self._subscribed = True

    def _on_disconnect(
        self, _client: Client, _data: object, flags: DisconnectFlags, reason: ReasonCode, _properties: Properties | None
    ) -> None:
        who = "the broker ended the session" if flags.is_disconnect_packet_from_server else "connection lost"
        self._end(f"{who}: {reason}")

    def _on_publish(
        self, _client: Client, _data: object, mid: int, reason: ReasonCode, _properties: Properties
    ) -> None:
        token = self._tokens.pop(mid, None)
        if token is None:
            return  # QoS 0: paho says that it was written, which is no acknowledgement
        if not reason.is_failure:
            self._events.append(Acknowledged(token))
        elif reason.value in NOT_NOW:
            self._end(f"the broker cannot take messages: {reason}")
        else:
            self._events.append(Acknowledged(token, refused=str(reason)))

    def _on_message(self, _client: Client, _data: object, message: MQTTMessage) -> None:
        try:
            topic = message.topic
        except UnicodeDecodeError:  # forbidden to the broker, and nothing of ours
            return
        self._events.append(Received(topic, bytes(message.payload), bool(message.retain)))
