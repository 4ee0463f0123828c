"""Build models/heartbeat/1.0.0: what kind of heartbeat this is, by its shape and rhythm against the wearer's own.

Simulates wearers, has the device's own extractor turn them into vectors, trains a small network, quantises it,
measures it on wearers and real records it has not seen, and writes the folder; see `README.md`.
"""

from __future__ import annotations

import argparse
import io
import sys
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from appliance.core.facts import DataCard, Limits, ModelMetric, ModelProvenance
from appliance.core.features.beats import Beats
from appliance.errors import ForgeError
from appliance.forge import keras
from appliance.forge.distill import distil
from appliance.forge.package import PackageSpec, package
from appliance.forge.progress import shown
from appliance.forge.quantize import Quantised, quantise
from appliance.forge.report import Estimate, Report, write_whole
from appliance.forge.steps import step_of
from models.heartbeat import measure, vectors
from models.heartbeat.simulator import FUSION, LABELS

if TYPE_CHECKING:
    from appliance.forge.foreign import Foreign
    from appliance.forge.progress import Progress
    from models.heartbeat.measure import Array
    from models.heartbeat.vectors import Cohort

SEED_TRAINING, SEED_TEST, SEED = 20_260_201, 20_260_202, 5
WEARERS, DURATION_S = 400, 260.0
DURATION_TEST_S = 300.0
HIDDEN = (64, 32)
DROPPED = 0.1
EPOCHS, BATCH = 20, 256
REACH = 4.0
"""A feature's rare values, one in a thousand, lie at least at this many units: so that a few wild ones do not leave
the INT8 input too coarse for all others."""
INPUT_MAX = 6.0
"""Units up to which the INT8 input goes."""
CALIBRATION = 500
HELD_OUT = 9000
"""Simulated beats that are kept for measuring; every wearer has their share."""
GOLDENS = 10
COMMAND = "python models/heartbeat/measure.py"
MADE_BY = "python models/heartbeat/build.py"


def normalisation(found: Array) -> measure.Normalisation:
    """Choose mean and unit of each feature, from vectors ``[n, features]``."""
    mean = found.mean(axis=0)
    rare = np.quantile(np.abs(found - mean), 0.999, axis=0) / REACH
    unit = np.maximum(np.maximum(found.std(axis=0), rare), 1e-3)
    return measure.Normalisation(np.round(mean, 5).astype(np.float64), np.round(unit, 5).astype(np.float64))


def clipped(normalised: Array) -> Array:
    """Cut to what the INT8 input can hold."""
    return np.clip(normalised, -INPUT_MAX, INPUT_MAX)


def train(inputs: Array, kinds: Array, progress: Progress) -> Foreign:
    """Train a dense network that ends in logits, one a label."""
    tf = keras.begin(SEED)
    layers = tf.keras.layers
    network = tf.keras.Sequential([tf.keras.Input((inputs.shape[1],))])
    for width in HIDDEN:
        network.add(layers.Dense(width, activation="relu"))
        network.add(layers.Dropout(DROPPED))
    network.add(layers.Dense(len(LABELS)))
    distil(network, inputs, kinds, None, alpha=0.0, epochs=EPOCHS, batch=BATCH, seed=SEED, progress=progress)
    return network


def build(root: Path, progress: Progress) -> None:
    """Simulate, train, quantise, measure, write the folder and what it is measured with. Raises ForgeError."""
    training = vectors.simulate(SEED_TRAINING, range(WEARERS), DURATION_S)
    print(f"training: {len(training.kinds)} beats of {WEARERS} wearers, windows not judged: {dict(training.refused)}")
    whole = training.kinds != FUSION
    found, kinds = training.vectors[whole], training.kinds[whole]
    normalise = normalisation(found)
    inputs = clipped(normalise(found))
    network = train(inputs, kinds, progress)
    chosen = np.random.default_rng(SEED).choice(len(inputs), CALIBRATION, replace=False)
    calibration = inputs[chosen]
    calibration[:2] = [[INPUT_MAX], [-INPUT_MAX]]
    quantised = quantise(network, calibration, shape=(1, inputs.shape[1]), name="beat", progress=progress)
    test = vectors.simulate(SEED_TEST, range(measure.WEARERS_TEST), DURATION_TEST_S)
    write_whole(measure.EVALUATION / "float32.tflite", quantised.float32)
    write_whole(measure.EVALUATION / "test.npz", held_out(test, normalise))
    report = Report(root / "heartbeat")
    spec = describe(quantised, normalise, inputs, kinds, report)
    package(spec, root, report=report, force=True)
    for line in measure.tables(quantised.int8, quantised.float32, normalise):
        print(line)


