"""Asks the model why: the reasons that go with a decision."""

from collections.abc import Mapping

from appliance.core.attribution import by_occlusion, by_reconstruction, occluded
from appliance.core.model import AnomalyDecode, Model
from appliance.core.preprocess import Prepared
from appliance.core.types import REASONS_MAX, InferenceResult, Outputs, Reason
from appliance.errors import NoBackendError
from appliance.inference import Inference
from appliance.ports import Clock, Meter

BUDGET_S = 0.05
"""What asking again may take of a decision; beyond it the decision goes out without reasons."""


class Reasons:
    """Explains the scores of one channel."""

    def __init__(
        self, model: Model, inference: Inference, words: Mapping[str, str], clock: Clock, meter: Meter, *, count: int
    ) -> None:
        """Give at most ``count`` reasons, 1 to ``REASONS_MAX``; ``model`` is explainable."""
        assert 1 <= count <= REASONS_MAX, count
        self._model, self._inference, self._words = model, inference, words
        self._clock, self._meter, self._count = clock, meter, count

    def __call__(self, part: Prepared, result: InferenceResult) -> tuple[Reason, ...]:
        """Return why ``part`` got its score, strongest first; nothing when asking again fails or takes too long."""
        if isinstance(self._model.decode, AnomalyDecode):
            return by_reconstruction(result.outputs, part, self._model, self._words, self._count)
        started_s = self._clock.monotonic_s()
        without: list[Outputs] = []
        for tensor in occluded(part, self._model):
            if self._clock.monotonic_s() - started_s > BUDGET_S:
                self._meter.count("edge_reasons_missing_total", model=self._model.name)
                return ()
            try:
                without.append(self._inference.infer(tensor).outputs)
            except NoBackendError:  # the score itself stands
                self._meter.count("edge_reasons_missing_total", model=self._model.name)
                return ()
        return by_occlusion(result.outputs, without, self._model, self._words, self._count)
