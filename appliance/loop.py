"""THE LOOP of one channel: capture, preprocess, infer, decode, decide, deliver. One thread runs it."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from threading import Event

from appliance.board import Board
from appliance.core import wire
from appliance.core.health import ChannelHealth
from appliance.core.policy import Policy, PolicyState, decide, start, undecided
from appliance.core.types import Decision, Frame, Message, OutcomeState, Priority, Provenance
from appliance.errors import (
    EndOfRecording,
    FrameError,
    Idle,
    NoBackendError,
    NoScoreError,
    NoSignalError,
    OutboxError,
    SensorError,
)
from appliance.frames import Frames, Taken
from appliance.inference import Judge
from appliance.log import FaultLog
from appliance.outbox import Outbox
from appliance.ports import Clock, Meter, Responder
from appliance.progress import Progress


@dataclass(frozen=True, slots=True)
class Limits:
    """The bounds of one channel's loop, in seconds."""

    frame_age_max_s: float
    state_interval_s: float


@dataclass(frozen=True, slots=True)
class Edges:
    """What every channel of the process shares."""

    outbox: Outbox
    board: Board
    clock: Clock
    meter: Meter
    faults: FaultLog
    identity: wire.Identity


@dataclass(frozen=True, slots=True)
class Seen:
    """A step of the loop, for those who look on."""

    taken: Taken | None
    """None where there was no frame."""
    judge: Judge
    decision: Decision
    fault: FrameError | NoBackendError | None = None
    """What kept the frame from being judged, where that was not its age or the sensor."""


