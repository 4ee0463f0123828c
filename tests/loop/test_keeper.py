"""The keeper on a manual clock: what was remembered comes back, and a faulty disk costs no more than it must."""

from collections.abc import Mapping
from threading import Event, Thread

import pytest

from appliance.core.types import Array, Frame
from appliance.keeper import PENDING_ENTRIES_MAX, Keeper, Remembering
from appliance.log import FaultLog, get
from appliance.sim.clock import ManualClock
from appliance.sim.memory import VolatileMemory
from appliance.sim.meter import RecordingMeter
from tests.waiting import eventually


class Notes:
    """An extractor that remembers what it is told to."""

    names = ("n",)
    words: Mapping[str, str] = {}

    def __init__(self) -> None:
        self.noted: dict[str, bytes] = {}
        self.restored: dict[str, bytes] = {}

    def __call__(self, _frame: Frame) -> tuple[Array, ...]:
        return ()

    def changes(self, entries_max: int) -> dict[str, bytes]:
        keys = list(self.noted)[:entries_max]
        return {key: self.noted.pop(key) for key in keys}

    def restore(self, entries: Mapping[str, bytes]) -> None:
        self.restored = dict(entries)


class Kept:
    """A keeper of one extractor."""

    def __init__(self, store: VolatileMemory | None = None) -> None:
        self.clock = ManualClock(auto_advance=False)
        self.meter = RecordingMeter(self.clock)
        self.store = store or VolatileMemory()
        self.notes = Notes()
        faults = FaultLog(get("keeper"), self.clock.monotonic_s)
        self.keeper = Keeper(
            self.store, {"till": Remembering(self.notes)}, self.clock, self.meter, faults, interval_s=30.0
        )

    def saved(self) -> float:
        return self.meter.value("edge_memory_saved_total", channel="till")


def test_what_was_kept_is_handed_back_at_the_next_start() -> None:
    first = Kept()
    first.keeper.open()
    first.notes.noted = {"c1": b"one"}
    first.keeper.close()
    second = Kept(first.store)
    second.keeper.open()
    assert second.notes.restored == {"c1": b"one"}


def test_changes_are_saved_each_interval_and_only_when_there_are_some() -> None:
    kept, stop = Kept(), Event()
    thread = Thread(target=kept.keeper.run, args=(stop,))
    thread.start()
    try:
        kept.notes.noted = {"c1": b"one"}
        eventually(lambda: kept.clock.waiting == 1)
        kept.clock.advance(29.0)
        assert kept.store.load("till") == {}
        kept.clock.advance(1.5)
        eventually(lambda: kept.saved() == 1.0)
    finally:
        stop.set()
        kept.clock.advance(60.0)
        thread.join(10.0)
    assert not thread.is_alive()
    kept.keeper.save()
    assert kept.saved() == 1.0


@pytest.mark.parametrize("count", [1, 255, 256, 257, 600])
def test_however_many_entries_changed_all_are_saved(count: int) -> None:
    kept = Kept()
    kept.notes.noted = {f"c{number}": b"x" for number in range(count)}
    kept.keeper.save()
    assert len(kept.store.load("till")) == count
    assert kept.saved() == count


def test_what_the_disk_did_not_take_is_saved_when_it_does_and_the_newest_value_wins() -> None:
    kept = Kept()
    kept.store.fault = "the disk is full"
    kept.notes.noted = {"c1": b"old", "c2": b"two"}
    kept.keeper.save()
    kept.notes.noted = {"c1": b"new"}
    kept.keeper.save()
    assert kept.saved() == 0
    kept.store.fault = ""
    kept.keeper.save()
    assert kept.store.load("till") == {"c1": b"new", "c2": b"two"}


def test_what_waits_for_a_dead_disk_is_bounded_and_counted_and_the_oldest_goes() -> None:
    kept = Kept()
    kept.store.fault = "the disk is dead"
    kept.notes.noted = {f"c{number}": b"x" for number in range(PENDING_ENTRIES_MAX + 3)}
    kept.keeper.save()
    assert kept.meter.value("edge_memory_dropped_total", channel="till") == 3
    kept.store.fault = ""
    kept.keeper.save()
    there = kept.store.load("till")
    assert len(there) == PENDING_ENTRIES_MAX
    assert "c0" not in there
    assert "c3" in there


def test_a_store_that_cannot_be_read_does_not_keep_the_appliance_from_starting() -> None:
    kept = Kept()
    kept.store.fault = "damaged"
    kept.keeper.open()
    assert kept.notes.restored == {}
