"""Measure models/heartbeat/1.0.0 again: on simulated wearers that took part in no training, and on real records.

`python models/heartbeat/measure.py` needs ai-edge-litert and the appliance, no tensorflow: everything it judges is in
the repository. `build.py` measures with the same functions.
"""

from __future__ import annotations

import argparse
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from appliance.core.features.beats import Beats
from appliance.core.policy import Policy, Rule, decide, start
from appliance.core.types import Frame, FrameKind, Prediction, Provenance, Severity
from appliance.errors import ForgeError, NoScoreError, NoSignalError
from appliance.forge.report import Estimate
from appliance.forge.run import Runner
from models.heartbeat import vectors
from models.heartbeat.simulator import ARTEFACT, FUSION, IRREGULAR, LABELS, SUPRAVENTRICULAR, VENTRICULAR

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

    Array = NDArray[Any]

HERE = Path(__file__).resolve().parent
FOLDER = HERE / "1.0.0"
EVALUATION = HERE / "evaluation"
RECORDS = HERE / "records" / "mitdb.npz"
EXAMPLE = HERE.parents[1] / "examples" / "heartbeat.toml"
RECORD_NAMES = ("100", "101", "208")
WEARERS_TEST = 100
"""Simulated for the test; whom the extractor never learns has no beat in it."""
STEPS_PER_MV = 200
KINDS = {"N": 0, "A": SUPRAVENTRICULAR, "V": VENTRICULAR, "F": FUSION, "Q": ARTEFACT}
"""The database's symbols as kinds here; Q, unclassifiable, is what nobody could name."""
ROUNDS = 400
Z_95 = 1.96
SECONDS_AN_HOUR = 3600.0


@dataclass(frozen=True, eq=False)
class Real:
    """One real record."""

    signal: Array
    """float32 ``[n]``, mV at 125 Hz."""
    positions: Array
    kinds: Array


def read_record(name: str) -> Real:
    """Read one of RECORD_NAMES."""
    with np.load(RECORDS) as archive:
        symbols = archive[f"symbols_{name}"]
        return Real(
            signal=(archive[f"signal_{name}"] / STEPS_PER_MV).astype(np.float32),
            positions=archive[f"positions_{name}"].astype(np.float64),
            kinds=np.array([KINDS[str(symbol)] for symbol in symbols]),
        )


def judge_real(name: str, baseline: bytes | None = None) -> vectors.Judged:
    """Play a real record through the extractor."""
    record = read_record(name)
    return vectors.judge(record.signal, record.positions, record.kinds, nothing=ARTEFACT, baseline=baseline)


class Judge:
    """A network's answers to normalised vectors."""

    def __init__(self, tflite: bytes) -> None:
        """Load it."""
        self._runner = Runner(tflite, {"scores": (1, len(LABELS))})

    def scores(self, normalised: Array) -> Array:
        """Probabilities float ``[n, labels]`` of ``[n, features]``, as ``core.decode`` makes them of the logits."""
        logits = self._runner.each(normalised)["scores"].astype(np.float64)
        exponents = np.exp(logits - logits.max(axis=1, keepdims=True))
        scores: Array = exponents / exponents.sum(axis=1, keepdims=True)
        return scores


def confusion(kinds: Array, judged: Array) -> Array:
    """Count beats by what they are (rows, FUSION last) and what they were called (columns)."""
    table = np.zeros((len(LABELS) + 1, len(LABELS)), int)
    np.add.at(table, (kinds, judged), 1)
    return table


def wearers_told(wearers: Array) -> str:
    """Say how many of the test's wearers were judged, and how many were never learned; of the beats' wearers."""
    judged = len(np.unique(wearers))
    return f"{judged} of {WEARERS_TEST} simulated wearers, {WEARERS_TEST - judged} were never learned"


def simulated(kinds: Array, judged: Array, wearers: Array) -> dict[str, Estimate]:
    """Accuracy, and sensitivity and positive predictive value of each label.

    The intervals are bootstrapped over wearers, for the beats of one are no independent trials.
    """
    each = np.stack([confusion(kinds[wearers == w], judged[wearers == w]) for w in np.unique(wearers)])[:, :-1]
    rng = np.random.default_rng(0)
    drawn = [each[rng.integers(len(each), size=len(each))].sum(axis=0) for _ in range(ROUNDS)]
    rounds = [_figures(table) for table in drawn]
    figures = _figures(each.sum(axis=0))
    return {
        name: Estimate(value, *(float(end) for end in np.nanpercentile([r[name] for r in rounds], (2.5, 97.5))))
        for name, value in figures.items()
    }


def _figures(table: Array) -> dict[str, float]:
    """Accuracy, sensitivities and predictive values of a square table; NaN where nothing was to be found."""
    right = np.diag(table).astype(float)
    figures = {"accuracy": float(right.sum() / table.sum())}
    for number, label in enumerate(LABELS):
        of, called = table[number].sum(), table[:, number].sum()
        figures[f"sensitivity, {label}"] = float(right[number] / of) if of else float("nan")
        figures[f"predictive value, {label}"] = float(right[number] / called) if called else float("nan")
    return figures


def share(count: int, of: int) -> Estimate:
    """A proportion with Wilson's interval (Wilson 1927): right for few trials, and for none that failed."""
    value, z2 = count / of, Z_95**2
    middle = (value + z2 / (2 * of)) / (1 + z2 / of)
    half = Z_95 / (1 + z2 / of) * float(np.sqrt(value * (1 - value) / of + z2 / (4 * of * of)))
    return Estimate(value, max(0.0, middle - half), min(1.0, middle + half))


