"""Alerts arrive at least once and in order, whatever ends: the broker, the appliance, or both. Counted."""

import signal
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.broker import Mosquitto, free_port
from tests.system.device import Device, scrape
from tests.system.scenes import cards, config
from tests.system.subscriber import Subscriber, lasting_sub
from tests.waiting import eventually

pytestmark = pytest.mark.broker

ALERTS = 250
RATE_HZ = 100.0


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    """A broker that keeps sessions, and what waits for them, over a restart."""
    with Mosquitto(tmp_path / "lasting", persistence=True) as lasting:
        yield lasting


@pytest.fixture
def subscriber(tmp_path: Path, broker: Mosquitto) -> Iterator[Subscriber]:
    with lasting_sub(tmp_path, broker, "lasting") as client:
        yield client


def desk(tmp_path: Path, port: int, **health: object) -> Device:
    """A device that makes one alert of each of ``ALERTS`` transactions, and ends by itself after the last."""
    channel = cards(tmp_path / "cards.npz", ALERTS, rate_hz=RATE_HZ)
    mqtt = {"historical_after_s": 0.3}
    return Device(tmp_path, config(tmp_path, port, {"desk": channel}, mqtt=mqtt, health=health))


def first_arrivals(subscriber: Subscriber) -> list[dict[str, Any]]:
    """Events without the repeats that *at least once* allows: a repeat has the same boot and sequence number."""
    found: dict[tuple[str, int], dict[str, Any]] = {}
    for event in subscriber.events("desk"):
        found.setdefault((event["boot_id"], event["seq"]), event)
    return list(found.values())


def test_a_broker_that_restarts_in_mid_stream_loses_no_alert(
    tmp_path: Path, broker: Mosquitto, subscriber: Subscriber
) -> None:
    with desk(tmp_path, broker.port) as device:
        for after in (50, 150):
            eventually(lambda after=after: len(subscriber.seqs("desk")) >= after)  # type: ignore[misc] # mypy cannot infer a lambda's default
            broker.stop()
            eventually(lambda: device.log("fault", fault="broker"))
            broker.start()
        assert device.end() == 0
        eventually(lambda: len(subscriber.seqs("desk")) >= ALERTS)
    assert subscriber.seqs("desk") == list(range(1, ALERTS + 1))
    assert {event["boot_id"] for event in subscriber.events("desk")} == {first_arrivals(subscriber)[0]["boot_id"]}


@pytest.mark.slow
def test_an_appliance_killed_with_and_without_a_broker_loses_no_alert_and_keeps_their_order(
    tmp_path: Path, broker: Mosquitto, subscriber: Subscriber
) -> None:
    port = free_port()
    decided = 0

    def decisions() -> int:
        return int(scrape(port, "edge_decisions_total") or 0)

    with desk(tmp_path, broker.port, metrics_port=port) as device:
        eventually(lambda: len(subscriber.seqs("desk")) >= 30)
        decided += decisions()
        device.end(signal.SIGKILL)  # in mid-stream
        device.start()
        eventually(lambda: decisions() >= 30)
        broker.stop()
        eventually(lambda: decisions() >= 60)
        decided += decisions()
        device.end(signal.SIGKILL)  # with a backlog, and nobody to take it
        device.start()
        eventually(lambda: decisions() >= 100)
        broker.start()
        assert device.end() == 0
        decided += ALERTS
        # Each life of the process has its own event; the last one's has the last sequence number.
        eventually(lambda: len({event["id"] for event in subscriber.events("desk")}) == 3)
        eventually(lambda: len(subscriber.seqs("desk")) >= decided)
    arrived = first_arrivals(subscriber)
    assert [event["seq"] for event in arrived] == list(range(1, len(arrived) + 1))
    assert len(arrived) >= decided, "an alert that was decided before the kill is missing"
    assert all(one["mono_ns"] < next_["mono_ns"] for one, next_ in pairwise(arrived))
    late = [event["historical"] for event in arrived]
    assert not late[0]
    assert any(late), "what waited on disk says so"
    assert not late[-1]
