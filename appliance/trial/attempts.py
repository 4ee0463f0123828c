"""Takes one model's record through SELFTEST and TRIAL. What decides is on the disk before anything is loaded.

A try is counted down before a candidate runs, and given back where it cannot have ended the try: the device's own
trouble, a process that is told to end, a wait for frames. A crash gives nothing back. The record is also the
updater's: where that has changed it, what is under way is let go, and nothing is written.
"""

from collections.abc import Callable

from appliance.core.trial import Verdict
from appliance.errors import BackendError, CandidateError, NoBackendError, StoreError
from appliance.log import get
from appliance.ports.updates import SlotStore
from appliance.trial.onlooker import Onlooker
from appliance.trial.probation import Switch, probation
from appliance.trial.selftest import Waits, Work, selftest
from appliance.trial.site import Sandbox, Site
from appliance.trust import plan
from appliance.trust.plan import LOOP_STAGES, Event
from appliance.trust.state import ModelState, Stage
from appliance.updater.finish import Teller, finish

RETRY_S, RETRY_S_MAX = 10.0, 600.0
"""Wait after trouble that is not known to be the candidate's (no room for a process, no backend, a disk that takes
nothing): twice as long each time, up to the second."""
UNOPENED_MAX = 40
"""Beginnings in a row that end before a candidate could be opened, though the running model serves: with these waits
six hours. After them it is the candidate's."""
LOOK_S = 1.0
"""How often the record is looked at while a candidate is tried."""
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
        self._counted = False
        """Whether a try is counted down on disk that is neither used up nor given back."""
        self._looked_s = self._retry_s = float("-inf")
        self._wait_s = RETRY_S
        self._unopened = 0
        self._cancelled = self._told_to = False

    def step(self) -> bool:
        """Do a bounded piece of work; return whether there is more. Raises StoreError: nothing is decided then."""
        work = None if self._cancelled else self._work or self._begin()
        if work is None or not self._is_ours():
            return False
        told: str | Verdict = ""
        try:
            told = next(work)
        except CandidateError as error:
            told = Verdict(good=False, reason=str(error))
        except NoBackendError as error:  # the device's trouble, unless it is never over
            self._unopened += 1
            if self._unopened < UNOPENED_MAX:
                self.stop(str(error))
                return True
            told = Verdict(good=False, reason=f"it could not be opened {self._unopened} times: {error}")
        if self._cancelled:  # what ends with the process says nothing about a candidate
            self.end()
        elif isinstance(told, Verdict):
            self._settle(told)
        else:
            self._go_on(told)
        return True

    def stop(self, reason: str) -> None:
        """Break off for trouble that is not the candidate's; the model before decides. It begins anew after a while."""
        self._break_off(reason)
        self._retry_s = self.site.clock.monotonic_s() + self._wait_s
        self._wait_s = min(2 * self._wait_s, RETRY_S_MAX)
        if not self._cancelled:
            self._give_back()

    def cancel(self, *, told_to: bool) -> None:
        """End at once what the next piece of work would wait for; no verdict is given any more. For any thread.

        Args:
            told_to: nothing has crashed: ``end`` gives back the try. What the first call says holds.
        """
        if not self._cancelled:
            self._told_to, self._cancelled = told_to, True
        if self._sandbox is not None:
            self._sandbox.close()

    def end(self) -> None:
        """End with the process, after ``cancel``. Idempotent."""
        self._break_off("")
        if self._told_to:
            self._give_back()

    def _begin(self) -> Work | None:
        """Look at the record, and begin what it says; None where there is nothing to do now. Raises StoreError."""
        state = self._slots.load(self.site.name)
        self._counted = self._counted and self._knows(state)
        self.state = state
        if state.stage in _ENDED:
            state = self.state = finish(self._teller, self.site.name)
        if state.stage not in LOOP_STAGES or self.site.clock.monotonic_s() < self._retry_s:
            return None
        if not (state.tries_left or self._counted):
            if self._write(lambda now: plan.advance(now, Event.EXHAUSTED)):
                self._tell(self.state)
            return None
        self._work = self._begun(state)
        return self._work

    def _begun(self, state: ModelState) -> Work | None:
        """Return the work of the stage; None where there is no room for a process."""
        assert state.candidate is not None, f"{state.stage} without a candidate"
        manifest = state.candidate.manifest
        _log.info("trial", model=self.site.name, version=manifest.version, stage=state.stage.value)
        terms = manifest.custom.terms
        if state.stage is Stage.TRIAL:
            self._switch = Switch(self.site)
            return probation(self.site, manifest.model_id, terms, self._switch, self._onlooker)
        try:
            self._sandbox = self.site.workshop.sandbox(self.site.posts[0].key)
        except BackendError as error:
            self.stop(str(error))
            return None
        return selftest(self.site, manifest.model_id, terms, self._sandbox, self._onlooker)

    def _go_on(self, told: str) -> None:
        """See that a try is counted where the candidate runs next, and none where it only waits. Raises StoreError."""
        self.progress = told
        if self._switch.before:  # it was opened, and decides
            self._unopened = 0
        if isinstance(told, Waits):
            self._give_back()
        elif not self._counted:
            self._counted = self._write(plan.started)

    def _settle(self, verdict: Verdict) -> None:
        """Record what the work came to; a candidate that is not committed on disk decides nothing more."""
        assert self.state is not None, "read before it is begun"
        try:
            if not verdict.good:
                self._break_off("")  # first: the model before decides from the next frame on
            if not self._write(lambda state: _judged(state, verdict)):
                return
            if self.state.stage is Stage.COMMITTED and self.state.committed is not None:
                self._switch.keep(self.state.committed)
        finally:
            self._break_off("")
        self._begin_anew()
        self._tell(self.state)
        self.state = finish(self._teller, self.site.name)

    def _break_off(self, reason: str) -> None:
        """Let go of what is under way; the model before decides, the record stays."""
        work, self._work = self._work, None
        if work is not None:
            work.close()
        if self._sandbox is not None:
            self._sandbox.close()
            self._sandbox = None
        self.progress = reason

    def _give_back(self) -> None:
        """Give back a try that is counted; where the disk does not take that, it stays for the next beginning."""
        if not self._counted:
            return
        try:
            self._write(plan.given_back)
            self._counted = False
        except StoreError as error:
            _log.warning("a try is not given back yet", model=self.site.name, reason=str(error))

    def _is_ours(self) -> bool:
        """Look at the record now and then; let go of what is under way where somebody else has changed it."""
        now_s = self.site.clock.monotonic_s()
        if now_s - self._looked_s < LOOK_S:
            return True
        self._looked_s = now_s
        try:
            ours = self._knows(self._slots.load(self.site.name))
        except StoreError:  # that says nothing; whatever is written looks again
            return True
        if not ours:
            self._let_go()
        return ours

    def _write(self, change: Callable[[ModelState], ModelState]) -> bool:
        """Change the record; where somebody else has, let go instead. Returns which. Raises StoreError."""
        with self._slots.locked(self.site.name):
            state = self._slots.load(self.site.name)
            ours = self._knows(state)
            if ours:
                self.state = self._slots.save(change(state))
        if not ours:
            self._let_go()
        return ours

    def _knows(self, state: ModelState) -> bool:
        """Whether a record is the one that was read or written here last."""
        before = self.state
        return before is not None and (state.generation, state.stage, state.attempt) == (
            before.generation,
            before.stage,
            before.attempt,
        )

    def _let_go(self) -> None:
        """Break off: the record is another one now."""
        _log.info("trial let go: its record has changed", model=self.site.name)
        self._break_off("")
        self._begin_anew()

    def _begin_anew(self) -> None:
        """Forget what was counted and waited for: what comes next is another stage, or another candidate."""
        self._counted, self._wait_s, self._retry_s, self._unopened = False, RETRY_S, float("-inf"), 0

    def _tell(self, state: ModelState) -> None:
        """Log and count what a stage came to."""
        outcome = "passed" if state.stage is Stage.TRIAL else state.outcome
        self.site.meter.count("edge_model_update_total", model=self.site.name, outcome=outcome)
        candidate = state.candidate.manifest.version if state.candidate else ""
        _log.info("trial ended", model=self.site.name, version=candidate, outcome=outcome, reason=state.reason)


def _judged(state: ModelState, verdict: Verdict) -> ModelState:
    """Return the record after a verdict; who has passed the self-test has its try back, for the trial."""
    event = Event.DONE if verdict.good else Event.BAD
    reason = f"{plan.TABLE[state.stage, event].words}: {verdict.reason}"
    after = plan.advance(state, event, reason)
    return plan.given_back(after) if after.stage is Stage.TRIAL else after
