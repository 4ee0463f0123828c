"""Starts the threads, watches that decisions are made, feeds the watchdog, and ends everything in order."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from threading import Event, Thread

from appliance.board import Board
from appliance.config import HealthConfig, OutboxConfig
from appliance.core import wire
from appliance.core.accelerator import TpuHealth
from appliance.core.health import ChannelHealth, OutboxHealth, Report, assess, stalled, status_line
from appliance.core.recovery import State
from appliance.core.types import ClockState
from appliance.inference import Inference
from appliance.keeper import Keeper
from appliance.log import FaultLog, get
from appliance.loop import Channel, stamp_of
from appliance.outbox import Outbox
from appliance.ports import Accelerator, Clock, Meter, ServiceManager
from appliance.publisher import Publisher
from appliance.trial import Trials

TICK_S = 0.5
"""How often the main thread looks."""
JOIN_TIMEOUT_S = 5.0
"""How long an ending thread is waited for before it is left behind (threads are daemons: the process can end)."""
PROBE_TICK_S = 1.0
"""How often dropped backends are considered for probing."""
EXIT_OK = 0
EXIT_BUG = 70
"""sysexits.h EX_SOFTWARE: a thread ended on an error that nobody raised on purpose."""

_log = get(__name__)


@dataclass(frozen=True, slots=True)
class Crew:
    """Everything that runs."""

    channels: Sequence[Channel]
    inferences: Sequence[Inference]
    """Every one that is open; a trial adds the candidate's, and takes out what it has closed."""
    publisher: Publisher
    outbox: Outbox
    board: Board
    clock: Clock
    meter: Meter
    faults: FaultLog
    service: ServiceManager
    identity: wire.Identity
    keeper: Keeper | None
    """Saves what channels remember; None when none does."""
    housekeep: Callable[[], object]
    """Called at each tick, for what has to be done now and then; quick, never raises."""
    outbox_limits: OutboxConfig
    outbox_volatile: bool
    """The disk could not be used at the start: alerts wait in memory."""
    stop: Event
    """Ends the channels' waiting; set by the supervisor when it is told to stop."""
    tpus: Sequence[Accelerator] = ()
    """Edge TPUs that a channel's model is to run on."""
    trials: Trials | None = None
    """Tries newer models; None where there are no updates."""


