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

ALERTS = 100_000
"""More than any life of a device comes to here."""
RATE_HZ = 100.0
HISTORICAL_AFTER_S = 3.0
"""Longer than an alert takes that nothing holds up, on a busy machine."""
BACKLOG = 400
"""Decisions of the last life without a broker: four seconds' worth, as the recording gives them out."""


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    """A broker that keeps sessions, and what waits for them, over a restart."""
    with Mosquitto(tmp_path / "lasting", persistence=True) as lasting:
        yield lasting


@pytest.fixture
def subscriber(tmp_path: Path, broker: Mosquitto) -> Iterator[Subscriber]:
    with lasting_sub(tmp_path, broker, "lasting") as client:
        yield client


def desk(tmp_path: Path, port: int, metrics_port: int) -> Device:
    """A device that makes one alert of each transaction, for as long as it is let."""
    channel = cards(tmp_path / "cards.npz", ALERTS, rate_hz=RATE_HZ)
    mqtt, health = {"historical_after_s": HISTORICAL_AFTER_S}, {"metrics_port": metrics_port}
    return Device(tmp_path, config(tmp_path, port, {"desk": channel}, mqtt=mqtt, health=health))


def counted(metrics_port: int, name: str, **labels: str) -> int:
    """A sum of this life of the device; 0 while it tells none."""
    return int(scrape(metrics_port, name, **labels) or 0)


def first_arrivals(subscriber: Subscriber) -> list[dict[str, Any]]:
    """Events without the repeats that *at least once* allows: a repeat has the same boot and sequence number."""
    found: dict[tuple[str, int], dict[str, Any]] = {}
    for event in subscriber.events("desk"):
        found.setdefault((event["boot_id"], event["seq"]), event)
    return list(found.values())


def test_a_broker_that_restarts_in_mid_stream_loses_no_alert(
    tmp_path: Path, broker: Mosquitto, subscriber: Subscriber
) -> None:
    port = free_port()

    def sessions(outcome: str) -> int:
        return counted(port, "edge_mqtt_sessions_total", outcome=outcome)

    with desk(tmp_path, broker.port, port) as device:
        for outage, after in enumerate((50, 150), start=1):
            eventually(lambda after=after: len(subscriber.seqs("desk")) >= after)  # type: ignore[misc] # mypy cannot infer a lambda's default
            broker.stop()
            eventually(lambda outage=outage: sessions("lost") == outage)  # type: ignore[misc] # as above
            broker.start()
            eventually(lambda outage=outage: sessions("accepted") == outage + 1)  # type: ignore[misc] # as above
        decided = counted(port, "edge_decisions_total")
        eventually(lambda: len(subscriber.seqs("desk")) >= decided)
        assert device.end(signal.SIGTERM) == 0
    seqs = subscriber.seqs("desk")
    assert len(seqs) >= decided > 150
    assert seqs == list(range(1, len(seqs) + 1))
    assert {event["boot_id"] for event in subscriber.events("desk")} == {first_arrivals(subscriber)[0]["boot_id"]}


@pytest.mark.slow
def test_an_appliance_killed_with_and_without_a_broker_loses_no_alert_and_keeps_their_order(
    tmp_path: Path, broker: Mosquitto, subscriber: Subscriber
) -> None:
    port = free_port()
    decided = 0

    def decisions() -> int:
        return counted(port, "edge_decisions_total")

    with desk(tmp_path, broker.port, port) as device:
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
        eventually(lambda: decisions() >= BACKLOG)
        broker.start()
        # Each life of the process has its own event; the last one's has the last sequence number.
        eventually(lambda: len({event["id"] for event in subscriber.events("desk")}) == 3)
        eventually(lambda: not subscriber.events("desk")[-1]["historical"])  # the backlog is delivered
        decided += decisions()
        eventually(lambda: len(subscriber.seqs("desk")) >= decided)
        assert device.end(signal.SIGTERM) == 0
    arrived = first_arrivals(subscriber)
    assert [event["seq"] for event in arrived] == list(range(1, len(arrived) + 1))
    assert len(arrived) >= decided, "an alert that was decided before the kill is missing"
    assert all(one["mono_ns"] < next_["mono_ns"] for one, next_ in pairwise(arrived))
    late = [event["historical"] for event in arrived]
    assert not late[0]
    assert any(late), "what waited on disk says so"
