"""Sound descriptions and files of every decoder, to be spoilt one thing at a time."""

import hashlib
import io
from collections.abc import Mapping
from typing import Any

import numpy as np
import tomli_w
from numpy.typing import NDArray

from appliance.core.model import Model
from appliance.trust.model import parse_description, verify

Tree = dict[str, Any]
Files = dict[str, bytes]
Arrays = dict[str, NDArray[Any]]
REMOVE = object()
"""As a value for ``spoil``: take the key away."""

_INT8 = {"dtype": "int8", "scale": 0.05, "zero_point": 3}
_FLOAT = {"dtype": "float32"}
_PICTURE = {"kind": "image", "colour": "rgb", "fit": "stretch", "mean": [0.0] * 3, "std": [255.0] * 3}
_SSD_RAW: Tree = {
    "task": "detect",
    "input": {"name": "x", "shape": [1, 8, 6, 3], **_INT8},
    "preprocess": _PICTURE,
    "outputs": [
        {"role": "boxes", "name": "b", "shape": [1, 5, 4], **_INT8},
        {"role": "scores", "name": "s", "shape": [1, 5, 3], **_INT8},
    ],
    "decode": {
        "kind": "ssd_raw",
        "anchors": "anchors.npy",
        "box_scales": [10.0, 10.0, 5.0, 5.0],
        "background": True,
        "score_min": 0.3,
        "iou_max": 0.6,
        "max_detections": 10,
    },
}
_SSD_POSTPROCESSED: Tree = {
    "task": "detect",
    "input": {"name": "x", "shape": [1, 8, 6, 3], **_INT8},
    "preprocess": _PICTURE,
    "outputs": [
        {"role": "boxes", "name": "b", "shape": [1, 7, 4], **_FLOAT},
        {"role": "classes", "name": "c", "shape": [1, 7], **_FLOAT},
        {"role": "scores", "name": "s", "shape": [1, 7], **_FLOAT},
        {"role": "count", "name": "n", "shape": [1], **_FLOAT},
    ],
    "decode": {"kind": "ssd_postprocessed", "score_min": 0.3, "max_detections": 10},
}
_CLASSIFY: Tree = {
    "task": "classify",
    "input": {"name": "x", "shape": [1, 8, 6, 3], **_INT8},
    "preprocess": _PICTURE,
    "outputs": [{"role": "scores", "name": "s", "shape": [1, 2], **_INT8}],
    "decode": {"kind": "classify", "activation": "softmax"},
}
_ANOMALY: Tree = {
    "task": "anomaly",
    "input": {"name": "x", "shape": [1, 16, 2], **_FLOAT},
    "preprocess": {"kind": "window", "mean": [0.0, 1.0], "std": [1.0, 2.0]},
    "outputs": [{"role": "reconstruction", "name": "r", "shape": [1, 16, 2], **_FLOAT}],
    "decode": {"kind": "anomaly", "label": "anomaly"},
}
_SCORE: Tree = {
    "task": "score",
    "input": {"name": "x", "shape": [1, 3], **_INT8},
    "preprocess": {"kind": "record", "features": ["a", "b", "c"], "mean": [0.0] * 3, "std": [1.0] * 3},
    "outputs": [{"role": "score", "name": "s", "shape": [1, 1], **_INT8}],
    "decode": {"kind": "score", "activation": "sigmoid", "label": "fraud"},
}
SECTIONS: Mapping[str, Tree] = {
    "ssd_raw": _SSD_RAW,
    "ssd_postprocessed": _SSD_POSTPROCESSED,
    "classify": _CLASSIFY,
    "anomaly": _ANOMALY,
    "score": _SCORE,
}


def sound(kind: str) -> tuple[Tree, Files]:
    """Return a consistent ``model.toml`` as a tree, and the files it lists."""
    # Through TOML and back: nothing is shared between two calls.
    sections = copied(SECTIONS[kind])
    roles = [output["role"] for output in sections["outputs"]]
    head = {"schema": 1, "name": "made", "version": "1.0.0", "description": "d", "licence": "MIT", "source": "s"}
    golden = {"file": "golden/golden.npz", "tolerance_lsb": dict.fromkeys(roles, 2)}
    files: Files = {"model.tflite": b"\x1c\0\0\0TFL3 and the rest", "golden/golden.npz": npz(vectors(sections, 2))}
    if sections["task"] in ("detect", "classify"):
        files["labels.txt"] = b"cat\ndog\n"
    if kind == "ssd_raw":
        files["anchors.npy"] = npy(np.tile(np.array([0.1, 0.1, 0.3, 0.4], np.float32), (5, 1)))
    return {**head, **sections, "files": digests(files), "golden": golden}, files


def vectors(sections: Tree, count: int) -> Arrays:
    """Make golden arrays of the right shapes and dtypes."""
    tensors = {"input": sections["input"], **{output["role"]: output for output in sections["outputs"]}}
    return {
        f"{name}_{index}": np.full(tensor["shape"], index + 1, tensor["dtype"])
        for index in range(count)
        for name, tensor in tensors.items()
    }


def copied(tree: Tree) -> Tree:
    """Copy a tree of TOML values, all the way down."""
    return {
        key: copied(value)
        if isinstance(value, dict)
        else [copied(item) if isinstance(item, dict) else item for item in value]
        if isinstance(value, list)
        else value
        for key, value in tree.items()
    }


def digests(files: Files) -> dict[str, str]:
    """Sign files, as a recipe does."""
    return {path: hashlib.sha256(content).hexdigest() for path, content in files.items()}


def npy(array: NDArray[Any]) -> bytes:
    """Save as numpy does."""
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def npz(arrays: Arrays) -> bytes:
    """Save as numpy does."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]  # its keyword `allow_pickle` confuses the checker
    return buffer.getvalue()


def spoil(tree: Tree, key: str, value: object) -> None:
    """Set the value at a dotted key path (numbers count from 0 in lists), or take it away."""
    *way, last = key.split(".")
    node: Any = tree
    for part in way:
        node = node[int(part)] if isinstance(node, list) else node[part]
    if value is REMOVE:
        del node[last]
    else:
        node[int(last) if isinstance(node, list) else last] = value


def toml(tree: Tree) -> bytes:
    """Write a ``model.toml``."""
    return tomli_w.dumps(tree).encode()


def verified(tree: Tree, files: Files) -> Model:
    """Sign ``files`` anew, then parse and verify everything: what happens to a folder built wrongly."""
    return verify(parse_description(toml({**tree, "files": digests(files)})), files)
