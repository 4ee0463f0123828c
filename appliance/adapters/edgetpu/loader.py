"""Brings models onto an Edge TPU: starts a worker as the ladder says, loads each once, and says whose fault it is.

What kills a worker may be the device, the software, or one model. The device climbs the ladder, the software is named
with what to install, and a model is kept off, so that it does not take the Edge TPU from the others.
"""

from appliance.adapters.backends.exchange import Signature
from appliance.adapters.backends.tensors import full_name
from appliance.adapters.backends.worker import Worker
from appliance.adapters.edgetpu.backend import Place
from appliance.adapters.edgetpu.climb import Climb
from appliance.adapters.edgetpu.crew import Crew
from appliance.adapters.edgetpu.pairing import CRASHES, Pairing
from appliance.adapters.edgetpu.residents import Residents, key_of
from appliance.adapters.edgetpu.watch import Watch
from appliance.core.model import Model
from appliance.core.recovery import Event, State
from appliance.errors import BackendError, ModelError, UnfitError
from appliance.log import get
from appliance.trust.consistency import EDGETPU_FILE

START_DEADLINE_S = 20.0
"""For a worker to load its libraries; half a second on x86-64, several on a Pi with a slow card."""
MOVES_DEVICE = frozenset({State.RESET, State.REBIND, State.POWER_CYCLE})
"""Rungs after which the device is another one on the bus, because we wanted it."""
DEATH_S = 1.0
"""How long the end of a worker that failed is waited for, to say how it died."""

_log = get(__name__)


class Loader:
    """For the probing thread."""

    def __init__(
        self,
        name: str,
        *,
        climb: Climb,
        crew: Crew,
        watch: Watch,
        residents: Residents,
        pairing: Pairing,
        open_deadline_s: float,
    ) -> None:
        """Work with the parts of the Edge TPU called ``name``; opening may take ``open_deadline_s``."""
        self._name = name
        self._climb, self._crew, self._watch = climb, crew, watch
        self._residents, self._pairing = residents, pairing
        self._open_deadline_s = open_deadline_s

    def revive(self) -> Worker:
        """Start a worker: at once where the hardware is well, else as the ladder says. Raises BackendError."""
        if not self._climb.ladder.serves:
            if self._climb.ladder.state in MOVES_DEVICE:
                self._watch.moved()
            self._climb.attempt()
        self._residents.leave()
        try:
            self._climb.check_access()
            worker = self._crew.start(START_DEADLINE_S)
        except UnfitError as error:  # nothing of the hardware was touched: no rung would help
            self._climb.happened(Event.MISFIT, str(error))
            raise
        self._watch.started()
        _log.info("edge tpu worker started", tpu=self._name, pid=worker.pid, **worker.facts)
        if worker.facts.get("network") != "closed":
            _log.warning("the kernel does not close the network to the worker of this Edge TPU", tpu=self._name)
        return worker

    def load(self, worker: Worker, model: Model) -> Place:
        """Load a model on a worker, once. Raises BackendError, ModelError."""
        content = model.tflite_edgetpu
        if content is None:
            msg = f"{full_name(model)}: no {EDGETPU_FILE} in its folder; `appliance forge compile` makes it"
            raise ModelError(msg)
        signature = Signature(model.name, model.version, EDGETPU_FILE, model.input, model.outputs)
        key = key_of(signature, content)
        number = self._residents.number(key)
        if number is None:
            try:
                number = worker.load(signature, content, self._open_deadline_s)
            except ModelError as error:  # the device was opened: it is this model, for now
                self._residents.refuse(full_name(model), str(error))
                self._climb.settled()
                self._climb.returned()
                raise
            except BackendError as error:
                raise BackendError(self._failed(worker, signature, content, str(error))) from error
            self._climb.settled()
            self._watch.opened(self._climb.device, worker)
            self._residents.add(key, number)
        return Place(worker, number, full_name(model))

    def _failed(self, worker: Worker, signature: Signature, content: bytes, reason: str) -> str:
        """Hear that a model could not be loaded; returns why, in words that help."""
        sound, model = worker.alive and not worker.owes, full_name(signature)
        if sound and self._residents.some:  # others are served: this one alone does not fit beside them
            self._residents.refuse(model, reason)
            return reason
        if self._crew.dismiss(worker, reason) and not sound:
            self._watch.aborted()
        self._crew.collect(DEATH_S)
        if not sound and self._residents.blame(model):
            _log.warning("edge tpu: a model ends its worker, and is kept off", tpu=self._name, model=model)
            self._residents.refuse(model, reason)
            return reason
        if worker.died_of in CRASHES and not self._climb.ladder.serves:
            told = self._pairing.examine(signature, content, self._open_deadline_s)
            if told:
                self._climb.happened(Event.MISFIT, told)
                return told
        self._climb.failed(reason)
        return reason
