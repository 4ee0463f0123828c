"""Brings one backend of the order back: opens and proves it, learns its deadline, and tells it what came of that."""

from collections.abc import Callable

from appliance.core.deadline import InvokeDeadline
from appliance.core.model import Model
from appliance.core.types import Outputs
from appliance.errors import ModelError
from appliance.inference.proof import Reference, Refusal, make_ready
from appliance.inference.seat import Seat
from appliance.ports import Clock


def bring_back(
    seat: Seat, model: Model, reference: Reference | None, *, passes: int, deadline: InvokeDeadline, clock: Clock
) -> Refusal | list[Outputs]:
    """Open and prove the backend of ``seat``; returns its golden outputs, or why it may not serve.

    A file that does not suit one backend must not end a device that works: it is a refusal here. A backend that
    recovers by itself may be asked again all the same, because its driver tells its own trouble in the same way.

    Args:
        seat: not serving.
        model: what it shall run.
        reference: what it must give; None: the recorded outputs.
        passes: how often in a row.
        deadline: a fresh one: it may have come back on a slower link. Becomes the seat's.
        clock: measures.
    """
    try:
        made = make_ready(seat.backend, model, reference, passes=passes, took=_learning(deadline, clock))
    except ModelError as error:
        made, seat.contradicted = Refusal(str(error), "open"), not seat.recovers
    if not isinstance(made, Refusal):
        seat.deadline, seat.refuted = deadline, False
        seat.proven()
    elif made.kind == "answer":
        seat.failed(made.reason)
    elif made.kind == "golden":
        seat.refuted = True
        seat.refused(made.reason)
    return made


def _learning(deadline: InvokeDeadline, clock: Clock) -> Callable[[Callable[[], Outputs]], Outputs]:
    """Let a deadline learn from what is called; but from the first, which also carries the weights to a device."""
    first = True

    def call(invoke: Callable[[], Outputs]) -> Outputs:
        nonlocal first
        begun_s = clock.monotonic_s()
        outputs = invoke()
        if not first:
            deadline.observe(clock.monotonic_s() - begun_s)
        first = False
        return outputs

    return call
