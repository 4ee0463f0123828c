"""An update from beginning to end as the store sees it, each stage from disk alone: ``python -m tests.power.subject``.

Its arguments: ``prepare``, ``good`` or ``bad``, the folder, and what is not synced: ``files``, ``folders`` or nothing.
It is the plan's table run by a stub of both processes: nothing is fetched over a network, nothing is judged.
"""

import os
import stat
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from appliance.adapters.slots import Slots
from appliance.errors import BundleError
from appliance.ports import SlotStore
from appliance.trust.plan import Event, advance, choose, started
from appliance.trust.state import ModelState, Stage
from tests.power.claims import Told
from tests.slots import MODEL, bundle_of, candidate_of, sample

OLDEST, OLD, NEW = sample("1.0.0"), sample("1.1.0", size_bytes=60_000), sample("2.0.0", size_bytes=150_000)
CONTENT = NEW.files["model.tflite"][::-1] * 2
BUNDLE = bundle_of(CONTENT)
CANDIDATE = candidate_of(NEW, BUNDLE, sequence=3)
TAG = '"v2"'
PIECE_BYTES = 70_000
STEPS_MAX = 50
REASON = "degenerate"


def prepare(slots: SlotStore) -> None:
    """Two models that served, and a few files."""
    for sequence, made in enumerate((OLDEST, OLD), start=1):
        slots.add(made.model_id, made.make)
        slots.commit(made.model_id, sequence)
        with slots.locked(MODEL):
            state = slots.load(MODEL)
            serving = {"committed": made.model_id, "previous": state.committed, "sequence": sequence}
            slots.save(state.model_copy(update=serving))
    slots.write_file(f"consent/{MODEL}", NEW.model_id.encode())
    slots.write_file("trust/timestamp.json", b"old")


def run(slots: SlotStore, *, good: bool) -> ModelState:
    """Go on from wherever the disk says, until the update has ended; ``good``: it passes its trial."""
    for _ in range(STEPS_MAX):
        state = slots.load(MODEL)
        if state.stage is Stage.IDLE and state.latest_id == NEW.model_id:
            return state
        event = _STAGES[state.stage](slots, good)
        with slots.locked(MODEL):
            state = slots.load(MODEL)
            if state.stage is Stage.PLAN:
                state = choose(state, CANDIDATE.manifest, BUNDLE)
            slots.save(advance(state, event))
    raise AssertionError("the update does not end")


def _metadata(slots: SlotStore, _good: bool) -> Event:  # noqa: FBT001 - one form for every stage
    slots.write_file("trust/timestamp.json", b"new")
    return Event.DONE


def _fetch(slots: SlotStore, _good: bool) -> Event:  # noqa: FBT001 - as above
    part = slots.partial(BUNDLE)
    if part.tag != TAG:
        part.begin(TAG)
    for start in range(part.size_bytes, len(CONTENT), PIECE_BYTES):
        part.append(CONTENT[start : start + PIECE_BYTES])
    part.sync()
    return Event.DONE


def _verify(slots: SlotStore, _good: bool) -> Event:  # noqa: FBT001 - as above
    return Event.DONE if slots.partial(BUNDLE).digest() == BUNDLE.sha256 else Event.DAMAGED


def _apply(slots: SlotStore, _good: bool) -> Event:  # noqa: FBT001 - as above
    try:
        slots.add(NEW.model_id, NEW.make)
    except BundleError:
        return Event.DAMAGED
    slots.partial(BUNDLE).remove()
    return Event.DONE


def _try(slots: SlotStore) -> None:
    with slots.locked(MODEL):
        slots.save(started(slots.load(MODEL)))


def _selftest(slots: SlotStore, _good: bool) -> Event:  # noqa: FBT001 - as above
    _try(slots)
    return Event.DONE


def _trial(slots: SlotStore, good: bool) -> Event:  # noqa: FBT001 - as above
    _try(slots)
    if good:
        slots.commit(NEW.model_id, CANDIDATE.manifest.sequence)
    return Event.DONE if good else Event.BAD


def _committed(slots: SlotStore, _good: bool) -> Event:  # noqa: FBT001 - as above
    slots.collect([], [])
    return Event.DONE


def _rollback(slots: SlotStore, _good: bool) -> Event:  # noqa: FBT001 - as above
    slots.condemn(NEW.model_id, REASON)
    slots.collect([], [])
    return Event.DONE


def _report(slots: SlotStore, _good: bool) -> Event:  # noqa: FBT001 - as above
    slots.write_file("reports/mqtt/000001.json", b"{}")
    slots.remove_file(f"consent/{MODEL}")
    return Event.DONE


_STAGES: Mapping[Stage, Callable[[SlotStore, bool], Event]] = {
    Stage.IDLE: lambda _slots, _good: Event.START,
    Stage.METADATA: _metadata,
    Stage.PLAN: lambda _slots, _good: Event.DONE,
    Stage.FETCH: _fetch,
    Stage.VERIFY: _verify,
    Stage.APPLY: _apply,
    Stage.SELFTEST: _selftest,
    Stage.TRIAL: _trial,
    Stage.COMMITTED: _committed,
    Stage.ROLLBACK: _rollback,
    Stage.REPORT: _report,
}


def ended(folder: Path, *, good: bool) -> None:
    """Assert that the update goes on to its end, whatever was left of it, and that then nothing is left to do."""
    slots = Slots(folder)
    slots.collect([], [BUNDLE.sha256])
    last = run(slots, good=good)
    assert run(Slots(folder), good=good) == last
    assert (last.stage, last.outcome) == (Stage.IDLE, "committed" if good else "rolled_back")
    assert (last.committed == NEW.model_id) == good
    assert slots.condemned() == ({} if good else {NEW.model_id: REASON})
    slots.collect([], [])
    assert slots.load(MODEL) == last
    assert not list(folder.rglob(".new-*")), "what was left is cleared away"
    assert not list((folder / "inbox").iterdir()), "it is not needed any more"


def without(syncs: str) -> None:
    """Let the syncs of ``files`` or of ``folders`` do nothing from now on: a store that is known to be bad."""
    sync = os.fsync

    def fsync(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode) != (syncs == "folders"):
            sync(descriptor)

    os.fsync = fsync  # type: ignore[assignment]  # it is given descriptors only


if __name__ == "__main__":
    _, what, place, *left_out = sys.argv
    told = Told(Slots(Path(place) / "models"))
    for each in left_out:
        without(each)
    if what == "prepare":
        prepare(told)
    else:
        run(told, good=what == "good")
