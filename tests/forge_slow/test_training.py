"""Pruning and distilling on real trainings: what they promise, and what they buy."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from appliance.core.types import Array
from appliance.errors import ForgeError
from appliance.forge import keras
from appliance.forge.distill import distil
from appliance.forge.evaluate import scores_of
from appliance.forge.metrics import roc_auc
from appliance.forge.prune import clone, prune
from appliance.forge.quantize import quantise
from appliance.forge.sizes import compressed_bytes, delta_bytes
from appliance.forge.teacher import teacher_logits
from appliance.forge.training import fit, loss_for
from tests.forge_slow.data import examples

Foreign = Any  # tensorflow ships no types
KNOWN, UNSEEN = examples(4000, seed=2), examples(3000, seed=3)


def int8(network: Foreign) -> bytes:
    return quantise(network, KNOWN.inputs[:200]).int8


def auc(network: Foreign) -> float:
    return roc_auc(scores_of(int8(network), UNSEEN.inputs), UNSEEN.targets)


@pytest.mark.parametrize("sparsity", [0.5, 0.8])
def test_pruning_reaches_its_sparsity_in_every_layer_and_leaves_the_dense_network_as_it_was(
    dense: Foreign, sparsity: float
) -> None:
    before = [each.copy() for each in dense.get_weights()]
    loss, targets = loss_for(dense, KNOWN.targets)
    pruned = prune(dense, KNOWN.inputs, targets, sparsity=sparsity, epochs=6, loss=loss, batch=128)
    assert pruned.sparsity_by_layer.keys() == {layer.name for layer in dense.layers}
    for layer in pruned.network.layers:
        kernel = layer.kernel.numpy()
        assert (kernel == 0).mean() == pytest.approx(sparsity, abs=0.5 / kernel.size + 1e-9)
        assert pruned.sparsity_by_layer[layer.name] == pytest.approx((kernel == 0).mean())
    assert all((was == now).all() for was, now in zip(before, dense.get_weights(), strict=True))
    ours, theirs = int8(pruned.network), int8(dense)
    assert len(ours) == len(theirs), "zeros take the room of any other number"
    weights = sum(layer.kernel.numpy().size for layer in dense.layers)
    assert compressed_bytes(ours) < compressed_bytes(theirs) - 0.4 * sparsity * weights
    assert delta_bytes(ours, theirs) <= compressed_bytes(ours) * 1.2


def test_half_of_the_weights_can_go_at_next_to_no_loss(dense: Foreign) -> None:
    loss, targets = loss_for(dense, KNOWN.targets)
    pruned = prune(dense, KNOWN.inputs, targets, sparsity=0.5, epochs=10, loss=loss, batch=128)
    assert auc(pruned.network) > auc(dense) - 0.02


def test_structured_pruning_gives_a_smaller_network_whose_answer_has_all_its_units(dense: Foreign) -> None:
    loss, targets = loss_for(dense, KNOWN.targets)
    pruned = prune(
        dense, KNOWN.inputs, targets, sparsity=0.5, epochs=10, loss=loss, batch=128, learning_rate=3e-3, structured=True
    )
    assert [layer.units for layer in pruned.network.layers] == [24, 12, 1]
    assert len(int8(pruned.network)) < len(int8(dense)) - 1_000, "of 1,752 weights 1,180 are gone"
    assert auc(pruned.network) > auc(dense) - 0.03


def test_units_that_never_answer_are_the_ones_that_go_and_nothing_changes_without_them(
    tf: Foreign, convolutions: Foreign, pictures: Array
) -> None:
    """Half of each layer's filters are set to zero; what is cut must be they, all through to the flattened rows."""
    network = clone(convolutions)
    for layer in network.layers:
        if isinstance(layer, tf.keras.layers.Conv2D | tf.keras.layers.Dense) and hasattr(layer, "kernel"):
            kernel, *bias = layer.get_weights()
            if kernel.shape[-1] > 3:
                kernel[..., ::2] = 0.0
            layer.set_weights([kernel, *bias])
    # A zero filter still answers through the normalisation and the depthwise filter after it: by a constant.
    before = network.predict(pictures, verbose=0)
    pruned = prune(network, pictures, before, sparsity=0.5, epochs=1, loss="mse", learning_rate=1e-12, structured=True)
    kinds = [type(layer).__name__ for layer in pruned.network.layers]
    assert kinds == [type(layer).__name__ for layer in network.layers]
    assert pruned.network.layers[0].filters == 4
    assert np.allclose(pruned.network.predict(pictures, verbose=0), before, atol=2e-3)


