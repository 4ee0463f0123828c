"""A model's network in the files that the backends open, and what can be told of each without running it.

A version is all of its files, verified as one: the compiled file never comes without the one that runs on the CPU.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from appliance.errors import ModelError
from appliance.trust.consistency import EDGETPU_FILE, MODEL_FILE, ONNX_FILE
from appliance.trust.onnx_file import check_onnx

EDGE_TPU_OP = b"edgetpu-custom-op"
"""The op that edgetpu_compiler leaves in the place of those that the Edge TPU runs."""
_IDENTIFIER = slice(4, 8)
_TFL3 = b"TFL3"  # file identifier of tensorflow/compiler/mlir/lite/schema/schema.fbs


@dataclass(frozen=True, slots=True)
class Networks:
    """The files that hold the network."""

    tflite: bytes
    edgetpu: bytes | None
    onnx: bytes | None


def networks_of(files: Mapping[str, bytes]) -> Networks:
    """Find the network's files among those of a folder, each of the kind that its name says.

    Args:
        files: content by path, as listed in the description, ``model.tflite`` among them.

    Raises:
        ModelError: one is of another kind: no TFLite file, not compiled, no ONNX file, or an ONNX file whose weights
            stand in another.
    """
    tflite, edgetpu, onnx = (files.get(name) for name in (MODEL_FILE, EDGETPU_FILE, ONNX_FILE))
    assert tflite is not None, "every description lists it"
    _check_tflite(tflite, MODEL_FILE)
    if edgetpu is not None:
        _check_tflite(edgetpu, EDGETPU_FILE)
        if EDGE_TPU_OP not in edgetpu:
            msg = (
                f"{EDGETPU_FILE}: not compiled for the Edge TPU (no op {EDGE_TPU_OP.decode()}): it would run on the "
                f"CPU and be called an Edge TPU; put there what `appliance forge compile {MODEL_FILE}` makes"
            )
            raise ModelError(msg)
    if onnx is not None:
        check_onnx(onnx, ONNX_FILE)
    return Networks(tflite, edgetpu, onnx)


def _check_tflite(content: bytes, name: str) -> None:
    """Raise ModelError unless the file has TFLite's identifier."""
    if content[_IDENTIFIER] != _TFL3:
        msg = f"{name}: not a TFLite flatbuffer (no identifier TFL3)"
        raise ModelError(msg)
