"""What mosquitto never does and other brokers may: a broker played byte by byte (MQTT 5, OASIS, 2019)."""

import socket
from collections.abc import Iterator, Sequence
from threading import Thread

import pytest

from appliance.adapters.mqtt import PahoLink
from appliance.config import MqttConfig
from appliance.core.types import Message
from appliance.ports import Acknowledged, LinkEvent, Lost
from tests.waiting import eventually

WILL = Message("a", "offline", retain=True)
ACCEPTED = bytes([0x20, 3, 0, 0, 0])
WINDOW_OF_2 = bytes([0x20, 6, 0, 0, 3, 0x21, 0, 2])  # CONNACK with Receive Maximum 2
NO_SUBSCRIPTION = bytes([0x90, 4, 0, 1, 0, 0x87])  # SUBACK: not authorized
PUBLISH_BYTES = 9  # of PUBLISH x to t with QoS 1
BYTES_MAX = 65_536


class PlayedBroker:
    """Accepts one connection and answers as it is told."""

    def __init__(self, *answers: bytes) -> None:
        """``answers`` follow the packets that come while the link connects, one each."""
        self._answers = answers
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._thread = Thread(target=self._accept, daemon=True)
        self.session: socket.socket | None = None
        self.link = PahoLink(MqttConfig(port=self._listener.getsockname()[1]), client_id="link", will=WILL)

    def _accept(self) -> None:
        self.session, _ = self._listener.accept()
        self.session.settimeout(5.0)
        for answer in self._answers:
            self.session.recv(BYTES_MAX)
            self.session.sendall(answer)

    def connect(self, subscriptions: Sequence[str] = ()) -> socket.socket:
        """Let the link connect; returns the broker's end."""
        self._thread.start()
        self.link.connect(subscriptions)
        self._thread.join(5.0)
        assert self.session is not None
        return self.session

    def close(self) -> None:
        self._listener.close()
        if self.session is not None:
            self.session.close()
        self.link.close()


@pytest.fixture
def played(request: pytest.FixtureRequest) -> Iterator[PlayedBroker]:
    broker = PlayedBroker(*request.param)
    yield broker
    broker.close()


def answers(*packets: bytes) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("played", [packets], indirect=True, ids=["-"])


def poll(link: PahoLink, count: int) -> list[LinkEvent]:
    happened: list[LinkEvent] = []

    def enough() -> bool:
        happened.extend(link.poll(0.1))
        return len(happened) >= count

    eventually(enough)
    return happened


@answers(WINDOW_OF_2)
def test_no_more_messages_are_in_flight_than_the_broker_takes(played: PlayedBroker) -> None:
    session = played.connect()
    for _ in range(3):  # these count for nothing
        played.link.publish("t", b"", qos=0, retain=False)
    assert session.recv(BYTES_MAX).count(b"\x00\x01t") == 3
    tokens = [played.link.publish("t", b"x", qos=1, retain=False) for _ in range(5)]
    acknowledged: list[LinkEvent] = []
    for expected in (2, 2, 1):
        packets = session.recv(BYTES_MAX)
        assert len(packets) == expected * PUBLISH_BYTES
        for start in range(0, len(packets), PUBLISH_BYTES):
            session.sendall(bytes([0x40, 2]) + packets[start + 5 : start + 7])
        acknowledged += poll(played.link, expected)
    assert acknowledged == [Acknowledged(token) for token in tokens]


@pytest.mark.parametrize("reason", [0x80, 0x83, 0x97])
@answers(ACCEPTED)
def test_a_broker_that_cannot_take_a_message_now_is_lost_and_the_message_not_refused(
    played: PlayedBroker, reason: int
) -> None:
    session = played.connect()
    played.link.publish("t", b"x", qos=1, retain=False)
    session.sendall(bytes([0x40, 3]) + session.recv(BYTES_MAX)[5:7] + bytes([reason]))
    assert [type(event) for event in poll(played.link, 1)] == [Lost]


@pytest.mark.parametrize(("reason", "words"), [(0x87, "Not authorized"), (0x90, "Topic name invalid")])
@answers(ACCEPTED)
def test_a_message_that_the_broker_will_never_take_is_refused_with_its_reason(
    played: PlayedBroker, reason: int, words: str
) -> None:
    session = played.connect()
    token = played.link.publish("t", b"x", qos=1, retain=False)
    session.sendall(bytes([0x40, 3]) + session.recv(BYTES_MAX)[5:7] + bytes([reason]))
    assert poll(played.link, 1) == [Acknowledged(token, refused=words)]


@answers(ACCEPTED)
def test_a_topic_that_mqtt_cannot_carry_is_refused_and_the_session_goes_on(played: PlayedBroker) -> None:
    session = played.connect()
    tokens = [played.link.publish(topic, b"x", qos=1, retain=False) for topic in ("no/#", "t" * 70_000, "t")]
    session.sendall(bytes([0x40, 2]) + session.recv(BYTES_MAX)[5:7])
    happened = poll(played.link, 3)
    assert [event.token for event in happened if isinstance(event, Acknowledged) and event.refused] == tokens[:2]
    assert happened[2] == Acknowledged(tokens[2])


@answers(ACCEPTED, NO_SUBSCRIPTION)
def test_a_refused_subscription_is_told_and_alerts_flow_all_the_same(
    played: PlayedBroker, caplog: pytest.LogCaptureFixture
) -> None:
    session = played.connect(["cmd"])
    assert [record.getMessage() for record in caplog.records if "subscription refused" in record.getMessage()]
    played.link.publish("t", b"x", qos=1, retain=False)
    assert len(session.recv(BYTES_MAX)) == PUBLISH_BYTES
