"""A disk that takes nothing more: messages wait in memory, in order, and go to the disk when it works again.

Two real ways of having no room: a limit on the size of files (setrlimit(2), for any user), and a full file system.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from appliance.core.types import Priority
from appliance.errors import OutboxError
from appliance.outbox import Outbox
from appliance.outbox.disk import RETRY_INTERVAL_S
from appliance.outbox.memory import MEMORY_ROWS_MAX, MEMORY_SIZE_BYTES_MAX
from tests.mounts import small_disk
from tests.outboxes import Bench, add, alert, bench, file_size_limit, numbers, seqs, telemetry, waiting

LIMIT_BYTES = 200_000


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Bench]:
    with bench(tmp_path, attempts_max=3) as found:
        yield found


def _add_until_in_memory(outbox: Outbox, first: int = 0, count: int = 5) -> int:
    """Add alerts until ``count`` are in memory; return the next number."""
    number = first
    while outbox.depth().in_memory < count:
        outbox.add([alert(number, size_bytes=2000)])
        number += 1
        assert number < 5000
    return number


def test_alerts_that_find_no_room_wait_in_memory_and_keep_their_place(made: Bench) -> None:
    outbox = made.open()
    with file_size_limit(LIMIT_BYTES):
        number = _add_until_in_memory(outbox)
        assert outbox.depth().fault
        assert outbox.depth().rows == number
        assert numbers(waiting(outbox)) == list(range(number)), "delivered from memory like all others"
    add(outbox, range(number, number + 1))
    assert outbox.depth().in_memory == 6, "the disk is left alone for a moment"
    made.clock.advance(RETRY_INTERVAL_S)
    add(outbox, range(number + 1, number + 2))
    assert (outbox.depth().in_memory, outbox.depth().fault) == (0, "")
    after_kill = waiting(made.killed().open())
    assert numbers(after_kill) == list(range(number + 2))
    assert seqs(after_kill) == list(range(1, number + 3))
    assert outbox.depth().dropped == {}


def test_a_sync_moves_what_is_in_memory_to_the_disk(made: Bench) -> None:
    outbox = made.open()
    with file_size_limit(LIMIT_BYTES):
        number = _add_until_in_memory(outbox)
    made.clock.advance(RETRY_INTERVAL_S)
    outbox.sync()
    assert outbox.depth().in_memory == 0
    assert numbers(waiting(made.killed().open())) == list(range(number))


def test_a_sync_makes_room_by_copying_the_log_which_may_then_be_used_anew(made: Bench) -> None:
    """Where only the log had no room left; the messages it holds have all been acknowledged."""
    outbox = made.open()
    with file_size_limit(LIMIT_BYTES):
        for number in range(60):
            outbox.add([alert(number, size_bytes=2000)])
            outbox.acknowledge([message.id for message in waiting(outbox)])
        _add_until_in_memory(outbox, 60, 3)
        outbox.sync()
        made.clock.advance(RETRY_INTERVAL_S)
        outbox.sync()
        assert (outbox.depth().in_memory, outbox.depth().fault) == (0, "")
        assert outbox.depth().rows == len(waiting(made.killed().open()))


def test_messages_in_memory_are_acknowledged_tried_and_given_up_like_others(made: Bench) -> None:
    outbox = made.open()
    with file_size_limit(LIMIT_BYTES):
        _add_until_in_memory(outbox)
        *_, a, b, c, d, e = waiting(outbox)
        outbox.acknowledge([b.id])
        assert not outbox.failed_attempt(a.id, "lost")
        assert not outbox.failed_attempt(a.id, "lost")
        assert numbers(waiting(outbox))[-4:] == numbers([a, c, d, e])
        outbox.bury(c.id, "refused")
        assert outbox.depth().dropped == {"refused": 1}, "no room for a dead letter either"
        assert numbers(waiting(outbox))[-3:] == numbers([a, d, e])
    made.clock.advance(RETRY_INTERVAL_S)
    outbox.sync()
    last = waiting(made.killed().open())[-3:]
    assert numbers(last) == numbers([a, d, e])
    assert [message.attempts for message in last] == [2, 0, 0]


def test_a_poison_message_on_a_full_disk_is_given_up_all_the_same(made: Bench) -> None:
    outbox = made.open()
    with file_size_limit(LIMIT_BYTES):
        _add_until_in_memory(outbox)
        poison = waiting(outbox)[0].id
        assert [outbox.failed_attempt(poison, "lost") for _ in range(3)] == [False, False, True]
        assert waiting(outbox)[0].id != poison
        assert outbox.depth().dropped == {"attempts": 1}
    made.clock.advance(RETRY_INTERVAL_S)
    outbox.sync()
    assert waiting(made.killed().open())[0].id != poison


def test_attempts_counted_on_a_full_disk_are_written_with_the_next(made: Bench) -> None:
    outbox = made.open()
    with file_size_limit(LIMIT_BYTES):
        _add_until_in_memory(outbox)
        first = waiting(outbox)[0].id
        assert not outbox.failed_attempt(first, "lost")
    made.clock.advance(RETRY_INTERVAL_S)
    assert not outbox.failed_attempt(first, "lost")
    assert waiting(made.killed().open())[0].attempts == 2


def test_when_memory_is_full_too_the_caller_is_told_and_the_loss_counted(made: Bench) -> None:
    outbox = made.open()
    with file_size_limit(LIMIT_BYTES):
        number = _add_until_in_memory(outbox)
        outbox.add([telemetry(-1)], Priority.TELEMETRY)
        add(outbox, range(number, number + MEMORY_ROWS_MAX - 6))
        assert outbox.depth().in_memory == MEMORY_ROWS_MAX
        number += MEMORY_ROWS_MAX - 6
        add(outbox, range(number, number + 1))
        assert outbox.depth().dropped == {"telemetry_full": 1}, "telemetry makes room for an alert"
        outbox.add([telemetry(-2)], Priority.TELEMETRY)
        assert outbox.depth().dropped == {"telemetry_full": 2}
        with pytest.raises(OutboxError, match=r"2 of 2 messages lost: .*disk"):
            outbox.add([alert(number + 1), alert(number + 2)])
        assert outbox.depth().dropped == {"telemetry_full": 2, "unstored": 2}
        assert made.meter.value("edge_spool_dropped_total", reason="unstored") == 2
    made.clock.advance(RETRY_INTERVAL_S)
    add(outbox, range(number + 3, number + 4))
    found = waiting(made.killed().open())
    assert numbers(found) == [*range(number + 1), number + 3]
    assert seqs(found)[-2:] == [number + 1, number + 4], "subscribers see the gap"


def test_memory_is_bounded_by_bytes_too(made: Bench) -> None:
    outbox = made.open()
    with file_size_limit(LIMIT_BYTES):
        number = _add_until_in_memory(outbox)
        big = MEMORY_SIZE_BYTES_MAX // 2 - 10_000
        outbox.add([alert(number, size_bytes=big), alert(number + 1, size_bytes=big)])
        with pytest.raises(OutboxError, match="1 of 1"):
            outbox.add([alert(number + 2, size_bytes=big)])
        outbox.add([alert(number + 3)])
        assert numbers(waiting(outbox))[-3:] == [number, number + 1, number + 3]


def test_what_memory_still_holds_at_the_end_is_counted_as_lost(made: Bench) -> None:
    outbox = made.open()
    with file_size_limit(LIMIT_BYTES):
        _add_until_in_memory(outbox)
        outbox.close()
    assert made.meter.value("edge_spool_dropped_total", reason="unstored") == 5


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one megabyte."""
    with small_disk(tmp_path / "small", "1m"):
        yield tmp_path / "small"


