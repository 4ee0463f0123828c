"""What runs models, and the hardware under it."""

from typing import Protocol, runtime_checkable

from appliance.core.accelerator import TpuDevice, TpuHealth
from appliance.core.model import Model
from appliance.core.types import Array, Outputs


class Backend(Protocol):
    """Runs one model on one kind of hardware. Not thread-safe: its owner takes turns."""

    @property
    def name(self) -> str:
        """``tpu``, ``cpu``, ...: what decisions are tagged with."""
        ...

    def open(self, model: Model) -> None:
        """Load ``model`` and check its tensors against its spec.

        Raises BackendError when this hardware cannot serve now, ModelError when the file contradicts its
        description (no hardware could serve it).
        """
        ...

    def invoke(self, tensor: Array, deadline_s: float) -> Outputs:
        """Run the model on one input tensor (dtype and shape of the model's input spec).

        Returns copies of the raw outputs by role. Returns or raises BackendError within ``deadline_s`` seconds
        from the call where the hardware can hang; a backend in this process that cannot hang may ignore it.
        """
        ...

    def close(self) -> None:
        """Let the hardware go. Idempotent; never raises."""
        ...


@runtime_checkable
class Recovering(Protocol):
    """A backend that knows by itself when opening it again is worth a try; its owner then waits for no interval."""

    def due(self) -> bool:
        """Whether to open it now. Quick; never raises."""
        ...

    def lost(self) -> str:
        """Why it can answer no more, though no frame has met that yet; empty while it can. Quick; never raises."""
        ...

    def proven(self) -> None:
        """Hear that it gave the numbers it must give, after an ``open``, and serves from the next frame on."""
        ...

    def failed(self, reason: str) -> None:
        """Hear that it was open and did not answer its golden vectors."""
        ...

    def refused(self, reason: str) -> None:
        """Hear that it answered with other numbers than the twin, and is not used for this model."""
        ...


class Accelerator(Protocol):
    """An Edge TPU and everything that brings it back; the backends of several models share it."""

    def tend(self) -> None:
        """Look after it: hot-plug events, temperature, processes that have ended. About once a second; never raises."""
        ...

    def health(self) -> TpuHealth:
        """Say how it is. For any thread; never blocks."""
        ...

    def close(self) -> None:
        """End its worker, within a bounded time. Idempotent; never raises."""
        ...


class TpuBus(Protocol):
    """The buses that Edge TPUs are attached to. Sees devices without opening one; for one thread at a time."""

    def devices(self) -> tuple[TpuDevice, ...]:
        """List those that are there now, USB first, each bus in the order of its paths. Never raises."""
        ...

    def check_access(self, device: TpuDevice) -> None:
        """See whether this process may open a device. Raises UnfitError, which says what would allow it."""
        ...

    def reset(self, device: TpuDevice) -> None:
        """Reset a device (USBDEVFS_RESET). Raises RungError where it cannot be tried, BackendError where it failed."""
        ...

    def rebind(self, device: TpuDevice) -> None:
        """Unbind the driver of its port and bind it again. Raises as ``reset``."""
        ...

    def power_cycle(self, path: str) -> None:
        """Cut the power of the USB port at ``path`` and give it back, though nothing may be seen there now.

        Raises as ``reset``; RungError also when other devices share the port's power and the configuration does not
        allow cutting them, naming them.
        """
        ...

    def temperature_c(self, device: TpuDevice) -> float | None:
        """Measure its temperature; None where it cannot be (USB).

        Raises BackendError for a reading that is impossible: the PCIe link is lost (edgetpu#843).
        """
        ...

    def arrivals(self) -> tuple[str, ...]:
        """Return the paths at which an Edge TPU has appeared since the last call. Never blocks, never raises."""
        ...

    def close(self) -> None:
        """Stop listening for arrivals. Idempotent; never raises."""
        ...
