"""Build tests/data/models/tiny-uint8/1.0.0: which of red, green and blue dominates a 16 x 16 picture.

The smallest network with uint8 at both ends, so that tests reach the path older Coral models take. No product uses it.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[3]))
from tests.data.models import quantise, recipe  # noqa: E402 - found only after the line above

if TYPE_CHECKING:
    from tests.data.models.recipe import Array, Foreign

SEED = 20_240_603
SIDE_PX = 16
LABELS = ("red", "green", "blue")
EPOCHS = 60


def pictures(rng: np.random.Generator, count: int) -> tuple[Array, Array]:
    """Draw noisy pictures, uint8 [count, 16, 16, 3] RGB, and the channel that dominates each, int64 [count]."""
    dominant = rng.integers(0, len(LABELS), count)
    level = rng.uniform(0, 130, (count, 3))
    level[np.arange(count), dominant] = rng.uniform(160, 255, count)
    noise = rng.normal(0, 25, (count, SIDE_PX, SIDE_PX, 3))
    return np.clip(level[:, np.newaxis, np.newaxis, :] + noise, 0, 255).astype(np.uint8), dominant


def train(tf: Foreign, inputs: Array, dominant: Array) -> Foreign:
    """Train a convolution, a pool and a softmax."""
    layers = tf.keras.layers
    network = tf.keras.Sequential(
        [
            tf.keras.Input((SIDE_PX, SIDE_PX, 3)),
            layers.Conv2D(6, 3, strides=2, padding="same", activation="relu"),
            layers.AveragePooling2D(8),
            layers.Reshape((6,)),
            layers.Dense(len(LABELS), activation="softmax"),
        ]
    )
    network.compile(tf.keras.optimizers.Adam(1e-2), "sparse_categorical_crossentropy")
    network.fit(inputs, dominant, batch_size=64, epochs=EPOCHS, verbose=0)
    return network


def build(out: Path) -> None:
    """Draw, train, quantise, measure on fresh pictures, write the folder."""
    rng = np.random.default_rng(SEED)
    shown, dominant = pictures(rng, 1500)
    print(f"training {EPOCHS} epochs")
    tf = quantise.seed(SEED)
    network = train(tf, shown.astype(np.float32) / 255, dominant)
    print("quantising")
    function = quantise.freeze(network, (1, SIDE_PX, SIDE_PX, 3), "image")
    calibration = [np.zeros_like(shown[0]), np.full_like(shown[0], 255), *shown[:200]]
    tflite = quantise.to_int8(function, [each.astype(np.float32) / 255 for each in calibration], io="uint8")

    runner = recipe.Runner(tflite, {"scores": (1, 3)})
    fresh, truth = pictures(rng, 600)
    normalised = fresh.astype(np.float32) / 255
    answers = np.array([runner.values(each[np.newaxis])["scores"].argmax() for each in normalised])
    print(f"uint8: {(answers == truth).mean():.3f} of {len(truth)} fresh pictures right")
    chosen = [index for label in range(3) for index in np.flatnonzero(truth == label)[:2]]
    recipe.write_folder(
        recipe.Model(
            name="tiny-uint8",
            version="1.0.0",
            task="classify",
            description="Says which of red, green and blue dominates a picture; for tests of the uint8 path.",
            licence="Apache-2.0",
            source="Trained by tests/data/models/tiny-uint8/build.py on pictures it draws itself.",
            tflite=tflite,
            output_shapes={"scores": (1, 3)},
            preprocess={
                "kind": "image",
                "colour": "rgb",
                "fit": "stretch",
                "mean": [0.0, 0.0, 0.0],
                "std": [255.0, 255.0, 255.0],
            },
            decode={"kind": "classify", "activation": "none"},
            tolerance_lsb={"scores": 1},
            golden_inputs=[normalised[index][np.newaxis] for index in chosen],
            labels=LABELS,
        ),
        out,
    )


def main() -> int:
    """Read the command line and build."""
    options = recipe.arguments("Build tests/data/models/tiny-uint8/1.0.0.", HERE.parent).parse_args()
    return recipe.carry_out(lambda: build(options.out))


if __name__ == "__main__":
    sys.exit(main())
