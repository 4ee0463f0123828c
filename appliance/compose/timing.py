"""How long a model's backends take on this device, in turns: what its route is decided by."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from appliance.adapters.clock import SystemClock
from appliance.config import BackendName
from appliance.core.model import Model
from appliance.core.routing import Timing
from appliance.core.window import quantiles
from appliance.errors import BackendError, ModelError
from appliance.inference import PROOF_DEADLINE_S
from appliance.inference.proof import Reference, Refusal, make_ready
from appliance.ports import Backend

ROUNDS = 40
ROUND_S = 0.03
"""Each backend runs about this long a round: what else the device does meets all of them alike."""
INVOKES_MAX = 200
"""In a round: enough for a model of microseconds."""
NEXT_TRY = "; next try"
"""What an Edge TPU that is not there says of its plans: here it has none."""


@dataclass(slots=True)
class Candidate:
    """One backend of a model; not open."""

    name: BackendName
    backend: Backend
    left_out: str = ""
    """Why it was not measured; empty where it was."""
    took_s: list[float] = field(default_factory=list)
    invokes: int = 1
    """In a round."""

    @property
    def timing(self) -> Timing:
        """What it came to, once it was measured."""
        p50_s, p99_s = quantiles(self.took_s, (0.5, 0.99))
        return Timing(self.name, round(p50_s * 1e3, 4), round(p99_s * 1e3, 4))


def measure(model: Model, candidates: Sequence[Candidate], rounds: int = ROUNDS) -> None:
    """Open and prove the backends of a model, time those that are there in turns, and close them.

    Args:
        model: measured alone: models that take turns on one Edge TPU also wait for one another's weights.
        candidates: in the configured order, the twin last; each hears what came of it.
        rounds: how often each takes its turn.

    Raises:
        ModelError: the file contradicts its description.
        BackendError: the twin cannot run.
    """
    try:
        reference = _ready(candidates[-1], model, None)
        if reference is None:
            raise BackendError(candidates[-1].left_out)
        for each in candidates[:-1]:
            _ready(each, model, reference)
        for _ in range(rounds):
            for each in candidates:
                if not each.left_out:
                    _turn(each, model)
    finally:
        for each in candidates:
            each.backend.close()


def _ready(candidate: Candidate, model: Model, reference: Reference | None) -> Reference | None:
    """Open and prove a backend, and find how many invokes fill a round; None when it cannot serve."""
    try:
        made = make_ready(candidate.backend, model, reference)
    except ModelError as error:
        if reference is None:
            raise
        made = Refusal(str(error), "open")
    if isinstance(made, Refusal):
        candidate.left_out = made.reason.partition(NEXT_TRY)[0]
        return None
    _turn(candidate, model)
    if candidate.left_out:
        return None
    (took_s,) = candidate.took_s
    candidate.took_s.clear()
    candidate.invokes = max(1, min(INVOKES_MAX, round(ROUND_S / max(took_s, 1e-6))))
    return made


def _turn(candidate: Candidate, model: Model) -> None:
    """Let a backend take its turn; one that fails is left out."""
    clock, inputs = SystemClock(), model.golden.inputs
    try:
        for number in range(candidate.invokes):
            started_s = clock.monotonic_s()
            candidate.backend.invoke(inputs[number % len(inputs)], PROOF_DEADLINE_S)
            candidate.took_s.append(clock.monotonic_s() - started_s)
    except BackendError as error:
        candidate.left_out = str(error)
