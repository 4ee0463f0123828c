"""The runtime that golden vectors come from: it judges what was changed, and records its answers anew."""

import io
import zipfile
from collections.abc import Mapping

import numpy as np

from appliance.core.model import Model
from appliance.core.types import Array, Outputs
from appliance.errors import HubError


class Reference:
    """A model's file for the CPU in ai-edge-litert, on one thread."""

    def __init__(self, model: Model, tflite: bytes) -> None:
        """Load ``tflite``, a network with the edge of ``model``. Raises HubError when it does not run."""
        try:
            from ai_edge_litert.interpreter import Interpreter  # noqa: PLC0415 - only where a network is run

            self._interpreter = Interpreter(model_content=tflite, num_threads=1)
            self._interpreter.allocate_tensors()
        except (ImportError, ValueError, RuntimeError) as error:
            msg = f"{model.name} {model.version}: its network does not run here: {error}; install ai-edge-litert"
            raise HubError(msg) from error
        places = {each["name"]: each["index"] for each in self._interpreter.get_output_details()}
        self._input = self._interpreter.get_input_details()[0]["index"]
        self._outputs = {role: places[spec.name] for role, spec in model.outputs.items()}

    def __call__(self, tensor: Array) -> Outputs:
        """Run one input of the model's own dtype and shape; gives role to raw output."""
        self._interpreter.set_tensor(self._input, tensor)
        self._interpreter.invoke()
        return {role: np.array(self._interpreter.get_tensor(index)) for role, index in self._outputs.items()}


def record(npz: bytes, outputs: Mapping[str, Array]) -> bytes:
    """Write golden vectors anew with other outputs, every other byte in its place: a delta finds the inputs again.

    Args:
        npz: of the model as its author recorded them.
        outputs: tensor by name, as ``scores_0``.
    """
    made = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(npz)) as before, zipfile.ZipFile(made, "w") as after:
        for info in before.infolist():
            name = info.filename.removesuffix(".npy")
            content = _npy(outputs[name]) if name in outputs else before.read(info)
            same = zipfile.ZipInfo(info.filename, info.date_time)
            same.compress_type, same.external_attr, same.create_system = (
                info.compress_type, info.external_attr, info.create_system
            )  # fmt: skip
            with after.open(same, "w", force_zip64=True) as stream:  # as numpy.savez does
                stream.write(content)
    return made.getvalue()


def _npy(array: Array) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=False)
    return stream.getvalue()