class Supervisor:
    """The main thread's work."""

    def __init__(self, crew: Crew, limits: HealthConfig) -> None:
        """Nothing is started yet."""
        self._crew = crew
        self._limits = limits
        self._crashed = Event()
        self._outbox_before: OutboxHealth | None = None
        self._named: set[tuple[str, str, str]] = set()
        """Models that decide: name, version, digest."""
        self._told: object = None
        """What of the newest report would be news if it changed."""
        self._reports = 0
        self._status_at_s = self._metrics_at_s = float("-inf")
        self._fed_at_s = float("-inf")

    def run(self, stop: Event) -> int:
        """Run every thread until ``stop`` is set, every recording has ended, or one of them crashed.

        Returns the exit code: EXIT_OK, or EXIT_BUG after a crash.
        """
        crew = self._crew
        publishing, working = Event(), crew.stop
        publisher = self._start("publisher", crew.publisher.run, publishing)
        workers = [self._start(f"channel-{channel.name}", channel.run, working) for channel in crew.channels]
        workers.append(self._start("probe", self._probe, working))
        if crew.keeper is not None:
            workers.append(self._start("keeper", crew.keeper.run, working))
        if crew.trials is not None:
            workers.append(self._start("trial", crew.trials.run, working))
        self._introduce()
        crew.service.ready()
        _log.info("started", channels=[channel.name for channel in crew.channels], node=crew.identity.node)
        while not (stop.is_set() or self._crashed.is_set() or self._finished()):
            self._tick()
            crew.clock.wait(stop, TICK_S)
        crew.service.stopping()
        if crew.trials is not None:  # first: its thread gives back the try of what a mere stop ends
            crew.trials.close(told_to=not self._crashed.is_set())  # what it waits for ends now
        working.set()
        self._join(workers)
        self._report(crew.clock.monotonic_s(), self._assess())
        publishing.set()
        crew.publisher.wake()
        self._join([publisher])
        self.close()
        _log.info("stopped")
        return EXIT_BUG if self._crashed.is_set() else EXIT_OK

    def close(self) -> None:
        """Let go of what was opened before ``run``; called by it at its end."""
        waiting = self._crew.outbox.depth().rows
        if self._crew.outbox_volatile and waiting:
            _log.error("messages lost with the memory they waited in", messages=waiting)
        self._crew.outbox.close()
        if self._crew.keeper is not None:
            self._crew.keeper.close()
        if self._crew.trials is not None:
            self._crew.trials.close()
        for tpu in self._crew.tpus:  # first: a frame that waits for one is let go at once
            tpu.close()
        for inference in tuple(self._crew.inferences):
            inference.close()

    def _introduce(self) -> None:
        """Measure which software and which models run."""
        self._crew.meter.set("edge_info", 1.0, version=self._crew.identity.software_version)
        self._name_models()

    def _name_models(self) -> None:
        """Measure which models decide; one that was replaced is named no more."""
        meter, before = self._crew.meter, self._named
        self._named = {(each.model, each.model_version, each.model_sha256) for each in self._healths()}
        for name, version, sha in before - self._named:
            meter.forget("edge_model_info", model=name, version=version, sha=sha)
        for name, version, sha in self._named:
            meter.set("edge_model_info", 1.0, model=name, version=version, sha=sha)

    def _start(self, name: str, body: Callable[[Event], None], stop: Event) -> Thread:
        """Start a thread whose crash ends the process: a half-alive appliance is worse than a restarted one."""

        def guarded() -> None:
            try:
                body(stop)
            except BaseException:
                _log.exception("crashed", thread=name)
                self._crashed.set()
                raise

        thread = Thread(target=guarded, name=name, daemon=True)
        thread.start()
        return thread

    def _join(self, threads: Sequence[Thread]) -> None:
        """Wait for threads to end, within one bound for all of them; leave behind what hangs, and say so."""
        deadline_s = self._crew.clock.monotonic_s() + JOIN_TIMEOUT_S
        for thread in threads:
            thread.join(max(0.0, deadline_s - self._crew.clock.monotonic_s()))
            if thread.is_alive():
                _log.warning("left behind", thread=thread.name)
                self._crew.meter.count("edge_abandoned_threads_total", what=thread.name.partition("-")[0])

    def _finished(self) -> bool:
        """Whether every channel played its recording to the end."""
        return all(channel.progress.finished for channel in self._crew.channels)

    def _probe(self, stop: Event) -> None:
        """Look after Edge TPUs, bring dropped backends back; away from the loop, as opening may take half a minute."""
        while not self._crew.clock.wait(stop, PROBE_TICK_S):
            for tpu in self._crew.tpus:
                tpu.tend()
            for inference in tuple(self._crew.inferences):
                inference.probe()

    def _tick(self) -> None:
        """Feed the watchdog if every channel makes progress; report when it is time."""
        now_s = self._crew.clock.monotonic_s()
        self._crew.housekeep()
        for state in ClockState:
            self._crew.meter.set("edge_clock_state", float(state is self._crew.clock.state()), state=state.value)
        names = stalled(self._healths(), now_s, self._limits.stall_after_s)
        if names:
            self._crew.faults.failed("stall", f"no decision for {self._limits.stall_after_s:g} s: {', '.join(names)}")
        else:
            self._crew.faults.recovered("stall")
            self._feed(now_s)
        self._name_models()
        report = self._assess()
        self._measure(report.tpus)
        if now_s - self._status_at_s >= self._limits.status_interval_s or _news(report) != self._told:
            self._report(now_s, report)
        if now_s - self._metrics_at_s >= self._limits.metrics_interval_s:
            self._metrics_at_s = now_s
            message = wire.metrics(self._crew.meter.flat(), self._crew.identity, self._stamp(now_s), historical=False)
            self._crew.publisher.publish_or_keep(message)

    def _feed(self, now_s: float) -> None:
        """Tell the service manager that decisions are being made, as often as it wants to hear it."""
        interval_s = self._crew.service.watchdog_interval_s
        if interval_s is not None and now_s - self._fed_at_s >= interval_s / 2:
            self._crew.service.watchdog()
            self._fed_at_s = now_s

    def _assess(self) -> Report:
        """Judge how everything is, as of now."""
        crew = self._crew
        return assess(
            self._healths(),
            outbox=self._outbox_health(),
            before=self._outbox_before,
            broker_connected=crew.publisher.connected,
            clock=crew.clock.state(),
            tpus=[tpu.health() for tpu in crew.tpus],
            models=crew.trials.faults if crew.trials else (),
        )

    def _measure(self, tpus: Sequence[TpuHealth]) -> None:
        """Measure how the Edge TPUs are; a temperature only where there is one."""
        meter = self._crew.meter
        for tpu in tpus:
            for state in State:
                meter.set("edge_tpu_state", float(state is tpu.state), tpu=tpu.name, state=state.value)
            meter.set("edge_tpu_events_last_hour", float(tpu.resets_1h), tpu=tpu.name, kind="reset")
            meter.set("edge_tpu_events_last_hour", float(tpu.aborts_1h), tpu=tpu.name, kind="abort")
            if tpu.temperature_c is None:
                meter.forget("edge_tpu_temperature_celsius", tpu=tpu.name)
            else:
                meter.set("edge_tpu_temperature_celsius", tpu.temperature_c, tpu=tpu.name)

    def _report(self, now_s: float, report: Report) -> None:
        """Publish health, and say it to the service manager."""
        self._outbox_before, self._status_at_s, self._told = report.outbox, now_s, _news(report)
        self._reports += 1
        self._crew.board.put(wire.status(report, self._crew.identity, self._stamp(now_s), seq=self._reports))
        self._crew.service.status(status_line(report))

    def _healths(self) -> list[ChannelHealth]:
        """Every channel's health, as of now."""
        return [channel.health() for channel in self._crew.channels]

    def _stamp(self, now_s: float) -> wire.Stamp:
        """Now, as payloads carry it."""
        return stamp_of(self._crew.clock, now_s)

    def _outbox_health(self) -> OutboxHealth:
        """The outbox, as of now."""
        depth, limits = self._crew.outbox.depth(), self._crew.outbox_limits
        return OutboxHealth(
            rows=depth.rows,
            rows_max=limits.rows_max,
            size_bytes=depth.size_bytes,
            size_bytes_max=limits.size_bytes_max,
            in_memory=depth.in_memory,
            dropped=sum(depth.dropped.values()),
            dead_letters=depth.dead_letters,
            unstored=depth.dropped.get("unstored", 0),
            volatile=self._crew.outbox_volatile,
        )


def _news(report: Report) -> object:
    """What is told at once when it changes, and not at the next interval. A retained report must not be wrong."""
    return report.levels, report.broker_connected, [(tpu.name, tpu.state, tpu.refused) for tpu in report.tpus]
