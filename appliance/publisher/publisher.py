"""Keeps a session with the broker as far as there is one. One thread; the loop never waits for it."""

from collections import deque
from collections.abc import Callable, Sequence
from threading import Event, Lock

from appliance.board import Board
from appliance.config import MqttConfig
from appliance.core.backoff import Backoff
from appliance.core.types import Message, Priority
from appliance.errors import BrokerError, OutboxError
from appliance.log import FaultLog, get
from appliance.outbox import Outbox
from appliance.ports import Acknowledged, Clock, Link, Lost, Meter, Received
from appliance.publisher.delivery import Delivery

TICK_S = 1.0
"""The longest single wait: a stop without ``wake`` is noticed after this."""
SETTLED_S = 5.0
"""A session that lasted this long was a good one; the next failure starts the backoff anew."""
REBIRTH_DELAY_MAX_S = 3.0
"""Home Assistant asks for a random delay before discovery is sent again, so that not all devices answer at once."""
FLUSH_TIMEOUT_S = 2.0
"""How long a stop may take to send what waits; what remains is in the outbox."""
FAREWELL_TIMEOUT_S = 1.0
"""How long a stop waits for ``offline`` to be acknowledged."""
DIRECT_MAX = 16
"""Telemetry handed over and not yet taken by the publisher's thread; more goes to the outbox."""
BIRTH_PAYLOAD = b"online"


