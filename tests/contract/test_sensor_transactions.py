"""Transactions over a real broker: a foreign client asks, and gets its decision or the reason why there is none."""

import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from threading import Thread

import pytest

from appliance.adapters.sensors import request_session
from appliance.adapters.sensors.request_session import ANSWERS_WAITING_MAX
from appliance.adapters.sensors.transactions import Transactions
from appliance.config import MqttConfig, TransactionsConfig
from appliance.core.types import Decision, Frame, FrameKind, OutcomeState, Prediction, Provenance, ReplyAddress
from appliance.errors import Idle, SensorError
from appliance.ports import SensorContext
from tests.broker import Mosquitto, free_port
from tests.contract.sensor_rigs import CardTerminal
from tests.contract.sensor_suite import make_context, make_model, recorded, requests
from tests.waiting import eventually

pytestmark = pytest.mark.broker
TOPIC = "edge/node/suite/request"
PATIENCE_S = 10.0
NOT_HELD_UP_S = 15.0
"""For what does not wait for a frozen broker; what does waits for ever, or for ``FROZEN_S``."""
FROZEN_S = 60.0
GOOD = b'{"id": "t-1", "amount": 12.5}'


def make_mqtt_context(port: int, **settings: object) -> SensorContext:
    mqtt = MqttConfig.model_validate({"port": port, "connect_timeout_s": 5.0, **settings})
    return make_context(make_model(FrameKind.RECORD, features=("amount",)), mqtt=mqtt)


@pytest.fixture
def context(mosquitto: Mosquitto) -> SensorContext:
    return make_mqtt_context(mosquitto.port)


@pytest.fixture
def sensor(context: SensorContext) -> Iterator[Transactions]:
    sensor = Transactions(TransactionsConfig(kind="transactions", queue_max=3), context)
    sensor.open()
    yield sensor
    sensor.close()


@pytest.fixture
def terminal(mosquitto: Mosquitto) -> Iterator[CardTerminal]:
    terminal = CardTerminal(mosquitto.port)
    yield terminal
    terminal.close()


def decided(frame: Frame) -> Decision:
    """A decision as the loop would make it."""
    return Decision(
        channel="suite",
        outcome_state=OutcomeState.RESULT,
        rules={"fraud": True},
        predictions=(Prediction("fraud", 0.97),),
        alerts=(),
        provenance=Provenance("card", "1.0.0", "cpu", degraded=False),
        frame_seq=frame.seq,
        captured_s=frame.captured_s,
        decided_s=time.monotonic(),
        threshold=0.9,
    )


def test_a_request_is_answered_on_its_response_topic_with_its_correlation_data(
    sensor: Transactions, terminal: CardTerminal, context: SensorContext
) -> None:
    before_s = time.monotonic()
    terminal.ask(TOPIC, b'{"id": "t-1", "amount": 12.5, "card": "c9"}', correlation=b"\x00\xffab")
    frame = sensor.capture(PATIENCE_S)
    assert frame.data.tolist() == [12.5]
    assert frame.context == {"id": "t-1", "card": "c9"}
    assert before_s <= frame.captured_s <= time.monotonic()
    sensor.respond(frame, decided(frame))
    message = terminal.answer()
    answer = json.loads(message.payload)
    assert message.topic == "terminal/7/answers"
    assert not message.retain
    assert message.properties is not None
    assert message.properties.CorrelationData == b"\x00\xffab"  # type: ignore[attr-defined] # paho sets it so
    expected = {
        "outcome_state": "result",
        "outcome": "fraud",
        "score": 0.97,
        "threshold": 0.9,
        "reason": "",
        "model": "card",
        "model_version": "1.0.0",
        "backend": "cpu",
        "degraded": False,
        "request_id": "t-1",
        "node": "node",
        "channel": "suite",
    }
    assert {key: answer[key] for key in expected} == expected
    assert answer["frame_age_ms"] >= 0
    assert requests(context, "answered") == 1


def test_requests_are_judged_in_the_order_of_their_arrival(sensor: Transactions, terminal: CardTerminal) -> None:
    for number in range(3):
        terminal.ask(TOPIC, b'{"amount": %d}' % number)
    assert [sensor.capture(PATIENCE_S).data[0] for _ in range(3)] == [0.0, 1.0, 2.0]


def test_a_terminal_that_nobody_uses_is_idle_and_no_dead_sensor(sensor: Transactions) -> None:
    with pytest.raises(Idle):
        sensor.capture(0.05)


