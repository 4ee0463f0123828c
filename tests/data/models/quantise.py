"""From a trained network to an INT8 flatbuffer that both runtimes and the Edge TPU compiler accept."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING

import numpy as np

from tests.data.models.recipe import Foreign, RecipeError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.data.models.recipe import Array

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")  # its sums differ between runs; the same weights are wanted again


def load_tensorflow() -> Foreign:
    """Import tensorflow, or say how to install it.

    Raises:
        RecipeError: tensorflow is not installed.
    """
    try:
        import tensorflow as tf  # noqa: PLC0415 - heavy, and --help must work without it
    except ImportError as error:
        msg = "tensorflow is not installed: make forge, and .venv-forge/bin/python"
        raise RecipeError(msg) from error
    logging.getLogger("absl").setLevel(logging.ERROR)  # it advises a signature that fails in this version
    return tf


def seed(number: int) -> Foreign:
    """Load tensorflow with every random source fixed, so that a recipe gives the same weights again."""
    tf = load_tensorflow()
    tf.keras.utils.set_random_seed(number)
    tf.config.experimental.enable_op_determinism()
    tf.config.threading.set_intra_op_parallelism_threads(1)
    return tf


def freeze(network: Foreign, shape: Sequence[int], name: str) -> Foreign:
    """Turn a Keras network into a function of one input of a fixed shape, batch included, its weights constants.

    `TFLiteConverter.from_keras_model` would leave the batch open, and the Edge TPU compiler refuses dynamic shapes.
    """
    tf = load_tensorflow()
    from tensorflow.python.framework.convert_to_constants import (  # noqa: PLC0415 - has no public name
        convert_variables_to_constants_v2,
    )

    traced = tf.function(lambda x: network(x, training=False))
    concrete = traced.get_concrete_function(tf.TensorSpec(shape, tf.float32, name=name))
    return convert_variables_to_constants_v2(concrete)


def to_float(function: Foreign) -> bytes:
    """Convert without quantising: the yardstick its INT8 self is measured against."""
    converter = load_tensorflow().lite.TFLiteConverter.from_concrete_functions([function])
    return bytes(converter.convert())


def to_int8(function: Foreign, calibration: Sequence[Array] | Array, *, io: str = "int8") -> bytes:
    """Quantise after training, every operator in INT8.

    Args:
        function: a concrete function of one float32 input of fixed shape.
        calibration: normalised inputs, each without its batch; their range becomes the input's range.
        io: dtype of the input and the outputs, `int8` or `uint8`.
    """
    tf = load_tensorflow()

    def samples() -> Iterator[list[Array]]:
        for sample in calibration:
            yield [np.asarray(sample, np.float32)[np.newaxis]]

    converter = tf.lite.TFLiteConverter.from_concrete_functions([function])
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = samples
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = tf.dtypes.as_dtype(io)
    # Newer converters quantise dense layers per channel; the Edge TPU compiler (2021) predates that and refuses it.
    converter._experimental_disable_per_channel_quantization_for_dense_layers = True
    return bytes(converter.convert())