def branching(tf: Foreign) -> Foreign:
    entry = tf.keras.Input((12,))
    first = tf.keras.layers.Dense(4)(entry)
    return tf.keras.Model(entry, tf.keras.layers.Add()([first, tf.keras.layers.Dense(4)(entry)]))


def recurrent(tf: Foreign) -> Foreign:
    layers = tf.keras.layers
    return tf.keras.Sequential([tf.keras.Input((6, 2)), layers.Dense(8), layers.LSTM(3), layers.Dense(1)])


@pytest.mark.parametrize(
    ("make", "complaint"),
    [(branching, "branches at layer"), (recurrent, "cannot lose channels")],
)
def test_networks_that_cannot_lose_units_are_refused_by_layer(tf: Foreign, make: Any, complaint: str) -> None:  # noqa: ANN401 - makes a foreign object
    with pytest.raises(ForgeError, match=complaint):
        prune(make(tf), KNOWN.inputs, KNOWN.targets, sparsity=0.5, epochs=1, loss="mse", structured=True)


@pytest.mark.parametrize(
    "wrong", [{"sparsity": 0.0}, {"sparsity": 1.0}, {"begin": 0.5, "end": 0.5}, {"end": 1.5}, {"begin": -0.1}]
)
def test_shares_that_are_none_are_refused(dense: Foreign, wrong: dict[str, float]) -> None:
    sparsity, begin, end = (wrong.get(name, usual) for name, usual in (("sparsity", 0.5), ("begin", 0), ("end", 0.5)))
    with pytest.raises(ForgeError, match="between 0 and 1"):
        prune(dense, KNOWN.inputs, KNOWN.targets, sparsity=sparsity, begin=begin, end=end, epochs=1, loss="mse")


def student(tf: Foreign, classes: int = 1, activation: str | None = None) -> Foreign:
    keras.begin(5)
    layers = tf.keras.layers
    return tf.keras.Sequential(
        [tf.keras.Input((12,)), layers.Dense(24, activation="relu"), layers.Dense(classes, activation=activation)]
    )


def test_a_teacher_is_worth_more_than_the_same_time_on_wrong_labels(tf: Foreign) -> None:
    """A third of the labels is wrong; the teacher knows better. Equal network, start, order and number of steps."""
    noisy = examples(1500, seed=7, flipped=0.33)
    taught, alone = student(tf), student(tf)
    for network, alpha in ((taught, 0.9), (alone, 0.0)):
        distil(network, noisy.inputs, noisy.targets, noisy.logits, alpha=alpha, epochs=60, batch=64, seed=1)
    assert auc(taught) > auc(alone) + 0.05


def test_the_same_seed_gives_the_same_student_and_another_another(tf: Foreign) -> None:
    made = []
    for seed in (1, 1, 2):
        network = student(tf)
        distil(network, KNOWN.inputs, KNOWN.targets, KNOWN.logits, epochs=2, seed=seed)
        made.append(np.concatenate([each.ravel() for each in network.get_weights()]))
    assert (made[0] == made[1]).all()
    assert (made[0] != made[2]).any()