def test_a_full_file_system_is_survived_without_a_loss(disk: Path) -> None:
    with bench(disk) as made:
        outbox = made.open()
        ballast = disk / "logs"
        ballast.write_bytes(bytes(700_000))
        number = _add_until_in_memory(outbox)
        outbox.sync()
        made.clock.advance(RETRY_INTERVAL_S)
        number = _add_until_in_memory(outbox, number, 10)
        assert outbox.depth().fault == "database or disk is full"
        assert numbers(waiting(outbox)) == list(range(number))
        ballast.unlink()
        made.clock.advance(RETRY_INTERVAL_S)
        outbox.sync()
        assert (outbox.depth().in_memory, outbox.depth().fault) == (0, "")
        outbox = made.reopen(outbox)
        assert numbers(waiting(outbox)) == list(range(number))


def test_a_damaged_file_on_a_full_file_system_is_repaired_when_there_is_room(disk: Path) -> None:
    with bench(disk) as made:
        outbox = made.open()
        add(outbox, range(400))
        outbox = made.reopen(outbox)
        ballast = disk / "logs"
        free = os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize
        ballast.write_bytes(bytes(max(0, free - 40_000)))
        with made.file.open("r+b") as stream:
            stream.seek(made.file.stat().st_size // 2 // 1024 * 1024)
            stream.write(b"\x55" * 1024)
        assert len(waiting(outbox)) < 400
        add(outbox, range(1000, 1003))
        outbox.sync()
        assert outbox.depth().in_memory == 3
        assert "cannot be repaired" in outbox.depth().fault
        ballast.unlink()
        made.clock.advance(RETRY_INTERVAL_S)
        outbox.sync()
        outbox.sync()
        assert (outbox.depth().in_memory, outbox.depth().fault) == (0, "")
        assert numbers(waiting(outbox))[-3:] == [1000, 1001, 1002]
        assert len(waiting(outbox)) > 390
