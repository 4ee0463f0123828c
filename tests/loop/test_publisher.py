"""The publisher against a scripted broker, with the real outbox and a clock in the test's hands."""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from appliance.board import Board
from appliance.config import MqttConfig, OutboxConfig
from appliance.core.types import Message, Priority
from appliance.outbox import Outbox
from appliance.publisher import Publisher
from appliance.publisher.delivery import ACK_TIMEOUT_S
from appliance.publisher.publisher import FAREWELL_TIMEOUT_S, FLUSH_TIMEOUT_S, REBIRTH_DELAY_MAX_S, SETTLED_S
from appliance.sim.clock import ManualClock
from appliance.sim.link import Delivered, SimulatedBroker, SimulatedLink
from appliance.sim.meter import RecordingMeter
from tests.waiting import eventually

ONLINE = Message("edge/n1/availability", "online", retain=True)
OFFLINE = Message("edge/n1/availability", "offline", retain=True)
DISCOVERY = Message("homeassistant/device/edge_n1/config", {"device": {}}, retain=True)
STATE = "edge/n1/gate/state"
EVENT = "edge/n1/gate/event"
METRICS = "edge/n1/metrics"
BIRTH = "homeassistant/status"
COMMAND = "edge/n1/cmd"
SYNC_INTERVAL_S = 1.0
ALMOST_ONE = 1.0 - 2**-53


class Bench:
    """A publisher on a thread, and everything around it."""

    def __init__(self, folder: Path, *, attempts_max: int = 3, jitter: float = 0.0, **mqtt: float) -> None:
        self.clock = ManualClock()
        self.meter = RecordingMeter(self.clock)
        self.broker = SimulatedBroker()
        self.config = MqttConfig.model_validate({"inflight_max": 4, **mqtt})
        self.link = SimulatedLink(self.broker, self.clock, will=OFFLINE)
        limits = OutboxConfig(attempts_max=attempts_max)
        self.outbox = Outbox(folder / "outbox.db", limits, self.clock, self.meter, on_add=self.link.wake)
        self.board = Board(on_put=self.link.wake)
        self.commands: list[tuple[str, bytes]] = []
        self.publisher = Publisher(
            self.link,
            self.outbox,
            self.board,
            self.clock,
            self.meter,
            self.config,
            sync_interval_s=SYNC_INTERVAL_S,
            announce=lambda: [DISCOVERY],
            on_command=lambda topic, payload: self.commands.append((topic, payload)),
            birth_topic=BIRTH,
            command_topics=[COMMAND],
            online=ONLINE,
            offline=OFFLINE,
            jitter=lambda: jitter,
        )
        self._stop = Event()
        self._thread = Thread(target=self.publisher.run, args=(self._stop,), daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self, *, advance_s: float = 0.05) -> None:
        """Stop it as its owner does; time passes while it says goodbye."""
        self._stop.set()
        self.publisher.wake()
        self.until(lambda: not self._thread.is_alive(), advance_s=advance_s)

    @property
    def is_alive(self) -> bool:
        return self._thread.is_alive()

    def until(self, condition: Callable[[], object], *, advance_s: float = 0.0) -> None:
        """Wait for something; let time pass meanwhile."""

        def probe() -> object:
            self.clock.advance(advance_s)
            return condition()

        eventually(probe)

    def turn(self) -> None:
        """Let the publisher look around once more, and do what it finds to do."""
        target = self.link.polls + 2  # the running poll may have begun before what the test just did

        def probe() -> bool:
            self.link.wake()
            return self.link.polls >= target

        self.until(probe)

    def alert(self, *names: str, captured_ago_s: float = 0.0) -> None:
        mono_ns = round((self.clock.monotonic_s() - captured_ago_s) * 1e9)
        payload = {"channel": "gate", "mono_ns": mono_ns, "historical": False}
        self.outbox.add([Message(EVENT, {**payload, "id": name}) for name in names])

    def events(self) -> list[dict[str, Any]]:
        return [json.loads(message.payload) for message in self.broker.log(EVENT)]

    def names(self) -> list[str]:
        return [event["id"] for event in self.events()]

    def sessions(self, outcome: str) -> float:
        return self.meter.value("edge_mqtt_sessions_total", outcome=outcome)


@contextmanager
def running(bench: Bench) -> Iterator[Bench]:
    bench.outbox.open()
    try:
        yield bench
    finally:
        bench.stop()
        bench.outbox.close()


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    """Not started, so that a test can say what it finds."""
    with running(Bench(tmp_path)) as made:
        yield made


def topics(messages: Sequence[Delivered]) -> list[str]:
    return [message.topic for message in messages]


def state(value: int) -> Message:
    return Message(STATE, {"value": value}, retain=True)


def is_subsequence_once(names: Sequence[str]) -> list[str]:
    """First deliveries only: at least once means that repeats may follow."""
    return list(dict.fromkeys(names))


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


def test_a_stop_while_the_broker_is_absent_needs_no_time(bench: Bench) -> None:
    bench.broker.script.absent = True
    bench.start()
    bench.until(lambda: bench.sessions("failed") == 1)
    bench.stop(advance_s=0.0)
    assert not bench.is_alive


FAULT = st.sampled_from(["alert", "alert", "alert", "poison", "drop", "absent", "present", "refuse", "accept", "mute"])


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(st.tuples(FAULT, st.integers(1, 6)), max_size=25))
def test_whatever_the_broker_does_every_alert_arrives_in_order_or_is_a_dead_letter(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, int]]
) -> None:
    with running(Bench(tmp_path_factory.mktemp("outbox"), attempts_max=2)) as bench:
        bench.broker.script.poison = b"poison"
        bench.start()
        sent: list[str] = []
        for step, amount in steps:
            bench.clock.advance(0.2 * amount)
            if step in {"alert", "poison"}:
                names = [f"{step}-{len(sent) + number}" for number in range(amount)]
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


def test_priorities_are_given_to_the_outbox(tmp_path: Path) -> None:
    with running(Bench(tmp_path)) as bench:
        bench.broker.script.absent = True
        bench.start()
        bench.alert("alert")
        bench.publisher.publish_or_keep(Message(METRICS, {"n": 1}, qos=0))
        assert [waiting.payload.get("seq") for waiting in bench.outbox.next_batch(0, 10)] == [1, None]
        assert Priority.TELEMETRY > Priority.ALERT
