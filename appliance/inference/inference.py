"""The order of backends: who answers, who was dropped, who may come back.

The twin is the last of the order: opened first, warm from then on, so that a lost accelerator costs one deadline and
not the 2 to 25 s that opening one takes.
"""

from collections.abc import Sequence
from threading import Lock

from appliance.core.deadline import DEADLINE_CEILING_S, InvokeDeadline
from appliance.core.model import Model
from appliance.core.types import Array, InferenceResult, Outputs
from appliance.errors import BackendError, ModelError, NoBackendError
from appliance.inference.proof import Reference, Refusal, make_ready
from appliance.inference.returning import bring_back
from appliance.inference.seat import Seat
from appliance.inference.tally import NOBODY, Tally
from appliance.ports import Backend, Clock, Meter


class Inference:
    """One model on its backends, shared by any number of channels.

    ``_turn`` is held while a backend runs, so that channels take turns. ``_state`` guards the seats for a few
    microseconds and never while a backend works: opening and proving an accelerator holds up no frame, and the switch
    falls between two of them.
    """

    def __init__(
        self,
        model: Model,
        backends: Sequence[Backend],
        clock: Clock,
        meter: Meter,
        *,
        deadline_s: float | None,
        probe_interval_s: float,
        return_passes: int = 1,
        deadline_max_s: float = DEADLINE_CEILING_S,
    ) -> None:
        """Arrange the backends; nothing is opened yet.

        Args:
            model: what they run.
            backends: in order of preference, one or more; the last is the twin.
            clock: measures.
            meter: gets the measurements.
            deadline_s: for one backend to answer; None: from what each was measured to need.
            probe_interval_s: how long a dropped backend is left alone, unless it knows better (``ports.Recovering``).
            return_passes: golden outputs in a row before a backend comes into service beside one that serves.
            deadline_max_s: bounds a measured deadline: with the twin's answer, the frame must not grow too old.
        """
        assert backends, "a model needs a backend"
        self.model = model
        self._seats = tuple(
            Seat(each, InvokeDeadline(deadline_s, deadline_max_s), reason=f"{each.name}: not opened yet")
            for each in backends
        )
        self._clock = clock
        self._deadline_s, self._deadline_max_s = deadline_s, deadline_max_s
        self._turn_s = len(backends) * (deadline_max_s if deadline_s is None else deadline_s)
        """How long a channel waits for its turn: a frame that meets a stall has it for a deadline, and for the twin."""
        self._probe_interval_s = probe_interval_s
        self._return_passes = return_passes
        self._reference: Reference | None = None
        """What the twin gives for the golden vectors on this device."""
        self._turn, self._state, self._probing = Lock(), Lock(), Lock()
        self._ended = True
        self._tally = Tally(model, clock, meter)

    @property
    def active(self) -> str:
        """Name of the backend that answers now; empty when none does."""
        return next((seat.backend.name for seat in self._seats if seat.serving), "")

    @property
    def degraded(self) -> bool:
        """True when another than the first of the order answers, or none."""
        return not self._seats[0].serving

    @property
    def why_degraded(self) -> str:
        """Why the first of the order does not answer; empty while it does."""
        return "" if self._seats[0].serving else self._seats[0].reason

    @property
    def unsuited(self) -> bool:
        """Whether the first of the order has refused the model: its file, or its numbers there."""
        return self._seats[0].contradicted or self._seats[0].refuted

    def open(self) -> None:
        """Open and prove the twin, or failing that the next before it. ``probe`` then opens the others.

        Raises:
            ModelError: the file contradicts its description, or no backend gives the golden outputs.
            NoBackendError: no backend can serve; with each one's reason.
        """
        self._ended = False
        refusals = []
        for seat in reversed(self._seats):
            made = make_ready(seat.backend, self.model)
            if not isinstance(made, Refusal):
                self._reference = made
                self._admit(seat, first=True)
                return
            seat.reason = made.reason
            refusals.append(made)
        self._gauge()
        told = f"{self.model.name} {self.model.version}: " + "; ".join(refusal.reason for refusal in refusals)
        raise ModelError(told) if all(refusal.kind == "golden" for refusal in refusals) else NoBackendError(told)

    def show(self, *, live: bool) -> None:
        """Say whether this version of its model decides: only that one is measured as active. At first it does."""
        self._tally.live = live
        self._gauge()

    def infer(self, tensor: Array) -> InferenceResult:
        """Run the model on ``tensor``; a backend that fails is dropped and the next one answers.

        Returns within the bound of the turn and the deadline of each backend that serves.

        Raises:
            NoBackendError: none answered, or other channels kept the model busy.
        """
        asked_s = self._clock.monotonic_s()
        if not self._turn.acquire(timeout=self._turn_s):
            self._tally.unanswered(NOBODY, outcome="busy")
            msg = f"{self.model.name}: busy; no turn within {self._turn_s:g} s"
            raise NoBackendError(msg)
        self._tally.waited(self._clock.monotonic_s() - asked_s)
        try:
            return self._first_answer(tensor)
        finally:
            self._turn.release()

    def probe(self) -> None:
        """Drop backends that know themselves lost, let dropped ones go, open and prove those that are due.

        While none serves, all are due.

        May take as long as opening hardware takes: not for the loop. A second call meanwhile returns at once.
        """
        if not self._probing.acquire(blocking=False):
            return
        try:
            for seat in self._seats:
                if seat.serving and (reason := seat.lost()):
                    self._drop(seat, reason, "withdrawn")
            for seat in self._out_of_service():
                self._try_again(seat)
        finally:
            self._probing.release()

    def close(self) -> None:
        """Let all backends go, after the frame in progress. Idempotent; bounded as ``infer`` is.

        A backend in the hands of ``probe`` is let go there.
        """
        with self._state:
            self._ended = True
            for seat in self._seats:
                seat.serving = False
            idle = [seat for seat in self._seats if not seat.probing]
        self._gauge()
        if not self._turn.acquire(timeout=self._turn_s * (1 + len(self._seats))):
            self._tally.left_open()
            return
        try:
            for seat in idle:
                seat.backend.close()
        finally:
            self._turn.release()

    def _first_answer(self, tensor: Array) -> InferenceResult:
        """Ask the serving backends in order. Called with the turn."""
        with self._state:
            serving = [seat for seat in self._seats if seat.serving]
        for seat in serving:
            outputs = self._ask(seat, tensor)
            if outputs is not None:
                return InferenceResult(outputs, seat.backend.name, degraded=seat is not self._seats[0])
        self._tally.unanswered(NOBODY, outcome="lost")
        msg = f"{self.model.name}: no backend answers ({'; '.join(seat.reason for seat in self._seats)})"
        raise NoBackendError(msg)

    def _ask(self, seat: Seat, tensor: Array) -> Outputs | None:
        """Invoke one backend; None when it was lost."""
        started_s, deadline_s = self._clock.monotonic_s(), seat.deadline.deadline_s
        try:
            outputs = seat.backend.invoke(tensor, deadline_s)
        except BackendError as error:
            self._tally.unanswered(seat.backend.name, outcome="error")
            late = self._clock.monotonic_s() - started_s >= deadline_s
            self._drop(seat, str(error), "deadline" if late else "error")
            return None
        took_s = self._clock.monotonic_s() - started_s
        seat.deadline.observe(took_s)
        self._tally.answered(seat.backend.name, took_s)
        return outputs

    def _drop(self, seat: Seat, reason: str, label: str) -> None:
        """Take a backend out of service. Its hardware is let go by ``probe``: that may take long."""
        with self._state:
            seat.serving = False
            seat.to_close = not self._ended
            seat.reason = reason
            seat.due_s = self._clock.monotonic_s() + self._probe_interval_s
            after = self.active
        self._switched(seat.backend.name, after, label)
        self._tally.failed(seat.backend.name, reason, after)

    def _out_of_service(self) -> list[Seat]:
        """Name the seats that ``probe`` has to look at; the twin, which opens fastest, first when none serves."""
        with self._state:
            if self._ended:
                return []
            out = [seat for seat in self._seats if not seat.serving and not seat.contradicted]
            return out if len(out) < len(self._seats) else out[::-1]

    def _try_again(self, seat: Seat) -> None:
        """Let a dropped backend go; when it is due, bring it back into service."""
        with self._state:
            blind = not any(other.serving for other in self._seats)
        due = blind or seat.due(self._clock.monotonic_s())
        with self._state:
            if self._ended or (not due and not seat.to_close):
                return
            seat.probing = True
        try:
            if seat.to_close:
                seat.backend.close()
                seat.to_close = False
            if due and self._retry(seat):
                self._admit(seat)
        finally:
            seat.probing = False

    def _retry(self, seat: Seat) -> bool:
        """Open and prove; note why not."""
        twin = seat is self._seats[-1]
        made = bring_back(
            seat,
            self.model,
            None if twin else self._reference,
            passes=1 if twin else self._return_passes,
            deadline=InvokeDeadline(self._deadline_s, self._deadline_max_s),
            clock=self._clock,
        )
        if not isinstance(made, Refusal):
            if twin:
                self._reference = made
            return True
        seat.reason = made.reason
        seat.due_s = self._clock.monotonic_s() + self._probe_interval_s
        self._tally.failed(seat.backend.name, seat.reason, self.active)
        return False

    def _admit(self, seat: Seat, *, first: bool = False) -> None:
        """Put a proven backend into service, from the next frame on."""
        with self._state:
            before = self.active
            seat.serving, seat.reason = not self._ended, ""
            after = self.active
        if not seat.serving:
            seat.backend.close()
            return
        self._switched(after if first else before, after, "recovered")
        self._tally.ready(seat.backend.name)

    def _switched(self, before: str, after: str, reason: str) -> None:
        """Measure a change of who answers."""
        self._tally.changed(before, after, reason)
        self._gauge()

    def _gauge(self) -> None:
        self._tally.serving([seat.backend.name for seat in self._seats], self.active)
