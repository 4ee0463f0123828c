"""What inference says of itself: measurements, and a log of faults and recoveries."""

from collections.abc import Sequence

from appliance.core.model import Model
from appliance.log import FaultLog, get
from appliance.ports import Clock, Meter

NOBODY = "none"
"""Stands for a backend's name in metrics and logs when there is none."""

_log = get(__name__)


class Tally:
    """Measures and logs for one model."""

    def __init__(self, model: Model, clock: Clock, meter: Meter) -> None:
        """Measure by ``clock``, into ``meter``."""
        self.live = True
        """Whether this version of the model decides; of another, it is not measured who would answer."""
        self._model = model
        self._meter = meter
        self._faults = FaultLog(_log, clock.monotonic_s)

    def waited(self, took_s: float) -> None:
        """A frame had its turn after ``took_s``: other channels share the model."""
        self._meter.observe("edge_stage_duration_seconds", took_s, stage="queue", model=self._model.name, backend="")

    def answered(self, backend: str, took_s: float) -> None:
        """``backend`` answered a frame in ``took_s``."""
        self._meter.observe(
            "edge_stage_duration_seconds", took_s, stage="invoke", model=self._model.name, backend=backend
        )
        self.unanswered(backend, outcome="ok")

    def unanswered(self, backend: str, *, outcome: str) -> None:
        """A frame got no answer: ``error`` from a backend, ``busy`` or ``lost`` from ``NOBODY``."""
        self._meter.count("edge_inference_total", model=self._model.name, backend=backend, outcome=outcome)

    def changed(self, before: str, after: str, reason: str) -> None:
        """Frames are answered by ``after`` from now on, no longer by ``before`` (empty: nobody)."""
        if before == after or not self.live:
            return
        labels = {"from": before or NOBODY, "to": after or NOBODY}  # "from" is a keyword of Python
        self._meter.count("edge_failover_total", 1.0, reason=reason, **labels)

    def serving(self, backends: Sequence[str], active: str) -> None:
        """Say for each backend whether it is the one that answers."""
        for backend in backends if self.live else ():
            value = 1.0 if backend == active else 0.0
            self._meter.set("edge_backend_active", value, model=self._model.name, backend=backend)

    def failed(self, backend: str, reason: str, active: str) -> None:
        """``backend`` was dropped, or could not be brought back."""
        self._faults.failed(f"{self._model.name}:{backend}", reason, serving=active or NOBODY)

    def ready(self, backend: str) -> None:
        """``backend`` came into service."""
        self._faults.recovered(f"{self._model.name}:{backend}")
        _log.info("backend ready", model=self._model.name, version=self._model.version, backend=backend)

    def left_open(self) -> None:
        """The end came in the middle of a frame that did not end in time."""
        _log.warning("backends left open: a frame is still in progress", model=self._model.name)
