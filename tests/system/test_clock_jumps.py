"""Fault 6: the wall clock may jump as it likes; the loop does not notice, and subscribers are told what to believe."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from appliance.adapters.clock import SystemClock
from appliance.compose import Parts
from appliance.core.types import ClockState
from tests.broker import Mosquitto
from tests.system.device import BASE
from tests.system.running import Running, parsed
from tests.system.scenes import cards, config
from tests.system.subscriber import Subscriber, lasting_sub
from tests.waiting import eventually

pytestmark = pytest.mark.broker

NOW_UTC = datetime(2027, 3, 1, 12, 0, tzinfo=UTC)
MOMENT_S = 60.0
"""Longer than a decision takes on a busy machine, frames being good for half of it; far less than a jump."""
FIFTY_YEARS_UTC = NOW_UTC + timedelta(days=365.25 * 50)
BEGINNING_UTC = datetime(1970, 1, 1, tzinfo=UTC)
RATE_HZ = 50.0


class Wall:
    """A wall clock that anybody may set."""

    def __init__(self) -> None:
        self.utc = NOW_UTC

    def __call__(self) -> datetime:
        return self.utc


class Watchdog:
    """A service manager that counts how often it was fed; a real one would restart us after a silence."""

    def __init__(self) -> None:
        self.fed = 0
        self.watchdog_interval_s = 0.5

    def ready(self) -> None:
        """Nobody waits for it."""

    def watchdog(self) -> None:
        self.fed += 1

    def status(self, line: str) -> None:
        """Nobody reads it."""

    def stopping(self) -> None:
        """Nobody waits for it."""


def events_at(subscriber: Subscriber, wall: Wall, utc: datetime, known: ClockState) -> list[dict[str, Any]]:
    """Let the clock jump; return some events that were told by it."""
    before = len(subscriber.events("desk"))
    wall.utc = utc

    def told() -> list[dict[str, Any]]:
        fresh = [event for event in subscriber.events("desk")[before:] if event["clock"] == known.value]
        return fresh if len(fresh) >= 20 else []

    found = eventually(told)
    return [event for event in found if event["ts"] is None or abs(jump(event, utc)) < timedelta(days=1)][-10:]


def jump(event: dict[str, Any], utc: datetime) -> timedelta:
    """How far the time of an event is from ``utc``."""
    return datetime.fromisoformat(event["ts"]) - utc


def is_told(ts: str | None, captured_utc: datetime | None) -> bool:
    """Whether ``ts`` is the time of capture, a little before the (standing) clock of this test; or rightly missing."""
    if ts is None or captured_utc is None:
        return ts is None and captured_utc is None
    return timedelta(0) <= captured_utc - datetime.fromisoformat(ts) < timedelta(seconds=MOMENT_S)


def test_a_wall_clock_that_jumps_stalls_nothing_deletes_nothing_and_is_not_believed(
    tmp_path: Path, mosquitto: Mosquitto
) -> None:
    wall, watchdog = Wall(), Watchdog()
    clock = SystemClock(wall_utc=wall, synced=lambda: True)
    channel = cards(tmp_path / "cards.npz", 100_000, rate_hz=RATE_HZ)
    health = {"stall_after_s": 2.5, "status_interval_s": 0.5}
    made = parsed(config(tmp_path, mosquitto.port, {"desk": channel}, health=health), tmp_path)
    with lasting_sub(tmp_path, mosquitto, "sub") as subscriber:
        with Running(made, Parts(clock=clock, service=watchdog)) as appliance:
            for utc, known in (
                (NOW_UTC, ClockState.SYNCED),
                (FIFTY_YEARS_UTC, ClockState.SYNCED),
                (BEGINNING_UTC, ClockState.UNSYNCED),
                (NOW_UTC, ClockState.SYNCED),
            ):
                fed = watchdog.fed
                found = events_at(subscriber, wall, utc, known)
                assert found
                assert all(is_told(event["ts"], None if known is ClockState.UNSYNCED else utc) for event in found)
                assert not any(event["historical"] for event in found)
                eventually(lambda fed=fed: watchdog.fed > fed)  # type: ignore[misc] # mypy cannot infer a lambda's default
                eventually(lambda known=known: appliance.counted("edge_clock_state", state=known.value) == 1)  # type: ignore[misc] # as above
            decisions = appliance.decisions("desk")
        assert appliance.exit_code == 0
        eventually(lambda: len(subscriber.events("desk")) >= len(decisions))
    assert {decision.outcome_state.value for decision in decisions} == {"result"}
    events = subscriber.events("desk")
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1)), "order kept, and none missing"
    assert [event["mono_ns"] for event in events] == sorted(event["mono_ns"] for event in events)
    assert appliance.counted("edge_spool_dropped_total") == 0
    assert all(each.json["channels_failed"] == 0 for each in subscriber.heard(f"{BASE}/status"))
