"""From a card terminal's request to its decision, at 200 requests a second over the real broker."""

import json
from threading import Event

from appliance.adapters.broker import local_broker
from appliance.adapters.clock import SystemClock
from appliance.adapters.terminal import Terminal
from appliance.bench import scene
from appliance.bench.figure import Figure, Progress, quantile
from appliance.config import MqttConfig
from appliance.errors import BrokerError

RATE_HZ = 200.0
REQUESTS = 2000
WARM_UP = 50
CARDS = 10
READY_TIMEOUT_S = 20.0
LAST_ANSWER_TIMEOUT_S = 5.0


def measure(progress: Progress) -> list[Figure]:
    """Return request to decision p50 and p99, and how many requests got none. Raises BrokerError without MQTT 5."""
    with local_broker() as broker:
        if broker.protocol != "5":
            raise BrokerError("transactions need MQTT 5, which the embedded broker does not speak: install mosquitto")
        with scene.built(lambda folder: scene.transactions_config(folder, port=broker.port)) as appliance:
            topic = appliance.identity.channel_topic(scene.CHANNEL)
            with scene.running(appliance), Terminal(MqttConfig(port=broker.port), topic, _question) as terminal:
                _until_answered(terminal)
                _ask_all(terminal, progress)
    scored = sum(b'"outcome_state":"result"' in answer for answer in terminal.answers.values())
    took_ms = [took * 1e3 for number, took in terminal.took_s.items() if number >= WARM_UP]
    p50_ms, p99_ms = quantile(took_ms, 0.5), quantile(took_ms, 0.99)
    unanswered = REQUESTS - len(took_ms)
    asked = f"{RATE_HZ:g} requests/s, fraud model, {scored} scored with reasons"
    return [
        Figure("request_to_decision_ms_p50", p50_ms, "ms", note=asked),
        Figure("request_to_decision_ms_p99", p99_ms, "ms", note=f"{len(took_ms)} requests"),
        Figure("requests_unanswered", unanswered, "", aim="<= 0", reached=unanswered == 0),
    ]


def _question(number: int) -> bytes:
    """One purchase of one of ``CARDS`` cards: after three of each there is a history, and a score with its reasons."""
    fields = {"amount": 10.0 + number % 37, "time": 1_767_225_600.0 + 90.0 * number, "x": 40.0 + number % 5, "y": 50.0}
    kind = {"category": float(number % 8), "card_not_present": float(number % 4 == 0)}
    return json.dumps({**fields, **kind, "card": f"c{number % CARDS}", "terminal": f"t{number % 7}"}).encode()


def _until_answered(terminal: Terminal) -> None:
    """Ask until the channel has subscribed and answers. Raises BrokerError when it does not."""
    clock = SystemClock()
    deadline_s = clock.monotonic_s() + READY_TIMEOUT_S
    number = 0
    while not terminal.answered.is_set():
        if clock.monotonic_s() > deadline_s or number == WARM_UP:
            message = f"no answer within {READY_TIMEOUT_S:g} s"
            raise BrokerError(message)
        terminal.ask(number)
        number += 1
        clock.wait(terminal.answered, 0.5)


def _ask_all(terminal: Terminal, progress: Progress) -> None:
    """Ask at the rate, then wait for the last answer."""
    clock, never = SystemClock(), Event()
    started_s = clock.monotonic_s()
    for number in range(WARM_UP, WARM_UP + REQUESTS):
        if number % 200 == 0:
            progress(f"request {number} of {REQUESTS}")
        due_s = started_s + (number - WARM_UP) / RATE_HZ
        clock.wait(never, max(0.0, due_s - clock.monotonic_s()))
        terminal.ask(number)
    last = WARM_UP + REQUESTS - 1
    deadline_s = clock.monotonic_s() + LAST_ANSWER_TIMEOUT_S
    while last not in terminal.took_s and clock.monotonic_s() < deadline_s:
        clock.wait(never, 0.01)
