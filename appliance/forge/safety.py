"""What a Keras file would run when it is opened, read from its description without opening it with Keras.

A Lambda layer is Python code in the file, and a class is a name that is imported. ``safe_mode`` of Keras does not hold
for HDF5, so the description is judged here, for both forms of file.
"""

import json
import zipfile
from collections.abc import Iterator
from pathlib import Path

from appliance.errors import ForgeError
from appliance.forge.foreign import Foreign, load_library

DESCRIPTION_BYTES_MAX = 64 << 20
"""Of a network's description, JSON without weights; the largest published networks have some megabytes."""
CODE = {"Lambda", "__lambda__"}
"""Classes that carry Python code."""
ROOTS = {"keras", "tf_keras", "keras_core"}
NOT_PARTS = {"utils", "saving"}
"""Modules of Keras that hold functions (downloads, loaders), and nothing that a network is made of."""
PLAIN_VALUES = {"slice", "dict", "function"}
"""What Keras itself writes with the module ``builtins``; a function's name is looked up among Keras' own."""


def require_no_code(path: Path) -> None:
    """Raise ForgeError when opening this Keras file would run code of its maker, or its description is unreadable.

    Judged by content, not by name: Keras reads HDF5 from a file called ``.keras`` too. What is neither HDF5 nor ZIP
    is left for Keras to refuse.
    """
    h5py = load_library("h5py", "read networks")
    try:
        descriptions = []
        if h5py.is_hdf5(path):
            descriptions.append(_of_hdf5(h5py, path))
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive, archive.open("config.json") as stream:
                descriptions.append(stream.read(DESCRIPTION_BYTES_MAX + 1))
        found = next((each for text in descriptions for each in _foreign(_parsed(path, text))), None)
    except (OSError, KeyError, ValueError, RuntimeError, RecursionError, zipfile.BadZipFile) as error:
        msg = f"{path}: neither Keras 2 nor Keras 3 can read this network (its description is damaged: {error})"
        raise ForgeError(msg) from error
    if found is not None:
        msg = (
            f"{path} holds {found}: opening it runs whatever its maker put inside, so the forge does not. Build the "
            "network of Keras' own layers and save it again"
        )
        raise ForgeError(msg)


def _of_hdf5(h5py: Foreign, path: Path) -> str | bytes:
    """Return a network's description. Raises ForgeError for a file of weights alone."""
    with h5py.File(path, "r") as file:
        text = file.attrs.get("model_config")
    if not isinstance(text, str | bytes):
        msg = f"{path} holds weights without the network they belong to: save it with network.save"
        raise ForgeError(msg)
    return text


def _parsed(path: Path, text: str | bytes) -> object:
    if len(text) > DESCRIPTION_BYTES_MAX:
        msg = f"{path}: the network's description is longer than {DESCRIPTION_BYTES_MAX >> 20} MiB"
        raise ForgeError(msg)
    parsed: object = json.loads(text)
    return parsed


def _foreign(node: object) -> Iterator[str]:
    """Name everything in a description that is not Keras' own."""
    if isinstance(node, list):
        for each in node:
            yield from _foreign(each)
    if not isinstance(node, dict):
        return
    name = node.get("class_name")
    if name in CODE:
        yield "a Lambda layer, which is Python code"
    elif isinstance(name, str) and (">" in name or not _is_own(node.get("module"), name)):
        yield f"a class that is not Keras' own ({node.get('module') or 'registered'}: {name})"
    for each in node.values():
        yield from _foreign(each)


def _is_own(module: object, name: str) -> bool:
    """Whether Keras looks this class up among its own; without a module it does nothing else."""
    if module is None:
        return True
    if module == "builtins":
        return name in PLAIN_VALUES
    parts = str(module).split(".")
    return parts[0] in ROOTS and NOT_PARTS.isdisjoint(parts)
