"""Students of equal budgets: each trained, quantised and judged, two at a time, each in a process of its own."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from typing import TYPE_CHECKING

from appliance.forge.progress import silent
from appliance.forge.quantize import Quantised, quantise
from models.fraud import learning, measure
from models.fraud.learning import Part, Scale

if TYPE_CHECKING:
    from collections.abc import Iterator

    from appliance.forge.progress import Progress
    from models.fraud.world import Array

STUDENT_SEEDS = (1, 2, 3)
WORKERS = 2
CALIBRATION_SEED = 7
SHIPPED = "distilled"
"""Of its seeds the one with the best PR-AUC on the validation. The test has no say."""


@dataclass(frozen=True)
class Trial:
    """One student, in INT8."""

    way: str
    seed: int
    quantised: Quantised
    on_validation: dict[str, float]
    on_test: dict[str, float]


@dataclass(frozen=True)
class Lesson:
    """What students learn from, and are judged on; inputs normalised."""

    training: Part
    validation: Part
    test: Part
    inputs: Array
    """Of the training; and of validation and test."""
    later: Array
    latest: Array
    taught: Array
    """Logit of the training that students are to follow."""
    boosting: Array
    teacher: Array
    """Logits of the test."""
    scale: Scale
    first_weeks: bytes
    """What `measure.py` reads of a device whose memory is empty."""


_lesson: list[Lesson] = []
"""Of a process that trains students: given once, when it begins."""


def _receive(lesson: Lesson) -> None:
    _lesson.append(lesson)


def carry_out(lesson: Lesson, progress: Progress) -> Iterator[Trial]:
    """Give every trial, in order."""
    jobs = [(way, seed) for way in learning.WAYS for seed in STUDENT_SEEDS]
    context = get_context("spawn")  # a process with tensorflow in it must not be forked
    with ProcessPoolExecutor(WORKERS, context, initializer=_receive, initargs=(lesson,)) as pool:
        for done, each in enumerate(pool.map(trial, *zip(*jobs, strict=True)), start=1):
            progress("students", done, len(jobs))
            yield each


def trial(way: str, seed: int) -> Trial:
    """Train a student one way, quantise it, judge it."""
    (lesson,) = _lesson
    student = learning.WAYS[way](lesson.inputs, lesson.training, lesson.taught, seed, silent)
    chosen = learning.calibration(lesson.inputs, lesson.training, CALIBRATION_SEED)
    quantised = quantise(student, chosen, name="purchase")
    on_validation = learning.figures(measure.scores(quantised.int8, lesson.later), lesson.validation.fraud)
    on_test = learning.figures(measure.scores(quantised.int8, lesson.latest), lesson.test.fraud)
    return Trial(way, seed, quantised, on_validation, on_test)


def choose(trials: list[Trial]) -> Trial:
    """Choose what is shipped, by the validation."""
    return max((each for each in trials if each.way == SHIPPED), key=lambda each: each.on_validation["pr_auc"])
