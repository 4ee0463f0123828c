"""tensorflow and Keras, loaded in one way: seeded, repeatable, with the Keras that pruning and QAT tools understand.

tensorflow-model-optimization knows Keras 2 only (package tf-keras), and tensorflow gives whichever it was told before
its first use. So everything here goes through ``begin`` or ``tensorflow``, which tell it.
"""

import logging
import os
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from appliance.errors import ForgeError
from appliance.forge.foreign import Foreign, load_library
from appliance.forge.safety import require_no_code

SETTINGS = {
    "TF_USE_LEGACY_KERAS": "1",  # Keras 2, see above
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "TF_ENABLE_ONEDNN_OPTS": "0",  # its sums differ between runs; the same weights are wanted again
    "CUDA_VISIBLE_DEVICES": "-1",  # as above
}
UNREADABLE = (
    OSError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    ImportError,
    RuntimeError,
    zipfile.BadZipFile,
)
"""What Keras raises for files it cannot read."""


def tensorflow() -> Foreign:
    """Import tensorflow with legacy Keras and quiet logs; gives the module.

    Raises:
        ForgeError: it is not installed (names the command), or was imported before with the other Keras.
    """
    if "tensorflow" not in sys.modules:
        os.environ.update(SETTINGS)
    tf = load_library("tensorflow", "train and convert networks")
    load_library("tf_keras", "train networks that can be pruned and quantised")
    logging.getLogger("absl").setLevel(logging.ERROR)  # it advises a signature that fails in this version
    tf.get_logger().setLevel(logging.ERROR)
    if not tf.keras.Model.__module__.startswith("tf_keras"):
        msg = "tensorflow was imported before the forge and uses Keras 3: import appliance.forge.keras first"
        raise ForgeError(msg)
    return tf


def begin(seed: int) -> Foreign:
    """Give tensorflow with every random source fixed, so that a recipe gives the same weights again.

    One thread: the order of sums is then the same on machines of any number of cores. May be called again, with
    another seed, before each network.

    Raises:
        ForgeError: as ``tensorflow``.
    """
    tf = tensorflow()
    tf.keras.backend.clear_session()  # layer names count on from network to network, and are in the flatbuffer
    tf.keras.utils.set_random_seed(seed)
    tf.config.experimental.enable_op_determinism()
    with suppress(RuntimeError):  # a network was run before; then it was set before, or by the caller otherwise
        tf.config.threading.set_intra_op_parallelism_threads(1)
    return tf


def load(path: Path) -> Foreign:
    """Read a network: ``.keras`` or ``.h5`` (a Keras network), or a SavedModel folder (a concrete function).

    ``.keras`` files of Keras 3 are read by Keras 3: they can be quantised and taught from, but not pruned.

    Raises:
        ForgeError: there is nothing, no network of these forms, or one that would run its maker's code.
    """
    tf = tensorflow()
    if not path.exists():
        msg = f"{path}: there is no such file or folder"
        raise ForgeError(msg)
    if path.is_dir():
        return _saved_model(tf, path)
    if path.suffix not in {".keras", ".h5"}:
        msg = f"{path}: a .keras or .h5 file or a SavedModel folder is wanted"
        raise ForgeError(msg)
    require_no_code(path)
    faults = []
    for keras in (tf.keras, load_library("keras", "read networks of Keras 3")):
        try:
            return keras.models.load_model(path, compile=False)
        except UNREADABLE as error:
            faults.append(str(error).strip().partition("\n")[0] or type(error).__name__)
    msg = f"{path}: neither Keras 2 nor Keras 3 can read this network ({faults[0]}; {faults[1]})"
    raise ForgeError(msg)


def is_trainable(network: Foreign) -> bool:
    """Whether this is a network of Keras 2, which can be trained, pruned and made ready for QAT."""
    return isinstance(network, tensorflow().keras.Model)


def require_trainable(network: Foreign) -> Foreign:
    """Return the network itself. Raises ForgeError unless it is one of Keras 2."""
    if not is_trainable(network):
        msg = "only networks of Keras 2 can be trained here: build or save it with TF_USE_LEGACY_KERAS=1 (tf_keras)"
        raise ForgeError(msg)
    return network


def saved(network: Foreign) -> bytes:
    """Give the content of a ``.keras`` file."""
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / "network.keras"
        network.save(file)
        return file.read_bytes()


def is_keras(network: Foreign) -> bool:
    """Whether this is a network of either Keras."""
    return is_trainable(network) or isinstance(network, load_library("keras", "read networks of Keras 3").Model)


def input_shape(source: Foreign) -> tuple[int, ...]:
    """Give the shape of the one input of a network or concrete function, its batch set to 1.

    Raises:
        ForgeError: it has several inputs, or a dimension other than the batch is open.
    """
    shapes = [tuple(each.shape) for each in source.inputs if each.dtype != "resource"]
    if len(shapes) != 1:
        msg = f"the network has {len(shapes)} inputs; the appliance feeds one"
        raise ForgeError(msg)
    shape = (1, *shapes[0][1:])
    if any(size is None for size in shape):
        msg = (
            f"the network's input is {list(shapes[0])}: the Edge TPU wants fixed sizes; build it with every size given"
        )
        raise ForgeError(msg)
    return tuple(int(size) for size in shape)


def freeze(network: Foreign, shape: Sequence[int], name: str = "input") -> Foreign:
    """Turn a network into a function of one float32 input of a fixed shape, its weights constants.

    ``TFLiteConverter.from_keras_model`` would leave the batch open, and the Edge TPU compiler refuses dynamic shapes.

    Args:
        network: a Keras network, or a concrete function with one input.
        shape: batch included.
        name: of the input tensor.
    """
    tf = tensorflow()
    convert_to_constants = load_library("tensorflow.python.framework.convert_to_constants", "freeze networks")
    if is_keras(network):
        traced = tf.function(lambda x: network(x, training=False))
    else:
        traced = tf.function(lambda x: network(x))  # noqa: PLW0108 - tf.function reads a signature's arguments, a concrete one has others
    concrete = traced.get_concrete_function(tf.TensorSpec(shape, tf.float32, name=name))
    return convert_to_constants.convert_variables_to_constants_v2(concrete)


def _saved_model(tf: Foreign, path: Path) -> Foreign:
    """Read a SavedModel's serving signature."""
    try:
        loaded = tf.saved_model.load(str(path))
        signature = loaded.signatures["serving_default"]
    except KeyError as error:
        msg = f"{path}: this SavedModel has no signature serving_default; save it with one"
        raise ForgeError(msg) from error
    except (OSError, ValueError, RuntimeError) as error:
        msg = f"{path}: tensorflow cannot read this SavedModel ({str(error).partition(chr(10))[0]})"
        raise ForgeError(msg) from error
    signature.loaded = loaded  # the variables live only as long as what was loaded
    return signature
