"""Who sees every decision of a soaked channel, and holds those on pictures against the truth."""

from collections import Counter
from collections.abc import Sequence

from appliance.adapters.clock import SystemClock
from appliance.bench.edge import Truth
from appliance.core.decode import decode
from appliance.core.model import Model
from appliance.core.preprocess import Preprocessor
from appliance.core.types import Array, Decision, Frame, FrameKind, OutcomeState, Prediction
from appliance.inference import NOBODY

REASONS_MAX = 5
"""Reasons of lost decisions that are remembered."""

Truths = Sequence[tuple[Prediction, ...]]


def truths(model: Model, pictures: Sequence[Array]) -> Truths:
    """Return what the model has to say of each picture, by the CPU alone."""
    prepare, truth = Preprocessor(model), Truth(model)
    parts = [prepare(Frame(FrameKind.IMAGE, picture, 0.0, 1))[0] for picture in pictures]
    return [decode(truth.of(part.tensor), part, model) for part in parts]


class Witness:
    """One channel's decisions. ``watch`` runs on its thread; the counts are for any."""

    def __init__(self, *, slice_s: float, pictures: Truths = ()) -> None:
        """Count by slices of ``slice_s`` seconds; ``pictures`` are what a channel that sees the scene must say."""
        self._clock = SystemClock()
        self._started_s, self._slice_s, self._pictures = self._clock.monotonic_s(), slice_s, pictures
        self._seq: int | None = None
        self.counts: Counter[str] = Counter()
        """``decisions``; ``lost``: frames without a decision, and NO_RESULT where a twin was there to give one;
        ``compared``: pictures; ``wrong``: those of which something else was said than is true; ``blind_as_empty``:
        those of these that read as "nobody" though somebody is there."""
        self.by_slice: Counter[tuple[int, str]] = Counter()
        """Decisions by number of the slice and backend; ``none`` where none could judge, though it was to."""
        self.reasons: list[str] = []
        """Why decisions were lost."""

    def watch(self, frame: Frame | None, decision: Decision) -> None:
        """See a decision."""
        self.counts["decisions"] += 1
        number = int((self._clock.monotonic_s() - self._started_s) / self._slice_s)
        if decision.provenance.backend:
            self.by_slice[number, decision.provenance.backend] += 1
        if decision.outcome_state is OutcomeState.NO_RESULT:
            self.by_slice[number, NOBODY] += 1
            self._lose(decision.reason)
        if frame is None or not self._pictures:
            return
        if self._seq is not None and frame.seq != self._seq + 1:
            self._lose(f"{frame.seq - self._seq - 1} pictures after number {self._seq} were not judged")
        self._seq = frame.seq
        if decision.outcome_state is OutcomeState.RESULT:
            said, true = decision.predictions, self._pictures[(frame.seq - 1) % len(self._pictures)]
            self.counts["compared"] += 1
            self.counts["wrong"] += said != true
            self.counts["blind_as_empty"] += bool(true) and not said

    def _lose(self, reason: str) -> None:
        self.counts["lost"] += 1
        self.reasons += [reason][: REASONS_MAX - len(self.reasons)]