def test_the_age_of_a_request_counts_from_its_arrival_not_from_when_the_loop_comes_to_it(
    sensor: Transactions, terminal: CardTerminal, context: SensorContext
) -> None:
    terminal.ask(TOPIC, GOOD)
    terminal.ask(TOPIC, b"no question")
    eventually(lambda: requests(context, "refused") == 1)  # the loop is busy meanwhile
    arrived_s = time.monotonic()
    assert sensor.capture(PATIENCE_S).captured_s <= arrived_s


def test_a_bad_request_is_answered_at_once_and_is_not_judged(
    sensor: Transactions, terminal: CardTerminal, context: SensorContext
) -> None:
    terminal.ask(TOPIC, b'{"id": "t-2"}')
    answer = json.loads(terminal.answer().payload)
    assert answer["outcome_state"] == "error"
    assert answer["error"] == "feature 'amount' is missing"
    assert answer["request_id"] == "t-2"
    assert requests(context, "refused") == 1
    with pytest.raises(Idle):
        sensor.capture(0.0)


def test_a_retained_request_is_not_asked_again_at_every_start(terminal: CardTerminal, context: SensorContext) -> None:
    terminal.ask(TOPIC, GOOD, retain=True)
    sensor = Transactions(TransactionsConfig(kind="transactions"), context)
    sensor.open()
    eventually(lambda: requests(context, "retained") == 1)
    with pytest.raises(Idle):
        sensor.capture(0.0)
    sensor.close()
    assert terminal.answers == []


def test_a_request_that_wants_no_answer_is_judged_all_the_same(
    sensor: Transactions, terminal: CardTerminal, context: SensorContext
) -> None:
    terminal.ask(TOPIC, GOOD, answers_on="")
    frame = sensor.capture(PATIENCE_S)
    assert frame.reply is None
    sensor.respond(frame, decided(frame))
    assert requests(context, "unasked") == 1


@pytest.mark.parametrize(
    ("topic", "is_answered"),
    [
        ("terminal/1", True),
        ("edge/node/suite/response/1", True),
        ("edge/node/suite/event", False),
        ("edge/node/availability", False),
        ("$SYS/broker", False),
        ("a" * 600, False),
    ],
)
def test_nobody_can_make_the_appliance_speak_in_its_own_name(
    sensor: Transactions, terminal: CardTerminal, context: SensorContext, topic: str, *, is_answered: bool
) -> None:
    terminal.ask(TOPIC, GOOD, answers_on=topic)
    assert (sensor.capture(PATIENCE_S).reply is not None) == is_answered
    assert requests(context, "bad_response_topic") == (0 if is_answered else 1)


def test_when_the_queue_is_full_the_oldest_is_told_so_at_once(
    sensor: Transactions, terminal: CardTerminal, context: SensorContext
) -> None:
    for number in range(5):
        terminal.ask(TOPIC, b'{"id": "%d", "amount": %d}' % (number, number))
    answers = [json.loads(terminal.answer(number).payload) for number in range(2)]
    assert [(a["outcome_state"], a["reason"], a["request_id"]) for a in answers] == [
        ("no_result", "queue full", "0"),
        ("no_result", "queue full", "1"),
    ]
    frames = [sensor.capture(PATIENCE_S) for _ in range(3)]
    assert [frame.data[0] for frame in frames] == [2.0, 3.0, 4.0]
    assert [frame.seq for frame in frames] == [2, 3, 4]
    assert requests(context, "queue_full") == 2


def test_a_lost_broker_is_a_lost_sensor_and_opening_again_reaches_the_new_one(
    mosquitto: Mosquitto, sensor: Transactions, context: SensorContext
) -> None:
    mosquitto.stop(kill=True)
    for _ in range(2):  # it stays lost until it is opened again
        with pytest.raises(SensorError, match="the broker was lost"):
            sensor.capture(PATIENCE_S)
    sensor.close()
    with pytest.raises(SensorError, match="no broker at"):
        sensor.open()
    mosquitto.start()
    sensor.open()
    terminal = CardTerminal(mosquitto.port)
    terminal.ask(TOPIC, GOOD)
    frame = sensor.capture(PATIENCE_S)
    sensor.respond(frame, decided(frame))
    assert json.loads(terminal.answer().payload)["request_id"] == "t-1"
    terminal.close()


def test_a_request_in_hand_when_the_broker_goes_is_counted_as_not_answered(
    mosquitto: Mosquitto, sensor: Transactions, terminal: CardTerminal, context: SensorContext
) -> None:
    terminal.ask(TOPIC, GOOD)
    frame = sensor.capture(PATIENCE_S)
    mosquitto.stop(kill=True)
    with pytest.raises(SensorError):
        sensor.capture(PATIENCE_S)
    sensor.respond(frame, decided(frame))
    sensor.close()
    sensor.respond(frame, decided(frame))
    assert requests(context, "unsent") == 2


