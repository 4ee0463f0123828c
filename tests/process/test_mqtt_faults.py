"""The publisher and a real broker that restarts, refuses, hangs, or chokes on a message."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.broker import Mosquitto
from tests.publishing import COMMAND, DISCOVERY, EVENT, OFFLINE, ONLINE, RealPublisher, Subscriber
from tests.waiting import eventually

pytestmark = pytest.mark.broker

CHILD = """
import sys
from pathlib import Path
from threading import Event
from tests.publishing import RealPublisher

with RealPublisher(Path(sys.argv[1]), port=int(sys.argv[2])):
    Event().wait(60.0)
"""


@pytest.fixture
def lasting(tmp_path: Path) -> Mosquitto:
    """A broker that keeps sessions and what waits for them over a restart."""
    return Mosquitto(tmp_path / "lasting", persistence=True)


def subscribed(subscriber: Subscriber, broker: Mosquitto) -> bool:
    """Whether the subscriber's session is there: the broker says so in its log."""
    return "Sending SUBACK to subscriber" in broker.log()


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
def test_a_broker_that_restarts_in_the_middle_of_a_stream_loses_no_alert(
    tmp_path: Path, lasting: Mosquitto, protocol: str
) -> None:
    with lasting, Subscriber(tmp_path, lasting.port) as subscriber:
        eventually(lambda: subscribed(subscriber, lasting))
        with RealPublisher(tmp_path, port=lasting.port, protocol=protocol) as appliance:
            for number in range(300):
                appliance.alert(number)
                if number in {50, 150}:
                    # A moment at which some are acknowledged, some in flight and some not sent.
                    eventually(lambda number=number: subscriber.numbers()[-1:] > [number - 40])  # type: ignore[misc] # mypy cannot infer a lambda's default
                    lasting.stop()
                if number in {100, 200}:
                    lasting.start()
            appliance.until_sent()
            eventually(lambda: set(subscriber.numbers()) == set(range(300)))
        first_deliveries = list(dict.fromkeys(subscriber.numbers()))
        assert first_deliveries == list(range(300))
        assert appliance.meter.value("edge_mqtt_sessions_total", outcome="accepted") == 3


def test_the_broker_says_offline_when_the_process_is_killed(tmp_path: Path, mosquitto: Mosquitto) -> None:
    with Subscriber(tmp_path, mosquitto.port) as subscriber:
        eventually(lambda: subscribed(subscriber, mosquitto))
        command = [sys.executable, "-c", CHILD, str(tmp_path), str(mosquitto.port)]
        with subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(Path.cwd())}) as child:
            eventually(lambda: (ONLINE.topic, False, "online") in subscriber.messages())
            child.send_signal(signal.SIGKILL)
        eventually(lambda: (OFFLINE.topic, False, "offline") in subscriber.messages())
    late = tmp_path / "late"
    late.mkdir()
    with Subscriber(late, mosquitto.port, "-i", "late") as subscriber:
        eventually(lambda: (OFFLINE.topic, True, "offline") in subscriber.messages())


def test_a_clean_stop_says_offline_itself_after_the_last_alert(tmp_path: Path, mosquitto: Mosquitto) -> None:
    with Subscriber(tmp_path, mosquitto.port) as subscriber:
        eventually(lambda: subscribed(subscriber, mosquitto))
        with RealPublisher(tmp_path, port=mosquitto.port) as appliance:
            eventually(lambda: appliance.publisher.connected)
            appliance.alert(1)
        eventually(lambda: (OFFLINE.topic, False, "offline") in subscriber.messages())
        assert [topic for topic, _, _ in subscriber.messages()] == [
            ONLINE.topic,
            DISCOVERY.topic,
            EVENT,
            OFFLINE.topic,
        ]
        eventually(lambda: "Client edge-n1 disconnected." in mosquitto.log())  # a DISCONNECT, and so no will


def test_a_broker_that_refuses_is_not_connected_and_is_asked_again_later(tmp_path: Path) -> None:
    settings = f"allow_anonymous false\npassword_file {tmp_path}/passwords\n"
    (tmp_path / "passwords").touch()
    with (
        Mosquitto(tmp_path / "strict", settings=settings) as strict,
        RealPublisher(tmp_path, port=strict.port) as appliance,
    ):
        appliance.alert(1)
        eventually(lambda: appliance.meter.value("edge_mqtt_sessions_total", outcome="failed") >= 3)
        assert appliance.meter.value("edge_mqtt_sessions_total", outcome="accepted") == 0
        assert appliance.meter.value("edge_mqtt_connected") == 0.0
        assert not appliance.publisher.connected
        assert appliance.outbox.depth().rows == 1


def test_a_hanging_broker_does_not_hold_up_who_adds_alerts_or_states(tmp_path: Path, mosquitto: Mosquitto) -> None:
    with (
        Subscriber(tmp_path, mosquitto.port) as subscriber,
        RealPublisher(tmp_path, port=mosquitto.port) as appliance,
    ):
        eventually(lambda: subscribed(subscriber, mosquitto))
        appliance.alert(0)
        appliance.until_sent()
        mosquitto.pause()
        for number in range(1, 501):  # returns although nobody takes them
            appliance.alert(number, padding="x" * 1000)
            appliance.board.put(ONLINE)
        assert appliance.outbox.depth().rows == 500
        mosquitto.resume()
        appliance.until_sent()
        eventually(lambda: subscriber.numbers() == list(range(501)))


@pytest.mark.parametrize(
    ("protocol", "limit", "lost_min"),
    [
        ("5", "max_packet_size 2000", 0),  # told in the CONNACK, so never sent
        # mosquitto 2.0 answers with a reason that a PUBACK cannot carry, and paho gives the session up.
        ("5", "message_size_limit 2000", 3),
        ("3.1.1", "max_packet_size 2000", 3),  # the broker ends the session
    ],
)
def test_a_message_the_broker_chokes_on_becomes_a_dead_letter_and_the_others_flow(
    tmp_path: Path, protocol: str, limit: str, lost_min: int
) -> None:
    with (
        Mosquitto(tmp_path / "small", settings=limit) as small,
        Subscriber(tmp_path, small.port) as subscriber,
        RealPublisher(tmp_path, port=small.port, protocol=protocol) as appliance,
    ):
        eventually(lambda: subscribed(subscriber, small))
        for number in range(20):
            appliance.alert(number, padding="x" * (3000 if number == 7 else 10))
        appliance.until_sent()
        eventually(lambda: set(subscriber.numbers()) == set(range(20)) - {7})
        assert list(dict.fromkeys(subscriber.numbers())) == [*range(7), *range(8, 20)]
        letters = appliance.outbox.dead_letters(10)
        assert [json.loads(letter.payload)["n"] for letter in letters] == [7]
        lost = appliance.meter.value("edge_mqtt_sessions_total", outcome="lost")
        assert lost >= lost_min
        assert (lost == 0) == (lost_min == 0)


def test_a_retained_command_is_ignored_and_a_live_one_obeyed(tmp_path: Path, mosquitto: Mosquitto) -> None:
    def publish(*options: str) -> None:
        subprocess.run(["mosquitto_pub", "-p", str(mosquitto.port), "-q", "1", "-t", COMMAND, *options], check=True)

    publish("-r", "-m", "from the past")
    with RealPublisher(tmp_path, port=mosquitto.port) as appliance:
        eventually(lambda: appliance.meter.value("edge_commands_ignored_total", reason="retained") == 1)
        publish("-m", "now")
        eventually(lambda: appliance.commands)
        assert appliance.commands == [(COMMAND, b"now")]
