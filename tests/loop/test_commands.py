"""Commands: each is answered, the expired and the unreadable with the reason."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from appliance.board import Board
from appliance.commands import PAYLOAD_BYTES_MAX, Commands
from appliance.config import OutboxConfig
from appliance.core import wire
from appliance.core.types import ClockState, Message
from appliance.outbox import Outbox
from appliance.sim.clock import ManualClock
from appliance.sim.meter import RecordingMeter

NOW_UTC = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
IDENTITY = wire.Identity("edge", "n1", "Node", "boot", "1", "board", "homeassistant")

Ask = Callable[[bytes], dict[str, Any]]


class Desk:
    """Commands over a real outbox and board."""

    def __init__(self, folder: Path) -> None:
        self.clock = ManualClock(utc=NOW_UTC, state=ClockState.SYNCED)
        self.meter = RecordingMeter()
        self.board = Board()
        self.outbox = Outbox(folder / "outbox.db", OutboxConfig(), self.clock, self.meter)
        self.outbox.open()
        self.consents: list[str] = []
        self.refusal = ""
        self.commands = Commands(
            IDENTITY, self.board, self.outbox, self.clock, self.meter, consents={"person": self._consent}
        )

    def _consent(self, model: str) -> str:
        self.consents.append(model)
        return self.refusal

    def ask(self, payload: bytes, topic: str = "edge/n1/cmd") -> dict[str, Any]:
        """Send a command; return its answer."""
        self.commands.obey(topic, payload)
        waiting = self.outbox.next_batch(0, 10)[-1]
        assert waiting.topic == "edge/n1/cmd/result"
        return dict(waiting.payload)


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def _command(**keys: object) -> bytes:
    return json.dumps({"id": "7", "command": "refresh", **keys}).encode()


def test_refresh_sends_every_retained_topic_again(desk: Desk) -> None:
    desk.board.put(Message("edge/n1/gate/state", {"person": "ON"}, retain=True))
    assert len(desk.board.take_pending()) == 1

    answer = desk.ask(_command())

    assert (answer["id"], answer["ok"], answer["reason"]) == ("7", True, "")
    assert [message.topic for message in desk.board.take_pending()] == ["edge/n1/gate/state"]


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"refresh", "not JSON"),
        (b"[" * 100_000, "longer than"),
        (b"[" * (PAYLOAD_BYTES_MAX - 1), "not JSON"),
        (b"[]", "not a JSON object"),
        (b"\xff", "not JSON"),
        (_command(command="reboot"), "unknown command; there is: refresh"),
        (_command(command=["refresh"]), "unknown command"),
        (_command(expires=(NOW_UTC - timedelta(seconds=1)).isoformat()), "expired"),
        (_command(expires="2026-11-22T13:00:00"), "no time zone"),
        (_command(expires="soon"), "not an ISO 8601 time"),
    ],
)
def test_a_command_that_is_not_obeyed_is_answered_with_the_reason(desk: Desk, payload: bytes, reason: str) -> None:
    desk.board.put(Message("edge/n1/gate/state", {"person": "ON"}, retain=True))
    desk.board.take_pending()

    answer = desk.ask(payload)

    assert not answer["ok"]
    assert reason in answer["reason"]
    assert desk.board.take_pending() == []
    assert desk.meter.value("edge_commands_ignored_total", reason="refused") == 1


def test_a_command_whose_time_has_not_come_to_its_end_is_obeyed(desk: Desk) -> None:
    assert desk.ask(_command(expires=(NOW_UTC + timedelta(seconds=1)).isoformat()))["ok"]


@pytest.mark.parametrize("state", [ClockState.FLOOR, ClockState.UNSYNCED])
def test_a_wrong_clock_does_not_refuse_a_command(desk: Desk, state: ClockState) -> None:
    desk.clock.set_state(state)
    assert desk.ask(_command(expires=(NOW_UTC - timedelta(days=365)).isoformat()))["ok"]


INSTALL_TOPIC = "edge/n1/model/person/set"


def test_install_says_yes_to_the_update_of_its_model(desk: Desk) -> None:
    assert desk.commands.topics == ("edge/n1/cmd", INSTALL_TOPIC)
    answer = desk.ask(b"INSTALL", INSTALL_TOPIC)
    assert (answer["command"], answer["ok"], desk.consents) == ("INSTALL person", True, ["person"])


def test_install_that_cannot_be_done_is_answered_with_the_reason(desk: Desk) -> None:
    desk.refusal = "there is no update"
    answer = desk.ask(b"INSTALL", INSTALL_TOPIC)
    assert (answer["ok"], answer["reason"]) == (False, "there is no update")


@pytest.mark.parametrize("payload", [b"", b"install", b"INSTALL ", b"\xff", _command()])
def test_anything_but_install_says_yes_to_nothing(desk: Desk, payload: bytes) -> None:
    answer = desk.ask(payload, INSTALL_TOPIC)
    assert (answer["ok"], answer["reason"], desk.consents) == (False, "not INSTALL", [])
