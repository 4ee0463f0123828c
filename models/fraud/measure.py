"""What the built model is worth: `python models/fraud/measure.py`, without tensorflow, from what is committed.

Reads `1.0.0/` and `evaluation/`: purchases of days after the training's, scored by INT8 and by its float self here;
what gradient boosting and the teacher said of them stands in the file.
"""

from __future__ import annotations

import sys
import tomllib
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from appliance.forge import metrics
from appliance.forge.run import Tensor, interpreter
from models.fraud.world import PATTERNS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from appliance.forge.report import Estimate
    from models.fraud.world import Array

HERE = Path(__file__).resolve().parent
FOLDER, EVALUATION = HERE / "1.0.0", HERE / "evaluation"
METHODS = ("int8", "float32", "boosting", "teacher")
FPRS = (0.001, 0.01)
HISTORIES = (3, 5, 10, 20, 40, 80, 10_000)
ROUNDS = 200
SEED = 1


def pr_auc(scores: Array, labels: Array) -> float:
    """Give the area under precision over recall."""
    return metrics.average_precision(scores, labels)


def recall_low(scores: Array, labels: Array) -> float:
    """Give recall at 0.1 % false positives."""
    return metrics.recall_at_fpr(scores, labels, FPRS[0])


def recall_high(scores: Array, labels: Array) -> float:
    """Give recall at 1 % false positives."""
    return metrics.recall_at_fpr(scores, labels, FPRS[1])


FIGURES: Mapping[str, metrics.Metric] = {
    "roc_auc": metrics.roc_auc,
    "pr_auc": pr_auc,
    "recall at 0.1 % FPR": recall_low,
    "recall at 1 % FPR": recall_high,
}


@dataclass(frozen=True, slots=True, eq=False)
class Judged:
    """Purchases of the test with every method's scores; arrays of n rows."""

    labels: Array
    pattern: Array
    thresholds: Array
    """Logits of INT8, chosen on the validation, at and above which FPRS of the honest were flagged."""
    scores: Mapping[str, Array]
    known: dict[tuple[str, str], Estimate] = field(default_factory=dict)
    """Figures that were estimated before: a bootstrap takes seconds."""

    def estimate(self, figure: str, method: str) -> Estimate:
        """Give a figure with its 95 % interval over purchases."""
        if (figure, method) not in self.known:
            self.known[figure, method] = metrics.bootstrap(
                FIGURES[figure], self.scores[method], self.labels, rounds=ROUNDS, seed=SEED
            )
        return self.known[figure, method]

    def difference(self, figure: str, method: str, other: str) -> Estimate:
        """Give a figure's difference between two methods, its interval over purchases that both judge."""

        def less(pair: Array, labels: Array) -> float:
            return FIGURES[figure](pair[:, 0], labels) - FIGURES[figure](pair[:, 1], labels)

        pair = np.stack([self.scores[method], self.scores[other]], axis=1)
        return metrics.bootstrap(less, pair, self.labels, rounds=ROUNDS, seed=SEED)


def judge(int8: bytes, float32: bytes, file: Path) -> Judged:
    """Read the test and score it with both flatbuffers."""
    with np.load(file) as held:
        test = {name: held[name] for name in held.files}
    inputs = test["inputs"].astype(np.float32)
    by_method = {
        "int8": scores(int8, inputs),
        "float32": scores(float32, inputs),
        "boosting": test["boosting"].astype(np.float32),
        "teacher": test["teacher"].astype(np.float32),
    }
    return Judged(test["labels"], test["pattern"], test["thresholds"], by_method)


def scores(tflite: bytes, inputs: Array) -> Array:
    """Give the logits of normalised inputs: float32 ``[n]``; all at once, in the integers of one at a time."""
    loaded = interpreter(tflite)
    taken, given = loaded.get_input_details()[0], loaded.get_output_details()[0]
    loaded.resize_tensor_input(taken["index"], inputs.shape)
    loaded.allocate_tensors()
    loaded.set_tensor(taken["index"], Tensor.from_details(taken).quantise(inputs))
    loaded.invoke()
    logits: Array = Tensor.from_details(given).dequantise(loaded.get_tensor(given["index"]))[:, 0]
    return logits


