"""Every way into INT8, on real converters: what comes out is whole, close to the float network, and Edge TPU safe."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from appliance.core.types import Array
from appliance.errors import ForgeError
from appliance.forge import keras
from appliance.forge.flatbuffer import read
from appliance.forge.lint import lint
from appliance.forge.prune import prune
from appliance.forge.qat import quantise_aware
from appliance.forge.quantize import Quantised, quantise
from appliance.forge.run import Runner
from appliance.forge.training import loss_for
from tests.forge_slow.data import examples

Foreign = Any  # tensorflow ships no types


def require_edge_tpu_safe(tflite: bytes) -> None:
    """INT8 at both ends, batch 1, nothing dynamic, weights inside, one scale a dense layer, every operator mapped."""
    runner = Runner(tflite)
    assert {each.spec.dtype for each in (runner.input, *runner.outputs.values())} == {"int8"}
    assert runner.input.spec.shape[0] == 1
    graph = read(tflite)
    assert not any(tensor.dynamic or tensor.outside for tensor in graph.tensors)
    for operator in graph.operators:
        if operator.name == "FULLY_CONNECTED":
            weights = graph.tensors[operator.inputs[1]].quantisation
            assert weights is not None
            assert len(weights.scales) == 1
    verdict = lint(tflite)
    assert verdict.complete, [each.sentence for each in verdict.operators]


def scores(tflite: bytes, inputs: Array) -> Array:
    (values,) = Runner(tflite).each(inputs).values()
    return values


def correlation(made: Quantised, inputs: Array) -> float:
    return float(np.corrcoef(scores(made.int8, inputs).ravel(), scores(made.float32, inputs).ravel())[0, 1])


def test_a_network_of_convolutions_and_dense_layers_becomes_int8_that_an_edge_tpu_maps_whole(
    convolutions: Foreign, pictures: Array
) -> None:
    told: list[tuple[int, int]] = []
    made = quantise(convolutions, pictures, progress=lambda _, done, total: told.append((done, total)))
    require_edge_tpu_safe(made.int8)
    assert correlation(made, pictures) > 0.995
    assert made.int8 == quantise(convolutions, pictures).int8, "the same network gives the same bytes"
    assert told[-1] == (60, 60)


def saved_model(network: Foreign, folder: Path) -> Path:
    keras.tensorflow().saved_model.save(network, str(folder / "saved"))
    return folder / "saved"


def keras_file(network: Foreign, folder: Path) -> Path:
    (folder / "n.keras").write_bytes(keras.saved(network))
    return folder / "n.keras"


def hdf5(network: Foreign, folder: Path) -> Path:
    network.save(folder / "n.h5")
    return folder / "n.h5"


def float_tflite(network: Foreign, folder: Path, *, halves: bool = False) -> Path:
    """With the batch left open, as from_keras_model leaves it."""
    tf = keras.tensorflow()
    converter = tf.lite.TFLiteConverter.from_keras_model(network)
    if halves:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.target_spec.supported_types = [tf.float16]
    (folder / "n.tflite").write_bytes(converter.convert())
    return folder / "n.tflite"


def half_tflite(network: Foreign, folder: Path) -> Path:
    return float_tflite(network, folder, halves=True)


WAYS: list[Callable[[Foreign, Path], Path]] = [saved_model, keras_file, hdf5, float_tflite, half_tflite]


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_every_form_of_a_network_becomes_the_same_int8_network(
    convolutions: Foreign, pictures: Array, tmp_path: Path, way: Callable[[Foreign, Path], Path]
) -> None:
    direct = quantise(convolutions, pictures)
    made = quantise(way(convolutions, tmp_path), pictures)
    require_edge_tpu_safe(made.int8)
    step = next(iter(Runner(direct.int8).outputs.values())).spec.scale
    assert np.abs(scores(made.int8, pictures) - scores(direct.float32, pictures)).max() < 6 * step
    assert abs(len(made.int8) - len(direct.int8)) < 1_000, "no weights are left behind twice or as floats"


def test_a_float_tflite_keeps_the_extremes_of_its_calibration(convolutions: Foreign, tmp_path: Path) -> None:
    """One input in fifty is ten times as large: a moving average of the ranges would forget it."""
    inputs = np.random.default_rng(1).uniform(-0.1, 0.1, (50, 16, 16, 3)).astype(np.float32)
    inputs[5] *= 10
    made = quantise(float_tflite(convolutions, tmp_path), inputs)
    truth = scores(made.float32, inputs[5:6])
    assert np.abs(scores(made.int8, inputs[5:6]) - truth).max() < 0.05 * np.abs(truth).max()


def test_training_with_simulated_rounding_gives_int8_that_an_edge_tpu_maps(tf: Foreign, pictures: Array) -> None:
    layers = tf.keras.layers
    convolution = layers.Conv2D(4, 3, strides=2, activation="relu")
    network = tf.keras.Sequential([tf.keras.Input((16, 16, 3)), convolution, layers.Flatten(), layers.Dense(3)])
    before = [each.copy() for each in network.get_weights()]
    loss, targets = loss_for(network, np.arange(60) % 3)
    made = quantise_aware(network, pictures, targets, loss=loss, epochs=2, batch=10, learning_rate=1e-3)
    require_edge_tpu_safe(made.int8)
    assert Runner(made.int8).input.spec.name == "input"
    assert correlation(made, pictures) > 0.9
    assert all((was == now).all() for was, now in zip(before, network.get_weights(), strict=True))


KERAS_3 = """
import keras
keras.utils.set_random_seed(0)
keras.Sequential([keras.Input((12,)), keras.layers.Dense(8, activation="relu"), keras.layers.Dense(1)]).save("{file}")
"""


def test_a_network_of_keras_3_can_be_quantised_and_is_refused_where_it_cannot_be_pruned(tmp_path: Path) -> None:
    file = tmp_path / "three.keras"
    subprocess.run([sys.executable, "-c", KERAS_3.format(file=file)], check=True, capture_output=True, timeout=100)
    known = examples(200, seed=0)
    made = quantise(file, known.inputs)
    require_edge_tpu_safe(made.int8)
    with pytest.raises(ForgeError, match="only networks of Keras 2"):
        prune(keras.load(file), known.inputs, known.targets, sparsity=0.5, epochs=1, loss="mse")


def open_sizes(tf: Foreign, _folder: Path) -> Foreign:
    return tf.keras.Sequential([tf.keras.Input((None, None, 3)), tf.keras.layers.Conv2D(2, 3)])


def two_inputs(tf: Foreign, _folder: Path) -> Foreign:
    first, second = tf.keras.Input((4,)), tf.keras.Input((4,))
    return tf.keras.Model([first, second], tf.keras.layers.Add()([first, second]))


def quantised_already(_tf: Foreign, _folder: Path) -> Foreign:
    return Path(__file__).parents[2] / "tests" / "data" / "models" / "card-example" / "1.0.0" / "model.tflite"


def corrupt(suffix: str) -> Callable[[Foreign, Path], Path]:
    def make(_tf: Foreign, folder: Path) -> Path:
        (folder / f"n{suffix}").write_bytes(b"TFL3 but no more")
        return folder / f"n{suffix}"

    return make


def empty_folder(_tf: Foreign, folder: Path) -> Path:
    return folder


def strings(tf: Foreign, _folder: Path) -> Foreign:
    made = tf.function(lambda x: tf.strings.to_number(tf.strings.as_string(x)))
    return made.get_concrete_function(tf.TensorSpec([1, 12], tf.float32))


def error_function(tf: Foreign, _folder: Path) -> Foreign:
    entry = tf.keras.Input((12,))
    return tf.keras.Model(entry, tf.keras.layers.Dense(1)(tf.math.erf(tf.keras.layers.Dense(4)(entry))))


REFUSED = {
    "open sizes": (open_sizes, "fixed sizes"),
    "two inputs": (two_inputs, "2 inputs"),
    "INT8 already": (quantised_already, "quantised already"),
    "corrupt .keras": (corrupt(".keras"), "neither Keras 2 nor Keras 3"),
    "corrupt .h5": (corrupt(".h5"), "neither Keras 2 nor Keras 3"),
    "corrupt .tflite": (corrupt(".tflite"), "no .tflite"),
    "unknown form": (corrupt(".pb"), r"a \.keras or \.h5 file or a SavedModel"),
    "missing": (lambda _tf, folder: folder / "none.keras", "no such file"),
    "no SavedModel": (empty_folder, "cannot read this SavedModel"),
    "an operator TFLite lacks": (error_function, r"^tf\.Erf is no TFLite operator: replace it by layers"),
    "operators without INT8": (strings, r"^tf\.AsString, tf\.StringToNumber are no TFLite operators"),
}


@pytest.mark.parametrize(("source", "complaint"), REFUSED.values(), ids=REFUSED.keys())
def test_what_cannot_become_int8_is_refused_in_words(
    tf: Foreign, tmp_path: Path, source: Callable[[Foreign, Path], Foreign], complaint: str
) -> None:
    with pytest.raises(ForgeError, match=complaint):
        quantise(source(tf, tmp_path), examples(50, seed=0).inputs)


def test_calibration_of_another_shape_is_refused_before_anything_is_converted(dense: Foreign, pictures: Array) -> None:
    with pytest.raises(ForgeError, match=r"shape \[16, 16, 3\]; the network takes \[12\]"):
        quantise(dense, pictures)
