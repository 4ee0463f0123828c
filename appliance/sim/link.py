"""A broker and the link to it, in memory, with faults on a script."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from threading import Event, RLock

from appliance.core.types import Message
from appliance.core.wire import encode
from appliance.errors import BrokerError
from appliance.ports import Acknowledged, Clock, LinkEvent, Lost, Received

LOG_MAX = 100_000
"""Messages a broker remembers."""


@dataclass(frozen=True, slots=True)
class Delivered:
    """A message as the broker took it, or published it as a will."""

    topic: str
    payload: bytes
    qos: int
    retain: bool


@dataclass(slots=True)
class BrokerScript:
    """What goes wrong, and when. Change it at any time; it holds from the next thing that happens."""

    absent: bool = False
    """Nobody listens."""
    refuse: str = ""
    """Why every connection is refused; empty to accept."""
    drop_after: int | None = None
    """Sessions end after this many more publishes; the last of them is neither kept nor acknowledged."""
    acknowledge: bool = True
    """False: messages are taken and never acknowledged."""
    refuse_topics: dict[str, str] = field(default_factory=dict)
    """Topics whose messages are refused for good, and why."""
    poison: bytes | None = None
    """A message with this in its payload ends the session, and is not kept."""


class SimulatedBroker:
    """What mosquitto is to ``PahoLink``: takes messages, keeps retained ones, publishes wills, delivers.

    Topics are compared as a whole: it knows no wildcards. Safe from any thread.
    """

    def __init__(self) -> None:
        """Start empty, and without faults."""
        self.script = BrokerScript()
        self._lock = RLock()
        self._log: deque[Delivered] = deque(maxlen=LOG_MAX)
        self._retained: dict[str, Delivered] = {}
        self._sessions: list[SimulatedLink] = []
        self._connects = 0

    @property
    def connects(self) -> int:
        """How many sessions there have been."""
        return self._connects

    def log(self, topic: str | None = None) -> list[Delivered]:
        """Return the messages taken so far, oldest first; of one topic when it is given."""
        with self._lock:
            return [message for message in self._log if topic is None or message.topic == topic]

    def retained(self, topic: str) -> bytes | None:
        """Return what a new subscriber of ``topic`` would find."""
        with self._lock:
            message = self._retained.get(topic)
            return None if message is None else message.payload

    def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        """Publish as some other client."""
        self.take(Delivered(topic, payload, 1, retain))

    def drop(self, reason: str = "the broker ended the session") -> None:
        """End all sessions without goodbye: their wills are published."""
        with self._lock:
            for link in list(self._sessions):
                self.leave(link, will=True)
                link.happen(Lost(reason))

    def join(self, link: "SimulatedLink", subscriptions: Sequence[str]) -> None:
        """Accept a session, or raise BrokerError."""
        with self._lock:
            if self.script.absent:
                raise BrokerError("no broker: connection refused")
            if self.script.refuse:
                msg = f"the broker refused the connection: {self.script.refuse}"
                raise BrokerError(msg)
            self._connects += 1
            self._sessions.append(link)
            for topic in subscriptions:
                if topic in self._retained:
                    link.happen(Received(topic, self._retained[topic].payload, retained=True))

    def leave(self, link: "SimulatedLink", *, will: bool) -> None:
        """End a session; publish its will when it did not say goodbye."""
        with self._lock:
            if link not in self._sessions:
                return
            self._sessions.remove(link)
            if will:
                self.take(link.will)

    def holds(self, link: "SimulatedLink") -> bool:
        """Say whether ``link`` has a session."""
        with self._lock:
            return link in self._sessions

    def accept(self, link: "SimulatedLink", token: int, message: Delivered) -> None:
        """Take a message from a session, as the script says."""
        with self._lock:
            script = self.script
            poisoned = script.poison is not None and script.poison in message.payload
            if script.drop_after is not None:
                script.drop_after -= 1
            if poisoned or script.drop_after == 0:
                script.drop_after = None
                self.drop()
                return
            refused = script.refuse_topics.get(message.topic, "")
            if not refused:
                self.take(message)
            if message.qos and script.acknowledge:
                link.happen(Acknowledged(token, refused))

    def take(self, message: Delivered) -> None:
        """Keep a message and deliver it to who subscribed."""
        with self._lock:
            self._log.append(message)
            if message.retain and message.payload:
                self._retained[message.topic] = message
            elif message.retain:
                self._retained.pop(message.topic, None)
            for link in self._sessions:
                if message.topic in link.subscriptions:
                    link.happen(Received(message.topic, message.payload, retained=False))


class SimulatedLink:
    """The link to a ``SimulatedBroker``; waits as ``clock`` does."""

    def __init__(self, broker: SimulatedBroker, clock: Clock, *, will: Message) -> None:
        """``will`` is what the broker publishes when the session ends without goodbye."""
        self.will = Delivered(will.topic, encode(will.payload), will.qos, will.retain)
        self.subscriptions: frozenset[str] = frozenset()
        self._broker = broker
        self._clock = clock
        self._something = Event()
        self._lock = RLock()
        self._events: list[LinkEvent] = []
        self._tokens = 0
        self.polls = 0
        """How often ``poll`` returned: whoever drives this link has then seen all that happened before."""

    def happen(self, event: LinkEvent) -> None:
        """Put an event into the next ``poll``; for the broker."""
        with self._lock:
            self._events.append(event)
        self._something.set()

    def connect(self, subscriptions: Sequence[str]) -> None:
        """Open a session. Raises BrokerError."""
        self.close()
        self.subscriptions = frozenset(subscriptions)
        self._broker.join(self, subscriptions)

    def publish(self, topic: str, payload: bytes, *, qos: int, retain: bool) -> int:
        """Hand a message to the broker. Raises BrokerError when there is no session."""
        if not self._broker.holds(self):
            raise BrokerError("there is no session")
        self._tokens += 1
        self._broker.accept(self, self._tokens, Delivered(topic, payload, qos, retain))
        return self._tokens

    def poll(self, timeout_s: float) -> list[LinkEvent]:
        """Return what happened, at the latest when ``timeout_s`` has passed on the clock."""
        self._clock.wait(self._something, timeout_s)
        self._something.clear()
        with self._lock:
            events, self._events = self._events, []
        self.polls += 1
        return events

    def wake(self) -> None:
        """Make ``poll`` return."""
        self._something.set()

    def close(self) -> None:
        """Say goodbye; the will is forgotten, and so is what was not polled."""
        self._broker.leave(self, will=False)
        with self._lock:
            self._events.clear()
