"""The publisher with a broker that is away, refuses, hangs, or ends sessions."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from appliance.core.types import Message
from appliance.publisher.publisher import SETTLED_S
from appliance.sim.link import SimulatedBroker
from tests.loop.publisher_bench import (
    ALMOST_ONE,
    DISCOVERY,
    EVENT,
    ONLINE,
    STATE,
    Bench,
    is_subsequence_once,
    running,
    state,
    topics,
)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    """Not started, so that a test can say what it finds."""
    with running(Bench(tmp_path)) as made:
        yield made


def test_a_broker_that_owes_acknowledgements_is_taken_for_lost_and_gets_all_again(bench: Bench) -> None:
    bench.start()
    bench.alert("first")
    bench.until(lambda: bench.outbox.depth().rows == 0)
    bench.broker.script.acknowledge = False
    bench.alert("a", "b")
    bench.until(lambda: bench.names() == ["first", "a", "b"])
    bench.broker.script.acknowledge = True
    bench.until(lambda: bench.outbox.depth().rows == 0, advance_s=1.0)
    assert bench.names() == ["first", "a", "b", "a", "b"]
    assert bench.sessions("lost") == 1


def test_while_the_broker_is_away_alerts_are_kept_and_only_the_newest_state_is(bench: Bench) -> None:
    bench.broker.script.absent = True
    bench.start()
    for value in range(5):
        bench.alert(f"{value}")
        bench.board.put(state(value))
    bench.until(lambda: bench.sessions("failed") >= 3, advance_s=0.2)
    assert not bench.publisher.connected
    assert bench.meter.value("edge_mqtt_connected") == 0.0
    bench.broker.script.absent = False
    bench.until(lambda: bench.outbox.depth().rows == 0, advance_s=0.2)
    assert bench.names() == ["0", "1", "2", "3", "4"]
    assert [message.payload for message in bench.broker.log(STATE)] == [b'{"value":4}']


@pytest.mark.parametrize(("absent", "refuse"), [(True, ""), (False, "Not authorized")])
def test_absent_and_refusing_brokers_are_not_connected_and_are_left_alone_longer_each_time(
    tmp_path: Path,
    absent: bool,  # noqa: FBT001 - a column of the table
    refuse: str,
) -> None:
    with running(Bench(tmp_path, jitter=ALMOST_ONE, reconnect_min_s=1.0, reconnect_max_s=4.0)) as bench:
        bench.broker.script.absent, bench.broker.script.refuse = absent, refuse
        bench.start()
        bench.until(lambda: bench.sessions("failed") == 1)
        for attempts, delay_s in enumerate([2.0, 4.0, 4.0], start=1):
            began_s = bench.clock.monotonic_s()
            bench.until(lambda attempts=attempts: bench.sessions("failed") > attempts, advance_s=0.04)  # type: ignore[misc] # mypy cannot infer a lambda's default
            assert delay_s * 0.95 <= bench.clock.monotonic_s() - began_s < 7.0
        assert not bench.publisher.connected
        assert bench.broker.connects == 0


def test_after_a_session_that_lasted_the_backoff_starts_anew_and_after_a_short_one_it_does_not(tmp_path: Path) -> None:
    with running(Bench(tmp_path, jitter=ALMOST_ONE, reconnect_min_s=1.0, reconnect_max_s=64.0)) as bench:
        bench.broker.script.absent = True
        bench.start()
        bench.until(lambda: bench.sessions("failed") == 4, advance_s=0.5)  # next delay: 32 s
        bench.broker.script.absent = False
        bench.until(lambda: bench.publisher.connected, advance_s=1.0)
        bench.broker.drop()
        bench.until(lambda: not bench.publisher.connected)
        before_s = bench.clock.monotonic_s()
        bench.until(lambda: bench.publisher.connected, advance_s=1.0)
        assert bench.clock.monotonic_s() - before_s > 10.0
        bench.clock.advance(SETTLED_S)
        bench.broker.drop()
        bench.until(lambda: not bench.publisher.connected)
        before_s = bench.clock.monotonic_s()
        bench.until(lambda: bench.publisher.connected, advance_s=0.25)
        assert bench.clock.monotonic_s() - before_s < 10.0


def test_a_poison_message_ends_in_the_dead_letters_and_no_other_is_blamed(bench: Bench) -> None:
    bench.broker.script.poison = b"poison"
    bench.start()
    names = [f"{number}" for number in range(10)]
    bench.alert(*names[:5], "poison", *names[5:])
    bench.until(lambda: bench.outbox.depth().rows == 0, advance_s=0.5)
    assert is_subsequence_once(bench.names()) == names
    letters = bench.outbox.dead_letters(10)
    assert [json.loads(letter.payload)["id"] for letter in letters] == ["poison"]
    assert letters[0].attempts == 3


def test_an_alert_is_not_blamed_for_a_session_that_ended_with_others_in_flight(bench: Bench) -> None:
    bench.start()
    bench.alert("first")
    bench.until(lambda: bench.outbox.depth().rows == 0)
    bench.broker.script.acknowledge = False
    bench.alert("a", "b")
    bench.until(lambda: bench.names() == ["first", "a", "b"])
    bench.broker.script.absent = True
    bench.broker.drop()
    bench.until(lambda: not bench.publisher.connected)
    bench.stop()
    assert [waiting.attempts for waiting in bench.outbox.next_batch(0, 10)] == [0, 0]


def test_an_alert_is_not_blamed_for_a_session_that_ended_on_the_greeting(bench: Bench) -> None:
    bench.broker.script.poison = b'"device"'
    bench.alert("innocent")
    bench.start()
    bench.until(lambda: bench.sessions("lost") > 5, advance_s=0.5)
    bench.broker.script.poison = None
    bench.until(lambda: bench.outbox.depth().rows == 0, advance_s=0.5)
    assert bench.names() == ["innocent"]


def test_an_alert_goes_on_probation_only_when_nothing_else_is_in_flight(bench: Bench) -> None:
    bench.start()
    bench.until(lambda: len(bench.broker.log()) == 2)
    bench.broker.script.acknowledge = False
    bench.board.put(state(1))
    bench.until(lambda: bench.broker.log(STATE))
    bench.alert("next")
    bench.turn()
    assert bench.names() == []


def test_states_wait_while_an_alert_is_on_probation(bench: Bench) -> None:
    bench.start()
    bench.until(lambda: len(bench.broker.log()) == 2)
    bench.broker.script.acknowledge = False
    bench.alert("probe")
    bench.until(lambda: bench.names() == ["probe"])
    bench.board.put(state(1))
    bench.turn()
    bench.alert("next")
    bench.turn()
    assert topics(bench.broker.log()) == [ONLINE.topic, DISCOVERY.topic, EVENT]


def test_a_refused_message_is_buried_at_once_and_the_others_flow(bench: Bench) -> None:
    bench.broker.script.refuse_topics[EVENT] = "Packet too large"
    bench.start()
    bench.alert("refused")
    bench.outbox.add([Message("edge/n1/door/event", {"id": "taken"})])
    bench.until(lambda: bench.outbox.depth().rows == 0)
    assert bench.names() == []
    assert len(bench.broker.log("edge/n1/door/event")) == 1
    assert [letter.reason for letter in bench.outbox.dead_letters(10)] == ["Packet too large"]
    assert bench.sessions("lost") == 0


def test_a_stop_while_the_broker_is_absent_needs_no_time(bench: Bench) -> None:
    bench.broker.script.absent = True
    bench.start()
    bench.until(lambda: bench.sessions("failed") == 1)
    bench.stop(advance_s=0.0)
    assert not bench.is_alive


FAULT = st.sampled_from(["alert", "alert", "alert", "poison", "drop", "absent", "present", "refuse", "accept", "mute"])
ENDS_A_SESSION = {"drop", "absent", "mute"}


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@example(steps=[("drop", 1), ("alert", 2), ("drop", 3)])
@given(steps=st.lists(st.tuples(FAULT, st.integers(1, 6)), max_size=25))
def test_whatever_the_broker_does_every_alert_arrives_in_order_or_is_a_dead_letter(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, int]]
) -> None:
    # A step may end a session on an alert's probe; only what ends more of them is given up.
    attempts_max = 2 + sum(step in ENDS_A_SESSION for step, _ in steps)
    with running(Bench(tmp_path_factory.mktemp("outbox"), attempts_max=attempts_max)) as bench:
        bench.broker.script.poison = b"poison"
        bench.start()
        sent: list[str] = []
        for step, amount in steps:
            bench.clock.advance(0.2 * amount)
            if step in {"alert", "poison"}:
                count = amount if step == "alert" else 1 + amount // 4  # each poison costs attempts_max sessions
                names = [f"{step}-{len(sent) + number}" for number in range(count)]
                sent += names
                bench.alert(*names)
            _disturb(bench.broker, step, amount)
        _disturb(bench.broker, "accept", 0)
        _disturb(bench.broker, "present", 0)
        bench.broker.script.acknowledge, bench.broker.script.drop_after = True, None
        bench.until(lambda: bench.outbox.depth().rows == 0, advance_s=1.0)
        assert is_subsequence_once(bench.names()) == [name for name in sent if name.startswith("alert")]
        letters = {json.loads(letter.payload)["id"] for letter in bench.outbox.dead_letters(1000)}
        assert letters == {name for name in sent if name.startswith("poison")}


def _disturb(broker: SimulatedBroker, step: str, amount: int) -> None:
    script = broker.script
    if step == "drop":
        script.drop_after = amount
    elif step in {"absent", "present"}:
        script.absent = step == "absent"
        if script.absent:
            broker.drop()
    elif step in {"refuse", "accept"}:
        script.refuse = "Server busy" if step == "refuse" else ""
    elif step == "mute":
        script.acknowledge = amount > 3
