"""An update as one table: (stage, event) to the next stage. Pure; whoever runs a stage reports one event.

Every stage can be begun again from what is on disk, and doing it twice is doing it once: a power cut is no event of
the table. What is drawn in docs/updates.md is printed from here.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from appliance.trust.manifest import Bundle, Manifest
from appliance.trust.state import Candidate, ModelState, Stage, shorten

WRITES_MAX = 30
"""Records written for one attempt before it is given up (Mender's store counter)."""
FAILURES_MAX = 5
"""Attempts at one candidate that may fail before its self-test; then it waits for a newer one."""
SKIP_RUNS_MAX = 32
"""Longest back-off, in runs of the updater: a week and more at one run every six hours."""


class Event(StrEnum):
    """What a stage came to."""

    START = "start"
    DONE = "done"
    NOTHING = "nothing"
    """There is nothing to do."""
    HELD = "held"
    """There is something, but it has to wait: for consent, for a rollout, for the data budget, for space."""
    UNREACHABLE = "unreachable"
    """No network, no server, or it broke off: what was received is kept."""
    REFUSED = "refused"
    """A final no: untrusted metadata, a 4xx answer, an update that does not suit this device."""
    DAMAGED = "damaged"
    """What was received, or what came out of it, is not what was signed."""
    FAILED = "failed"
    """Something else went wrong: no space, no memory, no time, a crash."""
    STOPPED = "stopped"
    """The publisher has stopped it, or there is a newer one."""
    BAD = "bad"
    """The candidate does not do what it must."""
    EXHAUSTED = "exhausted"
    """No try is left, or too many records were written."""


class Effect(StrEnum):
    """What a transition does to the candidate."""

    KEEP = "keep"
    DROP = "drop"
    """Forget it; its files go."""
    COUNT = "count"
    """Forget it, count the failure and back off."""
    COMMIT = "commit"
    """It serves from now on."""
    CONDEMN = "condemn"
    """Its id goes to the list of those never tried again."""


@dataclass(frozen=True, slots=True)
class Step:
    """What follows."""

    to: Stage
    effect: Effect
    words: str
    outcome: str = ""
    """What the attempt has come to, where it ends here."""


_UPDATER = (Stage.METADATA, Stage.PLAN, Stage.FETCH, Stage.VERIFY, Stage.APPLY)
"""Stages of the updater's process; the rest belong to the loop's."""
LOOP_STAGES = (Stage.SELFTEST, Stage.TRIAL)

TABLE: Mapping[tuple[Stage, Event], Step] = {
    (Stage.IDLE, Event.START): Step(Stage.METADATA, Effect.KEEP, "ask what is signed"),
    (Stage.METADATA, Event.DONE): Step(Stage.PLAN, Effect.KEEP, "what is signed is known"),
    (Stage.METADATA, Event.UNREACHABLE): Step(Stage.IDLE, Effect.KEEP, "no network; another time"),
    (Stage.METADATA, Event.REFUSED): Step(Stage.REPORT, Effect.DROP, "not trusted; what was trusted stays", "failed"),
    (Stage.PLAN, Event.DONE): Step(Stage.FETCH, Effect.KEEP, "an update and its bundle are chosen"),
    (Stage.PLAN, Event.NOTHING): Step(Stage.IDLE, Effect.DROP, "nothing newer"),
    (Stage.PLAN, Event.HELD): Step(Stage.IDLE, Effect.DROP, "it has to wait"),
    (Stage.PLAN, Event.FAILED): Step(Stage.REPORT, Effect.COUNT, "it cannot be begun", "failed"),
    (Stage.FETCH, Event.DONE): Step(Stage.VERIFY, Effect.KEEP, "every byte is here"),
    (Stage.FETCH, Event.UNREACHABLE): Step(Stage.FETCH, Effect.KEEP, "broken off; goes on where it stopped"),
    (Stage.FETCH, Event.HELD): Step(Stage.FETCH, Effect.KEEP, "the day's bytes are used up; goes on later"),
    (Stage.FETCH, Event.STOPPED): Step(Stage.IDLE, Effect.DROP, "stopped by its publisher"),
    (Stage.FETCH, Event.REFUSED): Step(Stage.REPORT, Effect.COUNT, "the server has it no more", "failed"),
    (Stage.FETCH, Event.FAILED): Step(Stage.REPORT, Effect.COUNT, "it cannot be kept", "failed"),
    (Stage.VERIFY, Event.DONE): Step(Stage.APPLY, Effect.KEEP, "what was received is what was signed"),
    (Stage.VERIFY, Event.DAMAGED): Step(Stage.REPORT, Effect.COUNT, "damaged on its way; fetched anew", "failed"),
    (Stage.VERIFY, Event.FAILED): Step(Stage.REPORT, Effect.COUNT, "it cannot be read back", "failed"),
    (Stage.APPLY, Event.DONE): Step(Stage.SELFTEST, Effect.KEEP, "the folder is stored, and read back from the medium"),
    (Stage.APPLY, Event.DAMAGED): Step(Stage.REPORT, Effect.COUNT, "what came out is not what was signed", "failed"),
    (Stage.APPLY, Event.FAILED): Step(Stage.REPORT, Effect.COUNT, "no space, no memory or no time for it", "failed"),
    (Stage.APPLY, Event.REFUSED): Step(Stage.ROLLBACK, Effect.CONDEMN, "it does not suit this device", "rolled_back"),
    (Stage.SELFTEST, Event.DONE): Step(Stage.TRIAL, Effect.KEEP, "golden vectors, cost and live frames are right"),
    (Stage.SELFTEST, Event.BAD): Step(Stage.ROLLBACK, Effect.CONDEMN, "it failed its self-test", "rolled_back"),
    (Stage.SELFTEST, Event.EXHAUSTED): Step(Stage.ROLLBACK, Effect.CONDEMN, "it never finished it", "rolled_back"),
    (Stage.TRIAL, Event.DONE): Step(Stage.COMMITTED, Effect.COMMIT, "it decided as it must", "committed"),
    (Stage.TRIAL, Event.BAD): Step(Stage.ROLLBACK, Effect.CONDEMN, "it did not", "rolled_back"),
    (Stage.TRIAL, Event.EXHAUSTED): Step(Stage.ROLLBACK, Effect.CONDEMN, "no try is left", "rolled_back"),
    (Stage.COMMITTED, Event.DONE): Step(Stage.REPORT, Effect.KEEP, "what is not needed any more is removed"),
    (Stage.ROLLBACK, Event.DONE): Step(Stage.REPORT, Effect.KEEP, "the model before it serves; its files are removed"),
    (Stage.REPORT, Event.DONE): Step(Stage.IDLE, Effect.KEEP, "what happened is on its way to whoever listens"),
}

_GIVEN_UP: Mapping[Stage, Step] = {
    **{stage: Step(Stage.REPORT, Effect.COUNT, "given up: too many beginnings", "failed") for stage in _UPDATER},
    **{stage: TABLE[stage, Event.EXHAUSTED] for stage in LOOP_STAGES},
}
"""What happens when an attempt has written ``WRITES_MAX`` records and does not end."""


def advance(state: ModelState, event: Event, reason: str = "") -> ModelState:
    """Return the record after ``event``; it is not written yet.

    A pair that is not in the table is a bug of whoever runs the stage.
    """
    step = TABLE[state.stage, event]
    if state.writes >= WRITES_MAX and state.stage in _GIVEN_UP and step.to not in (Stage.COMMITTED, Stage.ROLLBACK):
        step, reason = _GIVEN_UP[state.stage], reason or "too many beginnings"
    return _affected(state, step, shorten(reason or step.words))


def choose(state: ModelState, manifest: Manifest, bundle: Bundle) -> ModelState:
    """Return the record of PLAN with a candidate chosen: a new attempt. It is then advanced with DONE."""
    assert state.stage is Stage.PLAN, f"chosen in {state.stage}"
    same = state.latest_id == manifest.model_id
    return state.model_copy(
        update={
            "candidate": Candidate(manifest=manifest, bundle=bundle),
            "tries_left": manifest.custom.terms.tries,
            "failures": state.failures if same else 0,
            "latest_id": manifest.model_id,
            "latest_version": manifest.version,
            "held": "",
            "fetched_bytes": 0,
            "attempt": state.attempt + 1,
        }
    )


def started(state: ModelState) -> ModelState:
    """Return the record with one try less, to be on disk before a candidate is loaded. One must be left."""
    assert state.stage in LOOP_STAGES, f"a try in {state.stage}"
    assert state.tries_left > 0, "no try is left"
    return state.model_copy(update={"tries_left": state.tries_left - 1})


def _affected(state: ModelState, step: Step, reason: str) -> ModelState:
    """Return ``state`` after ``step``."""
    update: dict[str, object] = {"stage": step.to, "writes": 0 if step.to is Stage.IDLE else state.writes + 1}
    if step.outcome:
        update |= {"outcome": step.outcome, "reason": reason}
    match step.effect:
        case Effect.DROP:
            update |= {"candidate": None, "tries_left": 0}
        case Effect.COUNT:
            failures = state.failures + 1
            skip = min(2**failures - 1, SKIP_RUNS_MAX)
            update |= {"failures": failures, "skip_runs": skip, "tries_left": 0}
        case Effect.COMMIT:
            assert state.candidate is not None, "nothing to commit"
            manifest = state.candidate.manifest
            update |= {
                "committed": manifest.model_id,
                "previous": state.committed,
                "sequence": manifest.sequence,
                "failures": 0,
                "tries_left": 0,
            }
        case Effect.CONDEMN:
            update |= {"tries_left": 0}
        case Effect.KEEP:
            pass
    if step.to is Stage.IDLE:
        update |= {"candidate": None}
    return state.model_copy(update=update)