class Channel:
    """One sensor, one judge, one policy. ``run`` is the body of its thread."""

    def __init__(
        self,
        name: str,
        *,
        frames: Frames,
        responder: Responder | None,
        judge: Judge,
        policy: Policy,
        limits: Limits,
        edges: Edges,
        event_prefix: str,
    ) -> None:
        """``event_prefix`` makes event ids unique over restarts of the process."""
        self.name = name
        self.watch: Callable[[Frame | None, Decision], None] | None = None
        """Called with each decision on the loop's thread, when set: for benches and the demo's picture."""
        self.observe: Callable[[Seen], None] | None = None
        """Called with each step on the loop's thread, when set: for a trial. Never blocks, never raises."""
        self._frames, self._responder, self.judge = frames, responder, judge
        self.policy = policy
        self._policy_state: PolicyState = start(policy, event_prefix)
        self._outbox, self._board = edges.outbox, edges.board
        self._clock, self._meter = edges.clock, edges.meter
        self.progress = Progress(last_progress_s=edges.clock.monotonic_s())
        self._limits, self._faults, self._identity = limits, edges.faults, edges.identity
        self._shown: tuple[object, ...] = ()
        self._shown_at_s = float("-inf")
        self._online: bool | None = None

    def switch(self, judge: Judge) -> None:
        """Let ``judge`` judge from the next frame on; events go on as they are. For any thread."""
        self.judge = judge
        self._frames.switch(judge.prepare)

    def run(self, stop: Event) -> None:
        """Step until ``stop`` is set or the recording ends. Whatever else is raised ends the process."""
        self.progress.last_progress_s = self._clock.monotonic_s()
        try:
            while not stop.is_set():
                self.step()
        except EndOfRecording:
            self.progress.finished = True
        finally:
            self._frames.close()
            self._retire()

    def step(self) -> Decision | None:
        """Judge one frame. Returns None only when there was nothing to judge and nothing wrong.

        Raises EndOfRecording.
        """
        taken, fault, judge = None, None, self.judge
        started_s = self._clock.monotonic_s()
        try:
            taken = self._frames.take()
            judge = self.judge  # for this frame to its end; a switch meanwhile is for the next
            self._stage("capture", started_s)
            self._meter.count("edge_capture_frames_total", channel=self.name)
            self._seen()
            decision = self._judged(taken, judge)
        except Idle:
            self._seen()
            self.progress.fault = ""
            self.progress.tick(self._clock.monotonic_s(), judged=False)
            return None
        except SensorError as error:
            self._unseen(error)
            decision = self._undecided(OutcomeState.NO_RESULT, str(error), None, judge.provenance())
        except (FrameError, NoBackendError) as error:
            self._faults.failed(f"{self.name}:judge", str(error))
            fault, frame = error, taken.frame if taken else None
            decision = self._undecided(OutcomeState.NO_RESULT, str(error), frame, judge.provenance())
        self._deliver(Seen(taken, judge, decision, fault))
        return decision

    def _judged(self, taken: Taken, judge: Judge) -> Decision:
        """From a frame to a decision. Raises FrameError, NoBackendError."""
        frame = taken.frame
        if frame.signal_fault:
            return self._undecided(OutcomeState.NO_SIGNAL, frame.signal_fault, frame, judge.provenance())
        try:
            parts = taken.prepare(judge.prepare)  # also of one too old to be judged: its extractor remembers it
        except (NoSignalError, NoScoreError) as error:
            state = OutcomeState.NO_SIGNAL if isinstance(error, NoSignalError) else OutcomeState.NO_SCORE
            return self._undecided(state, str(error), frame, judge.provenance())
        if self._too_old(frame):
            return self._undecided(OutcomeState.NO_RESULT, self._age_reason(), frame, judge.provenance())
        results = judge.infer(parts)
        if self._too_old(frame):
            return self._undecided(OutcomeState.NO_RESULT, self._age_reason(), frame, judge.provenance(results))
        started_s = self._clock.monotonic_s()
        predictions = judge.read(results, parts)
        now_s = self._stage("post", started_s)
        self._policy_state, decision = decide(
            self._policy_state,
            predictions,
            frame,
            self.policy,
            now_s=now_s,
            provenance=judge.provenance(results),
        )
        decision = replace(decision, reasons=judge.explained(parts, results))
        self._stage("decide", now_s)
        self._faults.recovered(f"{self.name}:judge")
        return decision

    def _undecided(self, state: OutcomeState, reason: str, frame: Frame | None, by: Provenance) -> Decision:
        """Say that this frame could not be judged: no answer is a value."""
        self._policy_state, decision = undecided(
            self._policy_state,
            self.policy,
            outcome_state=state,
            reason=reason,
            now_s=self._clock.monotonic_s(),
            provenance=by,
            frame=frame,
        )
        return decision

    def _deliver(self, seen: Seen) -> None:
        """Alerts to the outbox before anything that can block, the answer to whoever asked, the state to the board."""
        frame, decision = seen.taken.frame if seen.taken else None, seen.decision
        started_s = self._clock.monotonic_s()
        if decision.alerts:
            stamp = stamp_of(self._clock, decision.captured_s)
            for priority in Priority:
                alerts = [alert for alert in decision.alerts if alert.priority is priority]
                self._store([wire.event(alert, decision, self._identity, stamp) for alert in alerts], priority)
        if frame is not None and self._responder is not None:
            self._responder.respond(frame, decision)
        self._show(decision)
        self._stage("publish", started_s)
        self._count(decision)
        if self.watch is not None:
            self.watch(frame, decision)
        if self.observe is not None:
            self.observe(seen)

    def _stage(self, stage: str, started_s: float) -> float:
        """Measure a stage that ends now; returns now."""
        now_s, model = self._clock.monotonic_s(), self.judge.model.name
        self._meter.observe("edge_stage_duration_seconds", now_s - started_s, stage=stage, model=model, backend="")
        return now_s

    def _store(self, messages: list[Message], priority: Priority) -> None:
        """Put alerts into the outbox; one that cannot be stored is counted there and is a fault here."""
        try:
            self._outbox.add(messages, priority)
            self._faults.recovered(f"{self.name}:outbox")
        except OutboxError as error:
            self._faults.failed(f"{self.name}:outbox", str(error))

    def _show(self, decision: Decision) -> None:
        """Refresh the state topic when something changed or the interval has passed."""
        shown = (decision.rules, decision.outcome_state, decision.reason, decision.provenance)
        now_s = decision.decided_s
        if shown != self._shown or now_s - self._shown_at_s >= self._limits.state_interval_s:
            stamp = stamp_of(self._clock, decision.captured_s)
            self._board.put(wire.state(decision, self._identity, stamp))
            self._shown, self._shown_at_s = shown, now_s

    def _count(self, decision: Decision) -> None:
        """Measure the decision, and remember it for whoever supervises."""
        now_s, progress = decision.decided_s, self.progress
        judged = decision.outcome_state is OutcomeState.RESULT
        self._meter.count("edge_decisions_total", outcome_state=decision.outcome_state.value, channel=self.name)
        if judged:
            self._meter.observe("edge_frame_age_seconds", decision.frame_age_s, channel=self.name)
        else:
            blind_s = max(0.0, now_s - progress.last_progress_s)
            self._meter.count("edge_blind_seconds_total", blind_s, channel=self.name)
        progress.last_decision, progress.fault = decision, decision.reason
        progress.tick(now_s, judged=judged)
        progress.decisions += 1
        progress.alerts += len(decision.alerts)

    def _seen(self) -> None:
        """The sensor delivers."""
        self.progress.sensor_ok = True
        self._availability(online=True)
        self._faults.recovered(f"{self.name}:sensor")

    def _unseen(self, error: SensorError) -> None:
        """The sensor does not."""
        self.progress.sensor_ok = False
        self._availability(online=False)
        self._faults.failed(f"{self.name}:sensor", str(error))

    def _retire(self) -> None:
        """Leave no retained state behind that reads as if somebody still looked."""
        self._availability(online=False)
        self._show(self._undecided(OutcomeState.NO_RESULT, "stopped", None, self.judge.provenance()))

    def _availability(self, *, online: bool) -> None:
        """Tell dashboards when the channel comes or goes."""
        if online is not self._online:
            self._online = online
            self._board.put(wire.availability(self._identity, online=online, channel=self.name))

    def _too_old(self, frame: Frame) -> bool:
        """Whether a judgement now would be one of the past (the half-second rule of obstacle streams, PX4)."""
        return self._clock.monotonic_s() - frame.captured_s > self._limits.frame_age_max_s

    def _age_reason(self) -> str:
        """Say why an old frame is not judged; without its age, or each such frame would change the state topic."""
        return f"frame is older than {self._limits.frame_age_max_s:g} s"

    def health(self) -> ChannelHealth:
        """What the supervisor reports of this channel. Called from its thread."""
        progress, decision, judge = self.progress, self.progress.last_decision, self.judge
        return ChannelHealth(
            channel=self.name,
            sensor_ok=progress.sensor_ok,
            backend=judge.inference.active,
            degraded=judge.inference.degraded,
            model=judge.model.name,
            model_version=judge.model.version,
            model_sha256=judge.model.sha256,
            outcome_state=decision.outcome_state if decision else None,
            fault=progress.fault,
            last_decision_s=progress.last_progress_s,
            decisions=progress.decisions,
            frames_per_s=progress.frames_per_s,
            backend_fault=judge.inference.why_degraded,
            finished=progress.finished,
        )


def stamp_of(clock: Clock, mono_s: float) -> wire.Stamp:
    """A moment of this boot (monotonic seconds, not later than now), and what the wall clock makes of it."""
    utc = clock.now_utc()
    ago = timedelta(seconds=clock.monotonic_s() - mono_s)
    ts = None if utc is None else (utc - ago).isoformat()
    return wire.Stamp(mono_ns=round(mono_s * 1e9), ts=ts, clock=clock.state())
