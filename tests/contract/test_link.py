"""What ``ports.Link`` promises, kept by paho against a real mosquitto and by the simulation."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from threading import Event, Thread

import pytest

from appliance.adapters import mqtt_session
from appliance.errors import BrokerError
from appliance.ports import Acknowledged, Link, LinkEvent, Lost, Received
from tests.contract.link_benches import WILL, Bench, PahoBench, SimulatedBench
from tests.waiting import eventually

WOKEN_S = 15.0
"""For a poll to end that was woken; one that was not lasts ``POLL_S``."""
POLL_S = 60.0


@pytest.fixture
def _long_polls(monkeypatch: pytest.MonkeyPatch) -> None:
    """No poll ends by itself while the test waits."""
    monkeypatch.setattr(mqtt_session, "POLL_MAX_S", POLL_S)


@pytest.fixture(
    params=[pytest.param("5", marks=pytest.mark.broker), pytest.param("3.1.1", marks=pytest.mark.broker), "simulated"]
)
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Bench]:
    if request.param == "simulated":
        yield SimulatedBench()
        return
    with ExitStack() as stack:
        yield PahoBench(tmp_path, request.param, stack)


def events(link: Link, wanted: Callable[[list[LinkEvent]], bool]) -> list[LinkEvent]:
    """Poll until what happened is what is wanted."""
    happened: list[LinkEvent] = []

    def poll() -> bool:
        happened.extend(link.poll(0.05))
        return wanted(happened)

    eventually(poll)
    return happened


def is_lost(happened: list[LinkEvent]) -> bool:
    return any(isinstance(event, Lost) for event in happened)


def test_an_absent_broker_is_a_broker_error_and_no_session(bench: Bench) -> None:
    with pytest.raises(BrokerError):
        bench.link.connect([])
    with pytest.raises(BrokerError):
        bench.link.publish("t", b"", qos=1, retain=False)


def test_a_refused_connection_is_no_session_and_says_why(bench: Bench) -> None:
    bench.refuse()
    with pytest.raises(BrokerError, match="Not authorized"):
        bench.link.connect([])
    with pytest.raises(BrokerError):
        bench.link.publish("t", b"", qos=1, retain=False)


def test_a_message_is_delivered_and_acknowledged_under_its_own_token(bench: Bench) -> None:
    bench.start()
    bench.link.connect([])
    tokens = [bench.link.publish("t", b"%d" % number, qos=1, retain=False) for number in range(50)]
    acknowledged = events(bench.link, lambda happened: len(happened) == len(tokens))
    assert acknowledged == [Acknowledged(token) for token in tokens]
    assert len(set(tokens)) == len(tokens)
    eventually(lambda: len(bench.seen("t")) == len(tokens))
    assert bench.seen("t") == [b"%d" % number for number in range(50)]


def test_a_message_of_quality_0_is_delivered_and_never_acknowledged(bench: Bench) -> None:
    bench.start()
    bench.link.connect([])
    bench.link.publish("t", b"quick", qos=0, retain=False)
    after = bench.link.publish("t", b"sure", qos=1, retain=False)
    assert events(bench.link, bool) == [Acknowledged(after)]
    eventually(lambda: len(bench.seen("t")) == 2)


def test_a_message_larger_than_any_socket_buffer_is_delivered_whole(bench: Bench) -> None:
    bench.start()
    bench.link.connect([])
    payload = bytes(range(256)) * 40_000  # 10 MB
    token = bench.link.publish("t", payload, qos=1, retain=False)
    assert events(bench.link, bool) == [Acknowledged(token)]
    eventually(lambda: bench.seen("t"))
    assert bench.seen("t") == [payload]


@pytest.mark.parametrize("retain", [True, False])
def test_a_later_subscriber_finds_exactly_what_was_retained(bench: Bench, retain: bool) -> None:  # noqa: FBT001 - a parameter of the table
    bench.start()
    bench.link.connect([])
    bench.link.publish("t", b"x", qos=1, retain=retain)
    events(bench.link, bool)
    assert bench.retained("t") == (b"x" if retain else None)


def test_a_received_message_says_whether_it_was_retained(bench: Bench) -> None:
    bench.start()
    bench.publish("cmd", b"old", retain=True)
    bench.link.connect(["cmd"])
    assert events(bench.link, bool) == [Received("cmd", b"old", retained=True)]
    bench.publish("cmd", b"new", retain=True)
    assert events(bench.link, bool) == [Received("cmd", b"new", retained=False)]


def test_only_subscribed_topics_are_received(bench: Bench) -> None:
    bench.start()
    bench.link.connect(["a", "b"])
    for topic in ("c", "a", "c", "b"):
        bench.publish(topic, b"")
    happened = events(bench.link, lambda happened: len(happened) >= 2)
    assert happened == [Received("a", b"", retained=False), Received("b", b"", retained=False)]


def test_a_dead_broker_is_a_lost_session(bench: Bench) -> None:
    bench.start()
    bench.link.connect([])
    bench.stop()
    happened = events(bench.link, is_lost)
    assert [type(event) for event in happened] == [Lost]
    with pytest.raises(BrokerError):
        bench.link.publish("t", b"", qos=1, retain=False)
    assert bench.link.poll(0.01) == []


def test_after_a_loss_a_new_session_has_its_subscriptions_again(bench: Bench) -> None:
    bench.start()
    bench.link.connect(["cmd"])
    bench.stop()
    events(bench.link, is_lost)
    bench.start()
    bench.link.connect(["cmd"])
    bench.publish("cmd", b"hello")
    assert events(bench.link, bool) == [Received("cmd", b"hello", retained=False)]


def test_nothing_of_a_session_reaches_the_next_one(bench: Bench) -> None:
    bench.start()
    bench.link.connect([])
    bench.link.publish("t", b"first", qos=1, retain=False)
    bench.link.connect([])
    token = bench.link.publish("t", b"second", qos=1, retain=False)
    assert events(bench.link, bool) == [Acknowledged(token)]


def test_poll_returns_with_nothing_when_nothing_happens(bench: Bench) -> None:
    bench.start()
    bench.link.connect([])
    assert bench.link.poll(0.0) == []
    assert bench.link.poll(0.02) == []


@pytest.mark.usefixtures("_long_polls")
@pytest.mark.parametrize("connected", [True, False])
def test_wake_ends_a_poll_with_and_without_a_session(bench: Bench, connected: bool) -> None:  # noqa: FBT001 - a parameter of the table
    if connected:
        bench.start()
        bench.link.connect([])
    ended = Event()

    def poll_long() -> None:
        for _ in range(3):
            bench.link.poll(POLL_S)
        ended.set()

    thread = Thread(target=poll_long, daemon=True)
    thread.start()

    def wake_until_ended() -> bool:
        bench.link.wake()
        return ended.wait(0.005)

    eventually(wake_until_ended, within_s=WOKEN_S)
    thread.join(WOKEN_S)


@pytest.mark.usefixtures("_long_polls")
def test_a_wake_before_the_poll_is_not_forgotten(bench: Bench) -> None:
    bench.start()
    bench.link.connect([])
    bench.link.wake()
    ended = Event()

    def poll_once() -> None:
        bench.link.poll(POLL_S)
        ended.set()

    thread = Thread(target=poll_once, daemon=True)
    thread.start()
    assert ended.wait(WOKEN_S)
    thread.join(WOKEN_S)


@pytest.mark.parametrize("connected", [True, False])
def test_a_wake_ends_one_poll_and_not_the_next(bench: Bench, connected: bool) -> None:  # noqa: FBT001 - a parameter of the table
    if connected:
        bench.start()
        bench.link.connect([])
    bench.link.wake()
    bench.link.poll(60.0)
    began_s = time.monotonic()
    bench.link.poll(0.05)
    assert time.monotonic() - began_s >= 0.045


def test_a_clean_close_cancels_the_will(bench: Bench) -> None:
    bench.start()
    bench.link.connect([])
    bench.link.publish(WILL.topic, b"online", qos=1, retain=True)
    events(bench.link, bool)
    bench.link.close()
    bench.publish("fence", b"")
    eventually(lambda: bench.seen("fence"))
    assert bench.seen(WILL.topic) == [b"online"]
    assert bench.retained(WILL.topic) == b"online"


def test_close_is_idempotent_and_ends_the_session(bench: Bench) -> None:
    bench.link.close()
    bench.start()
    bench.link.connect([])
    bench.link.close()
    bench.link.close()
    assert bench.link.poll(0.01) == []
    with pytest.raises(BrokerError):
        bench.link.publish("t", b"", qos=1, retain=False)
