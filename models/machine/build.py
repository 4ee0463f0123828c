"""Build models/machine/1.0.0: unusual vibration of a rotating machine, learned from healthy machines alone.

Without options it simulates the machines it learns from (`simulator.py`). With `--healthy RECORDING.npz` it learns from
your own machine's healthy vibration instead, which is what makes it useful; see `README.md`.
"""

from __future__ import annotations

import argparse
import io
import sys
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from appliance.errors import ForgeError
from appliance.forge.package import PackageSpec, package
from appliance.forge.progress import shown
from appliance.forge.report import Estimate, Report, Step, write_whole
from appliance.forge.steps import step_of
from models.machine import measure, own
from models.machine.baselines import left_by_pca, mahalanobis
from models.machine.folder import MADE_BY, spec_for
from models.machine.network import Trained, learn
from models.machine.simulator import FAULTS
from models.machine.vectors import EXTRACT, SEED, SEEN, SEVERITIES, SPEEDS_HZ, Windows, faulty, healthy, join

if TYPE_CHECKING:
    from appliance.forge.progress import Progress

TRAINING, VALIDATION, TEST = range(240), range(400, 450), range(1000, 1016)
"""Numbers of machines: none is in two of them."""
EACH, EACH_TEST, EACH_FAULT = 60, 25, 4
THRESHOLD_QUANTILE, RELEASE_QUANTILE = 0.995, 0.98
"""Of healthy windows of the validation's machines."""
COMMAND = "python models/machine/measure.py"


def build(root: Path, progress: Progress) -> None:
    """Simulate, train, quantise, judge, write the folder and what it is judged with."""
    training = healthy(TRAINING, EACH)
    trained = learn(training.features, SEED, progress)
    validation = trained.scores(healthy(VALIDATION, EACH).features)
    threshold, release = (round(float(np.quantile(validation, q)), 2) for q in (THRESHOLD_QUANTILE, RELEASE_QUANTILE))
    print(f"healthy machines of the validation: median {np.median(validation):.2f}, threshold {threshold}, {release}")
    test = join(
        part for speeds in SPEEDS_HZ for part in (healthy(TEST, EACH_TEST, speeds), faulty(TEST, EACH_FAULT, speeds))
    )
    write_whole(measure.EVALUATION / "float32.tflite", trained.quantised.float32)
    write_whole(measure.EVALUATION / "test.npz", _held_out(trained, training, test, threshold, release))
    judged = measure.judge(trained.quantised.int8, trained.quantised.float32, measure.EVALUATION / "test.npz")
    report = Report(root / "machine")
    report.add(_quantised(trained, judged))
    package(_spec(trained, training, judged), root, report=report, force=True)
    for line in measure.by_method(judged):
        print(line)


def _held_out(trained: Trained, training: Windows, test: Windows, threshold: float, release: float) -> bytes:
    """Write the test as `measure.py` reads it, with what simpler methods say of it."""
    inputs = trained.normalise(test.features)
    healthy_inputs = trained.normalise(training.features)
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer,
        inputs=inputs,
        labels=(test.severity > 0).astype(np.int8),
        fault=test.fault,
        severity=test.severity,
        speeds=test.speeds,
        speed_hz=test.speed_hz.astype(np.float32),
        machine=test.machine,
        rms=test.rms.astype(np.float32),
        kurtosis=test.kurtosis.astype(np.float32),
        mahalanobis=mahalanobis(healthy_inputs, inputs).astype(np.float32),
        pca=left_by_pca(healthy_inputs, inputs).astype(np.float32),
        threshold=np.float64(threshold),
        release=np.float64(release),
    )
    return buffer.getvalue()


def _quantised(trained: Trained, judged: measure.Judged) -> Step:
    seen = judged.pick(FAULTS, (SEEN,), SEVERITIES)
    int8, float32 = trained.quantised.int8, trained.quantised.float32
    return step_of(
        "quantize",
        "1.0.0/model.tflite",
        int8,
        parent=float32,
        before={"roc_auc": judged.auc("float32", seen)},
        after={"roc_auc": judged.auc("int8", seen)},
        command=MADE_BY,
    )


def _spec(trained: Trained, training: Windows, judged: measure.Judged) -> PackageSpec:
    figures: dict[str, Estimate] = {}
    for speeds in SPEEDS_HZ:
        figures[f"roc_auc, speeds {speeds}"] = judged.auc("int8", judged.pick(FAULTS, (speeds,), SEVERITIES))
    for fault in FAULTS:
        figures[f"roc_auc, {fault}"] = judged.auc("int8", judged.pick((fault,), (SEEN,), SEVERITIES))
    return spec_for(
        trained,
        training.features,
        EXTRACT,
        name="machine",
        version="1.0.0",
        description="Unusual vibration of a rotating machine; learned on simulated machines, knows no real one.",
        source="Trained by models/machine/build.py on healthy machines of its own seeded simulator.",
        figures=figures,
        measured_on="simulated windows of 16 machines that took part in no training, severities 0.25, 0.5 and 1",
        command=COMMAND,
        training_data=f"{len(training)} windows of {len(TRAINING)} simulated healthy machines",
        toolchain={name: version(name) for name in ("tensorflow-cpu", "tf-keras", "numpy", "ai-edge-litert")},
        missing="Every real machine; gears, belts, neighbours; run-up and coast-down; two faults at once.",
    )


def main() -> int:
    """Read the command line and build."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=measure.HERE.parent, help="root of the model folders")
    own.add_options(parser)
    options = parser.parse_args()
    try:
        with shown() as progress:
            if options.healthy:
                own.build(options, progress)
            else:
                build(options.out, progress)
    except ForgeError as error:
        print(error, file=sys.stderr)
        return 65
    return 0


if __name__ == "__main__":
    sys.exit(main())
