"""What the built model is worth: `python models/machine/measure.py`, without tensorflow, from what is committed.

Reads `1.0.0/` and `evaluation/` (windows of machines that took part in no training, judged by INT8, by the float
network and by simpler methods), and simulates hours of healthy running for the false alarms.
"""

from __future__ import annotations

import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from appliance.core.features.spectrum import Spectrum
from appliance.core.policy import Policy, decide, start
from appliance.core.rule import Rule
from appliance.core.types import EventType, Frame, FrameKind, Prediction, Provenance, Severity
from appliance.forge.metrics import roc_auc
from appliance.forge.report import Estimate
from models.machine.network import scores
from models.machine.simulator import FAULTS, HEALTHY, LENGTH, RATE_HZ, Fault, Operation, vibration
from models.machine.vectors import EXTRACT, SEED, SEEN, SEVERITIES, SPEEDS_HZ, draw_operation, machine_number, vectors

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from models.machine.simulator import Array

HERE = Path(__file__).resolve().parent
FOLDER, EVALUATION = HERE / "1.0.0", HERE / "evaluation"
ROUNDS = 200
HOLD_N, HOLD_M = 6, 8
STRIDE_S = 0.64
"""From window to window: half of one, as in examples/machine.toml."""
HOURS = 0.25
"""Of each machine."""
HOUR_MACHINES = range(2000, 2012)
METHODS = ("int8", "float32", "mahalanobis", "pca", "rms", "kurtosis")


@dataclass(frozen=True, slots=True, eq=False)
class Judged:
    """Windows of the test with the scores of every method; arrays of n rows."""

    fault: Array
    severity: Array
    speeds: Array
    machine: Array
    by_method: Mapping[str, Array]

    def pick(self, faults: tuple[str, ...], speeds: tuple[str, ...], severities: tuple[float, ...]) -> Array:
        """Find the healthy windows and those of these faults and severities, at these speeds: bool [n]."""
        ill = np.isin(self.fault, faults) & np.isin(self.severity, severities)
        chosen: Array = np.isin(self.speeds, speeds) & (ill | (self.fault == HEALTHY))
        return chosen

    def auc(self, method: str, chosen: Array) -> Estimate:
        """Give ROC-AUC with its 95 % interval over *machines*: windows of one machine resemble one another."""
        values, ill, machine = self.by_method[method][chosen], self.fault[chosen] != HEALTHY, self.machine[chosen]
        members = [np.flatnonzero(machine == number) for number in np.unique(machine)]
        rng = np.random.default_rng(SEED)
        drawn = []
        for _ in range(ROUNDS):
            rows = np.concatenate([members[number] for number in rng.integers(len(members), size=len(members))])
            drawn.append(roc_auc(values[rows], ill[rows]))
        low, high = np.percentile(drawn, (2.5, 97.5))
        return Estimate(roc_auc(values, ill), float(low), float(high))


def judge(int8: bytes, float32: bytes, file: Path) -> Judged:
    """Read the test and score it with both flatbuffers; what simpler methods said of it stands in the file."""
    with np.load(file) as held:
        test = {name: held[name] for name in held.files}
    by_method = {
        "int8": scores(int8, test["inputs"]),
        "float32": scores(float32, test["inputs"]),
        **{name: test[name] for name in METHODS[2:]},
    }
    return Judged(test["fault"], test["severity"], test["speeds"], test["machine"], by_method)


def by_fault(judged: Judged) -> Iterator[str]:
    """Say AUC by fault and severity; a line each."""
    yield "ROC-AUC of INT8 at speeds like those of the training; columns: severity 0.25, 0.5, 1"
    for fault in FAULTS:
        cells = (str(judged.auc("int8", judged.pick((fault,), (SEEN,), (severity,)))) for severity in SEVERITIES)
        yield f"{fault:>14}  " + "  ".join(cells)


def by_speed(judged: Judged) -> Iterator[str]:
    """Say AUC by fault and range of speeds; a line each."""
    yield f"ROC-AUC of INT8, all severities; columns: speeds {', '.join(SPEEDS_HZ)}"
    for fault in FAULTS:
        cells = (str(judged.auc("int8", judged.pick((fault,), (speeds,), SEVERITIES))) for speeds in SPEEDS_HZ)
        yield f"{fault:>14}  " + "  ".join(cells)


def by_method(judged: Judged) -> Iterator[str]:
    """Say AUC by method and range of speeds; a line each."""
    yield f"ROC-AUC by method, all faults and severities; columns: speeds {', '.join(SPEEDS_HZ)}, all"
    for method in judged.by_method:
        groups = (*((speeds,) for speeds in SPEEDS_HZ), tuple(SPEEDS_HZ))
        cells = (str(judged.auc(method, judged.pick(FAULTS, group, SEVERITIES))) for group in groups)
        yield f"{method:>14}  " + "  ".join(cells)


def flagged(judged: Judged, threshold: float) -> Iterator[str]:
    """Say the share of single windows over the threshold, by fault and by speeds."""
    over = judged.by_method["int8"] >= threshold
    yield f"share of single windows with a score of {threshold:g} or more; columns: {', '.join(SPEEDS_HZ)}"
    for fault in (HEALTHY, *FAULTS):
        for severity in (0.0,) if fault == HEALTHY else SEVERITIES:
            rows = (judged.fault == fault) & np.isclose(judged.severity, severity)
            cells = (f"{over[rows & (judged.speeds == speeds)].mean():.3f}" for speeds in SPEEDS_HZ)
            yield f"{fault:>14} {severity:<4g}  " + "  ".join(cells)


