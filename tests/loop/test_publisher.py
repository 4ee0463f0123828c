"""The publisher with a broker that works: what is sent, in which order, and what is heard."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from appliance.core.types import Message, Priority
from appliance.publisher.delivery import ACK_TIMEOUT_S
from appliance.publisher.publisher import FAREWELL_TIMEOUT_S, FLUSH_TIMEOUT_S, REBIRTH_DELAY_MAX_S
from appliance.sim.link import Delivered
from tests.loop.publisher_bench import (
    BIRTH,
    COMMAND,
    DISCOVERY,
    EVENT,
    METRICS,
    OFFLINE,
    ONLINE,
    STATE,
    SYNC_INTERVAL_S,
    Bench,
    running,
    state,
    topics,
)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    """Not started, so that a test can say what it finds."""
    with running(Bench(tmp_path)) as made:
        yield made


def test_a_session_begins_with_availability_then_discovery_then_state_then_the_backlog(bench: Bench) -> None:
    bench.alert("a", "b")
    bench.board.put(state(1))
    bench.start()
    bench.until(lambda: len(bench.broker.log()) == 5)
    assert topics(bench.broker.log()) == [ONLINE.topic, DISCOVERY.topic, STATE, EVENT, EVENT]
    assert bench.broker.retained(ONLINE.topic) == b"online"
    assert bench.publisher.connected
    assert bench.meter.value("edge_mqtt_connected") == 1.0


def test_alerts_arrive_once_and_in_order_and_leave_the_outbox_when_acknowledged(bench: Bench) -> None:
    bench.start()
    for number in range(30):
        bench.alert(f"{number}")
    bench.until(lambda: bench.outbox.depth().rows == 0)
    assert bench.names() == [f"{number}" for number in range(30)]
    assert [event["seq"] for event in bench.events()] == list(range(1, 31))


def test_an_alert_is_not_deleted_before_it_is_acknowledged(bench: Bench) -> None:
    bench.start()
    bench.alert("first")
    bench.until(lambda: bench.outbox.depth().rows == 0)
    bench.broker.script.acknowledge = False
    bench.alert("second")
    bench.until(lambda: bench.names() == ["first", "second"])
    bench.clock.advance(ACK_TIMEOUT_S / 2)
    assert bench.outbox.depth().rows == 1


def test_no_more_than_inflight_max_messages_wait_for_their_acknowledgement(bench: Bench) -> None:
    bench.start()
    bench.alert("first")
    bench.until(lambda: bench.outbox.depth().rows == 0)
    bench.broker.script.acknowledge = False
    bench.alert(*(f"{number}" for number in range(20)))
    bench.until(lambda: len(bench.names()) == 1 + bench.config.inflight_max)
    bench.board.put(state(1))  # of other messages too
    bench.publisher.publish_or_keep(Message(METRICS, {"n": 1}, qos=0))  # taken in the turn after
    bench.until(lambda: bench.broker.log(METRICS))
    assert len(bench.names()) == 1 + bench.config.inflight_max
    assert bench.broker.log(STATE) == []


def test_a_new_state_is_published_without_waiting_for_anything_else(bench: Bench) -> None:
    bench.start()
    bench.until(lambda: len(bench.broker.log()) == 2)
    bench.turn()
    bench.board.put(state(1))
    bench.until(lambda: bench.broker.log(STATE))  # while the clock stands still: only a wake ends the poll


def test_after_a_reconnect_availability_discovery_and_every_state_are_sent_again(bench: Bench) -> None:
    bench.board.put(state(7))
    bench.start()
    bench.until(lambda: len(bench.broker.log()) == 3)
    bench.broker.drop()
    bench.until(lambda: len(bench.broker.log()) == 7, advance_s=0.1)
    assert topics(bench.broker.log())[4:] == [ONLINE.topic, DISCOVERY.topic, STATE]  # after the will
    assert bench.broker.retained(ONLINE.topic) == b"online"


def test_a_retained_command_is_ignored_counted_and_told_once(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    bench.broker.publish(COMMAND, b"restart", retain=True)
    bench.start()
    bench.until(lambda: bench.meter.value("edge_commands_ignored_total", reason="retained") == 1)
    bench.broker.drop()
    bench.until(lambda: bench.meter.value("edge_commands_ignored_total", reason="retained") == 2, advance_s=0.1)
    bench.broker.publish(COMMAND, b"live", retain=False)
    bench.until(lambda: bench.commands)
    assert bench.commands == [(COMMAND, b"live")]
    assert sum("retained command" in record.getMessage() for record in caplog.records) == 1


def test_a_birth_is_answered_with_discovery_then_state_after_a_bounded_delay(tmp_path: Path) -> None:
    with running(Bench(tmp_path, jitter=0.5)) as bench:
        bench.board.put(state(1))
        bench.start()
        bench.until(lambda: len(bench.broker.log()) == 3)
        bench.broker.publish(BIRTH, b"offline")
        bench.broker.publish(BIRTH, b"online")
        bench.broker.publish(BIRTH, b"online")  # while the answer is due: one answer is enough
        began_s = bench.clock.monotonic_s()
        bench.until(lambda: len(bench.broker.log()) == 9, advance_s=0.01)
        assert bench.clock.monotonic_s() - began_s >= REBIRTH_DELAY_MAX_S / 2
        assert topics(bench.broker.log())[6:] == [DISCOVERY.topic, ONLINE.topic, STATE]
        assert bench.commands == []


def test_births_that_keep_coming_do_not_put_off_the_answer(tmp_path: Path) -> None:
    with running(Bench(tmp_path, jitter=0.5)) as bench:
        bench.start()
        bench.until(lambda: len(bench.broker.log()) == 2)

        def answered() -> bool:
            bench.broker.publish(BIRTH, b"online")
            bench.turn()
            return len(bench.broker.log(DISCOVERY.topic)) > 1

        bench.until(answered, advance_s=0.1)


def test_a_retained_birth_is_no_birth(bench: Bench) -> None:
    bench.broker.publish(BIRTH, b"online", retain=True)
    bench.start()
    bench.until(lambda: len(bench.broker.log()) == 3)
    bench.clock.advance(REBIRTH_DELAY_MAX_S)
    bench.alert("after")
    bench.until(lambda: bench.outbox.depth().rows == 0)
    assert topics(bench.broker.log())[1:] == [ONLINE.topic, DISCOVERY.topic, EVENT]
    assert bench.meter.value("edge_commands_ignored_total", reason="retained") == 0


@pytest.mark.parametrize(("captured_ago_s", "historical"), [(0.0, False), (9.9, False), (10.1, True), (86_400.0, True)])
def test_an_alert_is_historical_when_it_is_delivered_late(
    bench: Bench,
    captured_ago_s: float,
    historical: bool,  # noqa: FBT001 - a column of the table
) -> None:
    bench.clock.advance(90_000.0)
    bench.alert("a", captured_ago_s=captured_ago_s)
    bench.start()
    bench.until(bench.names)
    assert [event["historical"] for event in bench.events()] == [historical]


def test_an_alert_of_another_boot_is_historical_and_not_measured(bench: Bench) -> None:
    bench.alert("before")
    bench.clock.reboot("11111111-0000-4000-8000-000000000000", monotonic_s=bench.clock.monotonic_s())
    bench.alert("after")
    bench.start()
    bench.until(lambda: bench.outbox.depth().rows == 0)
    assert [event["historical"] for event in bench.events()] == [True, False]
    assert len(bench.meter.observations("edge_capture_to_publish_seconds", channel="gate")) == 1


def test_the_time_from_capture_to_publish_is_measured_once_for_each_alert(bench: Bench) -> None:
    bench.start()
    bench.alert("first")
    bench.until(lambda: bench.outbox.depth().rows == 0)
    bench.broker.script.acknowledge = False
    bench.alert("second", captured_ago_s=0.25)
    bench.until(lambda: len(bench.names()) == 2)
    bench.broker.script.acknowledge = True
    bench.broker.drop()
    bench.until(lambda: bench.outbox.depth().rows == 0, advance_s=0.5)
    assert len(bench.names()) == 3
    assert bench.meter.observations("edge_capture_to_publish_seconds") == pytest.approx([0.0, 0.25])


def test_telemetry_goes_straight_out_when_connected(bench: Bench) -> None:
    bench.start()
    bench.until(lambda: bench.publisher.connected)
    bench.publisher.publish_or_keep(Message(METRICS, {"n": 1, "historical": False}, qos=0))
    bench.until(lambda: bench.broker.log(METRICS))
    assert bench.broker.log(METRICS) == [Delivered(METRICS, b'{"n":1,"historical":false}', 0, retain=False)]
    assert bench.broker.log(f"{METRICS}/history") == []


def test_telemetry_is_kept_as_history_when_not_connected_and_gives_way_to_alerts(bench: Bench) -> None:
    bench.publisher.publish_or_keep(Message(METRICS, {"n": 1, "historical": False}, qos=0))
    assert bench.outbox.depth().rows == 1
    bench.start()
    bench.until(lambda: bench.broker.log(f"{METRICS}/history"))
    kept = bench.broker.log(f"{METRICS}/history")
    assert [(json.loads(message.payload), message.qos) for message in kept] == [({"n": 1, "historical": True}, 1)]
    assert bench.broker.log(METRICS) == []


def test_telemetry_that_a_session_did_not_take_is_kept(bench: Bench) -> None:
    bench.start()
    bench.until(lambda: bench.publisher.connected)
    bench.broker.script.acknowledge = False
    bench.alert("probe")  # nothing else may be sent until it is acknowledged
    bench.until(bench.names)
    bench.publisher.publish_or_keep(Message(METRICS, {"n": 1}, qos=0))
    bench.turn()
    bench.broker.script.acknowledge = True
    bench.broker.drop()
    bench.until(lambda: bench.broker.log(f"{METRICS}/history"), advance_s=0.5)
    assert bench.broker.log(METRICS) == []


def test_the_outbox_is_synced_with_and_without_a_broker(bench: Bench) -> None:
    bench.broker.script.absent = True
    bench.start()
    bench.alert("a", "b")
    bench.until(lambda: bench.meter.value("edge_spool_messages") == 2, advance_s=SYNC_INTERVAL_S / 4)
    bench.broker.script.absent = False
    bench.until(lambda: bench.meter.value("edge_spool_messages") == 0, advance_s=SYNC_INTERVAL_S / 4)


def test_a_stop_sends_what_waits_then_offline_and_leaves_cleanly(bench: Bench) -> None:
    bench.start()
    bench.until(lambda: bench.publisher.connected)
    bench.alert("last")
    bench.board.put(state(9))
    bench.stop()
    log = bench.broker.log()
    assert sorted(topics(log[2:4])) == [EVENT, STATE]
    assert [(message.topic, message.payload) for message in log[4:]] == [(OFFLINE.topic, b"offline")]  # no will
    assert not bench.publisher.connected
    assert bench.meter.value("edge_mqtt_connected") == 0.0
    assert bench.outbox.depth().rows == 0


def test_a_stop_is_bounded_when_the_broker_does_not_answer(bench: Bench) -> None:
    bench.start()
    bench.until(lambda: bench.publisher.connected)
    bench.broker.script.acknowledge = False
    bench.alert("unanswered")
    bench.until(bench.names)
    began_s = bench.clock.monotonic_s()
    bench.stop(advance_s=0.1)
    took_s = bench.clock.monotonic_s() - began_s
    assert FLUSH_TIMEOUT_S + FAREWELL_TIMEOUT_S <= took_s < FLUSH_TIMEOUT_S + FAREWELL_TIMEOUT_S + 2.0
    assert bench.broker.log()[-1].payload == b"offline"
    assert bench.outbox.depth().rows == 1


def test_priorities_are_given_to_the_outbox(tmp_path: Path) -> None:
    with running(Bench(tmp_path)) as bench:
        bench.broker.script.absent = True
        bench.start()
        bench.alert("alert")
        bench.publisher.publish_or_keep(Message(METRICS, {"n": 1}, qos=0))
        assert [waiting.payload.get("seq") for waiting in bench.outbox.next_batch(0, 10)] == [1, None]
        assert Priority.TELEMETRY > Priority.ALERT
