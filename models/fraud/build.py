"""Build models/fraud/1.0.0: how likely a card purchase is fraud, given what its card and its terminal did before.

Simulates (`simulator.py`), lets the device's own extractor see every purchase in order, trains (`learning.py`),
quantises, chooses by the validation, measures on later days (`measure.py`), and writes the folder, the evaluation
beside it and a recording for the example.
"""

from __future__ import annotations

import argparse
import io
import json
import sys
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from appliance.errors import ForgeError
from appliance.forge import metrics
from appliance.forge.package import package
from appliance.forge.progress import shown
from appliance.forge.report import Report, write_whole
from appliance.forge.run import Runner
from appliance.forge.sizes import compressed_bytes
from appliance.forge.steps import step_of
from models.fraud import learning, measure
from models.fraud.folder import spec_for
from models.fraud.recording import write_example
from models.fraud.simulator import score_features, simulate
from models.fraud.trials import Lesson, Trial, carry_out, choose

if TYPE_CHECKING:
    from appliance.forge.progress import Progress
    from models.fraud.world import Array, Purchases, World

SEED = 7
"""Of the world, the forest, the teacher and the calibration."""
HONEST_EVERY = 2
"""Of the honest purchases of the test one in so many is kept; all the fraud is."""
FIRST_DAYS = 14
"""Of the test, seen once more by a device whose memory is empty."""
COMMAND = "python models/fraud/build.py"


def build(root: Path, progress: Progress) -> None:
    """Do it all; `root` gets the folder and the evaluation."""
    lesson = prepare(progress)
    trials = []
    for each in carry_out(lesson, progress):
        show(f"{each.way} {each.seed}", each.on_test)
        trials.append(each)
    finish(lesson, trials, root / "fraud")
    write_example()


def finish(lesson: Lesson, trials: list[Trial], home: Path) -> None:
    """Write the evaluation, judge by it, and write the folder."""
    best, evaluation = choose(trials), home / "evaluation"
    int8, float32 = best.quantised.int8, best.quantised.float32
    evaluation.mkdir(parents=True, exist_ok=True)
    write_whole(evaluation / "trials.json", told(trials, best))
    write_whole(evaluation / "float32.tflite", float32)
    write_whole(evaluation / "first_weeks.npz", lesson.first_weeks)
    write_whole(evaluation / "test.npz", held_out(lesson, best))
    judged = measure.judge(int8, float32, evaluation / "test.npz")
    report = Report(home)
    report.add(
        step_of(
            "quantize",
            "1.0.0/model.tflite",
            int8,
            parent=float32,
            before={figure: judged.estimate(figure, "float32") for figure in measure.FIGURES},
            after={figure: judged.estimate(figure, "int8") for figure in measure.FIGURES},
            command=COMMAND,
        )
    )
    package(spec_for(lesson.scale, lesson.training, int8, judged, seeds(best)), home.parent, report=report, force=True)
    for line in measure.tables(judged):
        print(line, flush=True)


def prepare(progress: Progress) -> Lesson:
    """Simulate, extract, fit the forest and the teacher."""
    world, purchases, reported_day = simulate(SEED)
    scored = score_features(world, purchases, progress)
    print(f"{len(purchases)} purchases, {scored.unscored} without a score for want of history")
    training, validation, test = learning.split(purchases, reported_day, scored)
    test = test.take(kept(test.fraud))
    for name, part in (("training", training), ("validation", validation), ("test", test)):
        print(f"{name}: {len(part.pattern)} purchases, {int(part.fraud.sum())} fraud, {int(part.reported.sum())} known")
    scale = learning.Scale.of(training.features)
    inputs, later, latest = (scale(part.features) for part in (training, validation, test))
    print("gradient boosting ...", flush=True)
    forest = learning.forest(training, SEED)
    boosting = forest.predict(test.features, raw_score=True)
    show("boosting", learning.figures(boosting, test.fraud))
    teacher = learning.teach(inputs, training, SEED, progress)
    taught = (forest.predict(training.features, raw_score=True) + learning.logits(teacher, inputs)) / 2
    teacher_scores = learning.logits(teacher, latest)
    show("teacher", learning.figures(teacher_scores, test.fraud))
    first = first_weeks(world, purchases, scale, progress)
    return Lesson(training, validation, test, inputs, later, latest, taught, boosting, teacher_scores, scale, first)


