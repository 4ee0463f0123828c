"""Quantisation-aware training: the network feels INT8's rounding while it is trained on (Jacob et al., 2018).

Worth its time where quantising after training costs more than can be spared; with most small networks it does not.
"""

from typing import Literal

from appliance.core.types import Array
from appliance.errors import ForgeError
from appliance.forge import keras
from appliance.forge.foreign import Foreign, load_library
from appliance.forge.progress import Progress, silent
from appliance.forge.prune import clone
from appliance.forge.quantize import Quantised, converted, to_float
from appliance.forge.run import IDENTIFIER
from appliance.forge.training import fit

LEARNING_RATE = 1e-4
"""A tenth of what networks are trained with: it is trained already."""
BATCH = 128


def quantise_aware(
    network: Foreign,
    inputs: Array,
    targets: Array,
    *,
    loss: Foreign,
    epochs: int,
    batch: int = BATCH,
    learning_rate: float = LEARNING_RATE,
    seed: int = 0,
    name: str = "input",
    io: Literal["int8", "uint8"] = "int8",
    progress: Progress = silent,
) -> Quantised:
    """Train a copy of a trained network with simulated rounding, then convert it; ranges are learned on the way.

    Args:
        network: trained, of Keras 2, sequential or functional; left as it was.
        inputs: float32 ``[n, ...]``, normalised.
        targets: what ``loss`` takes.
        loss: a Keras loss, by name or function.
        epochs: passes over the inputs; a few.
        batch: inputs a step.
        learning_rate: the first; falls to 0.
        seed: of the order of inputs.
        name: of the input tensor.
        io: element type of input and outputs.
        progress: told after each epoch.

    Returns:
        The INT8 flatbuffer, and the float one of the network as it was given.

    Raises:
        ForgeError: a layer has no quantised form, or the arrays do not fit.
    """
    keras.require_trainable(network)
    tf = keras.tensorflow()
    tools = load_library("tensorflow_model_optimization", "train with simulated quantisation").quantization.keras
    shape = keras.input_shape(network)
    try:
        aware = tools.quantize_model(clone(network))
    except (ValueError, RuntimeError) as error:
        msg = f"this network cannot be trained with simulated quantisation: {str(error).partition(chr(10))[0]}"
        raise ForgeError(msg) from error
    fit(
        aware, inputs, targets, loss=loss, epochs=epochs, batch=batch, learning_rate=learning_rate, seed=seed,
        progress=progress, what="training with simulated INT8",
    )  # fmt: skip
    converter = tf.lite.TFLiteConverter.from_concrete_functions([keras.freeze(aware, shape, name)])
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    # Not TFLITE_BUILTINS_INT8: with it the converter demands calibration data, which training has made needless.
    converter.inference_input_type = converter.inference_output_type = tf.dtypes.as_dtype(io)
    return Quantised(
        int8=_named(converted(converter), name),
        float32=to_float(keras.freeze(network, shape, name)),
        notes=(f"trained {epochs} epochs with simulated quantisation",),
    )


def _named(tflite: bytes, name: str) -> bytes:
    """Give the input its name: the converter fuses it with the rounding simulated there, whose names it joins."""
    schema = load_library("ai_edge_litert.schema_py_generated", "write .tflite files")
    flatbuffers = load_library("flatbuffers", "write .tflite files")
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(tflite, 0))
    graph = model.subgraphs[0]
    graph.tensors[graph.inputs[0]].name = name.encode()
    builder = flatbuffers.Builder(len(tflite))
    builder.Finish(model.Pack(builder), file_identifier=IDENTIFIER)
    return bytes(builder.Output())
