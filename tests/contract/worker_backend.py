"""The worker as one more backend of the contract suite: the CPU behind its process boundary."""

import atexit
import hashlib

from appliance.adapters.backends.exchange import Signature
from appliance.adapters.backends.servant import MODELS_MAX
from appliance.adapters.backends.worker import Worker
from appliance.core.model import Model
from appliance.core.types import Array, Outputs
from appliance.errors import BackendError
from appliance.trust.consistency import MODEL_FILE

ENGINE = "appliance.adapters.backends.engines:CpuEngine"
DEADLINE_S = 30.0
"""For a process to start and a model to load."""


class WorkerBackend:
    """Implements ``ports.Backend`` for one model. Closing it leaves the model on the worker, as on an Edge TPU.

    All of them share one worker, which is replaced when it is full or was lost, and ends with the tests.
    """

    name = "worker"

    def __init__(self) -> None:
        """Nothing is opened yet."""
        self._place: tuple[Worker, int] | None = None

    def open(self, model: Model) -> None:
        """Load ``model`` on the worker, once. Raises ModelError, BackendError."""
        self._place = None
        self._place = _SHARED.place(model)

    def invoke(self, tensor: Array, deadline_s: float) -> Outputs:
        """Run the model. Raises BackendError."""
        if self._place is None:
            msg = "worker: not open"
            raise BackendError(msg)
        worker, number = self._place
        return worker.invoke(number, tensor, deadline_s)

    def close(self) -> None:
        """Answer no more. Idempotent."""
        self._place = None


class _Shared:
    """The worker, and what is loaded on it."""

    def __init__(self) -> None:
        self._worker: Worker | None = None
        self._numbers: dict[str, int] = {}

    def place(self, model: Model) -> tuple[Worker, int]:
        """Where a model is, after loading it where it is not. Raises ModelError, BackendError."""
        signature = Signature(model.name, model.version, MODEL_FILE, model.input, model.outputs)
        key = hashlib.sha256(signature.encode() + model.tflite).hexdigest()
        worker = self._sound()
        if key not in self._numbers:
            self._numbers[key] = worker.load(signature, model.tflite, DEADLINE_S)
        return worker, self._numbers[key]

    def end(self) -> None:
        """End the worker. Idempotent."""
        if self._worker is not None:
            self._worker.kill("another is started, or the tests are over")
            self._worker.reap(DEADLINE_S)
            self._worker = None
            self._numbers.clear()

    def _sound(self) -> Worker:
        """A worker that has room for one more model."""
        worker = self._worker
        if worker is None or not worker.alive or worker.owes or len(self._numbers) == MODELS_MAX:
            self.end()
            self._worker = worker = Worker(ENGINE, {})
            worker.start(DEADLINE_S)
        return worker


_SHARED = _Shared()
atexit.register(_SHARED.end)
