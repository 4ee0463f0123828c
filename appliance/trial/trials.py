"""The thread ``trial``: looks at each model's record about once a second, and does what it says."""

from collections.abc import Sequence
from threading import Event

from appliance.core.types import Message
from appliance.errors import OutboxError, StoreError
from appliance.loop import Edges
from appliance.ports.updates import SlotStore
from appliance.trial.attempts import Attempts
from appliance.trial.telling import Reports, standing
from appliance.trust.state import Stage

TICK_S = 1.0
"""How often records are looked at, and what they say is told."""
PAUSE_S = 0.02
"""Between two pieces of work: waiting for hardware must not take the processor."""
CONSENT_FOLDER = "consent"


class Trials:
    """All models' updates. ``run`` belongs to one thread; ``faults``, ``consent`` and ``close`` to any."""

    def __init__(self, models: Sequence[Attempts], reports: Reports, slots: SlotStore, edges: Edges) -> None:
        """Nothing is begun yet."""
        self._models, self._reports, self._slots = models, reports, slots
        self._board, self._identity = edges.board, edges.identity
        self._clock, self._meter, self._faults = edges.clock, edges.meter, edges.faults
        self._shown: dict[str, Message] = {}
        self._told_s = float("-inf")
        self._trouble: dict[str, str] = {}
        """What is wrong, by model."""

    @property
    def names(self) -> tuple[str, ...]:
        """Of the models that may be updated."""
        return tuple(each.site.name for each in self._models)

    @property
    def faults(self) -> tuple[str, ...]:
        """What is wrong with stored models and their updates, in words."""
        served = {each.site.name: each.site.fault for each in self._models}
        both = (*served.items(), *dict(self._trouble).items())
        return tuple(f"model {name}: {words}" for name, words in both if words)

    def run(self, stop: Event) -> None:
        """Take every record as far as it goes, and tell it, until ``stop`` is set."""
        while not stop.is_set():
            busy = [self._step(each) for each in self._models]
            if self._clock.monotonic_s() - self._told_s >= TICK_S:
                self._told_s = self._clock.monotonic_s()
                self._tell()
            self._clock.wait(stop, PAUSE_S if any(busy) else TICK_S)
        for each in self._models:
            each.end()

    def consent(self, name: str) -> str:
        """Say yes to the newest update of a model; returns why that was not done, empty where it was."""
        try:
            latest = self._slots.load(name).latest_id
            if latest is None:
                return "there is no update"
            self._slots.write_file(f"{CONSENT_FOLDER}/{name}", latest.encode())
        except StoreError as error:
            return str(error)
        return ""

    def close(self, *, told_to: bool = False) -> None:
        """Let go of what a trial has started, at once. Idempotent.

        Args:
            told_to: the process was told to end: that is not held against a candidate, as a crash is.
        """
        for each in self._models:
            each.cancel(told_to=told_to)

    def _step(self, model: Attempts) -> bool:
        """Do a piece of work for a model; whether there is more."""
        name = model.site.name
        try:
            busy = model.step()
        except StoreError as error:  # without a disk nothing is tried: the model before decides
            model.stop(str(error))
            self._trouble[name] = str(error)
            self._faults.failed(f"update of {name}", str(error))
            return False
        if self._trouble.pop(name, ""):
            self._faults.recovered(f"update of {name}")
        return busy

    def _tell(self) -> None:
        """Show how each model's updates stand, and send what was reported."""
        try:
            for each in self._models:
                self._show(each)
            self._reports.send()
            self._faults.recovered("updates told")
        except (StoreError, OutboxError) as error:
            self._faults.failed("updates told", str(error))

    def _show(self, model: Attempts) -> None:
        """Show one model, when there is something new. Raises StoreError."""
        name, message = model.site.name, standing(model, self._identity, self._slots)
        stage = model.state.stage if model.state else Stage.IDLE
        for each in Stage:
            self._meter.set("edge_update_stage", float(each is stage), model=name, stage=each.value)
        if self._shown.get(name) != message:
            self._shown[name] = message
            self._board.put(message)