def test_who_still_waits_when_the_appliance_stops_is_told_so(
    sensor: Transactions, terminal: CardTerminal, context: SensorContext
) -> None:
    terminal.ask(TOPIC, GOOD)
    terminal.ask(TOPIC, b"no question")  # answered once the first one waits
    terminal.answer()
    sensor.close()
    answer = json.loads(terminal.answer(1).payload)
    assert (answer["outcome_state"], answer["reason"]) == ("no_result", "the appliance stopped")
    assert requests(context, "stopped") == 1


def test_a_frozen_broker_holds_up_neither_the_answer_nor_close_and_what_waits_is_bounded(
    mosquitto: Mosquitto,
    sensor: Transactions,
    terminal: CardTerminal,
    context: SensorContext,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(request_session, "JOIN_TIMEOUT_S", FROZEN_S)
    terminal.ask(TOPIC, GOOD)
    frame = sensor.capture(PATIENCE_S)
    mosquitto.pause()
    started_s = time.monotonic()
    for _ in range(ANSWERS_WAITING_MAX + 100):
        sensor.respond(frame, decided(frame))
    assert time.monotonic() - started_s < NOT_HELD_UP_S
    assert requests(context, "unsent") > 0
    started_s = time.monotonic()
    sensor.close()
    assert time.monotonic() - started_s < NOT_HELD_UP_S
    assert recorded(context).value("edge_abandoned_threads_total", what="transactions") == 0
    mosquitto.resume()


def test_a_broker_that_takes_the_connection_and_says_nothing_is_given_up_in_time() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        context = make_mqtt_context(silent.getsockname()[1], connect_timeout_s=0.2)
        sensor = Transactions(TransactionsConfig(kind="transactions"), context)
        started_s = time.monotonic()
        with pytest.raises(SensorError, match="did not answer in time"):
            sensor.open()
        assert time.monotonic() - started_s < 5.0
        sensor.close()


def test_where_there_is_no_broker_the_message_says_where_it_was_looked_for() -> None:
    port = free_port()
    sensor = Transactions(TransactionsConfig(kind="transactions"), make_mqtt_context(port))
    with pytest.raises(SensorError, match=f"no broker at 127.0.0.1:{port}"):
        sensor.open()


def test_a_broker_that_refuses_us_is_told_from_one_that_is_absent(tmp_path: Path) -> None:
    with Mosquitto(tmp_path / "closed", settings="allow_anonymous false") as closed:
        sensor = Transactions(TransactionsConfig(kind="transactions"), make_mqtt_context(closed.port))
        with pytest.raises(SensorError, match="refused the connection: Not authorized"):
            sensor.open()


def test_a_broker_that_refuses_the_topic_is_not_taken_for_an_idle_terminal() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:  # Debian's mosquitto grants every subscription
        server = Thread(target=refuse_subscription, args=(listener,), daemon=True)
        server.start()
        sensor = Transactions(TransactionsConfig(kind="transactions"), make_mqtt_context(listener.getsockname()[1]))
        with pytest.raises(SensorError, match=rf"refused {TOPIC}: .*allow it in the broker's access list"):
            sensor.open()
        server.join(PATIENCE_S)


def refuse_subscription(listener: socket.socket) -> None:
    """A broker that accepts one client and answers its SUBSCRIBE with 0x87, not authorized (MQTT 5, 3.9.3)."""
    client, _ = listener.accept()
    with client:
        client.recv(4096)
        client.sendall(bytes([0x20, 3, 0, 0, 0]))
        subscribe = client.recv(4096)
        client.sendall(bytes([0x90, 4, *subscribe[2:4], 0, 0x87]))
        while client.recv(4096):
            pass


def test_more_answers_than_the_brokers_window_all_arrive_in_order(sensor: Transactions, terminal: CardTerminal) -> None:
    terminal.ask(TOPIC, GOOD)
    frame = sensor.capture(PATIENCE_S)
    for number in range(200):  # mosquitto's window is 20 unacknowledged messages
        address = ReplyAddress("terminal/7/answers", b"", str(number))
        sensor.respond(Frame(frame.kind, frame.data, frame.captured_s, number, reply=address), decided(frame))
    terminal.answer(199)
    assert [json.loads(message.payload)["request_id"] for message in terminal.answers] == [str(n) for n in range(200)]