def held_out(test: Cohort, normalise: measure.Normalisation) -> bytes:
    """Write the vectors that are measured on, normalised: simulated ones, and those of the real records."""
    beats = np.flatnonzero(test.kinds != FUSION)
    beats = beats[np.linspace(0, len(beats) - 1, min(HELD_OUT, len(beats))).astype(int)]
    real = [measure.judge_real(name) for name in measure.RECORD_NAMES]
    records = np.repeat(measure.RECORD_NAMES, [len(each.kinds) for each in real])
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer,
        inputs=normalise(test.vectors[beats]).astype(np.float16),
        labels=test.kinds[beats].astype(np.int8),
        wearer=test.wearers[beats].astype(np.int16),
        real_inputs=np.concatenate([normalise(each.vectors) for each in real]).astype(np.float16),
        real_labels=np.concatenate([each.kinds for each in real]).astype(np.int8),
        real_record=records,
    )
    return buffer.getvalue()


def describe(
    quantised: Quantised, normalise: measure.Normalisation, inputs: Array, kinds: Array, report: Report
) -> PackageSpec:
    """Measure, tell the report, and say everything that the folder has to say."""
    with np.load(measure.EVALUATION / "test.npz") as test:
        held = {key: test[key] for key in ("inputs", "labels", "wearer", "real_inputs", "real_labels", "real_record")}
    figures = {
        name: measure.simulated(held["labels"], called(tflite, held["inputs"]), held["wearer"])
        for name, tflite in (("float32", quantised.float32), ("int8", quantised.int8))
    }
    report.add(
        step_of(
            "quantize",
            "1.0.0/model.tflite",
            quantised.int8,
            parent=quantised.float32,
            before={"accuracy": figures["float32"]["accuracy"]},
            after={"accuracy": figures["int8"]["accuracy"]},
            command=MADE_BY,
        )
    )
    data = f"{measure.wearers_told(held['wearer'])}; none took part in training"
    metrics = [metric(name, figure, data) for name, figure in figures["int8"].items()]
    answers = called(quantised.int8, held["real_inputs"])
    for name in measure.RECORD_NAMES:
        of = held["real_record"] == name
        table = measure.confusion(held["real_labels"][of], answers[of])
        data = f"MIT-BIH record {name}, lead MLII, after {vectors.EXTRACT.calibration_beats} beats of learning"
        metrics += [metric(key, figure, data) for key, figure in measure.real_figures(name, table).items()]
    return specification(quantised, normalise, goldens(inputs, kinds), metrics)


def called(tflite: bytes, inputs: Array) -> Array:
    """Give the label that a network chooses for each of ``inputs``, int ``[n]``."""
    chosen: Array = measure.Judge(tflite).scores(inputs.astype(np.float32)).argmax(axis=1)
    return chosen


def metric(name: str, figure: Estimate, data: str) -> ModelMetric:
    """Write one figure as the folder has it."""
    return ModelMetric(
        name=name,
        value=round(figure.value, 5),
        low=round(figure.low, 5),
        high=round(figure.high, 5),
        data=data,
        command=COMMAND,
    )


def goldens(inputs: Array, kinds: Array) -> tuple[list[Array], list[Array]]:
    """Choose golden inputs, some of each label, and further ones for the tolerance; each ``[1, features]``."""
    rng = np.random.default_rng(SEED)
    each = [rng.permutation(np.flatnonzero(kinds == label)) for label in range(len(LABELS))]
    first = [inputs[index][np.newaxis] for of in each for index in of[: GOLDENS // len(LABELS)]]
    further = [inputs[index][np.newaxis] for of in each for index in of[GOLDENS // len(LABELS) : 40]]
    return first, further


def specification(
    quantised: Quantised,
    normalise: measure.Normalisation,
    vectors_of: tuple[list[Array], list[Array]],
    metrics: list[ModelMetric],
) -> PackageSpec:
    """Say everything that the file of the network does not tell."""
    first, further = vectors_of
    return PackageSpec(
        name="heartbeat",
        version="1.0.0",
        task="classify",
        description="Kind of each heartbeat in one ECG lead, against the wearer's own. No medical device.",
        licence="Apache-2.0",
        source="Trained by models/heartbeat/build.py on its own seeded simulator of wearers.",
        tflite=quantised.int8,
        outputs={"scores": (1, len(LABELS))},
        preprocess={
            "kind": "window",
            "mean": normalise.mean.tolist(),
            "std": normalise.std.tolist(),
            "features": list(Beats.names),
        },
        extract={"kind": "beats", **asdict(vectors.EXTRACT)},
        decode={"kind": "classify", "activation": "softmax"},
        golden_inputs=first,
        further_inputs=further,
        labels=LABELS,
        limits=Limits(memory_bytes_max=8 << 20),
        metrics=metrics,
        provenance=ModelProvenance(
            training_data=f"beats of {WEARERS} simulated wearers, {DURATION_S:g} s each; no real record",
            data_licence="Apache-2.0",
            made_by=MADE_BY,
            seeds=(SEED_TRAINING, SEED_TEST, SEED),
            toolchain={name: version(name) for name in ("tensorflow-cpu", "tf-keras", "numpy", "ai-edge-litert")},
        ),
        data=DataCard(
            what=f"A heartbeat as {len(Beats.names)} numbers; {WEARERS} and {measure.WEARERS_TEST} wearers.",
            source="Simulated by models/heartbeat/simulator.py; tested on three records of MIT-BIH too.",
            missing="Real wearables, paced hearts, real atrial fibrillation, children, exercise; most of cardiology.",
        ),
    )


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
