"""The main thread: the watchdog is fed by decisions, a crash ends the process, and everything ends in order."""

import json
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import pairwise, repeat
from math import isnan
from pathlib import Path
from threading import Event, Thread, current_thread
from threading import enumerate as enumerate_threads

import pytest

from appliance.board import Board
from appliance.config import HealthConfig, MqttConfig, OutboxConfig
from appliance.core import wire
from appliance.core.accelerator import Bus, TpuDevice, TpuHealth
from appliance.core.recovery import State
from appliance.core.types import ClockState, Frame
from appliance.errors import Idle
from appliance.log import FaultLog, get
from appliance.outbox import Outbox
from appliance.ports import Sensor
from appliance.publisher import Publisher
from appliance.sim.backend import Act
from appliance.sim.clock import LOOK_S, ManualClock
from appliance.sim.link import SimulatedBroker, SimulatedLink
from appliance.sim.meter import RecordingMeter
from appliance.sim.sensor import Lose, Rest, Step
from appliance.supervise import EXIT_BUG, EXIT_OK, JOIN_TIMEOUT_S, PROBE_TICK_S, TICK_S, Crew, Supervisor
from tests.channels import MODEL, TIMEOUT_S, ChannelBench, show
from tests.core.making import IDENTITY
from tests.waiting import eventually

STALL_AFTER_S = 6.0
STATUS_INTERVAL_S = 10.0
METRICS_INTERVAL_S = 20.0
WATCHDOG_INTERVAL_S = 4.0


class TickingClock(ManualClock):
    """Counts the ticks that are over: the times that the supervisor began to wait for the next."""

    def __init__(self) -> None:
        super().__init__()
        self.stop = Event()
        """What the supervisor, and nobody else, waits for."""
        self.ticks = 0

    def wait(self, event: Event, timeout_s: float) -> bool:
        if event is not self.stop:
            return super().wait(event, timeout_s)
        deadline_s = self.monotonic_s() + timeout_s
        self.ticks += 1
        while self.monotonic_s() < deadline_s and not event.wait(LOOK_S):
            """Time stands still."""
        return event.is_set()


class Watcher:
    """The service manager: writes down what it is told, and when."""

    def __init__(self, clock: ManualClock, watchdog_interval_s: float | None) -> None:
        self.watchdog_interval_s = watchdog_interval_s
        self.heard: list[str] = []
        self.fed_s: list[float] = []
        self.lines: list[str] = []
        self._clock = clock

    def ready(self) -> None:
        self.heard.append("ready")

    def watchdog(self) -> None:
        self.fed_s.append(self._clock.monotonic_s())

    def status(self, line: str) -> None:
        self.lines.append(line)

    def stopping(self) -> None:
        self.heard.append("stopping")


class Moody:
    """A sensor that is idle, hangs beyond its bound, or has a bug, as the test says."""

    newest_only = False

    def __init__(self, clock: ManualClock) -> None:
        self.hangs = Event()
        self.hung = Event()
        self.go_on = Event()
        self.broken = Event()
        self._clock = clock

    def open(self) -> None:
        """Nothing to open."""

    def capture(self, timeout_s: float) -> Frame:
        if self.broken.is_set():
            raise ZeroDivisionError
        if self.hangs.is_set():
            self.hung.set()
            assert self.go_on.wait(60.0)
        self._clock.wait(Event(), timeout_s)
        raise Idle("nothing")

    def close(self) -> None:
        """Nothing to close."""


class Stick:
    """An Edge TPU that is as the test says; notes the threads that look after it."""

    def __init__(self, name: str, happened: list[str]) -> None:
        self.is_now = TpuHealth(
            name=name, state=State.OPENING, device=TpuDevice(Bus.PCI, "apex_0", "/dev/apex_0"), performance="max"
        )
        self.tended_by: list[str] = []
        self._happened = happened

    def tend(self) -> None:
        self.tended_by.append(current_thread().name)

    def health(self) -> TpuHealth:
        return self.is_now

    def close(self) -> None:
        self._happened.append(f"{self.is_now.name} let go")

    def turns(self, **changes: object) -> None:
        self.is_now = replace(self.is_now, **changes)  # type: ignore[arg-type]  # a test's own spelling


