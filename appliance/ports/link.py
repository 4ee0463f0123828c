"""The connection to the broker."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """The broker took responsibility for a message, or refused it for good."""

    token: int
    refused: str = ""
    """The broker's reason when it refused; empty when it accepted."""


@dataclass(frozen=True, slots=True)
class Received:
    """A message on a topic we subscribed to."""

    topic: str
    payload: bytes
    retained: bool


@dataclass(frozen=True, slots=True)
class Lost:
    """The session is over."""

    reason: str


LinkEvent = Acknowledged | Received | Lost


class Link(Protocol):
    """One connection to the broker at a time. Used by one thread, but for ``wake``."""

    def connect(self, subscriptions: Sequence[str]) -> None:
        """Open a session, with our will set, and subscribe (QoS 1).

        Returns only when the broker has *accepted* the connection. Raises BrokerError after a bounded wait
        when it is absent or refuses.
        """
        ...

    def publish(self, topic: str, payload: bytes, *, qos: int, retain: bool) -> int:
        """Hand a message to the session; returns the token its acknowledgement will carry.

        Raises BrokerError when there is no session.
        """
        ...

    def poll(self, timeout_s: float) -> list[LinkEvent]:
        """Move bytes both ways; return what happened, at the latest after ``timeout_s`` or a ``wake``."""
        ...

    def wake(self) -> None:
        """Make a running ``poll`` return at once. Safe from any thread, with or without a session."""
        ...

    def close(self) -> None:
        """End the session with a clean DISCONNECT (which cancels the will). Idempotent; never raises."""
        ...
