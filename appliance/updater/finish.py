"""How an attempt ends, whichever process finds it ended: marked, told, tidied. Idempotent until its record is IDLE."""

import json
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import PurePosixPath

from appliance.ports.updates import SlotStore
from appliance.trust import plan
from appliance.trust.plan import Event
from appliance.trust.state import ModelState, Stage

REPORTS_MAX = 100
"""Reports that wait for each listener; the oldest goes first."""
MQTT_REPORTS, HTTPS_REPORTS = "reports/mqtt", "reports/https"


@dataclass(frozen=True, slots=True)
class Running:
    """What a device runs."""

    model_id: str
    version: str


@dataclass(frozen=True, slots=True)
class Teller:
    """Who tells what became of an update, and to whom."""

    slots: SlotStore
    node: str
    software: str
    running: Callable[[str], Running]
    """What serves under a model's name: as the loop knows it, or as the record says. Raises StoreError."""
    https: bool
    """Whether reports are posted, too."""


def finish(teller: Teller, model: str) -> ModelState:
    """Take a record at COMMITTED, ROLLBACK or REPORT to IDLE; returns the record, any other as it is.

    Not to be called under the record's lock. Raises StoreError: nothing is lost, it goes on at the next call.
    """
    slots = teller.slots
    with slots.locked(model):
        state = slots.load(model)
        settles = state.stage in _SETTLE
        if settles:
            _SETTLE[state.stage](slots, state)
            state = slots.save(plan.advance(state, Event.DONE))
        if state.stage is Stage.REPORT:
            told = _mark(state)
            if told != state.told:
                _tell(teller, state)
            state = slots.save(plan.advance(state, Event.DONE).model_copy(update={"told": told}))
    if settles:
        slots.collect((), ())
    return state


def _commit(slots: SlotStore, state: ModelState) -> None:
    assert state.committed is not None, "COMMITTED without a model"
    slots.commit(state.committed, state.sequence)


def _condemn(slots: SlotStore, state: ModelState) -> None:
    assert state.candidate is not None, "ROLLBACK without a candidate"
    slots.condemn(state.candidate.manifest.model_id, state.reason)


_SETTLE = {Stage.COMMITTED: _commit, Stage.ROLLBACK: _condemn}


def _mark(state: ModelState) -> int:
    """Return what is different for every attempt, and for every new reason where there was none."""
    return zlib.crc32(f"{state.attempt} {state.outcome} {state.reason}".encode())


def _tell(teller: Teller, state: ModelState) -> None:
    """Write the report for everyone who listens. Raises StoreError."""
    runs = teller.running(state.model)
    manifest = state.candidate.manifest if state.candidate else None
    report = {
        "node": teller.node,
        "model": state.model,
        "running_id": runs.model_id,
        "running_version": runs.version,
        "previous_id": state.previous or "",
        "candidate_id": manifest.model_id if manifest else "",
        "candidate_version": manifest.version if manifest else "",
        "attempt": state.attempt,
        "outcome": state.outcome,
        "reason": state.reason,
        "bytes": state.fetched_bytes,
        "seconds": round(state.seconds, 1),
        "software": teller.software,
    }
    content = json.dumps(report).encode()
    for folder in (MQTT_REPORTS, *([HTTPS_REPORTS] if teller.https else [])):
        _append(teller.slots, folder, content)


def _append(slots: SlotStore, folder: str, content: bytes) -> None:
    """Put a report behind those that wait. Raises StoreError."""
    waiting = slots.files(folder)
    for name in waiting[: max(0, len(waiting) - REPORTS_MAX + 1)]:
        slots.remove_file(name)
    number = int(PurePosixPath(waiting[-1]).stem) + 1 if waiting else 1
    slots.write_file(f"{folder}/{number:06d}.json", content)