def test_classes_are_learnt_from_a_warm_teacher(tf: Foreign) -> None:
    classes = np.digitize(KNOWN.inputs[:, 2], [-0.5, 0.5])
    told = -4 * np.abs(KNOWN.inputs[:, 2:3] - np.array([-1.0, 0.0, 1.0]))
    network = student(tf, classes=3)
    wrong = np.zeros_like(classes)  # alpha 1: labels do not count
    distil(network, KNOWN.inputs, wrong, told, temperature=3.0, alpha=1.0, epochs=15, batch=128)
    answers = network.predict(KNOWN.inputs, verbose=0).argmax(axis=1)
    assert (answers == told.argmax(axis=1)).mean() > 0.9
    assert (answers == classes).mean() > 0.9


def test_a_student_that_ends_in_probabilities_is_refused(tf: Foreign) -> None:
    with pytest.raises(ForgeError, match="end it in logits"):
        distil(student(tf, activation="sigmoid"), KNOWN.inputs, KNOWN.targets, KNOWN.logits, epochs=1)


@pytest.mark.parametrize(
    ("labels", "logits", "keywords", "complaint"),
    [
        (KNOWN.targets[:9], KNOWN.logits, {}, r"logits have the shape \[4000, 1\]; \[9, 1\]"),
        (KNOWN.targets * 2, KNOWN.logits, {}, "labels are 0 or 1"),
        (KNOWN.targets, np.full(4000, np.nan), {}, "finite"),
        (KNOWN.targets, KNOWN.logits, {"temperature": 0.0}, "temperature 0.0"),
        (KNOWN.targets, KNOWN.logits, {"alpha": 1.5}, "alpha 1.5"),
    ],
)
def test_labels_and_logits_that_do_not_fit_are_refused(
    tf: Foreign, labels: Array, logits: Array, keywords: dict[str, float], complaint: str
) -> None:
    with pytest.raises(ForgeError, match=complaint):
        distil(student(tf), KNOWN.inputs, labels, logits, epochs=1, **keywords)  # type: ignore[arg-type]  # the table's


def test_a_gradient_boosted_forest_teaches_from_its_text_file(tmp_path: Path) -> None:
    lightgbm: Foreign = pytest.importorskip("lightgbm")
    forest = lightgbm.train(
        {"objective": "binary", "verbose": -1, "num_threads": 1}, lightgbm.Dataset(KNOWN.inputs, KNOWN.targets), 30
    )
    forest.save_model(str(tmp_path / "gbm.txt"))
    logits = teacher_logits(tmp_path / "gbm.txt", UNSEEN.inputs)
    assert logits == pytest.approx(forest.predict(UNSEEN.inputs, raw_score=True), abs=1e-5)
    with pytest.raises(ForgeError, match="cannot score these inputs"):
        teacher_logits(tmp_path / "gbm.txt", UNSEEN.inputs[:, :3])


@pytest.mark.parametrize(("classes", "activation"), [(1, "sigmoid"), (3, "softmax"), (1, None)])
def test_a_network_teaches_in_logits_whatever_it_ends_in(
    tf: Foreign, tmp_path: Path, classes: int, activation: str | None
) -> None:
    network = student(tf, classes, activation)
    (tmp_path / "t.keras").write_bytes(keras.saved(network))
    logits = teacher_logits(tmp_path / "t.keras", UNSEEN.inputs[:50])
    plain = student(tf, classes)
    plain.set_weights(network.get_weights())
    truth = plain.predict(UNSEEN.inputs[:50], verbose=0)
    shift = (logits - truth).mean(axis=1, keepdims=True) if activation == "softmax" else 0.0  # softmax forgets it
    assert logits - shift == pytest.approx(truth, abs=1e-3)


def test_a_network_and_targets_of_other_shapes_are_refused_in_words(dense: Foreign) -> None:
    with pytest.raises(ForgeError, match=r"do not fit a network that gives \[None, 1\]"):
        loss_for(dense, KNOWN.inputs)
    loss, targets = loss_for(dense, KNOWN.targets)
    with pytest.raises(ForgeError, match="cannot be trained on inputs and targets"):
        fit(clone(dense), KNOWN.inputs[:, :4], targets, loss=loss, epochs=1, batch=64, learning_rate=1e-3, seed=0)
