"""A publisher with the real outbox, a scripted broker, and a clock in the test's hands."""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Lock, Thread
from typing import Any

from appliance.board import Board
from appliance.config import MqttConfig, OutboxConfig
from appliance.core.types import Message
from appliance.outbox import Outbox
from appliance.publisher import Publisher
from appliance.sim.clock import LOOK_S, ManualClock
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
STEP_S = 1e-6
"""The shortest wait: where sums of times are rounded, the publisher waits for nothing until time goes on."""
UNTIL_TIMEOUT_S = 60.0
"""For what must come, in real seconds: on a busy machine the publisher is slow to follow."""


class FollowedClock(ManualClock):
    """Knows who has nothing to do before time goes on: time that passes meanwhile nobody has missed."""

    def __init__(self) -> None:
        super().__init__()
        self._lock = Lock()
        self._waits: list[tuple[Event, float]] = []

    @property
    def waiting(self) -> int:
        """How many threads wait for what has not come yet; not those that are about to go on."""
        now_s = self.monotonic_s()
        with self._lock:
            return sum(not event.is_set() and now_s < until_s for event, until_s in self._waits)

    def wait(self, event: Event, timeout_s: float) -> bool:
        wait = event, self.monotonic_s() + max(timeout_s, STEP_S)
        with self._lock:
            self._waits.append(wait)
        try:
            while self.monotonic_s() < wait[1] and not event.wait(LOOK_S):
                """Time stands still."""
        finally:
            with self._lock:
                self._waits.remove(wait)
        return event.is_set()


class Bench:
    """A publisher on a thread, and everything around it."""

    def __init__(self, folder: Path, *, attempts_max: int = 3, jitter: float = 0.0, **mqtt: float) -> None:
        self.clock = FollowedClock()
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

    def until(
        self, condition: Callable[[], object], *, advance_s: float = 0.0, within_s: float = UNTIL_TIMEOUT_S
    ) -> None:
        """Wait for something; let time pass meanwhile, no faster than the publisher can follow."""

        def probe() -> object:
            if self.clock.waiting:
                self.clock.advance(advance_s)
            return condition()

        eventually(probe, within_s=within_s)

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


def topics(messages: Sequence[Delivered]) -> list[str]:
    return [message.topic for message in messages]


def state(value: int) -> Message:
    return Message(STATE, {"value": value}, retain=True)


def is_subsequence_once(names: Sequence[str]) -> list[str]:
    """First deliveries only: at least once means that repeats may follow."""
    return list(dict.fromkeys(names))
