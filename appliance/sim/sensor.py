"""A sensor that plays a script: frames, and each of the ways in which a real one fails."""

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from threading import Event

from appliance.core.types import Array, Decision, Frame, FrameKind, ReplyAddress
from appliance.errors import EndOfRecording, Idle, SensorError
from appliance.ports import Clock

ANSWERS_MAX = 10_000
"""Decisions that ``ScriptedTerminal`` remembers; older ones are forgotten."""


@dataclass(frozen=True, slots=True, eq=False)
class Show:
    """One frame. ``age_s`` old when it is delivered; ``after_s`` passes first, within the capture's timeout."""

    data: Array
    kind: FrameKind = FrameKind.IMAGE
    after_s: float = 0.0
    age_s: float = 0.0
    skipped: int = 0
    """Frames that the sensor saw before this one and nobody took: ``seq`` jumps."""
    signal_fault: str = ""
    reply: ReplyAddress | None = None
    context: dict[str, str | float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Stall:
    """No frame: one capture waits in vain and raises SensorError."""


@dataclass(frozen=True, slots=True)
class Lose:
    """The device is gone: captures raise SensorError until it is opened again, which fails ``opens_failing`` times."""

    opens_failing: int = 0


@dataclass(frozen=True, slots=True)
class Rest:
    """Nothing to judge: one capture waits and raises Idle."""


@dataclass(frozen=True, slots=True)
class End:
    """The recording is over: EndOfRecording, until it is opened again; so is the end of the script."""


Step = Show | Stall | Lose | Rest | End


class ScriptedSensor:
    """Implements ``ports.Sensor``.

    The script goes on where it was when the sensor is opened again, as the world would. It may be endless (a
    generator); nothing of it is kept. Waiting is done on ``clock``, so that a ManualClock decides how long it takes.
    """

    newest_only = False

    def __init__(self, script: Iterable[Step], clock: Clock) -> None:
        """The first step belongs to the first capture."""
        self._script: Iterator[Step] = iter(script)
        self._clock = clock
        self._step: Step | None = None
        """The step that is not over yet."""
        self._opens_failing = 0
        self._seq = 0
        self._captured_s = float("-inf")
        self.is_open = False
        self.opens = 0
        """Times it was opened, failed ones among them."""

    def open(self) -> None:
        """Get ready; fails as often as ``Lose`` said. Raises SensorError."""
        assert not self.is_open, "opened twice"
        self.opens += 1
        if self._opens_failing > 0:
            self._opens_failing -= 1
            raise SensorError("the script says that the device is not there")
        if isinstance(self._step, Lose | End):
            self._step = None
        self.is_open = True

    def capture(self, timeout_s: float) -> Frame:
        """Play the next step. Raises SensorError, Idle, EndOfRecording as scripted."""
        assert self.is_open, "capture before open"
        if self._step is None:
            self._step = next(self._script, End())
            if isinstance(self._step, Lose):
                self._opens_failing = self._step.opens_failing
        match self._step:
            case Show():
                return self._show(self._step, timeout_s)
            case Lose():
                raise SensorError("the script says that the device is lost")
            case End():
                raise EndOfRecording("the script is over")
            case Stall():
                self._wait(timeout_s)
                self._step = None
                msg = f"the script says no frame for {timeout_s:g} s"
                raise SensorError(msg)
            case Rest():
                self._wait(timeout_s)
                self._step = None
                raise Idle("the script says nothing to judge")

    def close(self) -> None:
        """Let go. Idempotent; never raises."""
        self.is_open = False

    def _show(self, step: Show, timeout_s: float) -> Frame:
        """Deliver a frame when its time has come. A step longer than the timeout is gone with the SensorError."""
        self._step = None
        self._wait(min(step.after_s, timeout_s))
        if step.after_s > timeout_s:
            msg = f"the script says no frame for {timeout_s:g} s"
            raise SensorError(msg)
        self._captured_s = max(self._captured_s, self._clock.monotonic_s() - step.age_s)
        self._seq += step.skipped + 1
        return Frame(
            step.kind,
            step.data,
            self._captured_s,
            self._seq - 1,
            signal_fault=step.signal_fault,
            reply=step.reply,
            context=step.context,
        )

    def _wait(self, seconds: float) -> None:
        if seconds > 0:
            self._clock.wait(Event(), seconds)


class ScriptedTerminal(ScriptedSensor):
    """Implements ``ports.Responder`` as well: remembers each answer with the frame it belongs to."""

    def __init__(self, script: Iterable[Step], clock: Clock) -> None:
        """See ``ScriptedSensor``."""
        super().__init__(script, clock)
        self.answers: deque[tuple[Frame, Decision]] = deque(maxlen=ANSWERS_MAX)

    def respond(self, frame: Frame, decision: Decision) -> None:
        """Remember the answer."""
        self.answers.append((frame, decision))
