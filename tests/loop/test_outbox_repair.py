"""Putting a repaired file in the place of the damaged one, whatever interrupts it."""

from pathlib import Path

import pytest

from appliance.outbox.files import SET_ASIDE_MAX
from tests.outboxes import Bench, add, bench, numbers, waiting

ROWS = 60


def _damaged(made: Bench) -> bytes:
    outbox = made.open()
    add(outbox, range(ROWS))
    outbox.close()
    return b"garbage!" * 13 + made.file.read_bytes()[104:]


def _salvaged(made: Bench) -> bytes:
    """The content of a complete new file with alerts 7 and 8."""
    other = made.folder / "other"
    other.mkdir()
    with bench(other) as donor:
        outbox = donor.open()
        add(outbox, range(7, 9))
        outbox.close()
        return donor.file.read_bytes()


def _other_log(made: Bench) -> bytes:
    """A log that is valid, and would add an alert 555 to the database that meets it."""
    other = made.folder / "another"
    other.mkdir()
    with bench(other) as donor:
        outbox = donor.open()
        add(outbox, range(7, 9))
        add(outbox, range(555, 556))
        return donor.wal.read_bytes()


@pytest.mark.parametrize("stage", ["building", "built", "log moved", "all moved"])
def test_a_repair_that_was_interrupted_is_finished_by_the_next_start(tmp_path: Path, stage: str) -> None:
    with bench(tmp_path) as made:
        damaged = _damaged(made)
        salvaged = _salvaged(made)
        made.file.write_bytes(damaged)
        made.wal.write_bytes(b"log of the damaged file" if stage == "building" else _other_log(made))
        if stage == "building":
            made.file.with_name("outbox.db.new").write_bytes(salvaged[:3000])
        else:
            made.file.with_name("outbox.db.salvaged").write_bytes(salvaged)
        if stage in {"log moved", "all moved"}:
            made.wal.rename(made.folder / "outbox.db.corrupt-1-wal")
        if stage == "all moved":
            made.file.rename(made.folder / "outbox.db.corrupt-1")
        outbox = made.open()
        expected = list(range(ROWS)) if stage == "building" else [7, 8]
        assert numbers(waiting(outbox)) == expected
        add(outbox, range(90, 91))
        assert numbers(waiting(made.reopen(outbox))) == [*expected, 90]
        assert damaged in [path.read_bytes() for path in made.aside()]
        leftovers = {path.name for path in made.folder.glob("outbox.db.*")} & {"outbox.db.new", "outbox.db.salvaged"}
        assert not leftovers


def test_only_the_newest_damaged_files_are_kept(tmp_path: Path) -> None:
    with bench(tmp_path) as made:
        for number in range(SET_ASIDE_MAX + 2):
            made.file.write_bytes(b"damage %d" % number)
            made.open().close()
        assert [path.name for path in made.aside()] == [f"outbox.db.corrupt-{number}" for number in (3, 4, 5)]
        assert made.aside()[-1].read_bytes() == b"damage 4"