def real_figures(name: str, table: Array) -> dict[str, Estimate]:
    """Sensitivity and predictive value of what this record has; beats called what it has not."""
    figures = {}
    square = table[:-1]
    for number in (SUPRAVENTRICULAR, VENTRICULAR):
        found, of, called = int(square[number, number]), int(square[number].sum()), int(square[:, number].sum())
        if of:
            figures[f"sensitivity, {LABELS[number]}, record {name}"] = share(found, of)
        if of and called:
            figures[f"predictive value, {LABELS[number]}, record {name}"] = share(found, called)
    normal = square[0]
    for number in (SUPRAVENTRICULAR, VENTRICULAR, IRREGULAR):
        figures[f"normal beats called {LABELS[number]}, record {name}"] = share(int(normal[number]), int(normal.sum()))
    return figures


def example_rules() -> tuple[Rule, ...]:
    """Read the rules of examples/heartbeat.toml."""
    with EXAMPLE.open("rb") as file:
        written = tomllib.load(file)["channels"]["wearer"]["rules"]
    return tuple(
        Rule(
            name=rule["name"],
            labels=frozenset(rule["labels"]),
            threshold=rule["threshold"],
            release=rule.get("release", rule["threshold"]),
            hold_n=rule.get("hold_n", 1),
            hold_m=rule.get("hold_m", rule.get("hold_n", 1)),
            cooldown_s=rule.get("cooldown_s", 0.0),
            update_interval_s=float("inf"),
            polygon=None,
            height_min=0.0,
            severity=Severity(rule["severity"]),
        )
        for rule in written
    )


def events(record: Real, judge: Judge, normalise: Normalisation) -> dict[str, int]:
    """Count the events that a channel with the example's rules would tell of."""
    beats = Beats(vectors.EXTRACT)
    policy = Policy("wearer", example_rules())
    state, told = start(policy, "measure"), dict.fromkeys((rule.name for rule in policy.rules), 0)
    extract = vectors.EXTRACT
    for number, begin in enumerate(range(0, len(record.signal) - extract.length + 1, extract.stride)):
        now_s = (begin + extract.length) / extract.rate_hz
        frame = Frame(FrameKind.WINDOW, record.signal[begin : begin + extract.length, np.newaxis], now_s, number)
        try:
            found = np.stack(beats(frame))
        except (NoScoreError, NoSignalError):
            continue
        best = judge.scores(normalise(found)).max(axis=0)
        predictions = [Prediction(label, float(score)) for label, score in zip(LABELS, best, strict=True)]
        provenance = Provenance("heartbeat", "1.0.0", "cpu", degraded=False)
        state, decision = decide(state, predictions, frame, policy, now_s=now_s, provenance=provenance)
        for alert in decision.alerts:
            told[alert.rule] += alert.event_type == "new"
    return told


@dataclass(frozen=True, eq=False)
class Normalisation:
    """What ``preprocess`` of the folder does to a vector."""

    mean: Array
    std: Array

    def __call__(self, found: Array) -> Array:
        """Normalise ``[n, features]``."""
        return ((found - self.mean) / self.std).astype(np.float32)

    @classmethod
    def of_folder(cls, folder: Path) -> Normalisation:
        """Read it from a model folder."""
        preprocess = tomllib.loads((folder / "model.toml").read_text("utf-8"))["preprocess"]
        return cls(np.array(preprocess["mean"]), np.array(preprocess["std"]))


def lines_of(figures: Mapping[str, Estimate]) -> Iterator[str]:
    """Write figures, one a line."""
    for name, figure in figures.items():
        yield f"  {name:48} {figure.value:7.4f}  [{figure.low:.4f}, {figure.high:.4f}]"


def tables(int8: bytes, float32: bytes, normalise: Normalisation) -> Iterator[str]:
    """Measure everything, line by line."""
    with np.load(EVALUATION / "test.npz") as test:
        inputs, kinds, wearers = test["inputs"].astype(np.float32), test["labels"], test["wearer"]
    for name, tflite in (("float32", float32), ("int8", int8)):
        called = Judge(tflite).scores(inputs).argmax(axis=1)
        yield f"{wearers_told(wearers)}; {len(kinds)} beats, {name}"
        yield from lines_of(simulated(kinds, called, wearers))
    judge = Judge(int8)
    for name in RECORD_NAMES:
        record = read_record(name)
        runs = {"learning first": judge_real(name)}
        if name == "208":
            runs["baseline of the same record"] = judge_real(name, vectors.baseline_of(record.signal))
        for how, judged in runs.items():
            table = confusion(judged.kinds, judge.scores(normalise(judged.vectors)).argmax(axis=1))
            yield f"record {name}, {how}: {judged.frames} windows, not judged {dict(judged.refused)}"
            for row, label in zip(table, (*LABELS, "fusion"), strict=True):
                yield f"  {label:18}" + "".join(f"{count:7d}" for count in row) if row.sum() else f"  {label:18} none"
            yield from lines_of(real_figures(name, table))
        hours = len(record.signal) / vectors.EXTRACT.rate_hz / SECONDS_AN_HOUR
        yield f"  events by the example's rules in {hours * 60:.0f} min: {events(record, judge, normalise)}"


def main() -> int:
    """Read the command line and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=FOLDER, help="the model folder")
    folder = parser.parse_args().folder
    try:
        int8, float32 = ((path).read_bytes() for path in (folder / "model.tflite", EVALUATION / "float32.tflite"))
        for line in tables(int8, float32, Normalisation.of_folder(folder)):
            print(line)
    except (OSError, ForgeError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
