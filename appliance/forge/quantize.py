"""``forge quantize``: from a trained network to INT8 that both runtimes and the Edge TPU compiler accept.

Full integer (input, output and every operator), batch 1, one scale a dense layer's weights, weights inside the file.
"""

import re
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from appliance.core.types import Array
from appliance.errors import ForgeError
from appliance.forge import keras
from appliance.forge.calibration import check
from appliance.forge.foreign import Foreign, load_library
from appliance.forge.progress import Progress, silent

_UNKNOWN = re.compile(r"'(tf\.\w+)' op is neither a custom op nor a flex op")
"""What the converter says of each operator that it has no translation for."""


@dataclass(frozen=True, slots=True)
class Quantised:
    """A network in INT8 and the float it is measured against."""

    int8: bytes
    """Flatbuffer, INT8 throughout."""
    float32: bytes
    """The same network as a float flatbuffer: the yardstick."""
    notes: tuple[str, ...] = ()


def quantise(
    source: Foreign,
    calibration: Sequence[Array] | Array,
    *,
    shape: Sequence[int] | None = None,
    name: str = "input",
    io: Literal["int8", "uint8"] = "int8",
    progress: Progress = silent,
) -> Quantised:
    """Quantise after training.

    Args:
        source: a Keras network, a concrete function of one input, or the path of a .keras, .h5, SavedModel folder or
            float .tflite.
        calibration: normalised float inputs as the network was trained on, ``[n, ...]`` without a batch of their own;
            a few hundred of the kind the device will see. Their range becomes the INT8 range: what lies beyond
            saturates.
        shape: of the input, batch 1 included, where the network leaves it open.
        name: of the input tensor.
        io: element type of input and outputs.
        progress: told after each calibration input.

    Raises:
        ForgeError: the source cannot be read or converted, or the calibration does not fit it.
    """
    if isinstance(source, Path) and source.suffix == ".tflite":
        from appliance.forge.requantize import quantise_tflite  # noqa: PLC0415 - needs no tensorflow, this does

        return quantise_tflite(source, calibration, progress=progress)
    network = keras.load(source) if isinstance(source, Path) else source
    wanted = tuple(shape) if shape is not None else keras.input_shape(network)
    inputs = check(calibration, wanted)
    function = keras.freeze(network, wanted, name)
    return Quantised(
        int8=to_int8(function, inputs, io=io, progress=progress),
        float32=to_float(function),
    )


def to_float(function: Foreign) -> bytes:
    """Convert a frozen function without quantising. Raises ForgeError."""
    return converted(keras.tensorflow().lite.TFLiteConverter.from_concrete_functions([function]))


def to_int8(
    function: Foreign, calibration: Array, *, io: Literal["int8", "uint8"] = "int8", progress: Progress = silent
) -> bytes:
    """Convert a frozen function (``keras.freeze``) with calibration ``[n, ...]``. Raises ForgeError."""
    tf = keras.tensorflow()

    def samples() -> Iterator[list[Array]]:
        for number, sample in enumerate(calibration):
            yield [np.asarray(sample, np.float32)[np.newaxis]]
            progress("calibrating", number + 1, len(calibration))

    converter = tf.lite.TFLiteConverter.from_concrete_functions([function])
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = samples
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = tf.dtypes.as_dtype(io)
    return converted(converter)


def converted(converter: Foreign) -> bytes:
    """Run a converter, dense layers with one scale each. Raises ForgeError with the first line of what it says."""
    tf = keras.tensorflow()
    # Newer converters quantise dense layers per channel; the Edge TPU compiler (2021) predates that and refuses it.
    converter._experimental_disable_per_channel_quantization_for_dense_layers = True  # noqa: SLF001 - no public switch
    converter_error = load_library("tensorflow.lite.python.convert_phase", "convert networks").ConverterError
    try:
        with warnings.catch_warnings(action="ignore", category=UserWarning):  # statistics that calibration replaces
            return bytes(converter.convert())
    except (converter_error, tf.errors.OpError, ValueError, RuntimeError, TypeError) as error:
        unknown = sorted(set(_UNKNOWN.findall(str(error))))
        if unknown:
            msg = (
                f"{', '.join(unknown)} {'is no TFLite operator' if len(unknown) == 1 else 'are no TFLite operators'}: "
                "replace it by layers that TFLite has, or leave it out of the network and compute it after"
            )
            raise ForgeError(msg) from error
        lines = [line for line in str(error).splitlines() if line.strip()]
        msg = f"tensorflow cannot convert this network: {lines[0] if lines else type(error).__name__}"
        raise ForgeError(msg) from error
