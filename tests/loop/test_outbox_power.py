"""Power cuts: whatever part of what was written after the last fsync is on the disk, what is found is consistent.

A card keeps what was fsynced. Of what came after, it may keep any part; here: the log up to any length, the log with
any of its blocks missing, and a database into which any of the pages were copied.
"""

import shutil
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.outbox import Outbox
from tests.outboxes import Bench, add, alert, bench, numbers, waiting

HEADER, FRAME = 32, 24 + 1024
"""Bytes of the log's header, and of one frame of it (SQLite file format, section 4)."""
BLOCK = 4096


class _History:
    """An outbox, and what waited after each of its commits."""

    def __init__(self, made: Bench) -> None:
        self.made = made
        self.outbox: Outbox = made.open()
        self.states: list[list[object]] = [[]]
        self.lengths: list[int] = [made.wal.stat().st_size]

    def note(self) -> None:
        self.states.append(numbers(waiting(self.outbox)))
        self.lengths.append(self.made.wal.stat().st_size)

    def add(self, number: int, size_bytes: int = 100) -> None:
        self.outbox.add([alert(number, size_bytes)])
        self.note()

    def finish(self, index: int) -> None:
        """Acknowledge one and write that."""
        self.outbox.acknowledge([waiting(self.outbox)[index].id])
        self.outbox.sync()
        self.note()


def _live(made: Bench) -> _History:
    history = _History(made)
    for number in range(6):
        history.add(number, size_bytes=3000 if number == 3 else 100)
    history.finish(0)
    history.finish(2)
    history.outbox.bury(waiting(history.outbox)[0].id, "refused")
    history.note()
    for number in range(6, 9):
        history.add(number)
    return history


def _found(made: Bench, name: str, database: bytes, log: bytes | None) -> list[object]:
    """What a start after a power cut finds; it must also be able to go on."""
    folder = made.folder / name
    folder.mkdir()
    with bench(folder) as after:
        after.file.write_bytes(database)
        if log is not None:
            after.wal.write_bytes(log)
        outbox = after.open()
        found = numbers(waiting(outbox))
        assert outbox.depth().rows == len(found)
        add(outbox, range(1000, 1001))
        assert numbers(waiting(outbox)) == [*found, 1000]
        assert after.aside() == [], "a power cut is no damage"
    shutil.rmtree(folder)
    return found


def test_a_log_of_any_length_gives_the_state_after_some_commit_and_a_longer_one_no_earlier_one(tmp_path: Path) -> None:
    with bench(tmp_path) as made:
        history = _live(made)
        database, log = made.file.read_bytes(), made.wal.read_bytes()
        offsets = {0, 7, HEADER - 1, HEADER, len(log)}
        for end in range(HEADER, len(log) + 1, FRAME):
            offsets |= {end, end - 1, end + 1, end + 23, end + 500}
        before = 0
        for offset in sorted(offset for offset in offsets if offset <= len(log)):
            expected = max(index for index, length in enumerate(history.lengths) if length <= max(offset, 0))
            found = _found(made, str(offset), database, log[:offset])
            assert found == history.states[expected], offset
            assert expected >= before
            before = expected
        assert before == len(history.states) - 1


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_whatever_blocks_are_missing_after_the_last_sync_nothing_that_was_synced_is_lost(data: st.DataObject) -> None:
    base = _BASE.next()
    with bench(base) as made:
        history = _History(made)
        for number in range(data.draw(st.integers(0, 6))):
            history.add(number)
        history.outbox.sync()
        synced_state, synced_bytes = len(history.states) - 1, history.lengths[-1]
        for number in range(100, 100 + data.draw(st.integers(1, 10))):
            history.add(number, size_bytes=data.draw(st.sampled_from([100, 3000])))
        log = bytearray(made.wal.read_bytes())
        for block in range(synced_bytes // BLOCK, len(log) // BLOCK + 1):
            if data.draw(st.booleans()):
                first = max(block * BLOCK, synced_bytes)
                end = min((block + 1) * BLOCK, len(log))
                log[first:end] = bytes(end - first)
        found = _found(made, "after", made.file.read_bytes(), bytes(log))
        assert found in history.states[synced_state:]
    shutil.rmtree(base)


class _Base:
    """Gives each example a folder of its own."""

    def __init__(self) -> None:
        self.folder = Path()
        self.made = 0

    def next(self) -> Path:
        self.made += 1
        folder = self.folder / str(self.made)
        folder.mkdir()
        return folder


_BASE = _Base()


@pytest.fixture(autouse=True, scope="module")
def _base(tmp_path_factory: pytest.TempPathFactory) -> None:
    _BASE.folder = tmp_path_factory.mktemp("power")


def test_a_cut_while_the_log_is_copied_loses_nothing_whatever_pages_were_copied(tmp_path: Path) -> None:
    """The log was fsynced before; the database has any of its pages old or new; the log is there, or cut already."""
    with bench(tmp_path) as made:
        history = _live(made)
        expected = history.states[-1]
        old, log = made.file.read_bytes(), made.wal.read_bytes()
        history.outbox.close()
        new = made.file.read_bytes()
        pages = len(new) // 1024
        old_pages = [old[n * 1024 : (n + 1) * 1024] for n in range(pages)]
        new_pages = [new[n * 1024 : (n + 1) * 1024] for n in range(pages)]
        for step in range(pages + 1):
            in_order = b"".join([*new_pages[:step], *old_pages[step:]])
            backwards = b"".join([*(old or bytes(1024) for old in old_pages[:step]), *new_pages[step:]])
            assert _found(made, f"forth-{step}", in_order, log) == expected
            assert _found(made, f"back-{step}", backwards, log) == expected
        assert _found(made, "cut", new, b"") == expected
        assert _found(made, "gone", new, None) == expected


def test_a_log_that_was_cut_but_whose_cut_did_not_reach_the_disk_changes_nothing(tmp_path: Path) -> None:
    """The one order of writes that SQLite's own fsync would have prevented: see ``sync.py``."""
    with bench(tmp_path) as made:
        outbox = made.open()
        for number in range(100):
            outbox.add([alert(number, size_bytes=50_000)])
        before_sync = made.wal.read_bytes()
        outbox.sync()
        assert made.wal.stat().st_size == 0
        database = made.file.read_bytes()
        add(outbox, range(100, 103))
        expected = list(range(100))
        assert _found(made, "old-log", database, before_sync) == expected
        whole = _found(made, "new-log", database, made.wal.read_bytes())
        assert whole == [*expected, 100, 101, 102]


def test_the_log_is_never_begun_anew_over_its_old_frames(tmp_path: Path) -> None:
    """It only grows, or is cut to nothing: then no old frame can be taken for a new one without an fsync in between."""
    with bench(tmp_path) as made:
        outbox = made.open()
        contents = [b""]
        for number in range(40):
            outbox.add([alert(number, size_bytes=900_000 if number % 4 == 0 else 2000)])
            if number % 3 == 0:
                outbox.acknowledge([message.id for message in waiting(outbox)][:3])
                outbox.sync()
            contents.append(made.wal.read_bytes())
        cuts = [now for before, now in pairwise(contents) if not now.startswith(before)]
        grown = [now for before, now in pairwise(contents) if now.startswith(before)]
        assert len(cuts) >= 2
        assert len(grown) >= 30
        assert all(len(now) < 1_000_000 for now in cuts), "cut, then written to"