def false_alarms(score: Callable[[Array], Array], threshold: float, release: float) -> Iterator[str]:
    """Simulate healthy hours in which speed, load and temperature drift, and count the events of the real rules."""
    events = []
    for number in HOUR_MACHINES:
        values = score(vectors(_hour(number)))
        events.append(_events(values, threshold, release))
        yield (
            f"machine {number}: median {np.median(values):.2f}, {(values >= threshold).mean():.4f} of windows over the "
            f"threshold, {events[-1]} events in {HOURS:g} h"
        )
    quiet = sum(count == 0 for count in events)
    yield f"{sum(events)} events in {HOURS * len(events):g} machine-hours; {quiet} of {len(events)} machines had none"


def _hour(number: int) -> Iterator[Array]:
    """Simulate a machine's windows through an hour, at speeds like those of the training."""
    machine = machine_number(number)
    rng = np.random.default_rng((SEED, number, 1))
    low, high = SPEEDS_HZ[SEEN][number % 2]
    phase = rng.uniform(0, 2 * np.pi, 3)
    for second in np.arange(0.0, HOURS * 3600.0, STRIDE_S):
        swing = 0.5 + 0.5 * np.sin(2 * np.pi * second / np.array([900.0, 400.0, 3600.0]) + phase)
        speed_hz = low + (high - low) * swing[0]
        operation = Operation(float(speed_hz), float(0.3 + 0.7 * swing[1]), float(2 * swing[2] - 1))
        yield vibration(machine, operation, Fault(), rng)


def _events(values: Array, threshold: float, release: float) -> int:
    """Count the events that a channel with this rule would begin."""
    policy = Policy("pump", (rule(threshold, release),))
    state, begun = start(policy, "measured"), 0
    by = Provenance("machine", "1.0.0", backend="cpu", degraded=False)
    for seq, value in enumerate(values):
        frame = Frame(FrameKind.WINDOW, np.zeros(0), seq * STRIDE_S, seq)
        said = (Prediction("anomaly", float(value)),)
        state, decision = decide(state, said, frame, policy, now_s=frame.captured_s, provenance=by)
        begun += sum(alert.event_type is EventType.NEW for alert in decision.alerts)
    return begun


def rule(threshold: float, release: float) -> Rule:
    """The rule of examples/machine.toml."""
    return Rule(
        name="anomaly",
        labels=frozenset({"anomaly"}),
        threshold=threshold,
        release=release,
        hold_n=HOLD_N,
        hold_m=HOLD_M,
        cooldown_s=60.0,
        update_interval_s=10.0,
        polygon=None,
        height_min=0.0,
        severity=Severity.WARNING,
    )


def beyond_range(score: Callable[[Array], Array]) -> Iterator[str]:
    """Say how the score of each fault goes on far beyond what was foreseen: it must never fall back."""
    rng = np.random.default_rng(SEED)
    yield "median score at severity 1, 3, 10, 30"
    for kind in FAULTS:
        cells = []
        for severity in (1.0, 3.0, 10.0, 30.0):
            windows = (
                vibration(machine_number(number), Operation(25.0), Fault(kind, severity), rng)
                for number in HOUR_MACHINES
            )
            cells.append(f"{np.median(score(vectors(windows))):.1f}")
        yield f"{kind:>14}  " + "  ".join(cells)


def speeds_read() -> Iterator[str]:
    """Say how often the shaft's speed is read to 1 % from a window, and how often as half of it."""
    extractor, rng = Spectrum(EXTRACT), np.random.default_rng(SEED)
    yield "the shaft's speed is read right, and as half; severity 1"
    for kind in (HEALTHY, *FAULTS):
        ratios = []
        for number in range(6000, 6200):
            operation = draw_operation(rng, list(SPEEDS_HZ)[number % len(SPEEDS_HZ)])
            window = vibration(machine_number(number), operation, Fault(kind, 1.0), rng)
            ratios.append(extractor.shaft_hz(window) / operation.speed_hz)
        right, half = ((np.abs(np.array(ratios) / ratio - 1) < 0.01).mean() for ratio in (1.0, 0.5))  # noqa: PLR2004 - 1 %
        yield f"{kind:>14}  {right:.3f}  {half:.3f}"


def main() -> int:
    """Print everything."""
    toml = tomllib.loads((FOLDER / "model.toml").read_text(encoding="utf-8"))
    mean, std = np.array(toml["preprocess"]["mean"]), np.array(toml["preprocess"]["std"])
    tflite = (FOLDER / "model.tflite").read_bytes()
    judged = judge(tflite, (EVALUATION / "float32.tflite").read_bytes(), EVALUATION / "test.npz")

    def score(features: Array) -> Array:
        return scores(tflite, ((features - mean) / std).astype(np.float32))

    with np.load(EVALUATION / "test.npz") as held:
        threshold, release = float(held["threshold"]), float(held["release"])
    print(f"windows of {LENGTH / RATE_HZ:g} s; threshold {threshold:g}, release {release:g}, {HOLD_N} of {HOLD_M}")
    for lines in (
        by_fault(judged),
        by_speed(judged),
        by_method(judged),
        flagged(judged, threshold),
        beyond_range(score),
        speeds_read(),
        false_alarms(score, threshold, release),
    ):
        for line in lines:
            print(line, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