class Site:
    """A supervisor on a thread, with channels, a publisher and a broker in memory."""

    def __init__(self, folder: Path, *, watchdog_interval_s: float | None = WATCHDOG_INTERVAL_S) -> None:
        self.clock = TickingClock()
        self.meter = RecordingMeter(self.clock)
        self.broker = SimulatedBroker()
        self.service = Watcher(self.clock, watchdog_interval_s)
        self.channels: list[ChannelBench] = []
        self.sticks: list[Stick] = []
        self.happened: list[str] = []
        self.housekept_s: list[float] = []
        self.exit_code: int | None = None
        self._folder = folder
        self._working, self._stop = Event(), self.clock.stop
        self._offline = wire.availability(IDENTITY, online=False)
        self._link = SimulatedLink(self.broker, self.clock, will=self._offline)
        limits = OutboxConfig()
        self.outbox = Outbox(folder / "outbox.db", limits, self.clock, self.meter, on_add=self._link.wake)
        self.board = Board(on_put=self._link.wake)

    def add(self, name: str, script: Iterable[Step] = repeat(Rest()), sensor: Sensor | None = None) -> ChannelBench:
        """One more channel; idle unless told otherwise."""
        bench = ChannelBench(self._folder, script, name=name, sensor=sensor, clock=self.clock, stop=self._working)
        self.channels.append(bench)
        return bench

    def moody(self, name: str) -> Moody:
        """One more channel, whose sensor the test commands."""
        sensor = Moody(self.clock)
        self.add(name, sensor=sensor)
        return sensor

    def stick(self, name: str = "tpu") -> Stick:
        """One more Edge TPU."""
        self.sticks.append(Stick(name, self.happened))
        return self.sticks[-1]

    def start(self) -> None:
        self.outbox.open()
        for bench in self.channels:
            bench.start()
        supervisor = Supervisor(self._crew(), self._limits())

        def run() -> None:
            self.exit_code = supervisor.run(self._stop)

        self._thread = Thread(target=run, daemon=True)
        self._thread.start()
        eventually(lambda: self.clock.ticks == 1)

    def _limits(self) -> HealthConfig:
        return HealthConfig(
            stall_after_s=STALL_AFTER_S, status_interval_s=STATUS_INTERVAL_S, metrics_interval_s=METRICS_INTERVAL_S
        )

    def _crew(self) -> Crew:
        return Crew(
            channels=[bench.channel for bench in self.channels],
            inferences=[bench.inference for bench in self.channels],
            publisher=self._publisher(),
            outbox=self.outbox,
            board=self.board,
            clock=self.clock,
            meter=self.meter,
            faults=FaultLog(get("appliance"), self.clock.monotonic_s),
            service=self.service,
            identity=IDENTITY,
            keeper=None,
            housekeep=lambda: self.housekept_s.append(self.clock.monotonic_s()),
            outbox_limits=OutboxConfig(),
            outbox_volatile=False,
            stop=self._working,
            tpus=self.sticks,
        )

    def _publisher(self) -> Publisher:
        self.publisher = Publisher(
            self._link,
            self.outbox,
            self.board,
            self.clock,
            self.meter,
            MqttConfig(),
            sync_interval_s=1.0,
            announce=list,
            on_command=lambda _topic, _payload: None,
            birth_topic=None,
            command_topics=[],
            online=wire.availability(IDENTITY, online=True),
            offline=self._offline,
            jitter=lambda: 0.0,
        )
        return self.publisher

    @property
    def is_running(self) -> bool:
        return self._thread.is_alive()

    def pass_time(self, seconds: float, *, stuck: Iterable[str] = ()) -> None:
        """Let time pass, no faster than the supervisor, the publisher and the channels not stuck can follow."""
        awake = [bench.channel for bench in self.channels if bench.channel.name not in stuck]
        for _ in range(round(seconds / TICK_S)):
            before = self.clock.ticks
            self.clock.advance(TICK_S)
            due_s = self.clock.monotonic_s() - TIMEOUT_S
            eventually(lambda before=before: self.clock.ticks > before or not self.is_running)  # type: ignore[misc]  # the default binds the loop's name
            self._publish_what_is_on_the_board()
            for channel in awake:
                eventually(
                    lambda channel=channel, due_s=due_s: (  # type: ignore[misc]  # as above
                        channel.progress.finished or channel.progress.last_progress_s >= due_s or not self.is_running
                    )
                )

    def _publish_what_is_on_the_board(self) -> None:
        """Before something newer takes its place. Not while there is no session: then it waits there."""
        target = self._link.polls + 2  # the running poll may end on something older

        def published() -> bool:
            self._link.wake()
            return self._link.polls >= target or not self.publisher.connected or not self.is_running

        eventually(published)

    def until(self, condition: Callable[[], object], *, advance_s: float = 0.05) -> None:
        """Let time pass until something is true."""

        def probe() -> object:
            self.clock.advance(advance_s)
            return condition()

        eventually(probe)

    def stop(self) -> None:
        self._stop.set()
        self.until(lambda: not self.is_running)

    def statuses(self) -> list[dict[str, object]]:
        return [json.loads(message.payload) for message in self.broker.log(IDENTITY.status_topic)]


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with closing(Site(tmp_path)) as made:
        yield made