class Publisher:
    """Publishes alerts, states and telemetry, and listens to commands.

    ``run`` belongs to one thread; ``publish_or_keep``, ``wake`` and ``connected`` to any.
    """

    def __init__(
        self,
        link: Link,
        outbox: Outbox,
        board: Board,
        clock: Clock,
        meter: Meter,
        config: MqttConfig,
        *,
        sync_interval_s: float,
        announce: Callable[[], Sequence[Message]],
        on_command: Callable[[str, bytes], None],
        birth_topic: str | None,
        command_topics: Sequence[str],
        online: Message,
        offline: Message,
        jitter: Callable[[], float],
    ) -> None:
        """Wire the publisher; nothing is sent before ``run``.

        Args:
            link: The broker. Ours alone.
            outbox: Alerts; its ``on_add`` should call ``wake``.
            board: Newest states; its ``on_put`` should call ``wake``.
            clock: Time.
            meter: Where measurements go.
            config: Backoff, window and ages.
            sync_interval_s: How often the outbox is synced while this thread is not waiting for a connection.
            announce: Makes the discovery messages; called at each session and at each birth.
            on_command: Gets topic and payload of a command, on this thread: must not block.
            birth_topic: Where Home Assistant says that it started; None to ignore it.
            command_topics: What to subscribe to beside it.
            online: Availability at the start of a session.
            offline: Availability before a clean end.
            jitter: Random fractions in [0, 1).
        """
        self._link, self._outbox, self._board = link, outbox, board
        self._clock, self._meter = clock, meter
        self._sync_interval_s = sync_interval_s
        self._announce, self._on_command = announce, on_command
        self._birth_topic = birth_topic
        self._subscriptions = [*command_topics, *([] if birth_topic is None else [birth_topic])]
        self._online, self._offline = online, offline
        self._jitter = jitter
        self._backoff = Backoff(config.reconnect_min_s, config.reconnect_max_s)
        self._faults = FaultLog(get(__name__), clock.monotonic_s)
        self._delivery = Delivery(link, outbox, board, clock, meter, config=config, faults=self._faults)
        self._synced_s = clock.monotonic_s()
        self._accepted_s: float | None = None
        self._rebirth_s: float | None = None
        self._lock = Lock()  # guards the two below
        self._connected = False
        self._direct: deque[Message] = deque()

    @property
    def connected(self) -> bool:
        """Whether the broker has accepted a session that is not known to be over."""
        return self._connected

    def wake(self) -> None:
        """Let the publisher look at once what there is to do. For any thread."""
        self._link.wake()

    def publish_or_keep(self, message: Message) -> None:
        """Send telemetry (QoS 0) if there is a session; else keep it in the outbox as history. For any thread.

        What was kept arrives on ``<topic>/history`` with ``historical: true``, so that no live view shows it as new.
        What cannot be kept either is dropped; the outbox counts it.
        """
        with self._lock:
            direct = self._connected and len(self._direct) < DIRECT_MAX
            if direct:
                self._direct.append(message)
        if direct:
            self.wake()
        else:
            self._keep(message)

    def run(self, stop: Event) -> None:
        """Publish until ``stop`` is set; then say goodbye, in bounded time."""
        attempt = 0
        self._meter.set("edge_mqtt_connected", 0.0)
        while not stop.is_set():
            try:
                self._serve(stop)
            except BrokerError as error:
                self._faults.failed("broker", str(error))
                if self._accepted_s is not None and self._clock.monotonic_s() - self._accepted_s >= SETTLED_S:
                    attempt = 0
                self._rest(stop, self._backoff.delay_s(attempt, self._jitter()))
                attempt += 1
        self._outbox.sync()

    def _serve(self, stop: Event) -> None:
        """Have one session, until ``stop`` or its end. Raises BrokerError."""
        self._accepted_s = None
        try:
            self._link.connect(self._subscriptions)
        except BrokerError:
            self._meter.count("edge_mqtt_sessions_total", outcome="failed")
            raise
        self._begin()
        try:
            while not stop.is_set():
                self._turn(TICK_S)
            self._say_goodbye()
        except BrokerError as error:
            self._meter.count("edge_mqtt_sessions_total", outcome="lost")
            self._delivery.blame(str(error))
            raise
        finally:
            self._end()

    def _begin(self) -> None:
        """The broker accepted us."""
        self._faults.recovered("broker")
        self._meter.count("edge_mqtt_sessions_total", outcome="accepted")
        self._meter.set("edge_mqtt_connected", 1.0)
        self._accepted_s, self._rebirth_s = self._clock.monotonic_s(), None
        self._delivery.begin([self._online, *self._announce()])
        with self._lock:
            self._connected = True

    def _end(self) -> None:
        """The session is over, one way or the other; telemetry that it did not take is kept."""
        with self._lock:
            self._connected = False
            left = list(self._direct)
            self._direct.clear()
        self._meter.set("edge_mqtt_connected", 0.0)
        self._link.close()
        for message in left:
            self._keep(message)

    def _turn(self, timeout_s: float) -> None:
        """Send what is due, take what comes, keep the outbox synced."""
        self._delivery.send_due()
        self._send_direct()
        self._rebirth_if_due()
        self._sync_if_due()  # after what is due was sent: an fsync may take long
        events = self._link.poll(self._wait_s(timeout_s))
        self._delivery.settle([event for event in events if isinstance(event, Acknowledged)])
        for event in events:
            if isinstance(event, Received):
                self._hear(event)
            elif isinstance(event, Lost):
                raise BrokerError(event.reason)
        self._delivery.check_overdue()

    def _wait_s(self, timeout_s: float) -> float:
        """How long there is nothing to do unless something happens."""
        now_s = self._clock.monotonic_s()
        due_s = [timeout_s]
        if self._sync_interval_s > 0:
            due_s.append(self._synced_s + self._sync_interval_s - now_s)
        if self._rebirth_s is not None:
            due_s.append(self._rebirth_s - now_s)
        return max(0.0, min(due_s))

    def _send_direct(self) -> None:
        """Send telemetry that other threads handed over; a message leaves the queue only when it was sent."""
        while self._direct and self._delivery.is_free:
            self._delivery.send(self._direct[0])
            with self._lock:
                self._direct.popleft()

    def _hear(self, message: Received) -> None:
        """React to Home Assistant's birth, or pass a command on unless it is a replay of the past."""
        if message.topic == self._birth_topic:
            if message.payload == BIRTH_PAYLOAD and not message.retained and self._rebirth_s is None:
                self._rebirth_s = self._clock.monotonic_s() + self._jitter() * REBIRTH_DELAY_MAX_S
        elif message.retained:
            self._meter.count("edge_commands_ignored_total", reason="retained")
            self._faults.failed(f"retained command {message.topic}", "ignored: a retained command is a replay")
        else:
            self._on_command(message.topic, message.payload)

    def _rebirth_if_due(self) -> None:
        """Tell a Home Assistant that started anew who we are and how things stand."""
        if self._rebirth_s is not None and self._clock.monotonic_s() >= self._rebirth_s:
            self._rebirth_s = None
            self._delivery.greet_again([*self._announce(), self._online])
            self._delivery.send_due()

    def _say_goodbye(self) -> None:
        """Send what can still be sent, then ``offline``, and wait for its acknowledgement; all within bounds."""
        deadline_s = self._clock.monotonic_s() + FLUSH_TIMEOUT_S
        self._delivery.send_due()
        while not self._delivery.is_drained and (left_s := deadline_s - self._clock.monotonic_s()) > 0:
            self._turn(left_s)
            self._delivery.send_due()
        deadline_s = self._clock.monotonic_s() + FAREWELL_TIMEOUT_S
        token = self._delivery.send(self._offline)
        while self._delivery.awaits(token) and (left_s := deadline_s - self._clock.monotonic_s()) > 0:
            events = self._link.poll(left_s)
            self._delivery.settle([event for event in events if isinstance(event, Acknowledged)])
            if any(isinstance(event, Lost) for event in events):
                break

    def _rest(self, stop: Event, delay_s: float) -> None:
        """Leave the broker alone for a while; the outbox is synced all the same."""
        until_s = self._clock.monotonic_s() + delay_s
        while (left_s := until_s - self._clock.monotonic_s()) > 0:
            self._sync_if_due()
            if self._clock.wait(stop, min(left_s, max(self._sync_interval_s, TICK_S / 10))):
                return

    def _sync_if_due(self) -> None:
        """Bring alerts safely past a power cut, as often as configured."""
        now_s = self._clock.monotonic_s()
        if now_s - self._synced_s >= self._sync_interval_s:
            self._synced_s = now_s
            self._outbox.sync()

    def _keep(self, message: Message) -> None:
        """Put telemetry into the outbox as history."""
        assert not isinstance(message.payload, str), "telemetry is a JSON object"
        payload = {**(message.payload or {}), "historical": True}
        try:
            self._outbox.add([Message(f"{message.topic}/history", payload, qos=1)], Priority.TELEMETRY)
            self._faults.recovered("telemetry")
        except OutboxError as error:
            self._faults.failed("telemetry", str(error))
