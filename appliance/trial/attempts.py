"""Takes one model's record through SELFTEST and TRIAL. What decides is on the disk before anything is loaded."""

from appliance.core.trial import Verdict
from appliance.errors import BackendError, CandidateError, NoBackendError
from appliance.log import get
from appliance.ports.updates import SlotStore
from appliance.trial.onlooker import Onlooker
from appliance.trial.probation import Switch, probation
from appliance.trial.selftest import Work, selftest
from appliance.trial.site import Sandbox, Site
from appliance.trust import plan
from appliance.trust.plan import LOOP_STAGES, Event
from appliance.trust.state import ModelState, Stage
from appliance.updater.finish import Teller, finish

RETRY_S = 10.0
"""After trouble that is not known to be the candidate's: no room for a process, a disk that takes nothing."""
_ENDED = frozenset({Stage.COMMITTED, Stage.ROLLBACK, Stage.REPORT})

_log = get(__name__)


class Attempts:
    """The updates of one model. For the trial's thread, but for ``cancel``."""

    def __init__(self, site: Site, teller: Teller) -> None:
        """Look on at the site's channels from now on."""
        self.site = site
        self.state: ModelState | None = None
        """The record, as it was read or written last."""
        self.progress = ""
        """What is being done, in words."""
        self._slots: SlotStore = teller.slots
        self._teller = teller
        self._onlooker = Onlooker(site.channels.values())
        self._work: Work | None = None
        self._switch = Switch(site)
        self._sandbox: Sandbox | None = None
        self._passed = 0
        """Number of the attempt whose self-test this process has seen pass."""
        self._retry_s = float("-inf")
        self._cancelled = False

    def step(self) -> bool:
        """Do a bounded piece of work; return whether there is more. Raises StoreError: nothing is decided then."""
        work = None if self._cancelled else self._work or self._begin()
        if work is None:
            return False
        try:
            told = next(work)
        except CandidateError as error:
            told = Verdict(good=False, reason=str(error))
        except NoBackendError as error:  # the device's trouble, perhaps: this try is over, and was counted
            self.stop(str(error))
            return True
        if self._cancelled:  # what ends with the process says nothing about a candidate
            self.stop("")
        elif isinstance(told, Verdict):
            self._settle(told)
        else:
            self.progress = told
        return True

    def stop(self, reason: str) -> None:
        """Break off what is under way; the model before decides, the record stays. It begins anew after a while."""
        work, self._work = self._work, None
        if work is not None:
            work.close()
        self.progress = reason
        self._retry_s = self.site.clock.monotonic_s() + RETRY_S

    def cancel(self) -> None:
        """End at once what the next piece of work would wait for; no verdict is given any more. For any thread."""
        self._cancelled = True
        if self._sandbox is not None:
            self._sandbox.close()

    def _begin(self) -> Work | None:
        """Look at the record, and begin what it says; None where there is nothing to do now. Raises StoreError."""
        state = self.state = self._slots.load(self.site.name)
        if state.stage in _ENDED:
            state = self.state = finish(self._teller, self.site.name)
        if state.stage not in LOOP_STAGES or self.site.clock.monotonic_s() < self._retry_s:
            return None
        sandbox = None
        if state.stage is Stage.SELFTEST and state.tries_left:
            try:
                sandbox = self._sandbox = self.site.workshop.sandbox(self.site.posts[0].key)
            except BackendError as error:  # nothing of the candidate was touched: no try is counted
                self.stop(str(error))
                return None
        counted = False
        try:
            counted = self._counted()
        finally:
            if sandbox is not None and not counted:
                sandbox.close()
        self._work = self._begun(sandbox) if counted else None
        return self._work

    def _counted(self) -> bool:
        """Count a try down, on disk; return whether there was one left. Raises StoreError."""
        with self._slots.locked(self.site.name):
            state = self._slots.load(self.site.name)
            if state.stage not in LOOP_STAGES:
                return False
            going_on = state.stage is Stage.TRIAL and state.attempt == self._passed
            self._passed = 0
            if state.tries_left:
                self.state = self._slots.save(plan.started(state))
            elif not going_on:  # else the last try is this one, which has come from the self-test to here
                self.state = self._slots.save(plan.advance(state, Event.EXHAUSTED))
                self._tell(self.state)
                return False
        return True

    def _begun(self, sandbox: Sandbox | None) -> Work:
        """Return the work of the stage."""
        assert self.state is not None, "read before it is begun"
        assert self.state.candidate is not None, f"{self.state.stage} without a candidate"
        manifest = self.state.candidate.manifest
        _log.info("trial", model=self.site.name, version=manifest.version, stage=self.state.stage.value)
        terms = manifest.custom.terms
        if sandbox is not None:
            return selftest(self.site, manifest.model_id, terms, sandbox, self._onlooker)
        self._switch = Switch(self.site)
        return probation(self.site, manifest.model_id, terms, self._switch, self._onlooker)

    def _settle(self, verdict: Verdict) -> None:
        """Record what the work came to; a candidate that is not committed on disk decides nothing more."""
        try:
            if not verdict.good:
                self.stop("")  # first: the model before decides from the next frame on
            state = self._recorded(verdict)
            if state.stage is Stage.COMMITTED and state.committed is not None:
                self._switch.keep(state.committed)
            self._passed = state.attempt if state.stage is Stage.TRIAL else 0
        finally:
            self.stop("")
        self._retry_s = float("-inf")
        self._tell(state)
        self.state = finish(self._teller, self.site.name)

    def _recorded(self, verdict: Verdict) -> ModelState:
        """Advance the record. Raises StoreError."""
        event = Event.DONE if verdict.good else Event.BAD
        with self._slots.locked(self.site.name):
            state = self._slots.load(self.site.name)
            reason = f"{plan.TABLE[state.stage, event].words}: {verdict.reason}"
            self.state = self._slots.save(plan.advance(state, event, reason))
            return self.state

    def _tell(self, state: ModelState) -> None:
        """Log and count what a stage came to."""
        outcome = "passed" if state.stage is Stage.TRIAL else state.outcome
        self.site.meter.count("edge_model_update_total", model=self.site.name, outcome=outcome)
        candidate = state.candidate.manifest.version if state.candidate else ""
        _log.info("trial ended", model=self.site.name, version=candidate, outcome=outcome, reason=state.reason)
