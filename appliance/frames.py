"""Where the loop gets its frames from: captured and prepared in turn, or ahead of it on a thread of their own.

Preparing a picture takes a tenth of what judging it takes, and as long as the processor does both in turn it is idle
for neither; so pictures are captured and prepared by another thread while the model runs (decision 0006). Windows and
records cost next to nothing to prepare, and a record's answer should not wait for a thread: they are taken in turn.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Condition, Event, Thread
from typing import Protocol

from appliance.core.preprocess import Prepared
from appliance.core.types import Frame
from appliance.errors import ApplianceError, EndOfRecording, FrameError, NoScoreError, NoSignalError, SensorError
from appliance.ports import Clock, Meter
from appliance.sensing import Sensing

GRACE_S = 0.25
"""What ``Ahead.take`` waits longer than the sensor may, so that the sensor's own words are heard."""
JOIN_TIMEOUT_S = 2.0
"""A thread that has not ended by then is stuck in its sensor and is left behind (it is a daemon)."""

Prepare = Callable[[Frame], tuple[Prepared, ...]]


def measured(prepare: Prepare, *, model: str, clock: Clock, meter: Meter) -> Prepare:
    """Return ``prepare`` with its time measured as the stage ``pre``."""

    def timed(frame: Frame) -> tuple[Prepared, ...]:
        started_s = clock.monotonic_s()
        prepared = prepare(frame)
        took_s = clock.monotonic_s() - started_s
        meter.observe("edge_stage_duration_seconds", took_s, stage="pre", model=model, backend="")
        return prepared

    return timed


@dataclass(frozen=True, slots=True)
class Ready:
    """What was made of a frame ahead of the loop, and by what: tensors of one model are nothing to another."""

    by: Prepare
    made: tuple[Prepared, ...] | ApplianceError


@dataclass(slots=True)
class Taken:
    """A frame on its way through the loop."""

    frame: Frame
    ready: Ready | None = None
    parts: tuple[Prepared, ...] = field(default=(), init=False)
    """What the model was given; empty before ``prepare``, and where that failed."""

    def prepare(self, prepare: Prepare) -> tuple[Prepared, ...]:
        """Return the frame's parts as ``prepare`` makes them, which is called unless it was ahead of the loop.

        To be called once: an extractor remembers each frame. Raises what ``Preprocessor`` does.
        """
        made = self.ready.made if self.ready is not None and self.ready.by == prepare else prepare(self.frame)
        if isinstance(made, ApplianceError):
            raise made
        self.parts = made
        return made


class Frames(Protocol):
    """What the loop takes its frames from. Used by the channel's thread only."""

    def take(self) -> Taken:
        """Return the next frame within a bounded time.

        Raises SensorError when there is none, Idle when there is nothing to judge and nothing wrong,
        EndOfRecording when there will never be one again.
        """
        ...

    def switch(self, prepare: Prepare) -> None:
        """Prepare by ``prepare`` from the next frame on. For any thread."""
        ...

    def close(self) -> None:
        """Let the sensor go, within a bounded time. Idempotent; never raises."""
        ...


class InTurn:
    """Captures when the loop asks, and leaves the preparing to it."""

    def __init__(self, sensing: Sensing) -> None:
        """Nothing is opened yet."""
        self._sensing = sensing

    def take(self) -> Taken:
        """Capture a frame, as ``Frames`` says."""
        return Taken(self._sensing.capture())

    def switch(self, prepare: Prepare) -> None:
        """Nothing is prepared here."""

    def close(self) -> None:
        """Let the sensor go."""
        self._sensing.close()


class Ahead:
    """Captures and prepares the next frame while the loop judges the one before.

    At most one prepared frame waits. Where the sensor gives only its newest frame, a newer one takes its place, so
    the loop never judges an older picture than it would without us; else the thread waits until it is taken.
    """

    def __init__(
        self,
        sensing: Sensing,
        prepare: Prepare,
        *,
        channel: str,
        timeout_s: float,
        newest_only: bool,
        stuck_after_s: float,
        clock: Clock,
        meter: Meter,
    ) -> None:
        """The thread starts with the first ``take``.

        ``timeout_s`` is the sensor's own bound for a capture. ``stuck_after_s`` is more than it may take to open,
        wait and fail: a sensor that is silent for longer has broken its promise, and only a new process helps.
        """
        self._sensing = sensing
        self._prepare = prepare
        self._channel = channel
        self._timeout_s = timeout_s
        self._newest_only = newest_only
        self._stuck_after_s = stuck_after_s
        self._clock = clock
        self._meter = meter
        self._heard_s = clock.monotonic_s()
        """When the thread last handed something over, or was given time to."""
        self._changed = Condition()
        self._waiting: Taken | BaseException | None = None
        self._closed = Event()
        self._thread: Thread | None = None

    def take(self) -> Taken:
        """Return the prepared frame, as ``Frames`` says; whatever its thread met is raised here."""
        if self._thread is None:
            self._heard_s = self._clock.monotonic_s()
            self._thread = Thread(target=self._run, name=f"frames-{self._channel}", daemon=True)
            self._thread.start()
        with self._changed:
            self._changed.wait_for(lambda: self._waiting is not None, self._timeout_s + GRACE_S)
            taken, self._waiting = self._waiting, None
            self._changed.notify_all()
        now_s = self._clock.monotonic_s()
        if taken is None:
            silent_s = now_s - self._heard_s
            assert silent_s < self._stuck_after_s, f"channel {self._channel}: the sensor is stuck for {silent_s:.0f} s"
            message = f"no frame within {self._timeout_s + GRACE_S:g} s; {self._sensing.fault}"
            raise SensorError(message)
        self._heard_s = now_s
        if isinstance(taken, BaseException):
            raise taken
        return taken

    def switch(self, prepare: Prepare) -> None:
        """Prepare by ``prepare`` from the next frame on; one that waits is prepared anew when it is taken."""
        self._prepare = prepare

    def close(self) -> None:
        """End the thread, which lets the sensor go; a thread stuck in its sensor is left behind and counted."""
        self._closed.set()
        with self._changed:
            self._changed.notify_all()
        if self._thread is None:
            self._sensing.close()
            return
        self._thread.join(JOIN_TIMEOUT_S)
        if self._thread.is_alive():
            self._meter.count("edge_abandoned_threads_total", what="frames")

    def _run(self) -> None:
        """Capture, prepare, hand over, until closed or the recording ends."""
        try:
            while not self._closed.is_set():
                outcome = self._next()
                self._hand_over(outcome)
                if isinstance(outcome, EndOfRecording):
                    return
        finally:
            self._sensing.close()

    def _next(self) -> Taken | BaseException:
        """Capture and prepare one frame; what is raised belongs to the loop, a bug included."""
        try:
            frame, prepare = self._sensing.capture(), self._prepare
            try:
                return Taken(frame, Ready(prepare, prepare(frame)))
            except (FrameError, NoSignalError, NoScoreError) as error:
                return Taken(frame, Ready(prepare, error))
        except BaseException as error:  # noqa: BLE001 - raised again on the loop's thread, where it ends the process
            return error

    def _hand_over(self, outcome: Taken | BaseException) -> None:
        """Let ``outcome`` wait for the loop, in the place of an older one where that is right."""
        with self._changed:
            if self._newest_only and isinstance(self._waiting, Taken) and isinstance(outcome, Taken):
                self._meter.count("edge_frames_dropped_total", channel=self._channel, reason="superseded")
            else:
                self._changed.wait_for(lambda: self._waiting is None or self._closed.is_set())
            self._waiting = outcome
            self._changed.notify_all()
