"""Model folders with the optional files of other backends, for tests."""

import hashlib
import tomllib
from collections.abc import Mapping
from pathlib import Path

import tomli_w

from appliance.trust.networks import EDGE_TPU_OP


def folder_with(source: Path, root: Path, files: Mapping[str, bytes]) -> Path:
    """Copy a model folder to ``<root>/<name>/<version>``, with more files in it, each listed with its digest."""
    folder = root / source.parent.name / source.name
    tree = tomllib.loads((source / "model.toml").read_text())
    content = {path: (source / path).read_bytes() for path in tree["files"]} | dict(files)
    for path, each in content.items():
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(each)
    tree["files"] |= {path: hashlib.sha256(each).hexdigest() for path, each in files.items()}
    (folder / "model.toml").write_bytes(tomli_w.dumps(tree).encode())
    return folder


def as_if_compiled(tflite: bytes) -> bytes:
    """Give a file that runs on the CPU and that ``trust`` takes for compiled: the op's name behind a flatbuffer's end.

    No runtime looks there, so that a stand-in of an Edge TPU runs it as the twin.
    """
    return tflite + EDGE_TPU_OP
