"""TFLite on the CPU. This is the twin that answers when an accelerator is lost.

So it depends on nothing but the processor.
"""

from typing import Self

from appliance.adapters.backends.tensors import first_line
from appliance.adapters.backends.tflite import (
    RUNTIMES,
    Network,
    Runtime,
    load_runtime,
    open_network,
)
from appliance.config import ModelConfig
from appliance.core.model import Model
from appliance.core.types import Array, Outputs
from appliance.errors import BackendError

__all__ = ["RUNTIMES", "CpuBackend", "Runtime", "load_runtime"]


class CpuBackend:
    """Implements ``ports.Backend`` in this process. It cannot hang, so it ignores the deadline."""

    name = "cpu"

    def __init__(self, *, threads: int = 1, xnnpack: bool = True, runtime: Runtime = "auto") -> None:
        """Choose how to run; nothing is loaded yet.

        Args:
            threads: for one invoke, 1 or more.
            xnnpack: False runs TFLite's own kernels alone: slower (4 to 5 times on x86-64), a second opinion.
            runtime: ``auto`` takes the first of ``RUNTIMES`` that is installed.
        """
        self._threads = threads
        self._xnnpack = xnnpack
        self._runtime = runtime
        self._network: Network | None = None

    @classmethod
    def from_config(cls, config: ModelConfig) -> Self:
        """Make the backend that a model's configuration asks for."""
        return cls(threads=config.threads, xnnpack=config.xnnpack)

    def open(self, model: Model) -> None:
        """Load ``model`` and hold its tensors against its description.

        Raises:
            ModelError: the file is damaged, needs an op this runtime has not, or contradicts the description.
            BackendError: no runtime is installed, or there is not enough memory.
        """
        self.close()
        try:
            self._network = open_network(
                model,
                model.tflite,
                module=load_runtime(self._runtime),
                threads=self._threads,
                xnnpack=self._xnnpack,
            )
        except BackendError as error:
            msg = f"cpu: {error}"
            raise BackendError(msg) from error

    def invoke(self, tensor: Array, deadline_s: float) -> Outputs:  # noqa: ARG002 - as the class says
        """Run the model on ``tensor`` (shape and dtype of the input spec); returns copies of the raw outputs.

        Raises:
            BackendError: the runtime failed, or this backend is not open.
        """
        if self._network is None:
            msg = "cpu: not open"
            raise BackendError(msg)
        try:
            return self._network.invoke(tensor)
        except (RuntimeError, ValueError) as error:
            msg = f"cpu: invoke failed: {first_line(error)}"
            raise BackendError(msg) from error

    def invoke_bare(self) -> None:
        """Invoke on whatever the input tensor holds and copy nothing: what a bench holds the loop against."""
        assert self._network is not None, "open first"
        self._network.interpreter.invoke()

    def close(self) -> None:
        """Let the interpreter and its memory go. Idempotent."""
        self._network = None
