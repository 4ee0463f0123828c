"""ONNX Runtime on the CPU, for models that come with a ``model.onnx`` (decision 0016).

Only verified bytes may come here: ``trust`` has seen to it that the file is whole and names no other one.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Self

from appliance.adapters.backends.tensors import FileTensor, first_line, full_name, match
from appliance.config import ModelConfig
from appliance.core.model import Model
from appliance.core.types import Array, Outputs
from appliance.errors import BackendError, ModelError
from appliance.trust.consistency import ONNX_FILE

TELEMETRY_OFF = "ORT_DISABLE_TELEMETRY"
"""Environment variable: unless it is 1 before they are loaded, versions from 1.29 on report to Microsoft."""
LOG_FATAL = 4
"""Severity below which ONNX Runtime prints nothing; what goes wrong is raised, and told in our words."""
SESSION: Mapping[str, str] = {
    "session.load_model_format": "ONNX",
    "session.intra_op.allow_spinning": "0",  # idle threads would burn a core between two frames
    "session.disable_quant_qdq": "1",  # float kernels between quantise and dequantise: decision 0016
}
"""Entries of ONNX Runtime's onnxruntime_session_options_config_keys.h."""
DTYPES: Mapping[str, str] = {"float": "float32", "double": "float64"}
"""ONNX Runtime's names of tensor elements where NumPy has others."""

_Foreign = Any  # the runtime ships no types


@dataclass(frozen=True, slots=True)
class _Loaded:
    """A session that agrees with its model's description."""

    session: _Foreign
    faults: tuple[type[Exception], ...]
    model: Model
    input: str
    outputs: Mapping[str, str]
    """Names in the file by role."""


class OnnxBackend:
    """Implements ``ports.Backend`` in this process. It cannot hang, so it ignores the deadline.

    A file says no scale and no zero point of the tensors at its edge; the golden vectors prove them. Its first
    dimension, the batch, may be left open: it is then taken for what the description says, and an output that comes
    in another shape all the same is refused.
    """

    name = "onnx"

    def __init__(self, *, threads: int = 1) -> None:
        """Choose how many threads one invoke has, 1 or more; nothing is loaded yet."""
        self._threads = threads
        self._loaded: _Loaded | None = None

    @classmethod
    def from_config(cls, config: ModelConfig) -> Self:
        """Make the backend that a model's configuration asks for."""
        return cls(threads=config.threads)

    def open(self, model: Model) -> None:
        """Load ``model`` and hold its tensors against its description.

        Raises:
            ModelError: the folder has no ``model.onnx``, or it is damaged, needs an op that this runtime has not, or
                contradicts the description.
            BackendError: ONNX Runtime is not installed, or there is not enough memory.
        """
        self.close()
        if model.onnx is None:
            msg = f"{full_name(model)}: no {ONNX_FILE} in the folder; models/README.md says how it is made"
            raise ModelError(msg)
        runtime = load_runtime()
        faults = _faults()
        session = self._session(runtime, faults, model, model.onnx)
        inputs, outputs = session.get_inputs(), session.get_outputs()
        batch = model.input.shape[0]
        places = match(
            model, ONNX_FILE, [_tensor(each, batch) for each in inputs], [_tensor(each, batch) for each in outputs]
        )
        names = {role: str(outputs[place].name) for role, place in places.items()}
        self._loaded = _Loaded(session, faults, model, str(inputs[0].name), names)

    def invoke(self, tensor: Array, deadline_s: float) -> Outputs:  # noqa: ARG002 - as the class says
        """Run the model on ``tensor`` (shape and dtype of the input spec); returns copies of the raw outputs.

        Raises:
            BackendError: the runtime failed, gave an output of another shape, or this backend is not open.
        """
        loaded = self._loaded
        if loaded is None:
            msg = "onnx: not open"
            raise BackendError(msg)
        spec = loaded.model.input
        assert tensor.shape == spec.shape, f"{tensor.shape} given, {spec.shape} wanted"
        assert tensor.dtype == spec.dtype.numpy, f"{tensor.dtype} given, {spec.dtype} wanted"
        try:
            # The arrays are new ones each time: the session keeps no hold of them, and reads the input where it is.
            values = loaded.session.run(list(loaded.outputs.values()), {loaded.input: tensor})
        except loaded.faults as error:
            msg = f"onnx: invoke failed: {first_line(error)}"
            raise BackendError(msg) from error
        outputs = dict(zip(loaded.outputs, values, strict=True))
        _check_shapes(loaded.model, outputs)
        return outputs

    def close(self) -> None:
        """Let the session, its threads and its memory go. Idempotent."""
        self._loaded = None

    def _session(
        self, runtime: _Foreign, faults: tuple[type[Exception], ...], model: Model, content: bytes
    ) -> _Foreign:
        """Build a session on the verified bytes. Raises ModelError, BackendError."""
        options = runtime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = self._threads, 1
        options.enable_cpu_mem_arena = False  # it holds twice the memory and saves no time (decision 0016)
        options.use_deterministic_compute = True
        for key, value in SESSION.items():
            options.add_session_config_entry(key, value)
        try:
            return runtime.InferenceSession(
                content, options, providers=["CPUExecutionProvider"], enable_fallback=0, read_config_from_model=0
            )
        except MemoryError as error:
            msg = f"onnx: not enough memory for {full_name(model)}"
            raise BackendError(msg) from error
        except faults as error:
            msg = f"{full_name(model)}: the runtime refuses {ONNX_FILE}: {first_line(error)}"
            raise ModelError(msg) from error


def load_runtime() -> _Foreign:
    """Import ONNX Runtime, silent and reporting to nobody. Raises BackendError when it is not installed."""
    os.environ[TELEMETRY_OFF] = "1"
    try:
        runtime: _Foreign = import_module("onnxruntime")
    except (ImportError, OSError) as error:  # OSError: a shared library of the package does not load
        msg = f"onnx: no ONNX Runtime ({first_line(error)}); pip install 'edge-appliance[onnx]'"
        raise BackendError(msg) from error
    runtime.disable_telemetry_events()
    runtime.set_default_logger_severity(LOG_FATAL)
    return runtime


def _faults() -> tuple[type[Exception], ...]:
    """What ONNX Runtime raises. Its own errors have no root but Exception."""
    state = vars(import_module("onnxruntime.capi.onnxruntime_pybind11_state"))
    own = (each for each in state.values() if isinstance(each, type) and issubclass(each, Exception))
    return (*own, RuntimeError, ValueError, MemoryError)


def _tensor(argument: _Foreign, batch: int) -> FileTensor:
    """Read one of a session's inputs or outputs; an open first dimension is taken for ``batch``."""
    sizes = [size if isinstance(size, int) else str(size or "?") for size in argument.shape]
    if sizes and isinstance(sizes[0], str):
        sizes[0] = batch
    kind = str(argument.type).removeprefix("tensor(").removesuffix(")")
    return FileTensor(str(argument.name), tuple(sizes), DTYPES.get(kind, kind))


def _check_shapes(model: Model, outputs: Outputs) -> None:
    """Raise BackendError when an output is not as described: the file left its size open, and it came otherwise."""
    for role, values in outputs.items():
        if values.shape != model.outputs[role].shape:
            told = list(model.outputs[role].shape)
            msg = f"onnx: {full_name(model)}: {ONNX_FILE} gave {role} as {list(values.shape)}; model.toml says {told}"
            raise BackendError(msg)
