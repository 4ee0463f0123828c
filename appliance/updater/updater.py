"""One run of the updater: each model's update as far as it goes now, every step written down before the next."""

from collections.abc import Sequence
from dataclasses import dataclass
from threading import Event as Flag

from appliance.config import UpdateConfig
from appliance.errors import RefusedError, RepositoryError, StoreError
from appliance.log import get
from appliance.trust import plan
from appliance.trust.plan import Event
from appliance.trust.state import ModelState, Stage
from appliance.updater.edges import Edges, Post, Watch
from appliance.updater.finish import HTTPS_REPORTS, Teller, finish
from appliance.updater.stages import Outcome, Stages

_ENDINGS = (Stage.COMMITTED, Stage.ROLLBACK, Stage.REPORT)
_ASKING = (Stage.METADATA, Stage.PLAN)
_log = get(__name__)


@dataclass(frozen=True, slots=True)
class Result:
    """What a run came to."""

    faults: tuple[str, ...] = ()
    """What was wrong with the store. Empty when there was nothing to do, too."""
    unreachable: bool = False
    """Whether the repository could not be reached, or broke off."""
    refused: str = ""
    """Why what the repository says is signed was not believed."""


class Updater:
    """Works through the models, one after another, from what is on disk."""

    def __init__(
        self,
        edges: Edges,
        config: UpdateConfig,
        teller: Teller,
        *,
        models: Sequence[str],
        watch: Watch,
        post: Post | None = None,
    ) -> None:
        """Do nothing yet.

        Args:
            edges: what the stages work with.
            config: the configuration's ``update``.
            teller: tells how attempts ended.
            models: names.
            watch: told of each step, and of each piece received.
            post: takes reports for the publisher; None where they go over MQTT only.
        """
        self._edges, self._slots = edges, edges.slots
        self._config, self._teller, self._models = config, teller, models
        self._watch, self._post = watch, post
        self._unreachable = False

    def run(self) -> Result:
        """Do what can be done now, in ``update.run_s_max`` at most."""
        until_s = self._edges.clock.monotonic_s() + self._config.run_s_max
        faults: list[str] = []
        for model in self._models:
            stages = Stages(self._edges, self._config, self._teller.node, until_s, self._watch)
            try:
                self._work(model, stages)
            except StoreError as error:
                _log.error("update", model=model, reason=str(error))
                faults.append(f"{model}: {error}")
        if self._post is not None:
            faults += _posted(self._post, self._teller, self._edges.stop)
        return Result(tuple(faults), self._unreachable, self._edges.signed.refused)

    def _work(self, model: str, stages: Stages) -> None:
        """Go on with one model until it waits for something or somebody. Raises StoreError."""
        starts = 1
        while not self._edges.stop.is_set():
            state = self._slots.load(model)
            self._watch(state, 0)
            if state.stage in plan.LOOP_STAGES and not stages.drops(state):
                return  # the appliance tries it
            if state.stage in _ENDINGS:
                finish(self._teller, model)
                continue
            if state.stage is Stage.IDLE:
                if not starts or not self._begins(state, stages):
                    return
                starts -= 1
                self._record(Outcome(state, Event.START), 0.0)
                continue
            if state.stage in _ASKING:
                starts = 0  # what it comes to stands for this run
            began_s = self._edges.clock.monotonic_s()
            outcome = stages.table[state.stage](state)
            if not self._record(outcome, self._edges.clock.monotonic_s() - began_s):
                return

    def _begins(self, state: ModelState, stages: Stages) -> bool:
        """Whether to ask again; what failed is left alone for a while, unless there is something newer, or a stick."""
        by_hand = self._edges.allowance is None
        if not state.skip_runs or by_hand or stages.newer_than_failed(state):
            return True
        with self._slots.locked(state.model):
            now = self._slots.load(state.model)
            if now.generation == state.generation:
                self._slots.save(now.model_copy(update={"skip_runs": now.skip_runs - 1}))
        return False

    def _record(self, outcome: Outcome, took_s: float) -> bool:
        """Write down what a stage came to; say whether to go on at once. Raises StoreError.

        Where somebody else has changed the record meanwhile, theirs stands.
        """
        before, event = outcome.state, outcome.event
        self._unreachable |= event is Event.UNREACHABLE
        timed = before.model_copy(update={"seconds": before.seconds + took_s})
        after = plan.advance(timed, event, outcome.reason) if outcome.counts else timed
        with self._slots.locked(before.model):
            now = self._slots.load(before.model)
            if now.generation != before.generation:
                return True
            if outcome.counts or _differs(now, after):
                self._slots.save(after)
        reason = (
            after.reason if after.stage is Stage.REPORT else outcome.reason or plan.TABLE[before.stage, event].words
        )
        _log.info("update", model=before.model, stage=before.stage.value, outcome=event.value, reason=reason)
        if before.stage is Stage.PLAN and event is Event.DONE:
            self._slots.collect((), ())  # what was received of older ones
        return after.stage is not before.stage


def _differs(one: ModelState, other: ModelState) -> bool:
    """Whether two records tell people something different."""
    return (one.fetched_bytes, one.held) != (other.fetched_bytes, other.held)


def _posted(post: Post, teller: Teller, stop: Flag) -> list[str]:
    """Post what waits, the oldest first, until one does not get through; returns what is wrong with the store."""
    try:
        for name in teller.slots.files(HTTPS_REPORTS):
            if stop.is_set():
                break
            content = teller.slots.file(name)
            try:
                if content is not None:
                    post(content)
            except RefusedError as error:
                _log.warning("report refused", report=name, reason=str(error))
            except RepositoryError as error:
                _log.info("report waits", report=name, reason=str(error))
                break
            teller.slots.remove_file(name)
    except StoreError as error:
        return [str(error)]
    return []
