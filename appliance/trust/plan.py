"""An update as one table: (stage, event) to the next stage. Pure; whoever runs a stage reports one event.

Every stage can be begun again from what is on disk, and doing it twice is doing it once: a power cut is no event of
the table. What is drawn in docs/updates.md is printed from here.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from appliance.trust.manifest import Bundle, Manifest
from appliance.trust.state import REMEMBERED_MAX, Candidate, Failure, ModelState, Stage, shorten

WRITES_MAX = 30
"""Records written for one attempt before it is given up (Mender's store counter)."""
FAILURES_MAX = 5
"""Attempts at one update that may fail before its self-test; then it waits for a newer one, a retry, or a stick."""
BEGINNINGS_MAX = 3
"""Beginnings of APPLY that may come to no end (a device that reboots each time) before the attempt is given up."""
SKIP_RUNS_MAX = 32
"""Longest back-off, in runs of the updater: 16 hours at one run every half hour."""
HELD_WORDS: Mapping[str, str] = {
    "rollout": "this device is not in the share that may take it yet",
    "consent": "somebody has to say yes",
    "stale": "what is signed has expired: nothing new is begun on it",
    "budget": "the day's bytes are used up",
    "space": "there is no room for it",
    "base": "no delta fits the model that is here, and the whole may not be fetched",
    "failed": "it failed here, and its publisher has not asked for another try",
    "stopped": "its publisher has stopped it",
}
"""What an update may wait for (``ModelState.held``), in words."""


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
    """No try is left."""


class Effect(StrEnum):
    """What a transition does to the candidate."""

    KEEP = "keep"
    DROP = "drop"
    """Forget it; its files go."""
    COUNT = "count"
    """Count the failure and back off; what was received of it is kept for the next attempt, if it is sound."""
    DELAY = "delay"
    """Back off alone: the trouble is the device's, and is not held against the update."""
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


UPDATER_STAGES = (Stage.METADATA, Stage.PLAN, Stage.FETCH, Stage.VERIFY, Stage.APPLY)
"""Stages of the updater's process; the rest belong to the loop's."""
LOOP_STAGES = (Stage.SELFTEST, Stage.TRIAL)

TABLE: Mapping[tuple[Stage, Event], Step] = {
    (Stage.IDLE, Event.START): Step(Stage.METADATA, Effect.KEEP, "ask what is signed"),
    (Stage.METADATA, Event.DONE): Step(Stage.PLAN, Effect.KEEP, "what is signed is known"),
    (Stage.METADATA, Event.NOTHING): Step(Stage.IDLE, Effect.KEEP, "a stick that is older than what is trusted"),
    (Stage.METADATA, Event.UNREACHABLE): Step(Stage.IDLE, Effect.KEEP, "no network; another time"),
    (Stage.METADATA, Event.REFUSED): Step(Stage.REPORT, Effect.DROP, "not trusted; what was trusted stays", "failed"),
    (Stage.METADATA, Event.FAILED): Step(Stage.IDLE, Effect.KEEP, "it cannot be kept; another time"),
    (Stage.PLAN, Event.DONE): Step(Stage.FETCH, Effect.KEEP, "an update and its bundle are chosen"),
    (Stage.PLAN, Event.NOTHING): Step(Stage.IDLE, Effect.DROP, "nothing newer"),
    (Stage.PLAN, Event.HELD): Step(Stage.IDLE, Effect.DROP, "it has to wait"),
    (Stage.PLAN, Event.FAILED): Step(Stage.REPORT, Effect.DELAY, "it cannot be begun", "failed"),
    (Stage.FETCH, Event.DONE): Step(Stage.VERIFY, Effect.KEEP, "every byte is here"),
    (Stage.FETCH, Event.UNREACHABLE): Step(Stage.FETCH, Effect.KEEP, "broken off; goes on where it stopped"),
    (Stage.FETCH, Event.HELD): Step(Stage.FETCH, Effect.KEEP, "the day's bytes are used up; goes on later"),
    (Stage.FETCH, Event.STOPPED): Step(Stage.IDLE, Effect.DROP, "stopped by its publisher, or there is a newer one"),
    (Stage.FETCH, Event.REFUSED): Step(Stage.REPORT, Effect.COUNT, "the server has it no more", "failed"),
    (Stage.FETCH, Event.DAMAGED): Step(Stage.REPORT, Effect.COUNT, "there is more of it than is signed", "failed"),
    (Stage.FETCH, Event.FAILED): Step(Stage.REPORT, Effect.DELAY, "it cannot be kept", "failed"),
    (Stage.VERIFY, Event.DONE): Step(Stage.APPLY, Effect.KEEP, "what was received is what was signed"),
    (Stage.VERIFY, Event.STOPPED): Step(Stage.IDLE, Effect.DROP, "stopped by its publisher"),
    (Stage.VERIFY, Event.DAMAGED): Step(Stage.REPORT, Effect.COUNT, "damaged on its way; fetched anew", "failed"),
    (Stage.VERIFY, Event.FAILED): Step(Stage.REPORT, Effect.DELAY, "it cannot be read back", "failed"),
    (Stage.APPLY, Event.DONE): Step(Stage.SELFTEST, Effect.KEEP, "the folder is stored, and read back from the medium"),
    (Stage.APPLY, Event.STOPPED): Step(Stage.IDLE, Effect.DROP, "stopped by its publisher"),
    (Stage.APPLY, Event.DAMAGED): Step(
        Stage.REPORT, Effect.COUNT, "what came out is not what was signed, or took more memory or time", "failed"
    ),
    (Stage.APPLY, Event.FAILED): Step(Stage.REPORT, Effect.DELAY, "it cannot be kept", "failed"),
    (Stage.APPLY, Event.EXHAUSTED): Step(Stage.REPORT, Effect.COUNT, "begun again and again, never ended", "failed"),
    (Stage.APPLY, Event.REFUSED): Step(Stage.ROLLBACK, Effect.CONDEMN, "it does not suit this device", "rolled_back"),
    (Stage.SELFTEST, Event.DONE): Step(Stage.TRIAL, Effect.KEEP, "golden vectors, cost and live frames are right"),
    (Stage.SELFTEST, Event.STOPPED): Step(Stage.IDLE, Effect.DROP, "stopped by its publisher, or there is a newer one"),
    (Stage.SELFTEST, Event.BAD): Step(Stage.ROLLBACK, Effect.CONDEMN, "it failed its self-test", "rolled_back"),
    (Stage.SELFTEST, Event.EXHAUSTED): Step(Stage.ROLLBACK, Effect.CONDEMN, "it never finished it", "rolled_back"),
    (Stage.TRIAL, Event.DONE): Step(Stage.COMMITTED, Effect.COMMIT, "it decided as it must", "committed"),
    (Stage.TRIAL, Event.STOPPED): Step(Stage.IDLE, Effect.DROP, "stopped by its publisher, or there is a newer one"),
    (Stage.TRIAL, Event.BAD): Step(Stage.ROLLBACK, Effect.CONDEMN, "it did not decide as it must", "rolled_back"),
    (Stage.TRIAL, Event.EXHAUSTED): Step(Stage.ROLLBACK, Effect.CONDEMN, "no try is left", "rolled_back"),
    (Stage.COMMITTED, Event.DONE): Step(Stage.REPORT, Effect.KEEP, "what is not needed any more is removed"),
    (Stage.ROLLBACK, Event.DONE): Step(Stage.REPORT, Effect.KEEP, "the model before it serves; its files are removed"),
    (Stage.REPORT, Event.DONE): Step(Stage.IDLE, Effect.KEEP, "what happened is on its way to whoever listens"),
}

GIVEN_UP = Step(Stage.REPORT, Effect.COUNT, "given up: it never comes to an end", "failed")
"""Where a stage leads that would go on as before, when ``WRITES_MAX`` records were written for the attempt."""


def advance(state: ModelState, event: Event, reason: str = "") -> ModelState:
    """Return the record after ``event``; it is not written yet.

    A pair that is not in the table is a bug of whoever runs the stage.
    """
    step = TABLE[state.stage, event]
    if step.to is state.stage and state.writes >= WRITES_MAX:
        step, reason = GIVEN_UP, f"{GIVEN_UP.words}: {reason or step.words}"
    return _affected(state, step, shorten(reason or step.words))


def seen(state: ModelState, manifest: Manifest | None, held: str = "") -> ModelState:
    """Return the record with the newest update that is signed, and what it waits for (a word of ``HELD_WORDS``).

    None: there is nothing newer than what serves.
    """
    latest_id, version = (manifest.model_id, manifest.version) if manifest else (state.committed, "")
    return state.model_copy(update={"latest_id": latest_id, "latest_version": version, "held": held})


def choose(state: ModelState, manifest: Manifest, bundle: Bundle) -> ModelState:
    """Return the record of PLAN with a candidate chosen: a new attempt. It is then advanced with DONE."""
    assert state.stage is Stage.PLAN, f"chosen in {state.stage}"
    update = {
        "candidate": Candidate(manifest=manifest.model_copy(update={"bundles": (bundle,)}), bundle=bundle),
        "tries_left": manifest.custom.terms.tries,
        "fetched_bytes": 0,
        "seconds": 0.0,
        "attempt": state.attempt + 1,
    }
    return seen(state, manifest).model_copy(update=update)


def failure_of(state: ModelState, model_id: str) -> Failure:
    """Return what is known of failed attempts at an update; what failed at another one is not held against it."""
    return next((each for each in state.failed if each.model_id == model_id), Failure(model_id=model_id))


def forgiven(state: ModelState, model_id: str) -> ModelState:
    """Return the record with one more try for an update that failed: its publisher asks for it, and only once."""
    failed = tuple(each.model_copy(update={"times": 0}) if each.model_id == model_id else each for each in state.failed)
    return state.model_copy(update={"failed": failed, "retried": (*state.retried, model_id)[-REMEMBERED_MAX:]})


def started(state: ModelState) -> ModelState:
    """Return the record with one try less, to be on disk before a candidate is loaded. One must be left."""
    assert state.stage in LOOP_STAGES, f"a try in {state.stage}"
    assert state.tries_left > 0, "no try is left"
    return state.model_copy(update={"tries_left": state.tries_left - 1})


def given_back(state: ModelState) -> ModelState:
    """Return the record with the try that was counted last: nothing that a candidate did can have ended it."""
    assert state.stage in LOOP_STAGES, f"a try in {state.stage}"
    assert state.candidate is not None, f"{state.stage} without a candidate"
    signed = state.candidate.manifest.custom.terms.tries
    return state.model_copy(update={"tries_left": min(state.tries_left + 1, signed)})


def begun(state: ModelState) -> ModelState:
    """Return the record that says that APPLY is begun, to be on disk before it is: it may take the device down."""
    assert state.stage is Stage.APPLY, f"begun in {state.stage}"
    return state.model_copy(update={"beginnings": state.beginnings + 1})


def _affected(state: ModelState, step: Step, reason: str) -> ModelState:
    """Return ``state`` after ``step``."""
    ends = step.to is Stage.IDLE
    update: dict[str, object] = {"stage": step.to, "writes": 0 if ends else state.writes + 1, "beginnings": 0}
    if step.outcome:
        update |= {"outcome": step.outcome, "reason": reason}
    if step.effect is not Effect.KEEP:
        update |= {"tries_left": 0} | _EFFECTS[step.effect](state)
    if ends:
        update |= {"candidate": None}
    return state.model_copy(update=update)


def _counted(state: ModelState, times: int = 1) -> dict[str, object]:
    """Return what counting a failure changes; a bundle that does not apply once is not asked for again."""
    failures, failed = state.failures + 1, state.failed
    model_id = state.candidate.manifest.model_id if state.candidate else state.latest_id
    if model_id is not None:
        before = failure_of(state, model_id)
        whole = before.prefer_whole or (bool(times) and state.stage is Stage.APPLY)
        now = Failure(model_id=model_id, times=before.times + times, prefer_whole=whole)
        failed = (*(each for each in failed if each.model_id != model_id), now)[-REMEMBERED_MAX:]
    skip_runs = min((1 << min(failures, SKIP_RUNS_MAX.bit_length())) - 1, SKIP_RUNS_MAX)
    return {"failed": failed, "failures": failures, "skip_runs": skip_runs}


def _committed(state: ModelState) -> dict[str, object]:
    assert state.candidate is not None, "nothing to commit"
    manifest = state.candidate.manifest
    committed = {"committed": manifest.model_id, "sequence": manifest.sequence, "previous": state.committed}
    return {**committed, "failures": 0, "failed": ()}


_EFFECTS: Mapping[Effect, Callable[[ModelState], dict[str, object]]] = {
    Effect.DROP: lambda _: {"candidate": None},
    Effect.COUNT: _counted,
    Effect.DELAY: lambda state: _counted(state, times=0),
    Effect.COMMIT: _committed,
    Effect.CONDEMN: lambda _: {"failures": 0},
}
"""What each effect changes in a record. The list of the condemned is not in it: whoever ends an attempt writes it."""


_PERCENT: Mapping[Stage, int] = {
    Stage.FETCH: 0,
    Stage.VERIFY: 60,
    Stage.APPLY: 65,
    Stage.SELFTEST: 75,
    Stage.TRIAL: 80,
    Stage.COMMITTED: 100,
}
"""How far an update is when a stage begins, for a bar on a dashboard: an estimate, by what each takes."""


def percent(state: ModelState, received_bytes: int = 0) -> int | None:
    """Return how far an update is, in percent; None where none is under way.

    Args:
        state: where it stands.
        received_bytes: of its bundle, in FETCH.
    """
    if state.candidate is None or state.stage not in _PERCENT:
        return None
    if state.stage is Stage.FETCH:
        return min(received_bytes, state.candidate.bundle.size_bytes) * 60 // state.candidate.bundle.size_bytes
    return _PERCENT[state.stage]


def rows() -> list[tuple[str, str, str, str, str]]:
    """Return the table for people: stage, event, next stage, what becomes of the candidate, and why."""
    return [
        (stage.value, event.value, step.to.value, step.effect.value, step.words)
        for (stage, event), step in TABLE.items()
    ]
