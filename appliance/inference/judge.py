"""A model as one channel uses it: prepared for, asked, read, explained. Replaced as a whole, between two frames."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from appliance.core.decode import decode, merge
from appliance.core.model import Model
from appliance.core.preprocess import Prepared
from appliance.core.types import Frame, InferenceResult, Prediction, Provenance, Reason
from appliance.inference.inference import Inference


@dataclass(frozen=True, slots=True, eq=False)
class Judge:
    """One model, the backends it runs on, and what turns a frame into its tensors: they belong together."""

    model: Model
    inference: Inference
    prepare: Callable[[Frame], tuple[Prepared, ...]]
    """Raises what ``Preprocessor`` does."""
    prepare_again: Callable[[Frame, Sequence[Prepared]], tuple[Prepared, ...]]
    """Prepares a frame that was prepared for another model of the same features: nothing is extracted twice."""
    explain: Callable[[Prepared, InferenceResult], tuple[Reason, ...]] | None = None
    """Says what moved a score; None where nobody wants to know."""

    def infer(self, parts: Sequence[Prepared]) -> list[InferenceResult]:
        """Run the model on each part. Raises NoBackendError."""
        return [self.inference.infer(part.tensor) for part in parts]

    def read(self, results: Sequence[InferenceResult], parts: Sequence[Prepared]) -> tuple[Prediction, ...]:
        """Read the answers as predictions about the frame. Raises FrameError when one is not finite."""
        told = [decode(each.outputs, part, self.model) for each, part in zip(results, parts, strict=True)]
        return merge(told, parts, self.model)

    def provenance(self, results: Sequence[InferenceResult] = ()) -> Provenance:
        """Who judged a frame of one or more parts: the backend of the last, degraded if any part was; or nobody."""
        backend = results[-1].backend if results else ""
        degraded = any(each.degraded for each in results) if results else True
        return Provenance(self.model.name, self.model.version, backend, degraded)

    def explained(self, parts: Sequence[Prepared], results: Sequence[InferenceResult]) -> tuple[Reason, ...]:
        """Say what moved the score of a frame of one part."""
        if self.explain is None or len(parts) > 1:
            return ()
        return self.explain(parts[0], results[0])
