"""Real trainings and conversions, in the forge's own environment (``make test-forge``); not collected elsewhere."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from appliance.forge import keras
from appliance.forge.training import fit, loss_for
from tests.forge_slow.data import examples

Foreign = Any  # tensorflow ships no types
TIMEOUT_S = 1200
"""For one test: it may be the first to load tensorflow, to train what others share, or to fetch a runtime."""
collect_ignore_glob = [] if find_spec("tensorflow") else ["test_*.py"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let tensorflow and its tools warn: what they deprecate is not ours to mend. And let them take their time."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.filterwarnings("ignore"))
            if item.get_closest_marker("timeout") is None:
                item.add_marker(pytest.mark.timeout(TIMEOUT_S))


@pytest.fixture(scope="session")
def tf() -> Foreign:
    """Tensorflow with legacy Keras, seeded."""
    return keras.begin(0)


@pytest.fixture(scope="session")
def dense(tf: Foreign) -> Foreign:
    """A trained network 12-48-24-1 that ends in a logit; the same one in whatever order the tests come."""
    keras.begin(1)
    layers = tf.keras.layers
    network = tf.keras.Sequential(
        [
            tf.keras.Input((12,)),
            layers.Dense(48, activation="relu"),
            layers.Dense(24, activation="relu"),
            layers.Dense(1),
        ]
    )
    known = examples(6000, seed=1)
    loss, targets = loss_for(network, known.targets)
    fit(network, known.inputs, targets, loss=loss, epochs=12, batch=128, learning_rate=3e-3, seed=0)
    return network


@pytest.fixture(scope="session")
def convolutions(tf: Foreign) -> Foreign:
    """An untrained network of every kind of layer the Edge TPU is used for, three classes; always the same one."""
    keras.begin(2)
    layers = tf.keras.layers
    return tf.keras.Sequential(
        [
            tf.keras.Input((16, 16, 3)),
            layers.Conv2D(8, 3, strides=2, padding="same", use_bias=False),
            layers.BatchNormalization(),
            layers.ReLU(6.0),
            layers.DepthwiseConv2D(3),
            layers.BatchNormalization(),
            layers.ReLU(),
            layers.Conv2D(16, 1, activation="relu"),
            layers.MaxPooling2D(),
            layers.Flatten(),
            layers.Dense(10, activation="relu"),
            layers.Dense(3),
        ]
    )


@pytest.fixture(scope="session")
def pictures() -> Foreign:
    """Normalised pictures, float32 [60, 16, 16, 3]."""
    return np.random.default_rng(0).uniform(-1, 1, (60, 16, 16, 3)).astype(np.float32)
