"""What a worker runs models with. Named by ``module:Class`` when the worker is started; lives in its process only."""

from collections.abc import Mapping
from importlib import import_module
from typing import NamedTuple, Protocol

from appliance.adapters.backends.exchange import Signature
from appliance.adapters.backends.tflite import Network, load_runtime, open_network
from appliance.core.types import Array, Outputs

Options = Mapping[str, str]
"""Set by whoever starts the worker; what they mean is the engine's."""


class Answer(NamedTuple):
    """Outputs, and the request they are of: an engine may have several under way."""

    request: int
    outputs: Outputs


class Runner(Protocol):
    """A loaded model."""

    def answer(self, tensor: Array, request: int) -> Answer:
        """Run on a tensor, which may change after the call. Raises RuntimeError, ValueError."""
        ...


class Engine(Protocol):
    """Made with its options; touches no hardware before ``load``."""

    def facts(self) -> dict[str, str]:
        """Say what can be known without touching the hardware: versions. Raises BackendError."""
        ...

    def load(self, signature: Signature, content: bytes) -> Runner:
        """Load a model beside those that are loaded. Raises ModelError, BackendError; may take as long as it likes."""
        ...


def make_engine(name: str, options: Options) -> Engine:
    """Make the engine called ``name``, as ``module:Class``."""
    module, class_name = name.split(":")
    engine: Engine = getattr(import_module(module), class_name)(options)
    return engine


class TfliteRunner:
    """A network that answers one request after another."""

    def __init__(self, network: Network) -> None:
        self._network = network

    def answer(self, tensor: Array, request: int) -> Answer:
        """Run. Raises RuntimeError, ValueError."""
        return Answer(request, self._network.invoke(tensor))


class CpuEngine:
    """The CPU behind the worker's boundary: what its cost is measured with, and what stands in for an Edge TPU."""

    def __init__(self, options: Options) -> None:
        self._threads = int(options.get("threads", "1"))

    def facts(self) -> dict[str, str]:
        """Name the runtime."""
        return {"runtime": load_runtime().__name__.partition(".")[0]}

    def load(self, signature: Signature, content: bytes) -> TfliteRunner:
        """Load a model. Raises ModelError, BackendError."""
        network = open_network(signature, content, file=signature.file, module=load_runtime(), threads=self._threads)
        return TfliteRunner(network)
