"""The newest message of each retained topic: what a subscriber finds there, whenever it or the broker comes back.

Only the newest value waits: while the broker is away a hundred states of one channel become one message. What must
not be lost is an alert, and goes to the outbox instead.
"""

from collections.abc import Callable
from threading import Lock

from appliance.core.types import Message

TOPICS_MAX = 1000
"""Far above what the largest configuration has (32 channels, 2 topics each); more means that a topic is invented anew
all the time, which is a bug."""


def _nobody() -> None:
    """Wake nobody."""


class Board:
    """Latest-value messages, put by any thread, taken by the publisher's."""

    def __init__(self, *, on_put: Callable[[], None] = _nobody) -> None:
        """``on_put`` is called after each ``put``, on the thread that put: it wakes the publisher."""
        self._on_put = on_put
        self._lock = Lock()
        self._latest: dict[str, Message] = {}
        self._pending: dict[str, None] = {}  # an ordered set

    def put(self, message: Message) -> None:
        """Let ``message`` take the place of what its topic held. Never blocks; at most ``TOPICS_MAX`` topics."""
        with self._lock:
            self._latest[message.topic] = message
            assert len(self._latest) <= TOPICS_MAX, f"more than {TOPICS_MAX} topics: {message.topic}"
            self._pending[message.topic] = None
        self._on_put()

    def take_pending(self) -> list[Message]:
        """Return the messages not taken yet, each topic's newest, in the order in which they became pending."""
        with self._lock:
            taken = [self._latest[topic] for topic in self._pending]
            self._pending.clear()
        return taken

    def mark_all_pending(self) -> None:
        """Let every topic be sent again: the broker, or who listens, has started anew."""
        with self._lock:
            self._pending = dict.fromkeys(self._latest)
