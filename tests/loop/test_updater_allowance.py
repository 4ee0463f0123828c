"""The day's bytes on disk: a cut hides nothing of what was used, and damage is no gift."""

from collections.abc import Callable
from pathlib import Path

import pytest

from appliance.core.budget import DAY_S
from appliance.errors import BudgetError, RepositoryError
from appliance.ports.updates import uncounted
from appliance.sim.clock import ManualClock
from appliance.sim.repository import ScriptedRepository
from appliance.sim.slots import VolatileSlots
from appliance.updater.allowance import FILE, PORTION_BYTES, USEFUL_BYTES, Allowance, Charged

DAILY = 10_000_000


@pytest.fixture
def slots(tmp_path: Path) -> VolatileSlots:
    return VolatileSlots(tmp_path)


def test_what_is_not_needed_is_given_back(slots: VolatileSlots) -> None:
    clock = ManualClock()
    allowance = Allowance(slots, clock, DAILY)
    allowance.take(1000)
    allowance.take(2000)
    allowance.give_back()
    assert Allowance(slots, clock, DAILY).left_bytes() == DAILY - 3000


def test_a_process_that_is_killed_loses_a_portion_at_most_and_never_gains_one(slots: VolatileSlots) -> None:
    clock = ManualClock()
    Allowance(slots, clock, DAILY).take(5000)
    left = Allowance(slots, clock, DAILY).left_bytes()
    assert DAILY - PORTION_BYTES <= left <= DAILY - 5000


def test_one_record_is_written_for_each_portion_and_not_for_each_piece(slots: VolatileSlots) -> None:
    allowance = Allowance(slots, ManualClock(), DAILY)
    slots.script.writes_left = 3
    for _ in range(3 * PORTION_BYTES // USEFUL_BYTES):
        allowance.take(USEFUL_BYTES)


def test_the_last_byte_may_be_fetched_and_no_more(slots: VolatileSlots) -> None:
    allowance = Allowance(slots, ManualClock(), DAILY)
    allowance.take(DAILY)
    with pytest.raises(BudgetError, match="used up"):
        allowance.take(1)
    assert not allowance.useful_for(USEFUL_BYTES)
    assert allowance.useful_for(0)


def test_metadata_costs_the_days_bytes_and_comes_though_none_are_left(slots: VolatileSlots) -> None:
    allowance = Allowance(slots, ManualClock(), DAILY)
    repository = Charged(ScriptedRepository({"metadata/timestamp.json": b"x" * 1000}), allowance)
    assert repository.metadata("2.root.json", 9999) is None
    assert slots.file(FILE) is None, "what is not there costs no write"
    repository.metadata("timestamp.json", 9999)
    assert allowance.left_bytes() == DAILY - 1000
    allowance.charge(DAILY - 1001)
    for _ in range(2):
        assert repository.metadata("timestamp.json", 9999) == b"x" * 1000
        assert allowance.left_bytes() == 0


def test_metadata_that_broke_off_costs_what_came_of_it(slots: VolatileSlots) -> None:
    class Breaks(ScriptedRepository):
        def metadata(self, name: str, size_bytes_max: int, received: Callable[[int], None] = uncounted) -> bytes | None:
            received(700)
            received(50)
            msg = f"{name}: broke off after 750 bytes of {size_bytes_max}"
            raise RepositoryError(msg)

    allowance = Allowance(slots, ManualClock(), DAILY)
    with pytest.raises(RepositoryError, match="broke off"):
        Charged(Breaks({}), allowance).metadata("timestamp.json", 9999)
    assert allowance.left_bytes() == DAILY - 750


def test_a_file_is_begun_where_there_is_enough_or_as_much_as_there_ever_is(slots: VolatileSlots) -> None:
    clock = ManualClock()
    allowance = Allowance(slots, clock, DAILY)
    assert allowance.enough_for(10 * DAILY)
    allowance.take(1)
    assert not allowance.enough_for(10 * DAILY)
    assert allowance.enough_for(DAILY - 1)


@pytest.mark.parametrize(
    "raw", [b"", b"{", b"[]", b'{"left_bytes": NaN, "boot_id": "a", "mono_s": 1}', b'{"left_bytes": 1e12}']
)
def test_a_damaged_record_is_an_empty_one_that_fills_again(raw: bytes, slots: VolatileSlots) -> None:
    clock = ManualClock()
    slots.write_file(FILE, raw)
    assert Allowance(slots, clock, DAILY).left_bytes() == 0
    clock.advance(DAY_S / 2)
    assert Allowance(slots, clock, DAILY).left_bytes() == DAILY // 2