def kept(fraud: Array) -> Array:
    """Say which purchases of the test are kept: bool ``[n]``."""
    return np.asarray(fraud | (np.arange(len(fraud)) % HONEST_EVERY == 0))


def first_weeks(world: World, purchases: Purchases, scale: learning.Scale, progress: Progress) -> bytes:
    """Write what a device sees of the test's first days when its memory is empty as they begin."""
    begin = learning.VALIDATION_DAY
    few = purchases.take((purchases.day >= begin) & (purchases.day < begin + FIRST_DAYS))
    scored = score_features(world, few, progress)
    few = few.take(scored.row)
    chosen = kept(few.pattern > 0)
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer,
        inputs=scale(scored.features[chosen]).astype(np.float16),
        labels=(few.pattern[chosen] > 0).astype(np.int8),
        day=(few.day[chosen] - begin).astype(np.float32),
    )
    return buffer.getvalue()


def thresholds(lesson: Lesson, best: Trial) -> Array:
    """Choose the logits at which FPRS of the validation's honest purchases are flagged.

    Half a step below the step that is meant, so that no rounding of a probability moves it.
    """
    scores = measure.scores(best.quantised.int8, lesson.later)
    step = Runner(best.quantised.int8, {"score": (1, 1)}).outputs["score"].spec.scale
    return np.array([metrics.threshold_at_fpr(scores, lesson.validation.fraud, fpr) for fpr in measure.FPRS]) - step / 2


def held_out(lesson: Lesson, best: Trial) -> bytes:
    """Write the test as `measure.py` reads it."""
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer,
        inputs=lesson.latest.astype(np.float16),
        labels=lesson.test.fraud.astype(np.int8),
        pattern=lesson.test.pattern.astype(np.int8),
        boosting=lesson.boosting.astype(np.float32),
        teacher=lesson.teacher.astype(np.float32),
        thresholds=thresholds(lesson, best),
    )
    return buffer.getvalue()


def told(trials: list[Trial], best: Trial) -> bytes:
    """Write what every trial came to."""
    rows: list[dict[str, Any]] = [
        {
            "way": each.way,
            "seed": each.seed,
            "shipped": each is best,
            "size_bytes": len(each.quantised.int8),
            "compressed_bytes": compressed_bytes(each.quantised.int8),
            "validation": {name: round(value, 4) for name, value in each.on_validation.items()},
            "test": {name: round(value, 4) for name, value in each.on_test.items()},
        }
        for each in trials
    ]
    return (json.dumps(rows, indent=1) + "\n").encode()


def seeds(best: Trial) -> tuple[tuple[int, ...], dict[str, str]]:
    """Give the seeds that matter, and the versions of what was used."""
    packages = ("tensorflow-cpu", "tf-keras", "numpy", "lightgbm", "ai-edge-litert")
    return (SEED, best.seed), {name: version(name) for name in packages}


def show(name: str, values: dict[str, float]) -> None:
    """Print a line of figures."""
    print(f"{name:>12}: " + ", ".join(f"{figure} {value:.4f}" for figure, value in values.items()), flush=True)


def main() -> int:
    """Read the command line and build."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=measure.HERE.parent, help="root of the model folders")
    options = parser.parse_args()
    try:
        with shown() as progress:
            build(options.out, progress)
    except ForgeError as error:
        print(error, file=sys.stderr)
        return 65
    return 0


if __name__ == "__main__":
    sys.exit(main())
