"""What a network is to learn: read as it was meant, or refused before an hour of training."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from appliance.core.types import Array
from appliance.errors import ForgeError
from appliance.forge.distill import pack
from appliance.forge.evaluate import evaluate
from appliance.forge.prune import clone
from appliance.forge.training import fit, loss_for, read_examples
from tests.forge_slow.data import examples

Foreign = Any  # tensorflow ships no types
KNOWN = examples(400, seed=2)
CLASSES = np.arange(400) % 3


def ending_in(tf: Foreign, classes: int, activation: str | None = None) -> Foreign:
    return tf.keras.Sequential([tf.keras.Input((12,)), tf.keras.layers.Dense(classes, activation=activation)])


@pytest.mark.parametrize("dtype", [bool, np.int64, np.float64])
@pytest.mark.parametrize("activation", [None, "sigmoid"])
def test_a_column_of_0_and_1_is_labels_like_a_row(tf: Foreign, activation: str | None, dtype: Any) -> None:  # noqa: ANN401 - a dtype
    network = ending_in(tf, 1, activation)
    for targets in (KNOWN.targets.astype(dtype), KNOWN.targets.astype(dtype)[:, np.newaxis]):
        loss, taken = loss_for(network, targets)
        assert isinstance(loss, tf.keras.losses.BinaryCrossentropy)
        assert np.array_equal(taken, KNOWN.targets[:, np.newaxis])
        figures = evaluate(KNOWN.inputs[:, 2], targets)
        assert "roc_auc" in figures


@pytest.mark.parametrize("column", [False, True])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_class_numbers_are_taken_in_whatever_type_they_were_saved(tf: Foreign, dtype: Any, *, column: bool) -> None:  # noqa: ANN401 - a dtype
    targets = CLASSES.astype(dtype)[:, np.newaxis] if column else CLASSES.astype(dtype)
    loss, taken = loss_for(ending_in(tf, 3), targets)
    assert isinstance(loss, tf.keras.losses.SparseCategoricalCrossentropy)
    assert np.array_equal(taken, CLASSES)
    assert np.array_equal(pack(targets, None, 3)[:, :3].argmax(axis=1), CLASSES)
    assert evaluate(np.eye(3)[CLASSES], targets)["accuracy"].value == 1.0


def test_numbers_to_be_met_are_still_numbers(tf: Foreign) -> None:
    for classes, targets in ((1, KNOWN.inputs[:, :1]), (3, KNOWN.inputs[:, :3])):
        loss, taken = loss_for(ending_in(tf, classes), targets)
        assert isinstance(loss, tf.keras.losses.MeanSquaredError)
        assert np.array_equal(taken, targets)
    assert evaluate(KNOWN.inputs[:, 0], KNOWN.inputs[:, :1])["mean_squared_error"].value == 0.0


@pytest.mark.parametrize(
    ("classes", "activation", "targets", "complaint"),
    [
        (1, None, KNOWN.targets + 1, "between 1 and 2; for a network of one score they are 0 or 1"),
        (1, None, KNOWN.targets * 0.5, "they are 0 or 1"),
        (1, "sigmoid", (KNOWN.targets + 1)[:, np.newaxis], "they are 0 or 1"),
        (3, None, CLASSES + 0.5, "no whole numbers, as 0.5; classes are 0 to 2"),
        (3, "softmax", CLASSES + 1, "between 1 and 3; the network knows 3 classes from 0"),
        (3, None, CLASSES.astype(str), "numbers are wanted"),
        (1, None, np.where(np.arange(400) == 7, np.nan, KNOWN.targets), "1 of 400 targets are NaN"),
    ],
)
def test_targets_that_mean_nothing_to_the_network_are_refused(
    tf: Foreign, classes: int, activation: str | None, targets: Array, complaint: str
) -> None:
    with pytest.raises(ForgeError, match=complaint):
        loss_for(ending_in(tf, classes, activation), targets)


@pytest.mark.parametrize(
    ("targets", "complaint"),
    [(CLASSES + 0.5, "no whole numbers"), (CLASSES + 1, "knows 3 classes"), (np.full(400, np.inf), "NaN or infinite")],
)
def test_a_student_refuses_them_in_the_same_words(targets: Array, complaint: str) -> None:
    with pytest.raises(ForgeError, match=complaint):
        pack(targets, None, 3)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_one_target_that_is_no_number_is_refused_and_the_network_stays_as_it_was(
    dense: Foreign, tmp_path: Path, bad: float
) -> None:
    targets = KNOWN.targets.astype(np.float32)
    targets[5] = bad
    np.savez(tmp_path / "train.npz", inputs=KNOWN.inputs, targets=targets)
    with pytest.raises(ForgeError, match=r"train.npz: 1 of 400 targets are NaN or infinite"):
        read_examples(tmp_path / "train.npz")
    network = clone(dense)
    with pytest.raises(ForgeError, match="1 of 400 targets"):
        fit(network, KNOWN.inputs, targets, loss="mse", epochs=1, batch=64, learning_rate=1e-3, seed=0)
    assert all((was == now).all() for was, now in zip(dense.get_weights(), network.get_weights(), strict=True))


def test_a_training_that_diverges_is_told_instead_of_saved(tf: Foreign) -> None:
    network = ending_in(tf, 1)
    with pytest.raises(ForgeError, match=r"training diverged: weights are NaN or infinite\. A lower learning rate"):
        fit(
            network, KNOWN.inputs * 1e30, KNOWN.inputs[:, :1], loss="mse", epochs=2, batch=64, learning_rate=1e-3,
            seed=0,
        )  # fmt: skip
