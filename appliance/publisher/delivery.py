"""What is sent next in a session, and what was acknowledged.

A session goes through three phases, so that one message that breaks sessions is found, and only that one is blamed:

1. *Greeting*: availability, discovery and the whole board are sent, and acknowledged.
2. *Probe*: the oldest alert is sent alone; nothing else is in flight, so a session that ends here ended on it.
3. *Flow*: after the first answer the newest states and the backlog share ``inflight_max`` messages in flight.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from appliance.board import Board
from appliance.config import MqttConfig
from appliance.core.types import Message
from appliance.core.wire import encode
from appliance.errors import BrokerError
from appliance.log import FaultLog
from appliance.outbox import Outbox, Waiting
from appliance.ports import Acknowledged, Clock, Link, Meter

ACK_TIMEOUT_S = 30.0
"""A broker that answers pings but owes an acknowledgement for this long is taken for lost."""


@dataclass(frozen=True, slots=True)
class _InFlight:
    """Sent and not yet acknowledged."""

    item: Message | Waiting
    sent_s: float


class Delivery:
    """Decides what is sent in which order; for the publisher's thread only. ``begin`` starts a session anew.

    Every method that sends raises BrokerError when the session is over.
    """

    def __init__(
        self,
        link: Link,
        outbox: Outbox,
        board: Board,
        clock: Clock,
        meter: Meter,
        *,
        config: MqttConfig,
        faults: FaultLog,
    ) -> None:
        """Send over ``link`` what ``outbox`` and ``board`` hold."""
        self._link, self._outbox, self._board = link, outbox, board
        self._clock, self._meter, self._config, self._faults = clock, meter, config, faults
        self._first_sent_id = 0  # alerts up to this were sent before, in whatever session
        self.begin([])

    def begin(self, greeting: Sequence[Message]) -> None:
        """Start a session with ``greeting`` and then the whole board; the backlog starts at its oldest again."""
        self._inflight: dict[int, _InFlight] = {}
        self._batch: deque[Waiting] = deque()
        self._cursor = 0
        self._probe: int | None = None  # the token of the message on probation
        self._proven = False
        self._board.mark_all_pending()
        self._desk: deque[Message] = deque([*greeting, *self._board.take_pending()])

    def greet_again(self, announcement: Sequence[Message]) -> None:
        """Send discovery, then the whole board: a listener has started anew."""
        self._board.mark_all_pending()
        # What still lies on the desk is on the board or in the announcement, in a newer version.
        self._desk = deque([*announcement, *self._board.take_pending()])

    @property
    def is_drained(self) -> bool:
        """Whether everything was sent and acknowledged."""
        return not self._inflight and not self._desk and self._peek() is None

    @property
    def is_free(self) -> bool:
        """Whether something that is in neither outbox nor board may be sent: not while a message is on probation."""
        return self._probe is None

    def awaits(self, token: int) -> bool:
        """Whether a message is still unacknowledged."""
        return token in self._inflight

    def send_due(self) -> None:
        """Send what may be sent now."""
        if self._probe is not None:
            return
        if self._proven or self._peek() is None:
            self._refill_desk()
        self._send_desk()
        if self._proven:
            self._send_backlog()
        elif not self._inflight and self._peek() is not None:
            self._probe = self._send_waiting(self._batch.popleft())

    def send(self, message: Message) -> int:
        """Send a message now; returns its token."""
        token = self._link.publish(message.topic, encode(message.payload), qos=message.qos, retain=message.retain)
        if message.qos:
            self._inflight[token] = _InFlight(message, self._clock.monotonic_s())
        return token

    def settle(self, answers: Sequence[Acknowledged]) -> None:
        """Let the outbox forget what the broker took, and set aside what it refused."""
        taken: list[int] = []
        for answer in answers:
            known = self._inflight.pop(answer.token, None)
            if known is None:
                continue
            item = known.item
            if answer.refused:
                self._refused(item, answer.refused)
            elif isinstance(item, Waiting):
                taken.append(item.id)
            if answer.token == self._probe:
                self._probe, self._proven = None, True
        if taken:
            self._outbox.acknowledge(taken)

    def check_overdue(self) -> None:
        """Raise BrokerError when the broker has owed an acknowledgement for longer than ``ACK_TIMEOUT_S``."""
        oldest = next(iter(self._inflight.values()), None)
        if oldest is not None and self._clock.monotonic_s() - oldest.sent_s > ACK_TIMEOUT_S:
            msg = f"no acknowledgement for {ACK_TIMEOUT_S:g} s"
            raise BrokerError(msg)

    def blame(self, reason: str) -> None:
        """The session broke: count it against the message on probation, if there was one."""
        probe = None if self._probe is None else self._inflight[self._probe].item
        if isinstance(probe, Waiting) and self._outbox.failed_attempt(probe.id, reason):
            self._faults.failed(f"dead letter {probe.topic}", f"too many sessions ended on it: {reason}")

    def _refused(self, item: Message | Waiting, reason: str) -> None:
        """The broker will never take this message."""
        if isinstance(item, Waiting):
            self._outbox.bury(item.id, reason)
        self._faults.failed(f"refused {item.topic}", reason)

    def _refill_desk(self) -> None:
        """Take the board's newest, once all that was taken before is sent: so each topic waits only once."""
        if not self._desk:
            self._desk.extend(self._board.take_pending())

    def _send_desk(self) -> None:
        while self._desk and len(self._inflight) < self._config.inflight_max:
            self.send(self._desk.popleft())

    def _send_backlog(self) -> None:
        while len(self._inflight) < self._config.inflight_max and self._peek() is not None:
            self._send_waiting(self._batch.popleft())

    def _peek(self) -> Waiting | None:
        """The oldest waiting message not sent in this session, if there is one."""
        if not self._batch:
            self._batch.extend(self._outbox.next_batch(self._cursor, self._config.inflight_max))
        return self._batch[0] if self._batch else None

    def _send_waiting(self, waiting: Waiting) -> int:
        """Send one message of the outbox, marked when it is not news any more; returns its token."""
        now_s = self._clock.monotonic_s()
        of_this_boot = waiting.boot_id == self._clock.boot_id
        age_s = now_s - _captured_s(waiting)
        late = not of_this_boot or age_s > self._config.historical_after_s
        payload = {**waiting.payload, "historical": late or bool(waiting.payload.get("historical"))}
        token = self._link.publish(waiting.topic, encode(payload), qos=waiting.qos, retain=waiting.retain)
        self._cursor = waiting.id
        self._inflight[token] = _InFlight(waiting, now_s)
        channel = waiting.payload.get("channel")
        if waiting.id > self._first_sent_id:
            self._first_sent_id = waiting.id
            if of_this_boot and isinstance(channel, str):
                sent_s = self._clock.monotonic_s()
                self._meter.observe("edge_capture_to_publish_seconds", sent_s - _captured_s(waiting), channel=channel)
        return token


def _captured_s(waiting: Waiting) -> float:
    """When the alert's frame was captured (its ``mono_ns``), or else when it was put into the outbox."""
    captured_ns = waiting.payload.get("mono_ns")
    return captured_ns / 1e9 if isinstance(captured_ns, int | float) else waiting.added_mono_s
