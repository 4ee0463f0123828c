"""The simulation's store of models keeps the contract, and fails as it is told."""

from pathlib import Path

import pytest

from appliance.errors import StoreError
from appliance.sim.slots import VolatileSlots
from appliance.trust.state import Stage
from tests.contract.slot_suite import ONE, TWO, SlotContract, committed, save
from tests.slots import MODEL, bundle_of


class TestVolatileSlots(SlotContract):
    @pytest.fixture
    def slots(self, tmp_path: Path) -> VolatileSlots:
        return VolatileSlots(tmp_path)

    def test_a_disk_that_is_full_after_some_writes_keeps_what_was_written(self, slots: VolatileSlots) -> None:
        committed(slots, ONE, 1)
        slots.script.writes_left = 2
        save(slots, stage=Stage.METADATA)
        slots.write_file("budget.json", b"1")
        for write in (
            lambda: save(slots, stage=Stage.PLAN),
            lambda: slots.write_file("budget.json", b"2"),
            lambda: slots.add(TWO.model_id, TWO.make),
            lambda: slots.partial(bundle_of(b"x")).begin(""),
        ):
            with pytest.raises(StoreError, match="No space left on device"):
                write()
        assert (slots.load(MODEL).stage, slots.file("budget.json")) == (Stage.METADATA, b"1")
        assert slots.folder(TWO.model_id) is None

    def test_a_disk_that_refuses_writes_or_reads_says_why(self, slots: VolatileSlots) -> None:
        slots.script.refuse = "Read-only file system"
        with pytest.raises(StoreError, match="Read-only file system"):
            slots.condemn(ONE.model_id, "x")
        slots.script.unreadable = "Input/output error"
        with pytest.raises(StoreError, match="Input/output error"):
            slots.load(MODEL)

    def test_a_record_that_was_lost_is_rebuilt(self, slots: VolatileSlots) -> None:
        committed(slots, ONE, 4)
        slots.forget(MODEL)
        assert (slots.load(MODEL).committed, slots.load(MODEL).sequence) == (ONE.model_id, 4)
