"""A damaged file: set aside as it is, saved from as far as it can be read, no reason to lose what comes later."""

import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.outboxes import Bench, add, alert, bench, numbers, seqs, waiting

ROWS = 60
PAGE = 1024


def _filled(made: Bench, rows: int = ROWS) -> bytes:
    """Make a file with ``rows`` waiting and one dead letter, closed; return its bytes."""
    outbox = made.open()
    outbox.add([alert(-1)])
    outbox.bury(waiting(outbox)[0].id, "refused")
    for number in range(rows):
        outbox.add([alert(number, size_bytes=500)])
    outbox.close()
    return made.file.read_bytes()


def _serves_on(made: Bench, damaged: bytes) -> list[object]:
    """Check that an outbox on the damaged file keeps the file, and keeps later alerts; return the saved numbers."""
    made.file.write_bytes(damaged)
    outbox = made.open()
    saved = numbers(waiting(outbox))
    assert saved == sorted({number for number in saved if isinstance(number, int)})
    assert set(saved) <= set(range(ROWS))
    add(outbox, range(1000, 1002))
    assert numbers(waiting(outbox)) == [*saved, 1000, 1001]
    new_seqs = seqs(waiting(outbox))[-2:]
    assert min(seq for seq in new_seqs if isinstance(seq, int)) > ROWS + 1, "no number is used twice"
    (aside,) = made.aside()
    assert aside.read_bytes() == damaged
    assert outbox.depth().fault == ""
    outbox = made.reopen(outbox)
    assert numbers(waiting(outbox)) == [*saved, 1000, 1001]
    assert made.aside() == [aside], "repaired once and for all"
    return saved


def _garbage_header(good: bytes) -> bytes:
    return b"garbage!" * 13 + good[104:]


def _garbage_first_page(good: bytes) -> bytes:
    return b"\xff" * PAGE + good[PAGE:]


def _garbage_schema(good: bytes) -> bytes:
    """SQLite quotes this in its error message, which is then no text."""
    assert good.count(b"(one INTEGER") == 1
    return good.replace(b"(one INTEGER", b"\xff" * 12)


