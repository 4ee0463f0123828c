"""Build tests/data/models/vibration-example/1.0.0: a small INT8 autoencoder over windows of one accelerometer axis.

An example to exercise the windowed sensors from end to end, trained on a simulated healthy machine in this file.
It knows no real machine.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[4]))
from tests.data.models import quantise, recipe

if TYPE_CHECKING:
    from tests.data.models.recipe import Array, Foreign

SEED = 20_240_602
SAMPLES, RATE_HZ = 64, 1600.0
SHAFT_HZ = 25.0
HARMONICS_G = {1: 0.50, 2: 0.22, 3: 0.12, 8: 0.10}  # multiple of the shaft's rate -> amplitude; 8 is the gear mesh
NOISE_G = 0.05
EPOCHS = 40
HEADROOM = 2.0  # the input's INT8 range over the healthy one: a fault that saturates would look smaller than it is
FAULTS = ("imbalance", "looseness", "bearing", "roughness")


def healthy(rng: np.random.Generator, count: int) -> Array:
    """Simulate windows in g of a machine at its speed within 3 %, float64 [count, 64]."""
    time_s = np.arange(SAMPLES) / RATE_HZ
    shaft_hz = SHAFT_HZ * rng.normal(1.0, 0.01, (count, 1)).clip(0.97, 1.03)
    start = rng.uniform(0, 2 * np.pi, (count, 1))
    windows = rng.normal(0, NOISE_G, (count, SAMPLES))
    for multiple, amplitude_g in HARMONICS_G.items():
        swing = amplitude_g * rng.normal(1.0, 0.1, (count, 1))
        windows += swing * np.sin(multiple * (2 * np.pi * shaft_hz * time_s + start) + multiple**2)
    return windows


def faulty(rng: np.random.Generator, count: int, fault: str) -> Array:
    """Simulate windows in g of the same machine with one of FAULTS, float64 [count, 64]."""
    windows = healthy(rng, count)
    time_s = np.arange(SAMPLES) / RATE_HZ
    if fault == "imbalance":
        windows += 0.6 * np.sin(2 * np.pi * SHAFT_HZ * time_s + rng.uniform(0, 2 * np.pi, (count, 1)))
    elif fault == "looseness":
        windows += 0.25 * np.sin(np.pi * SHAFT_HZ * time_s + rng.uniform(0, 2 * np.pi, (count, 1)))
        windows = np.clip(windows, -0.55, 0.55)
    elif fault == "bearing":
        period_s = 1 / (3.6 * SHAFT_HZ)  # the outer race is struck 3.6 times a turn
        since_s = (time_s + rng.uniform(0, period_s, (count, 1))) % period_s
        windows += 0.35 * np.exp(-since_s / 0.0015) * np.sin(2 * np.pi * 560.0 * since_s)
    elif fault == "roughness":
        windows += rng.normal(0, 1.0 * NOISE_G, windows.shape)
    else:
        msg = f"no fault is called {fault}"
        raise recipe.RecipeError(msg)
    return windows


def train(tf: Foreign, windows: Array) -> Foreign:
    """Train 64-32-12-32-64 to give its input back; reshaped inside, so that it takes and gives [n, 64, 1]."""
    layers = tf.keras.layers
    network = tf.keras.Sequential(
        [
            tf.keras.Input((SAMPLES, 1)),
            layers.Reshape((SAMPLES,)),
            layers.Dense(32, activation="relu"),
            layers.Dense(12),
            layers.Dense(32, activation="relu"),
            layers.Dense(SAMPLES),
            layers.Reshape((SAMPLES, 1)),
        ]
    )
    batch = 128
    schedule = tf.keras.optimizers.schedules.CosineDecay(3e-3, EPOCHS * len(windows) // batch)
    network.compile(tf.keras.optimizers.Adam(schedule), "mse")
    network.fit(windows, windows, batch_size=batch, epochs=EPOCHS, verbose=0)
    return network


def errors(runner: recipe.Runner, windows: Array) -> Array:
    """Score normalised windows [n, 64, 1] as the appliance does: squared error against the quantised input, [n]."""

    def error(window: Array) -> float:
        seen = runner.input.dequantise(runner.input.quantise(window[np.newaxis]))
        return float(np.square(runner.values(window[np.newaxis])["reconstruction"] - seen).mean())

    return np.array([error(window) for window in windows])


def build(out: Path) -> None:
    """Simulate, train, quantise, measure on fresh windows, write the folder."""
    rng = np.random.default_rng(SEED)
    print("simulating a healthy machine")
    training = healthy(rng, 20_000)
    std_g = float(np.round(training.std(), 6))

    def normalised(windows: Array) -> Array:
        return (windows / std_g).astype(np.float32)[:, :, np.newaxis]

    print(f"training {EPOCHS} epochs")
    tf = quantise.seed(SEED)
    network = train(tf, normalised(training))
    print("quantising")
    function = quantise.freeze(network, (1, SAMPLES, 1), "window")
    calibration = np.concatenate([training[:400], HEADROOM * training[400:500]])
    tflite = quantise.to_int8(function, normalised(calibration))

    runner = recipe.Runner(tflite, {"reconstruction": (1, SAMPLES, 1)})
    fresh = normalised(healthy(rng, 2000))
    quiet = errors(runner, fresh)
    print(
        f"int8: error of healthy windows, median {np.median(quiet):.4f}, 99th percentile {np.quantile(quiet, 0.99):.4f}"
    )
    golden = [fresh[index][np.newaxis] for index in range(3)]
    for fault in FAULTS:
        windows = normalised(faulty(rng, 1000, fault))
        golden.append(windows[:1])
        report(network, quiet, fresh, errors(runner, windows), windows, fault)

    recipe.write_folder(
        recipe.Model(
            name="vibration-example",
            version="1.0.0",
            task="anomaly",
            description="Example: reconstructs healthy vibration, to exercise windowed sensors; knows no real machine.",
            licence="Apache-2.0",
            source="Trained by tests/data/models/vibration-example/build.py on its own seeded simulator of a machine.",
            tflite=tflite,
            output_shapes={"reconstruction": (1, SAMPLES, 1)},
            preprocess={"kind": "window", "mean": [0.0], "std": [std_g]},
            decode={"kind": "anomaly", "label": "anomaly"},
            tolerance_lsb={"reconstruction": 3},
            golden_inputs=golden[:6],
        ),
        out,
    )


def report(network: Foreign, quiet: Array, fresh: Array, loud: Array, windows: Array, fault: str) -> None:
    """Print one fault's ROC-AUC, INT8 (errors `quiet`, `loud`: [n]) beside the float network (windows: [n, 64, 1])."""

    def float_errors(each: Array) -> Array:
        given: Array = network.predict(each, batch_size=1000, verbose=0)
        mean_squares: Array = np.square(given - each).mean(axis=(1, 2))
        return mean_squares

    is_fault = np.arange(len(quiet) + len(loud)) >= len(quiet)
    int8 = recipe.roc_auc(np.concatenate([quiet, loud]), is_fault)
    before = recipe.roc_auc(np.concatenate([float_errors(fresh), float_errors(windows)]), is_fault)
    print(f"{fault:>10}: ROC-AUC int8 {int8:.3f}, float {before:.3f}")


def main() -> int:
    """Read the command line and build."""
    options = recipe.arguments("Build tests/data/models/vibration-example/1.0.0.").parse_args()
    return recipe.carry_out(lambda: build(options.out))


if __name__ == "__main__":
    sys.exit(main())
