"""Whether two models judge a frame alike, and whether one has stopped telling frames apart. Pure.

What counts is what a channel acts on: a prediction that no rule would take is noise of either model.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from appliance.core.model import Task
from appliance.core.rule import Rule
from appliance.core.types import Box, Prediction

NEAR_SHARE = 0.1
"""Scores that differ by no more than this share of a rule's threshold are on different sides of it by chance."""
IOU_MIN = 0.5
"""Overlap from which two boxes are of one thing (PASCAL VOC's)."""
LOOKS_MIN = 10
"""Frames that both models must have judged before anything is said of how their answers are spread."""
SAME_SHARE_MAX = 0.8
"""A model that says the same of more frames than this does not tell much apart: there is nothing to compare with."""
FOUND_SHARE_MAX = 0.5
"""Share of frames in which a model finds something, beyond which another may find something in every frame."""
DISTINCT_MIN = 5
"""Different scores of a model from which on its scores are said to vary."""


@dataclass(frozen=True, slots=True)
class Yardstick:
    """What a channel looks for."""

    task: Task
    thresholds: Mapping[str, float]
    """For each label that a rule looks for, the lowest score at which one takes it."""


def yardstick(task: Task, rules: Iterable[Rule]) -> Yardstick:
    """Return what ``rules`` look for."""
    thresholds: dict[str, float] = {}
    for rule in rules:
        for label in rule.labels:
            thresholds[label] = min(rule.threshold, thresholds.get(label, rule.threshold))
    return Yardstick(task, thresholds)


def agree(one: Sequence[Prediction], other: Sequence[Prediction], by: Yardstick, *, parts: int = 1) -> bool:
    """Tell whether two models' predictions about one frame come to the same.

    Of boxes: each that a rule takes has its like in the other's (label, overlap, and a score that nearly suffices). Of
    classes: the same label is on top; of a frame of several ``parts``, whose labels were merged, and of scores: each
    rule would decide the same, or the scores are near to each other.
    """
    if by.task is Task.DETECT:
        return _found_in(one, other, by) and _found_in(other, one, by)
    if by.task is Task.CLASSIFY and parts == 1:
        return _top(one) == _top(other)
    return all(_same_side(_score(one, label), _score(other, label), t) for label, t in by.thresholds.items())


@dataclass(frozen=True, slots=True)
class Look:
    """What a model made of a frame, in short."""

    found: tuple[str, ...]
    """Labels that a rule would take, sorted."""
    top: str
    """The label on top, of classes; else empty."""
    score: float
    """Of scores; else 0."""


def look(predictions: Sequence[Prediction], by: Yardstick) -> Look:
    """Sum up what a model said of a frame."""
    found = sorted({each.label for each in predictions if _taken(each, by)})
    scored = by.task in {Task.SCORE, Task.ANOMALY}
    return Look(
        found=tuple(found),
        top=_top(predictions) if by.task is Task.CLASSIFY else "",
        score=max((each.score for each in predictions), default=0.0) if scored else 0.0,
    )


def degenerate(looks: Sequence[tuple[Look, Look]]) -> str:
    """Say in which way a candidate has stopped telling frames apart; empty where nothing points to it.

    A camera before which nothing happens is no fault of anybody: a candidate is held against what the model before it
    made of the very same frames, and only where that one told them apart.

    Args:
        looks: the candidate's and the other's, of the same frames.
    """
    if len(looks) < LOOKS_MIN:
        return ""
    candidate, before = [pair[0] for pair in looks], [pair[1] for pair in looks]
    return next((words for applies, words in _DEGENERATE if applies(candidate, before)), "")


def _says_the_same(candidate: Sequence[Look], before: Sequence[Look]) -> bool:
    """One answer to all frames, among which the other tells apart."""
    told = Counter((each.found, each.top) for each in before)
    ((_, most),) = told.most_common(1)
    return len({(each.found, each.top) for each in candidate}) == 1 and most <= SAME_SHARE_MAX * len(before)


def _scores_the_same(candidate: Sequence[Look], before: Sequence[Look]) -> bool:
    """One number for all frames, to which the other gives many."""
    return len({each.score for each in candidate}) == 1 and len({each.score for each in before}) >= DISTINCT_MIN


def _finds_always(candidate: Sequence[Look], before: Sequence[Look]) -> bool:
    """Something in every frame, where the other finds something in few."""
    found = sum(bool(each.found) for each in before)
    return all(each.found for each in candidate) and found <= FOUND_SHARE_MAX * len(before)


_DEGENERATE: tuple[tuple[Callable[[Sequence[Look], Sequence[Look]], bool], str], ...] = (
    (_says_the_same, "it says the same of every frame, and the model before it tells them apart"),
    (_scores_the_same, "it gives every frame the same score, and the model before it does not"),
    (_finds_always, "it finds something in every frame, and the model before it in few"),
)
"""Applies?, and in words."""


def _found_in(one: Sequence[Prediction], other: Sequence[Prediction], by: Yardstick) -> bool:
    """Whether each thing that a rule takes of ``one`` is in ``other``, nearly as sure."""
    return all(any(_alike(each, its, by) for its in other) for each in one if _taken(each, by))


def _alike(taken: Prediction, its: Prediction, by: Yardstick) -> bool:
    enough = by.thresholds[taken.label] * (1.0 - NEAR_SHARE)
    return its.label == taken.label and its.score >= enough and _overlap(taken.box, its.box) >= IOU_MIN


def _taken(prediction: Prediction, by: Yardstick) -> bool:
    """Whether a rule would take it, by its label and score alone."""
    return prediction.score >= by.thresholds.get(prediction.label, float("inf"))


def _top(predictions: Sequence[Prediction]) -> str:
    top = max(predictions, key=lambda each: each.score, default=None)
    return "" if top is None else top.label


def _score(predictions: Sequence[Prediction], label: str) -> float:
    return max((each.score for each in predictions if each.label == label), default=0.0)


def _same_side(one: float, other: float, threshold: float) -> bool:
    return (one >= threshold) is (other >= threshold) or abs(one - other) <= NEAR_SHARE * abs(threshold)


def _overlap(one: Box | None, other: Box | None) -> float:
    """Return the intersection over the union; 1 where neither has a box."""
    if one is None or other is None:
        return float(one is other)
    height = min(one.ymax, other.ymax) - max(one.ymin, other.ymin)
    width = min(one.xmax, other.xmax) - max(one.xmin, other.xmin)
    shared = max(0.0, height) * max(0.0, width)
    union = one.height * one.width + other.height * other.width - shared
    return shared / union if union > 0.0 else 0.0
