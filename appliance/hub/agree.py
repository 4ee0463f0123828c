"""Whether a changed network answers the golden inputs as before: what decides where there are no examples.

A classifier, a score, a reconstruction: each number a few steps off at most, a classifier's first label the same. A
detector has thousands of numbers that nobody sees: there every detection must be found again.
"""

from collections.abc import Sequence

from appliance.core.decode import decode
from appliance.core.golden import FLOAT_LSB, combine, compare
from appliance.core.model import ClassifyDecode, Dtype, Model, SsdPostprocessedDecode, SsdRawDecode
from appliance.core.preprocess import Prepared
from appliance.core.types import Box, Outputs, Prediction
from appliance.hub.gate import Verdict
from appliance.hub.reference import Reference

AGREE_LSB = 4
"""Steps that an answer may move: pinning a MobileNetV2 fine-tuned at 1e-5 or 1e-4 moves its scores by 3 at most."""
FLOAT_STEPS = round(1 / (255 * FLOAT_LSB))
"""Of a float32 output as ``core.golden`` counts it, for one step of an 8-bit value behind it."""
OVERLAP_MIN = 0.8
"""Intersection over union of a detection and the one that is the same."""
SCORE_MOVE_MAX = 0.15
"""Of such two: about one quantised step of our detector's logits near 0.5. A detection this much above the model's
least score must be found again."""

_Answer = tuple[Outputs, Outputs, Prepared]
"""What the changed network and the old one say, and of what."""


def by_goldens(model: Model, changed: bytes) -> Verdict:
    """Compare the answers to the golden inputs before and after. Raises HubError when a network does not run."""
    before, after = Reference(model, model.tflite), Reference(model, changed)
    answers = [(after(tensor), before(tensor), Prepared(tensor)) for tensor in model.golden.inputs]
    verdict = _detections(model, answers) if _is_detector(model) else _numbers(model, answers)
    return Verdict(verdict.passed, f"on {len(answers)} golden inputs {verdict.words}")


def _is_detector(model: Model) -> bool:
    return isinstance(model.decode, SsdRawDecode | SsdPostprocessedDecode)


def _numbers(model: Model, answers: Sequence[_Answer]) -> Verdict:
    tolerance = {
        role: AGREE_LSB * (FLOAT_STEPS if spec.dtype is Dtype.FLOAT32 else 1) for role, spec in model.outputs.items()
    }
    report = combine(compare(got, wanted, tolerance) for got, wanted, _ in answers)
    if not report.passed:
        return Verdict(passed=False, words=report.faults())
    turned = sum(
        decode(got, prepared, model)[0].label != decode(wanted, prepared, model)[0].label
        for got, wanted, prepared in answers
        if isinstance(model.decode, ClassifyDecode)
    )
    return Verdict(not turned, f"{turned} get another label" if turned else str(report))


def _detections(model: Model, answers: Sequence[_Answer]) -> Verdict:
    assert isinstance(model.decode, SsdRawDecode | SsdPostprocessedDecode)
    sure, found, missed = model.decode.score_min + SCORE_MOVE_MAX, 0, 0
    for got, wanted, prepared in answers:
        both = decode(got, prepared, model), decode(wanted, prepared, model)
        for one, other in (both, both[::-1]):
            certain = [each for each in one if each.score >= sure]
            found += len(certain)
            missed += sum(not any(_same(each, like) for like in other) for each in certain)
    if missed:
        rule = f"overlap {OVERLAP_MIN:g}, score within {SCORE_MOVE_MAX:g}"
        return Verdict(passed=False, words=f"{missed} of {found} detections are not found again ({rule})")
    return Verdict(passed=True, words=f"all {found} detections of both are found again")


def _same(one: Prediction, other: Prediction) -> bool:
    assert one.box is not None, "a detector's predictions have boxes"
    assert other.box is not None, "as above"
    near = abs(one.score - other.score) <= SCORE_MOVE_MAX and one.label == other.label
    return near and _overlap(one.box, other.box) >= OVERLAP_MIN


def _overlap(one: Box, other: Box) -> float:
    """Return intersection over union."""
    common = Box(
        max(one.ymin, other.ymin), max(one.xmin, other.xmin), min(one.ymax, other.ymax), min(one.xmax, other.xmax)
    )
    shared = common.height * common.width
    union = one.height * one.width + other.height * other.width - shared
    return shared / union if union > 0 else 0.0