def _half(good: bytes) -> bytes:
    return good[: len(good) // 2 // PAGE * PAGE]


def _torn(good: bytes) -> bytes:
    return good[: len(good) // 2 + 100]


def _one_page_zeroed(good: bytes) -> bytes:
    middle = len(good) // 2 // PAGE * PAGE
    return good[:middle] + bytes(PAGE) + good[middle + PAGE :]


def _last_page_garbage(good: bytes) -> bytes:
    return good[:-PAGE] + b"\xaa" * PAGE


@pytest.mark.parametrize(
    ("damage", "saved_min"),
    [
        (_garbage_header, ROWS),
        (_garbage_first_page, ROWS),
        (_garbage_schema, ROWS),
        (_half, ROWS // 4),
        (_torn, ROWS // 4),
        (_last_page_garbage, ROWS - 4),
    ],
)
def test_what_can_be_read_of_a_file_damaged_before_start_is_saved(
    tmp_path: Path, damage: Callable[[bytes], bytes], saved_min: int
) -> None:
    with bench(tmp_path) as made:
        good = _filled(made)
        assert len(_serves_on(made, damage(good))) >= saved_min


@pytest.mark.parametrize(("place", "value"), [(18, 3), (19, 0), (19, 1)])
def test_a_header_with_which_sqlite_would_keep_no_log_or_write_nothing_is_damage_and_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, place: int, value: int
) -> None:
    with bench(tmp_path) as made:
        damaged = bytearray(_filled(made))
        damaged[place] = value
        assert _serves_on(made, bytes(damaged)) == list(range(ROWS))
    (told,) = [record.msg for record in caplog.records if isinstance(record.msg, dict)]
    assert (told["event"], told["messages_saved"], told["messages_lost"]) == ("outbox damaged, set aside", ROWS, 0)


@pytest.mark.parametrize("content", [b"", b"not a database", bytes(5000), b"SQLite format 3\x00" + bytes(2000)])
def test_a_file_without_anything_in_it_is_kept_too(tmp_path: Path, content: bytes) -> None:
    with bench(tmp_path) as made:
        made.file.write_bytes(content)
        outbox = made.open()
        add(outbox, range(3))
        assert numbers(waiting(outbox)) == [0, 1, 2]
        assert outbox.depth().dropped == {"damaged": 1}, "how many is not known: some"
        assert made.meter.value("edge_spool_dropped_total", reason="damaged") == 1
        (aside,) = made.aside()
        assert aside.read_bytes() == content


def test_a_database_that_is_not_an_outbox_is_set_aside(tmp_path: Path) -> None:
    with bench(tmp_path) as made:
        foreign = sqlite3.connect(made.file)
        foreign.execute("CREATE TABLE messages (id INTEGER PRIMARY KEY, body TEXT)")
        foreign.execute("INSERT INTO messages VALUES (1, 'precious')")
        foreign.commit()
        foreign.close()
        outbox = made.open()
        add(outbox, range(1))
        assert numbers(waiting(outbox)) == [0]
        (aside,) = made.aside()
        kept = sqlite3.connect(aside)
        assert kept.execute("SELECT body FROM messages").fetchall() == [("precious",)]
        kept.close()


def test_a_file_of_a_later_version_is_kept_and_its_alerts_are_delivered(tmp_path: Path) -> None:
    with bench(tmp_path) as made:
        _filled(made)
        later = sqlite3.connect(made.file)
        later.execute("PRAGMA user_version = 99")
        later.execute("ALTER TABLE messages ADD COLUMN colour TEXT")
        later.commit()
        later.close()
        assert _serves_on(made, made.file.read_bytes()) == list(range(ROWS))


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE sqlite_schema SET rootpage = 4 WHERE name = 'messages'",
        "UPDATE sqlite_schema SET sql = replace(sql, 'added_s', 'addex_s') WHERE name = 'messages'",
        "UPDATE state SET rows_removed = rows_removed + 10",
        "UPDATE state SET bytes_removed = -5",
        "DELETE FROM state",
    ],
)
def test_damage_that_sqlite_finds_nothing_wrong_with_loses_nothing(tmp_path: Path, damage: str) -> None:
    with bench(tmp_path) as made:
        _filled(made)
        database = sqlite3.connect(made.file)
        database.execute("PRAGMA writable_schema = ON")
        database.execute(damage)
        database.commit()
        database.close()
        assert _serves_on(made, made.file.read_bytes()) == list(range(ROWS))
        assert made.outboxes[-1].depth().rows == ROWS + 2


def test_dead_letters_are_saved_too(tmp_path: Path) -> None:
    with bench(tmp_path) as made:
        made.file.write_bytes(_garbage_header(_filled(made)))
        outbox = made.open()
        assert [letter.reason for letter in outbox.dead_letters(9)] == ["refused"]
        assert outbox.depth().dead_letters == 1


def test_what_is_lost_is_counted_where_the_file_says_what_it_had(tmp_path: Path) -> None:
    with bench(tmp_path) as made:
        good = _filled(made)
        made.file.write_bytes(_one_page_zeroed(good))
        outbox = made.open()
        waiting(outbox)
        saved = len(waiting(outbox))
        assert ROWS - 5 <= saved < ROWS
        assert outbox.depth().dropped == {"damaged": ROWS - saved}
        assert outbox.depth().rows == saved


def test_damage_found_in_the_middle_of_running_loses_only_what_cannot_be_read(tmp_path: Path) -> None:
    with bench(tmp_path) as made:
        _filled(made)
        outbox = made.open()
        with made.file.open("r+b") as stream:  # behind SQLite's back, as a dying card does it
            stream.seek(made.file.stat().st_size // 2 // PAGE * PAGE)
            stream.write(b"\x55" * PAGE)
        add(outbox, range(100, 103))
        found = waiting(outbox)
        lost = set(range(ROWS)) - set(numbers(found))
        assert 1 <= len(lost) <= 4
        assert numbers(found)[-3:] == [100, 101, 102]
        assert outbox.depth().dropped == {"damaged": len(lost)}
        add(outbox, range(103, 104))
        found_seqs = seqs(waiting(outbox))
        assert found_seqs == sorted(set(found_seqs), key=lambda seq: int(str(seq)))
        assert found_seqs[-1] == ROWS + 1 + 4, "numbers go on without a jump"
        assert len(made.aside()) == 1
        after_kill = made.killed().open()
        assert numbers(waiting(after_kill)) == numbers(waiting(outbox))
        add(after_kill, range(104, 105))
        assert seqs(waiting(after_kill))[-1] == ROWS + 1 + 5


def test_alerts_added_between_damage_and_repair_wait_in_memory_and_lose_neither_place_nor_number(
    tmp_path: Path,
) -> None:
    with bench(tmp_path) as made:
        _filled(made)
        outbox = made.open()
        inside = waiting(outbox)[ROWS // 2].id
        outbox = made.reopen(outbox)
        middle = made.file.stat().st_size // 2 // PAGE * PAGE
        with made.file.open("r+b") as stream:
            stream.seek(middle - 4 * PAGE)
            stream.write(b"\x55" * PAGE * 9)
        outbox.bury(inside, "refused")  # the writer meets the damage
        assert outbox.depth().fault
        add(outbox, range(100, 103))
        assert outbox.depth().in_memory == 3
        outbox.sync()
        depth = outbox.depth()
        assert (depth.in_memory, depth.fault) in {(0, ""), (3, "")}, "repaired; written at once or with the next sync"
        outbox.sync()
        assert outbox.depth().in_memory == 0
        assert numbers(waiting(outbox))[-3:] == [100, 101, 102]
        assert numbers(waiting(made.killed().open())) == numbers(waiting(outbox))


def _other_branch(child: int) -> Callable[[bytearray], None]:
    """The root's header ends with the number of the page that its last branch begins with."""

    def damage(root: bytearray) -> None:
        root[8:12] = child.to_bytes(4, "big")

    return damage


def _one_branch_less(root: bytearray) -> None:
    """A tree that is perfect but for the alerts that it lacks."""
    cells = int.from_bytes(root[3:5], "big")
    last = int.from_bytes(root[10 + 2 * cells : 12 + 2 * cells], "big")
    root[3:5] = (cells - 1).to_bytes(2, "big")
    root[8:12] = root[last : last + 4]


@pytest.mark.parametrize(
    "damage", [_other_branch(0), _other_branch(3), _other_branch(6), _one_branch_less], ids=["none", "3", "6", "less"]
)
def test_a_branch_of_the_tree_that_is_missing_or_wrong_is_noticed(
    tmp_path: Path, damage: Callable[[bytearray], None]
) -> None:
    with bench(tmp_path) as made:
        _filled(made)
        outbox = made.open()
        add(outbox, range(100, 101))
        with made.file.open("r+b") as stream:
            stream.seek(PAGE)  # page 2 is the root of the messages
            root = bytearray(stream.read(PAGE))
            damage(root)
            stream.seek(PAGE)
            stream.write(root)
        found = waiting(outbox)
        assert outbox.depth().dropped["damaged"] == ROWS + 1 - len(found) > 0
        add(outbox, range(101, 102))
        found = waiting(outbox)
        assert numbers(found)[-1] == 101
        assert [message.id for message in found] == sorted({message.id for message in found})
        assert outbox.depth().rows == len(found)


def test_header_and_schema_are_in_the_first_page_which_salvaging_can_replace(tmp_path: Path) -> None:
    with bench(tmp_path) as made:
        made.open().close()
        database = sqlite3.connect(made.file)
        (pages,) = database.execute("PRAGMA page_count").fetchone()
        roots = database.execute("SELECT rootpage FROM sqlite_schema").fetchall()
        database.close()
        assert pages == 1 + len(roots)