def tables(judged: Judged) -> Iterator[str]:
    """Say figures by method, what separates methods, recall by pattern, and what the thresholds do; a line each."""
    yield f"{len(judged.labels)} purchases, {int(judged.labels.sum())} of them fraud; 95 % intervals over purchases"
    for method in METHODS:
        cells = (f"{figure} {judged.estimate(figure, method)}" for figure in FIGURES)
        yield f"{method:>9}  " + "  ".join(cells)
    for other in ("float32", "boosting"):
        cells = (f"{figure} {judged.difference(figure, 'int8', other)}" for figure in tuple(FIGURES)[1:])
        yield f"INT8 less {other}: " + "  ".join(cells)
    yield "recall by pattern at 0.1 % and 1 % FPR"
    for method in ("int8", "boosting"):
        yield f"{method:>9}  " + "  ".join(by_pattern(judged, method))
    own = judged.scores["int8"]
    for allowed, threshold in zip(FPRS, judged.thresholds, strict=True):
        flagged = own >= threshold
        honest = judged.labels == 0
        yield (
            f"threshold for {allowed:.1%}, of the validation: logit {threshold:.4f}, "
            f"probability {probability(threshold):.4f}; here it flags {flagged[honest].mean():.3%} of the honest and "
            f"{flagged[~honest].mean():.3f} of the fraud"
        )
    yield f"distinct scores of INT8: {len(np.unique(own))}"


def by_pattern(judged: Judged, method: str) -> Iterator[str]:
    """Say the recall of each kind of fraud."""
    whole = judged.scores[method]
    limits = [metrics.threshold_at_fpr(whole, judged.labels, fpr) for fpr in FPRS]
    for number, name in enumerate(PATTERNS[1:], start=1):
        own = whole[judged.pattern == number]
        found = " ".join(f"{(own >= limit).mean():.3f}" for limit in limits)
        yield f"{name} {found} of {len(own)}"


@dataclass(frozen=True, slots=True, eq=False)
class Flagged:
    """What the thresholds flag of some purchases; arrays of n rows."""

    scores: Array
    labels: Array
    thresholds: Array

    def __call__(self, chosen: Array) -> str:
        """Say it of those where this is true."""
        said = []
        for name, label in (("honest", 0), ("fraud", 1)):
            own = self.scores[chosen & (self.labels == label)]
            shares = ", ".join(f"{(own >= limit).mean():.2%}" for limit in self.thresholds) if len(own) else "none"
            said.append(f"of {len(own)} {name} {shares}")
        return "; ".join(said)


def young(flagged: Flagged, known: Array) -> Iterator[str]:
    """Say what the thresholds flag, by how many purchases of the card were known."""
    for least, most in pairwise(HISTORIES):
        yield f"history of {least} to {most - 1}: {flagged((known >= least) & (known < most))}"


def empty(int8: bytes, thresholds: Array, known_of: Callable[[Array], Array]) -> Iterator[str]:
    """Say what the thresholds flag in the first two weeks of a device whose memory is empty, by week and history."""
    with np.load(EVALUATION / "first_weeks.npz") as held:
        inputs, labels, week = held["inputs"].astype(np.float32), held["labels"], held["day"] // 7
    flagged = Flagged(scores(int8, inputs), labels, thresholds)
    for each in np.unique(week):
        yield f"week {each + 1:.0f} of an empty memory: {flagged(week == each)}"
    yield from young(flagged, known_of(inputs))


def probability(logit: float) -> float:
    """Give what the decoder makes of a logit."""
    return float(1 / (1 + np.exp(-logit)))


def main() -> int:
    """Print everything."""
    int8 = (FOLDER / "model.tflite").read_bytes()
    judged = judge(int8, (EVALUATION / "float32.tflite").read_bytes(), EVALUATION / "test.npz")
    toml = tomllib.loads((FOLDER / "model.toml").read_text("utf-8"))["preprocess"]
    at = toml["features"].index("history")

    def known(inputs: Array) -> Array:
        return np.asarray(np.round(np.expm1(inputs[:, at] * toml["std"][at] + toml["mean"][at])))

    with np.load(EVALUATION / "test.npz") as held:
        inputs = held["inputs"].astype(np.float32)
    flagged = Flagged(judged.scores["int8"], judged.labels, judged.thresholds)
    for line in (*tables(judged), *young(flagged, known(inputs)), *empty(int8, judged.thresholds, known)):
        print(line)
    return 0


if __name__ == "__main__":
    sys.exit(main())
