"""A maker of each backend, for the backend's contract suite. A new backend is one more row of ``MAKERS``."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from appliance.adapters.backends.cpu import CpuBackend
from appliance.adapters.backends.onnx import OnnxBackend
from appliance.core.model import Model
from appliance.ports import Backend
from appliance.sim.backend import ScriptedBackend
from appliance.sim.clock import ManualClock
from appliance.trust.consistency import EDGETPU_FILE, MODEL_FILE, ONNX_FILE
from tests.contract.edge_backend import as_if_compiled, make_simulated_tpu
from tests.contract.worker_backend import WorkerBackend
from tests.model_folders import FOLDERS

FILES = {"tflite": MODEL_FILE, "tflite_edgetpu": EDGETPU_FILE, "onnx": ONNX_FILE}
"""Field of a ``Model`` to the file that it is read from."""


def as_it_is(model: Model) -> Model | None:
    """For a backend that opens the file which every folder has."""
    return model


@dataclass(frozen=True, slots=True)
class Maker:
    """How to make a backend, and what the suite has to know of it."""

    make: Callable[[], Backend]
    field: str = "tflite"
    """Field of ``Model`` with the bytes that it opens, a key of ``FILES``."""
    suit: Callable[[Model], Model | None] = as_it_is
    """Gives a model the file that the backend opens; None: there is none for this model, and the test is skipped."""
    tells_steps: bool = True
    """Whether the file says scale and zero point of the tensors at its edge."""
    needs: tuple[str, ...] = ()
    """Packages without which the suite leaves it out, and says so."""

    @property
    def file(self) -> str:
        """The file that it opens, as messages name it."""
        return FILES[self.field]

    def missing(self) -> str:
        """Say which packages are not installed; empty when it can run."""
        return ", ".join(name for name in self.needs if find_spec(name) is None)


def with_onnx(model: Model) -> Model | None:
    """Give a model the same network as ONNX: what ``models/to_onnx.py`` made of its ``model.tflite``."""
    if model.name == "twins":
        return replace(model, onnx=twins_onnx())
    [root] = [folder.parent for folder in FOLDERS if folder.parent.name == model.name]
    return replace(model, onnx=(root / "evaluation" / "int8.onnx").read_bytes())


@cache
def twins_onnx() -> bytes:
    """What ``twins.tflite`` is: float32 [1, 2] to ``minus`` (-x) and ``plus`` (abs(x))."""
    onnx: Any = import_module("onnx")  # ships no types, and is not installed beside tflite-runtime
    make, kind = onnx.helper, onnx.TensorProto.FLOAT
    nodes = [make.make_node("Neg", ["x"], ["minus"]), make.make_node("Abs", ["x"], ["plus"])]
    x, minus, plus = (make.make_tensor_value_info(name, kind, [1, 2]) for name in ("x", "minus", "plus"))
    graph = make.make_graph(nodes, "twins", [x], [minus, plus])
    made = make.make_model(graph, opset_imports=[make.make_opsetid("", 17)], ir_version=8)
    return bytes(made.SerializeToString())


MAKERS: dict[str, Maker] = {
    "cpu": Maker(CpuBackend),
    "cpu, two threads": Maker(lambda: CpuBackend(threads=2)),
    "cpu, no XNNPACK": Maker(lambda: CpuBackend(xnnpack=False)),
    "scripted, empty script": Maker(lambda: ScriptedBackend(CpuBackend(), ManualClock())),
    "tpu, simulated": Maker(make_simulated_tpu, "tflite_edgetpu", as_if_compiled, tells_steps=True),
    "worker": Maker(WorkerBackend),
    "onnx": Maker(OnnxBackend, "onnx", with_onnx, tells_steps=False, needs=("onnxruntime", "onnx")),
    "onnx, two threads": Maker(
        lambda: OnnxBackend(threads=2), "onnx", with_onnx, tells_steps=False, needs=("onnxruntime", "onnx")
    ),
}
HERE = [name for name, maker in MAKERS.items() if not maker.missing()]
TELLING = [name for name in HERE if MAKERS[name].tells_steps]
OPENING_TFLITE = [name for name in HERE if MAKERS[name].field == "tflite"]
