"""What is wired, and what a test or a bench may put in the place of a part."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from threading import Event

from appliance.adapters.backends.registry import make_backend
from appliance.adapters.metrics import PrometheusMeter
from appliance.adapters.sensors import make_sensor
from appliance.adapters.slots import Slots
from appliance.compose.tpus import MakeTpu, make_tpu
from appliance.compose.trials import CPU_ENGINE
from appliance.config import BackendName, ModelConfig, SensorConfig
from appliance.core import wire
from appliance.loop import Channel
from appliance.ports import Backend, Clock, Sensor, SensorContext, ServiceManager, SlotStore
from appliance.supervise import Supervisor


@dataclass(frozen=True, slots=True)
class Parts:
    """What a test or a bench may put in the place of a real edge."""

    make_sensor: Callable[[SensorConfig, SensorContext], Sensor] = make_sensor
    make_backend: Callable[[BackendName, ModelConfig], Backend] = make_backend
    """Makes every backend but the Edge TPU's."""
    make_tpu: MakeTpu = make_tpu
    make_slots: Callable[[Path], SlotStore] = Slots
    """Makes the store of models in a folder."""
    trial_engine: str = CPU_ENGINE
    """What a candidate is tried with in its own process, as ``module:Class``."""
    clock: Clock | None = None
    service: ServiceManager | None = None


@dataclass(frozen=True, slots=True)
class Appliance:
    """A wired appliance; nothing runs yet, but every model is proven."""

    channels: tuple[Channel, ...]
    clock: Clock
    meter: PrometheusMeter
    identity: wire.Identity
    supervisor: Supervisor
    volatile_folder: Path | None
    """Where the outbox is while the disk cannot be used; removed at the end."""

    def run(self, stop: Event) -> int:
        """Run until ``stop`` is set or every recording has ended. Returns the process's exit code."""
        try:
            return self.supervisor.run(stop)
        finally:
            self._let_go()

    def close(self) -> None:
        """Let go of what ``build`` opened, when ``run`` was not called."""
        self.supervisor.close()
        self._let_go()

    def _let_go(self) -> None:
        """Free the metrics' port, and the memory that an outbox was in."""
        self.meter.close()
        if self.volatile_folder is not None:
            shutil.rmtree(self.volatile_folder, ignore_errors=True)
