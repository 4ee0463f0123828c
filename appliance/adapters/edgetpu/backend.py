"""A model on an Edge TPU: implements ``ports.Backend`` and ``ports.Recovering`` for one model."""

from dataclasses import dataclass
from typing import Protocol

from appliance.adapters.backends.tensors import full_name
from appliance.adapters.backends.worker import Worker
from appliance.core.model import Model
from appliance.core.types import Array, Outputs
from appliance.errors import BackendError


@dataclass(frozen=True, slots=True)
class Place:
    """Where a model is loaded."""

    worker: Worker
    number: int
    model: str
    """Name and version: two versions may be there at a time."""


class Host(Protocol):
    """The Edge TPU that serves several backends."""

    name: str

    def open(self, model: Model) -> Place:
        """Bring a model onto it. Raises ModelError, BackendError."""
        ...

    def invoke(self, place: Place, tensor: Array, deadline_s: float) -> Outputs:
        """Run a model. Raises BackendError."""
        ...

    def due(self, model: str) -> bool:
        """Whether opening is worth a try."""
        ...

    def lost(self, place: Place) -> str:
        """Why a model is there no more."""
        ...

    def proven(self, model: str) -> None:
        """Hear that a model may serve."""
        ...

    def failed(self, model: str, reason: str) -> None:
        """Hear that a model was open and did not answer."""
        ...

    def refused(self, model: str, reason: str) -> None:
        """Hear that a model may not."""
        ...


class EdgeTpuBackend:
    """One model's share of an Edge TPU. Closing it leaves the model loaded, for others and for its return."""

    name = "tpu"

    def __init__(self, host: Host) -> None:
        """Nothing is opened yet."""
        self._host = host
        self._place: Place | None = None
        self._model = ""

    def open(self, model: Model) -> None:
        """Bring ``model`` onto the Edge TPU; takes 2 to 25 s where it has to be opened.

        Raises:
            ModelError: there is no compiled file, or it contradicts its description.
            BackendError: the Edge TPU cannot serve now.
        """
        self._place, self._model = None, full_name(model)
        self._place = self._host.open(model)

    def invoke(self, tensor: Array, deadline_s: float) -> Outputs:
        """Run the model; returns copies of the raw outputs, or raises BackendError, within ``deadline_s``."""
        if self._place is None:
            msg = f"{self._host.name}: not open"
            raise BackendError(msg)
        return self._host.invoke(self._place, tensor, deadline_s)

    def due(self) -> bool:
        """Whether the Edge TPU wants to be tried now; true before the first time."""
        return not self._model or self._host.due(self._model)

    def lost(self) -> str:
        """Why the model is on the Edge TPU no more; empty while it is, or was never."""
        return "" if self._place is None else self._host.lost(self._place)

    def proven(self) -> None:
        """Hear that the model gave the numbers it must give."""
        self._host.proven(self._model)

    def failed(self, reason: str) -> None:
        """Hear that it did not answer."""
        self._host.failed(self._model, reason)

    def refused(self, reason: str) -> None:
        """Hear that it gave other numbers."""
        self._host.refused(self._model, reason)

    def close(self) -> None:
        """Answer no more. Idempotent."""
        self._place = None