def threads_of_a_site() -> list[str]:
    """Threads that a supervisor started and that live."""
    return [
        each.name for each in enumerate_threads() if each.name.partition("-")[0] in {"channel", "probe", "publisher"}
    ]


@contextmanager
def closing(site: Site) -> Iterator[Site]:
    try:
        yield site
    finally:
        if site.is_running:
            site.stop()
        site.until(lambda: not threads_of_a_site())  # or one would wait for this clock in somebody else's test
        for bench in site.channels:
            bench.outbox.close()


def test_the_watchdog_is_fed_in_time_while_every_channel_makes_progress(site: Site) -> None:
    site.add("gate")
    site.add("yard", (show() for _ in repeat(None)))
    site.start()
    began_s = site.clock.monotonic_s()
    site.pass_time(20.0)
    fed_s = site.service.fed_s
    assert fed_s[0] == began_s
    assert all(later - earlier == WATCHDOG_INTERVAL_S / 2 for earlier, later in pairwise(fed_s))
    assert site.clock.monotonic_s() - fed_s[-1] < WATCHDOG_INTERVAL_S


def test_one_channel_without_progress_is_enough_to_let_the_watchdog_starve(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    site.add("gate")
    stuck = site.moody("yard")
    site.start()
    site.pass_time(4.0)
    stuck.hangs.set()
    site.pass_time(TIMEOUT_S, stuck=["yard"])
    eventually(stuck.hung.is_set)
    site.pass_time(STALL_AFTER_S + 1.0, stuck=["yard"])
    starved = len(site.service.fed_s)
    site.pass_time(20.0, stuck=["yard"])
    assert len(site.service.fed_s) == starved
    assert site.clock.monotonic_s() - site.service.fed_s[-1] > 20.0
    assert [record.msg["reason"] for record in caplog.records if isinstance(record.msg, dict)] == [
        "no decision for 6 s: yard"
    ]
    stuck.hangs.clear()
    stuck.go_on.set()
    site.until(lambda: len(site.service.fed_s) > starved)


def test_a_lost_sensor_is_no_stall(site: Site) -> None:
    """The channel decides NO_RESULT: the loop is alive, a restart would help nobody."""
    site.add("gate", [Lose(opens_failing=10**6)])
    site.start()
    site.pass_time(5 * STALL_AFTER_S)
    assert site.clock.monotonic_s() - site.service.fed_s[-1] < WATCHDOG_INTERVAL_S
    assert site.statuses()[-1]["channels_failed"] == 1


def test_where_nobody_watches_nobody_is_fed(tmp_path: Path) -> None:
    with closing(Site(tmp_path, watchdog_interval_s=None)) as site:
        site.add("gate")
        site.start()
        site.pass_time(10.0)
        assert site.service.fed_s == []


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")  # it is meant to be unhandled
def test_a_bug_in_one_channel_ends_the_process_with_70_so_that_it_is_started_again(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    site.add("gate")
    broken = site.moody("yard")
    site.start()
    site.pass_time(2.0)
    broken.broken.set()
    site.until(lambda: not site.is_running)
    assert site.exit_code == EXIT_BUG
    assert site.service.heard == ["ready", "stopping"]
    assert "channel-yard" in [record.msg.get("thread") for record in caplog.records if isinstance(record.msg, dict)]
    assert site.broker.retained(IDENTITY.availability_topic) == b"offline"


def test_the_end_of_every_recording_is_a_good_end_and_of_one_is_none(site: Site) -> None:
    site.add("gate", [show()] * 2)
    site.add("yard", [show()] * 60)
    site.start()
    site.pass_time(4.0)
    assert site.channels[0].channel.progress.finished
    assert site.is_running
    site.until(lambda: not site.is_running)
    assert site.exit_code == EXIT_OK
    assert site.channels[1].channel.progress.decisions == 60
    assert site.statuses()[-1]["overall"] == "ok"


def test_status_is_told_on_its_interval_to_subscribers_and_to_the_service_manager(site: Site) -> None:
    site.add("gate")
    site.start()
    site.until(lambda: site.statuses() and site.statuses()[-1]["overall"] == "ok")
    told = len(site.service.lines)
    site.pass_time(3 * STATUS_INTERVAL_S)
    assert len(site.service.lines) - told == 3
    assert site.service.lines[-1].startswith("ok: 1 of 1 channels work")
    eventually(lambda: site.statuses()[-1]["seq"] == told + 3)
    numbers = [status["seq"] for status in site.statuses()]
    assert numbers[-3:] == [told + 1, told + 2, told + 3]
    assert numbers == sorted({int(str(number)) for number in numbers}), "while it starts one may replace another"


def test_numbers_are_told_on_their_interval_and_kept_while_there_is_no_broker(site: Site) -> None:
    site.add("gate")
    site.broker.script.absent = True
    site.start()
    site.pass_time(2 * METRICS_INTERVAL_S)
    kept = site.outbox.next_batch(0, 10)
    assert [waiting.topic for waiting in kept] == [f"{IDENTITY.metrics_topic}/history"] * 3
    site.broker.script.absent = False
    site.until(lambda: site.outbox.depth().rows == 0)
    site.pass_time(METRICS_INTERVAL_S)
    eventually(lambda: site.broker.log(IDENTITY.metrics_topic))


def test_what_runs_here_is_measured_from_the_start_and_the_clock_at_every_tick(site: Site) -> None:
    site.add("gate")
    site.start()
    assert site.meter.value("edge_info", version=IDENTITY.software_version) == 1.0
    labels = {"model": MODEL.name, "version": MODEL.version, "sha": MODEL.sha256}
    assert site.meter.value("edge_model_info", **labels) == 1.0
    for state in (ClockState.UNSYNCED, ClockState.SYNCED):
        site.clock.set_state(state)
        site.pass_time(2 * TICK_S)
        shown = {each: site.meter.value("edge_clock_state", state=each.value) for each in ClockState}
        assert shown == {each: float(each is state) for each in ClockState}


def test_what_has_to_be_done_now_and_then_is_done_at_every_tick(site: Site) -> None:
    site.add("gate")
    site.start()
    site.pass_time(3.0)
    assert [later - earlier for earlier, later in pairwise(site.housekept_s)] == [TICK_S] * 6


def test_a_dropped_backend_is_probed_away_from_the_loop_and_comes_back(site: Site) -> None:
    gate = site.add("gate", (show() for _ in repeat(None)))
    gate.tpu.then(Act.DIE)
    site.start()
    site.until(lambda: gate.channel.health().degraded)
    site.until(lambda: not gate.channel.health().degraded, advance_s=0.5)
    assert gate.channel.health().backend == "tpu"


def test_edge_tpus_are_looked_after_about_once_a_second_where_probing_is_and_not_in_the_loop(site: Site) -> None:
    site.add("gate")
    sticks = [site.stick("left"), site.stick("right")]
    site.start()
    site.until(lambda: all(len(stick.tended_by) >= 3 for stick in sticks), advance_s=PROBE_TICK_S)
    assert {name for stick in sticks for name in stick.tended_by} == {"probe"}


def test_an_edge_tpu_is_looked_after_before_its_backends_are_probed(site: Site) -> None:
    """Whether a backend is due depends on what the look finds: a device that has come back, a worker that has ended."""
    gate, stick = site.add("gate"), site.stick()
    probe = gate.inference.probe
    looks_before: list[int] = []

    def probe_and_note() -> None:
        looks_before.append(len(stick.tended_by))
        probe()

    site.start()
    gate.inference.probe = probe_and_note  # type: ignore[method-assign]  # to see when
    site.until(lambda: len(looks_before) >= 3, advance_s=PROBE_TICK_S)
    assert looks_before[:3] == [1, 2, 3]


def test_what_becomes_of_an_edge_tpu_is_told_at_once_and_each_change_of_it_once(site: Site) -> None:
    site.add("gate")
    stick = site.stick()
    site.start()
    site.until(lambda: site.statuses() and site.statuses()[-1]["overall"] == "ok")
    site.pass_time(STATUS_INTERVAL_S - 2 * TICK_S)  # the next report of itself is far
    for changes, words in (
        ({"state": State.SERVING}, ""),
        ({"refused": ("person: scores 12 steps off",)}, "Edge TPU tpu: not used for person: scores 12 steps off"),
        ({"state": State.RESPAWN, "reason": "died", "refused": ()}, "Edge TPU tpu: being brought back (respawn): died"),
    ):
        stick.turns(**changes)
        told = len(site.service.lines)
        site.pass_time(2 * TICK_S)
        assert len(site.service.lines) == told + 1
        eventually(lambda told=told: site.statuses()[-1]["seq"] == told + 1)  # type: ignore[misc]  # the default binds the loop's name
        assert site.statuses()[-1]["faults"] == words
        assert site.statuses()[-1]["tpu_state"] == stick.is_now.state.value
    assert "Edge TPU: nothing to do yet" in site.service.lines[-1]


def test_how_edge_tpus_are_is_measured_at_every_tick(site: Site) -> None:
    site.add("gate")
    left, right = site.stick("left"), site.stick("right")
    site.start()
    left.turns(state=State.CPU_ONLY, resets_1h=2, aborts_1h=1, temperature_c=47.5)
    site.pass_time(2 * TICK_S)
    shown = {state: site.meter.value("edge_tpu_state", tpu="left", state=state.value) for state in State}
    assert shown == {state: float(state is State.CPU_ONLY) for state in State}
    assert site.meter.value("edge_tpu_state", tpu="right", state="opening") == 1.0
    assert site.meter.value("edge_tpu_events_last_hour", tpu="left", kind="reset") == 2.0
    assert site.meter.value("edge_tpu_events_last_hour", tpu="left", kind="abort") == 1.0
    assert site.meter.value("edge_tpu_temperature_celsius", tpu="left") == 47.5
    assert isnan(site.meter.value("edge_tpu_temperature_celsius", tpu="right")), "what cannot be measured is not 0"
    assert right.is_now.temperature_c is None


def test_edge_tpus_are_let_go_first_so_that_no_frame_is_waited_for_on_one(site: Site) -> None:
    gate = site.add("gate")
    site.stick("left")
    site.stick("right")
    closed = gate.inference.close

    def close() -> None:
        closed()
        site.happened.append("backends let go")

    gate.inference.close = close  # type: ignore[method-assign]  # to see when
    site.start()
    site.stop()
    assert site.happened == ["left let go", "right let go", "backends let go"]


def test_a_stop_says_so_first_and_offline_last_and_leaves_nothing_open(site: Site) -> None:
    site.add("gate", [show()])
    site.add("yard")
    site.start()
    site.until(lambda: site.broker.retained(IDENTITY.availability_topic) == b"online")
    site.stop()
    assert site.exit_code == EXIT_OK
    assert site.service.heard == ["ready", "stopping"]
    last = site.broker.log()[-2:]
    assert [message.topic for message in last] == [IDENTITY.status_topic, IDENTITY.availability_topic]
    assert last[-1].payload == b"offline"
    assert all(not bench.terminal.is_open for bench in site.channels)
    assert all(bench.inference.active == "" for bench in site.channels)
    with pytest.raises(AssertionError, match="not open"):
        site.outbox.add([wire.availability(IDENTITY, online=True)])


@pytest.mark.slow
def test_a_thread_that_hangs_is_left_behind_after_a_bound_and_counted(site: Site) -> None:
    stuck = site.moody("gate")
    site.start()
    stuck.hangs.set()
    site.until(stuck.hung.is_set)
    started_s = time.monotonic()
    site.stop()
    assert time.monotonic() - started_s < 2 * JOIN_TIMEOUT_S
    assert site.exit_code == EXIT_OK
    assert site.meter.value("edge_abandoned_threads_total", what="channel") == 1
    stuck.go_on.set()


def test_a_model_that_was_replaced_is_named_no_more(site: Site) -> None:
    bench = site.add("gate", (show() for _ in repeat(None)))
    site.start()
    labels = {"model": MODEL.name, "sha": MODEL.sha256}
    assert site.meter.value("edge_model_info", version="1.0.0", **labels) == 1.0
    bench.channel.switch(replace(bench.channel.judge, model=replace(MODEL, version="2.0.0")))
    site.pass_time(2 * TICK_S)
    assert site.meter.value("edge_model_info", version="2.0.0", **labels) == 1.0
    assert isnan(site.meter.value("edge_model_info", version="1.0.0", **labels))
    site.stop()
    assert site.statuses()[-1]["models"] == f"{MODEL.name} 2.0.0"
