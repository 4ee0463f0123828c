"""One Edge TPU: implements ``ports.Accelerator``, and makes the backends of the models that it serves.

Opening, proving and healing happen on the probing thread; the loops' threads only invoke, and report what failed. A
loop never waits for anything but the answer to its own frame.
"""

import random
from collections.abc import Callable
from threading import Lock

from appliance.adapters.backends.tensors import full_name
from appliance.adapters.backends.worker import Worker
from appliance.adapters.edgetpu.backend import EdgeTpuBackend, Place
from appliance.adapters.edgetpu.claims import Claims
from appliance.adapters.edgetpu.climb import Climb
from appliance.adapters.edgetpu.crew import Crew
from appliance.adapters.edgetpu.loader import Loader
from appliance.adapters.edgetpu.pairing import Pairing
from appliance.adapters.edgetpu.residents import Residents
from appliance.adapters.edgetpu.watch import Watch
from appliance.adapters.ladder_file import LadderFile
from appliance.config import TpuConfig
from appliance.core.accelerator import TpuHealth
from appliance.core.model import Model
from appliance.core.types import Array, Outputs
from appliance.errors import BackendError
from appliance.log import get
from appliance.ports import Clock, Meter, TpuBus

ENGINE = "appliance.adapters.backends.edgetpu_engine:EdgeTpuEngine"
LATE_GRACE_S = 1.0
"""How much longer an overdue answer is waited for, by the probing thread, before its worker is given up."""
CLOSE_S = 2.0
"""How long an opening that was broken off is waited for at the end."""
OPENING_WAIT_S = 60.0
"""How long a model waits for another one that is being opened on the same Edge TPU."""

_log = get(__name__)


