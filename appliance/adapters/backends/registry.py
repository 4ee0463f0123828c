"""The backends that configuration may name. A new one is one file here, one line below, one name in ``config``."""

from importlib import import_module

from appliance.config import BackendName, ModelConfig
from appliance.ports import Backend

BACKENDS: dict[BackendName, str] = {
    "cpu": "appliance.adapters.backends.cpu:CpuBackend",
    "onnx": "appliance.adapters.backends.onnx:OnnxBackend",
}
"""Name in the configuration to ``module:Class``; imported only when made: no device library loads unused."""


def make_backend(name: BackendName, config: ModelConfig) -> Backend:
    """Make the backend called ``name`` for a model configured by ``config``; nothing is opened yet."""
    module, class_name = BACKENDS[name].split(":")
    backend: Backend = getattr(import_module(module), class_name).from_config(config)
    return backend
