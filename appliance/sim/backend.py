"""An accelerator without hardware, which fails as accelerators do, on a script."""

from collections import deque
from collections.abc import Iterable
from enum import StrEnum
from threading import Event

from appliance.core.model import Model
from appliance.core.types import Array, Outputs
from appliance.errors import BackendError
from appliance.ports import Backend, Clock
from appliance.sim.lies import LIE_STEPS, lie

__all__ = ["LIE_STEPS", "Act", "ScriptedBackend"]


class Act(StrEnum):
    """What the accelerator does at one invoke."""

    ANSWER = "answer"
    DIE = "die"
    """Its process aborts at once; it stays dead until it is opened again."""
    HANG = "hang"
    """It never answers: the wait ends at the deadline, and its process is killed. Dead as above."""
    LIE = "lie"
    """It answers in time, with wrong numbers."""
    SLOW = "slow"
    """It answers after ``slow_s``; a deadline before that is a HANG."""


class ScriptedBackend:
    """Implements ``ports.Backend`` on another backend's answers, but for what its script says.

    Each invoke takes the next act from the script, golden vectors included; without a script it answers. It does not
    model what happens inside a device, nor a ``close`` that hangs.
    """

    def __init__(
        self,
        inner: Backend,
        clock: Clock,
        *,
        name: str = "tpu",
        script: Iterable[Act] = (),
        open_s: float = 0.0,
        slow_s: float = 1.0,
    ) -> None:
        """Stand in for hardware called ``name``.

        Args:
            inner: a real backend, which gives the true answers.
            clock: where the waits pass.
            name: what decisions are tagged with.
            script: the first acts; ``then`` adds more.
            open_s: how long each ``open`` takes (an Edge TPU: 2 to 25 s).
            slow_s: how long a SLOW answer takes.
        """
        self.name = name
        self.opens = 0
        """How often ``open`` was called."""
        self.invokes = 0
        """How often ``invoke`` was called."""
        self._inner = inner
        self._clock = clock
        self._script = deque(script)
        self._open_s = open_s
        self._slow_s = slow_s
        self._refusals = 0
        self._alive = False

    def then(self, *acts: Act) -> None:
        """Add acts to the end of the script."""
        self._script.extend(acts)

    def refuse(self, times: int) -> None:
        """Be absent at the next ``times`` opens."""
        self._refusals = times

    def open(self, model: Model) -> None:
        """Take ``open_s``, then be ready, or BackendError while it refuses."""
        self.opens += 1
        self._wait(self._open_s)
        if self._refusals > 0:
            self._refusals -= 1
            msg = f"{self.name}: no device"
            raise BackendError(msg)
        self._inner.open(model)
        self._alive = True

    def invoke(self, tensor: Array, deadline_s: float) -> Outputs:
        """Do the next act of the script; returns or raises BackendError within ``deadline_s`` on the clock."""
        self.invokes += 1
        if not self._alive:
            msg = f"{self.name}: not open, or dead"
            raise BackendError(msg)
        act = self._script.popleft() if self._script else Act.ANSWER
        if act is Act.DIE:
            self._alive = False
            msg = f"{self.name}: died (SIGABRT)"
            raise BackendError(msg)
        if act is Act.HANG or (act is Act.SLOW and self._slow_s >= deadline_s):
            self._wait(deadline_s)
            self._alive = False
            msg = f"{self.name}: no answer within {deadline_s:g} s"
            raise BackendError(msg)
        if act is Act.SLOW:
            self._wait(self._slow_s)
        outputs = self._inner.invoke(tensor, deadline_s)
        return {role: lie(values) for role, values in outputs.items()} if act is Act.LIE else outputs

    def close(self) -> None:
        """Let the inner backend go. Idempotent."""
        self._alive = False
        self._inner.close()

    def _wait(self, seconds: float) -> None:
        if seconds > 0.0:
            self._clock.wait(Event(), seconds)
