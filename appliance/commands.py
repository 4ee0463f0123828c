"""What dashboards may ask of the appliance: JSON on ``<root>/<node>/cmd``, answered on ``<root>/<node>/cmd/result``.

A command is ``{"id": "...", "command": "...", "expires": "<ISO 8601>"}``; ``expires`` may be left out. On
``<root>/<node>/model/<name>/set`` the one word ``INSTALL`` says yes to a model's update, as Home Assistant does.
The publisher has already ignored retained ones. Runs on the publisher's thread, so it must not block.
"""

import json
from collections.abc import Callable, Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Any

from appliance.board import Board
from appliance.core import wire
from appliance.core.discovery import INSTALL
from appliance.core.types import ClockState, Message, Priority
from appliance.errors import OutboxError
from appliance.log import get
from appliance.outbox import Outbox
from appliance.ports import Clock, Meter

ID_CHARACTERS_MAX = 64
PAYLOAD_BYTES_MAX = 4096

_log = get(__name__)


class Refusal(Exception):  # noqa: N818 - an answer to whoever asked, not an error of ours
    """The command is not obeyed; the message says why."""


class Commands:
    """Obeys commands and answers each of them."""

    def __init__(
        self,
        identity: wire.Identity,
        board: Board,
        outbox: Outbox,
        clock: Clock,
        meter: Meter,
        *,
        consents: Mapping[str, Callable[[str], str]] = MappingProxyType({}),
    ) -> None:
        """``board`` is what ``refresh`` sends again; answers go through ``outbox``.

        ``consents`` say yes to the update of a model, by its name, and return why that cannot be done.
        """
        self.topic = f"{identity.base}/cmd"
        self._installs = {identity.model_topic(model, "set"): model for model in consents}
        self._consents = consents
        self._result_topic = f"{self.topic}/result"
        self._board = board
        self._outbox = outbox
        self._clock = clock
        self._meter = meter
        self._known: dict[str, Callable[[], None]] = {"refresh": board.mark_all_pending}

    @property
    def topics(self) -> tuple[str, ...]:
        """Where commands come from."""
        return (self.topic, *self._installs)

    def obey(self, topic: str, payload: bytes) -> None:
        """Obey one command and answer it. A command that cannot be read or obeyed is answered with the reason."""
        assert topic in self.topics, f"subscribed to {self.topics} only, not {topic}"
        if topic in self._installs:
            self._install(self._installs[topic], payload)
            return
        asked: dict[str, Any] = {}
        try:
            asked = _parse(payload)
            self._refuse_expired(asked.get("expires"))
            self._action(asked.get("command"))()
        except Refusal as refusal:
            self._meter.count("edge_commands_ignored_total", reason="refused")
            self._answer(asked, str(refusal))
        else:
            self._answer(asked, "")

    def _install(self, model: str, payload: bytes) -> None:
        """Say yes to the update of a model."""
        refusal = self._consents[model](model) if payload == INSTALL.encode() else f"not {INSTALL}"
        if refusal:
            self._meter.count("edge_commands_ignored_total", reason="refused")
        self._answer({"command": f"{INSTALL} {model}"}, refusal)

    def _action(self, name: object) -> Callable[[], None]:
        """What a command does. Raises Refusal for one that is not known."""
        action = self._known.get(name) if isinstance(name, str) else None
        if action is None:
            known = ", ".join(self._known)
            message = f"unknown command; there is: {known}"
            raise Refusal(message)
        return action

    def _refuse_expired(self, expires: object) -> None:
        """Raise Refusal for a command whose time is over, or whose time cannot be read.

        While our own clock is wrong nothing can be said of ``expires``, and a command that is not retained has just
        been sent: it is obeyed.
        """
        now_utc = self._clock.now_utc()
        if expires is None or now_utc is None or self._clock.state() is not ClockState.SYNCED:
            return
        try:
            until_utc = datetime.fromisoformat(str(expires))
        except ValueError:
            raise Refusal("expires is not an ISO 8601 time") from None
        if until_utc.tzinfo is None:
            raise Refusal("expires has no time zone; end it with Z")
        if until_utc < now_utc:
            raise Refusal("expired")

    def _answer(self, asked: dict[str, Any], refusal: str) -> None:
        """Say what became of a command."""
        answer: dict[str, object] = {
            "schema": wire.SCHEMA,
            "id": str(asked.get("id", ""))[:ID_CHARACTERS_MAX],
            "command": str(asked.get("command", ""))[:ID_CHARACTERS_MAX],
            "ok": not refusal,
            "reason": refusal,
        }
        _log.info("command", **{key: answer[key] for key in ("id", "command", "ok", "reason")})
        try:
            self._outbox.add([Message(self._result_topic, answer)], Priority.TELEMETRY)
        except OutboxError as error:
            _log.warning("answer not stored", reason=str(error))


def _parse(payload: bytes) -> dict[str, Any]:
    """Read the JSON object of a command. Raises Refusal."""
    if len(payload) > PAYLOAD_BYTES_MAX:
        message = f"longer than {PAYLOAD_BYTES_MAX} bytes"
        raise Refusal(message)
    try:
        asked = json.loads(payload)
    except (ValueError, RecursionError):
        raise Refusal("not JSON") from None
    if not isinstance(asked, dict):
        raise Refusal("not a JSON object")
    return asked