class EdgeTpu:
    """One worker, its recovery, and the models on it. ``invoke`` is for any thread, the rest for the probing one."""

    def __init__(
        self,
        name: str,
        config: TpuConfig,
        *,
        bus: TpuBus,
        clock: Clock,
        meter: Meter,
        kept: LadderFile | None = None,
        engine: str = ENGINE,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        """Nothing is opened yet.

        Args:
            name: its key under ``tpus``.
            config: its section.
            bus: where it is plugged in.
            clock: measures waits.
            meter: counts.
            kept: what of the recovery survives a reboot; None keeps nothing.
            engine: what the worker runs models with, as ``module:Class``.
            jitter: random numbers in [0, 1).
        """
        self.name = name
        self._config, self._bus, self._clock, self._engine = config, bus, clock, engine
        self._climb = Climb(name, config.device, bus=bus, clock=clock, meter=meter, kept=kept, jitter=jitter)
        self._crew = Crew(name, meter, lambda: self._hire(self._pairing.runtime))
        self._watch = Watch(config.performance, bus, clock)
        self._pairing = Pairing(config.runtime, self._hire, self._crew.bury)
        self._closed = False
        self._opening = Lock()
        self._residents = Residents(clock)
        self._loader = Loader(
            name,
            climb=self._climb,
            crew=self._crew,
            watch=self._watch,
            residents=self._residents,
            pairing=self._pairing,
            open_deadline_s=config.open_deadline_s,
        )
        self._lost: str = ""
        """Why the serving worker was dismissed, until the probing thread has heard of it."""
        self._retiring = ""
        """Why the serving worker is to be replaced in order; it is asked no more."""

    def agree(self, claims: Claims) -> None:
        """Share the devices with the other Edge TPUs that were given the same ``claims``. Before anything is opened."""
        self._climb.claims = claims

    def backend(self) -> EdgeTpuBackend:
        """Make the backend of one model."""
        self._residents.expected += 1
        return EdgeTpuBackend(self)

    def open(self, model: Model) -> Place:
        """Bring ``model`` onto the Edge TPU, healing it first where it is due.

        Raises:
            ModelError: there is no compiled file, or it contradicts its description.
            BackendError: it cannot serve now.
        """
        if not self._opening.acquire(timeout=OPENING_WAIT_S):
            msg = f"{self.name}: another model is being opened"
            raise BackendError(msg)
        try:
            if self._closed:
                msg = f"{self.name}: closed"
                raise BackendError(msg)
            worker = self._serving(full_name(model))
            if worker is None:
                self._retiring = ""  # also where the worker that was to be replaced has died first
                worker = self._loader.revive()
            return self._loader.load(worker, model)
        finally:
            self._opening.release()

    def invoke(self, place: Place, tensor: Array, deadline_s: float) -> Outputs:
        """Run a model on ``tensor`` within ``deadline_s``. Raises BackendError."""
        if self._retiring:
            raise BackendError(self._retiring)
        begun_s = self._clock.monotonic_s()
        try:
            outputs = place.worker.invoke(place.number, tensor, deadline_s)
        except BackendError as error:
            if not place.worker.alive:
                self._dismiss(place.worker, str(error))
            raise
        self._watch.invoked(place.model, self._clock.monotonic_s() - begun_s)
        return outputs

    def due(self, model: str) -> bool:
        """Whether it is worth a try to open ``model`` here now."""
        ready = self._crew.serving is not None or self._climb.ladder.serves or self._climb.due
        return ready and self._residents.may_try(model)

    def lost(self, place: Place) -> str:
        """Why a model is here no more; empty while it is."""
        if place.worker is not self._crew.serving:
            return self._lost or self._climb.reason or f"{self.name}: its worker has ended"
        return self._retiring

    def proven(self, model: str) -> None:
        """Hear that a model gave the numbers it must give."""
        self._residents.admit(model)
        self._climb.returned()

    def refused(self, model: str, reason: str) -> None:
        """Hear that a model gave other numbers: the hardware answers, but not for this one."""
        self._residents.refuse(model, reason)
        self._climb.returned()

    def failed(self, model: str, reason: str) -> None:
        """Hear that a model was open and did not answer: it alone where another one serves, else the device."""
        worker = self._crew.serving
        if worker is None or worker.owes or not worker.alive:
            return  # heard of already, or settled by the next opening
        if self._residents.others_serve(model):
            self._residents.refuse(model, reason)
        else:
            self._dismiss(worker, reason)

    def let_go(self, model: Model) -> None:
        """Hear that a model is not needed here any more: an update has taken its place, or it was one and has failed.

        A worker cannot unload. It is replaced in order, with those that are needed; the twins answer meanwhile.
        """
        self._residents.expected -= 1
        self._residents.dismiss(full_name(model))
        if self._crew.serving is not None and not self._retiring:
            self._retiring = f"{self.name}: its worker is replaced, to unload {full_name(model)}"

    def tend(self) -> None:
        """Look after it; see ``ports.Accelerator``."""
        if not self._opening.acquire(blocking=False):
            return
        try:
            self._crew.tend()
            self._look()
            self._hear_of_loss()
            self._climb.steady()
            self._climb.arrived()
        finally:
            self._opening.release()

    def health(self) -> TpuHealth:
        """Say how it is."""
        ladder, watch = self._climb.ladder, self._watch
        return TpuHealth(
            name=self.name,
            state=ladder.state,
            device=watch.device,
            performance=watch.performance,
            cooling=watch.cooling,
            temperature_c=watch.temperature_c,
            resets_1h=watch.resets_1h,
            aborts_1h=watch.aborts_1h,
            reason=self._climb.reason,
            refused=self._residents.refusals,
        )

    def close(self) -> None:
        """End its worker. Idempotent."""
        self._closed = True
        self._climb.freeze()
        if not self._opening.acquire(blocking=False):
            if (worker := self._crew.serving) is not None:
                worker.kill("closed")  # it is being opened: its order ends at once, and the probing thread lets go
            if not self._opening.acquire(timeout=CLOSE_S):
                return  # in a rung: what it does to the bus ends by itself, and a worker ends with this process
        try:
            self._crew.retire()
            self._bus.close()
        finally:
            self._opening.release()

    def _hire(self, runtime: str) -> Worker:
        """Start a worker's process. Raises BackendError."""
        own = {
            "library": self._config.library,
            "runtime": runtime,
            "device": self._climb.option or self._config.device,
            "Performance": self._watch.performance.capitalize(),
        }
        return Worker(self._engine, own | self._config.options, name=self.name)

    def _serving(self, model: str) -> Worker | None:
        """Return the serving worker if it can be used, after an overdue answer has come.

        Raises BackendError when ``model`` answers too late again and again: its deadline is too short for it, or the
        device stalls now and then; neither is mended by a reset.
        """
        worker = self._crew.serving
        if worker is not None and self._retiring:
            self._crew.retire()
            worker = None
        if worker is None:
            self._hear_of_loss()
            return None
        took_s = worker.settle(LATE_GRACE_S)
        if took_s is None or not worker.alive:
            self._dismiss(worker, f"{self.name}: {'hangs' if worker.alive else 'died'}")
        elif self._watch.late(took_s):
            reason = f"{self.name}: answers later than its deadline, again and again"
            self._residents.refuse(model, reason)
            raise BackendError(reason)
        else:
            return worker
        self._hear_of_loss()
        return None

    def _dismiss(self, worker: Worker, reason: str, *, abort: bool = True) -> None:
        """Kill the serving worker; the probing thread takes it from there. For any thread.

        ``abort``: the worker itself has failed, and not the device under it.
        """
        if self._crew.serving is not worker:
            return
        self._lost = reason  # before the worker goes: the probing thread must not start another unheard
        if self._crew.dismiss(worker, reason.removeprefix(f"{self.name}: ")) and abort:
            self._watch.aborted()

    def _hear_of_loss(self) -> None:
        """Take the step of the ladder that a loss is."""
        reason, self._lost = self._lost, ""
        if reason and not self._closed:
            self._residents.forgive()
            self._climb.failed(reason)

    def _look(self) -> None:
        """Look at the device and the worker; what they show may end the worker, or have it replaced in order."""
        worker = self._crew.serving
        found = self._watch.look(self._climb.device, worker)
        if worker is None:
            return
        if found.lost or not worker.alive:
            self._dismiss(worker, f"{self.name}: {found.lost or 'died'}", abort=not found.lost)
        elif found.reload and not self._retiring:
            self._retiring = f"{self.name}: {found.reload}"
