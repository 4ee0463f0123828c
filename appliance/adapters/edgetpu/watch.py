"""What is noticed of an Edge TPU beside its answers: heat, a lost link, resets nobody asked for, a growing worker."""

from collections import deque
from threading import Lock
from typing import NamedTuple

from appliance.adapters.backends.worker import Worker
from appliance.core.accelerator import TpuDevice
from appliance.core.drift import Cooling, Drift
from appliance.errors import BackendError
from appliance.ports import Clock, TpuBus

LOOK_S = 5.0
"""How often the device's temperature and the worker's memory are read."""
HOUR_S = 3600.0
EVENTS_MAX = 1000
"""Events of the last hour that are remembered: more are as bad."""
GROWTH_BYTES_MAX = 128 * 1024 * 1024
"""What a worker may grow by after it was opened; then it is replaced. A leak must not take the device's memory."""
LATE_S = 60.0
LATE_MAX = 3
"""Overdue answers within ``LATE_S`` after which a worker counts as lost: something is wrong with the device."""


class Found(NamedTuple):
    """What a look has shown; empty where there is nothing."""

    lost: str = ""
    """Why the worker must go at once."""
    reload: str = ""
    """Why the worker is to be replaced in order."""


class Watch:
    """One Edge TPU's condition. ``invoked`` and ``aborted`` are for any thread, ``look`` and the rest for one."""

    def __init__(self, performance: str, bus: TpuBus, clock: Clock) -> None:
        """Begin with nothing known; ``performance`` is the configured clock."""
        self._bus, self._clock = bus, clock
        self._lock = Lock()
        self._cooling = Cooling(performance, clock.monotonic_s())
        self._drifts: dict[str, Drift] = {}
        self._running = performance
        """The clock that the serving worker was started with."""
        self._resets: deque[float] = deque(maxlen=EVENTS_MAX)
        self._aborts: deque[float] = deque(maxlen=EVENTS_MAX)
        self._lates: deque[float] = deque(maxlen=LATE_MAX)
        self._opened: TpuDevice | None = None
        """As it was when it had been opened; it changes when the device falls off the bus."""
        self._opened_bytes = 0
        self._looked_s = float("-inf")
        self.device: TpuDevice | None = None
        """What was there at the newest look."""
        self.temperature_c: float | None = None

    @property
    def performance(self) -> str:
        """The clock for the next worker."""
        with self._lock:
            return self._cooling.performance

    @property
    def cooling(self) -> bool:
        """Whether that is below the configured one."""
        with self._lock:
            return self._cooling.active

    @property
    def resets_1h(self) -> int:
        """Times in the last hour that the device left the bus and came back by itself."""
        return self._recent(self._resets)

    @property
    def aborts_1h(self) -> int:
        """Times in the last hour that a worker died or hung."""
        return self._recent(self._aborts)

    def started(self) -> None:
        """Hear that a worker was started, at ``performance``."""
        with self._lock:
            self._running = self._cooling.performance
            self._opened, self._opened_bytes = None, 0
            for drift in self._drifts.values():
                drift.reloaded()

    def opened(self, device: TpuDevice | None, worker: Worker) -> None:
        """Hear that the worker has loaded a model; what the device looks like now is how it stays."""
        self.device = self._opened = device
        self._opened_bytes = worker.resident_bytes

    def moved(self) -> None:
        """Hear that a rung of ours will make it another device: that is no reset which nobody asked for."""
        self._opened = None

    def invoked(self, model: str, took_s: float) -> None:
        """Hear how long an answer took."""
        with self._lock:
            drift = self._drifts.setdefault(model, Drift())
            drift.observe(took_s)
            if drift.slow:
                self._cooling.slowed(self._clock.monotonic_s())

    def late(self, took_s: float) -> bool:
        """Hear that an answer was overdue (``took_s`` above 0); say whether that was once too often."""
        if took_s <= 0.0:
            return False
        now_s = self._clock.monotonic_s()
        self._lates.append(now_s)
        return len(self._lates) == LATE_MAX and now_s - self._lates[0] <= LATE_S

    def aborted(self) -> None:
        """Hear that the worker died, or had to be killed."""
        self._aborts.append(self._clock.monotonic_s())

    def look(self, device: TpuDevice | None, worker: Worker | None) -> Found:
        """Compare the device on the bus with what was opened; now and then read temperature and memory."""
        self.device = device
        if self._opened is not None and device != self._opened:
            if device is None:
                return Found(lost="it has left the bus")
            self._opened = None  # counted when it comes back, whoever noticed first that it had left
            self._resets.append(self._clock.monotonic_s())
            return Found(lost="it was reset and has come back as another device")
        now_s = self._clock.monotonic_s()
        if now_s - self._looked_s < LOOK_S:
            return Found()
        self._looked_s = now_s
        return self._measured(device, worker, now_s)

    def _measured(self, device: TpuDevice | None, worker: Worker | None, now_s: float) -> Found:
        """Read temperature and memory, and choose the clock."""
        self.temperature_c = None
        if device is not None:
            try:
                self.temperature_c = self._bus.temperature_c(device)
            except BackendError as error:
                return Found(lost=str(error))
        if worker is None or not self._opened_bytes:
            return Found()
        if worker.resident_bytes > self._opened_bytes + GROWTH_BYTES_MAX:
            return Found(reload=f"its worker has grown by more than {GROWTH_BYTES_MAX // 1024 // 1024} MiB")
        with self._lock:
            wanted = self._cooling.choose(now_s)
            if wanted != self._running:
                return Found(reload=f"its clock is changed to {wanted}: invokes have become slow, or fast again")
        return Found()

    def _recent(self, events: deque[float]) -> int:
        since_s = self._clock.monotonic_s() - HOUR_S
        return sum(at_s >= since_s for at_s in tuple(events))
