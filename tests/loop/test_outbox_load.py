"""The outbox under load: threads, a long log, a large backlog, and what it costs."""

import os
import tracemalloc
from collections.abc import Iterator
from contextlib import closing
from itertools import count
from pathlib import Path
from threading import Barrier, Lock, Thread

import pytest

from appliance.bench.disk import cost
from appliance.outbox import Waiting
from appliance.outbox.database import connect, create
from appliance.outbox.disk import RETRY_INTERVAL_S, SETTLE_INTERVAL_S
from appliance.outbox.sync import WAL_BLOCKING_BYTES, WAL_BYTES_MAX, WAL_CHECKPOINT_BYTES, Syncer
from appliance.sim.clock import ManualClock
from appliance.sim.meter import RecordingMeter
from tests.outboxes import FILE, Bench, add, alert, bench, numbers, seqs, waiting


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Bench]:
    with bench(tmp_path) as found:
        yield found


def test_threads_may_add_while_the_publisher_takes_and_the_log_stays_bounded(made: Bench) -> None:
    outbox = made.open()
    threads, each = 4, 400
    start = Barrier(threads)

    def add_many(first: int) -> None:
        start.wait()
        for number in range(first, first + each):
            outbox.add([alert(number, size_bytes=9000)])

    adding = [Thread(target=add_many, args=(index * each,)) for index in range(threads)]
    for thread in adding:
        thread.start()
    found: list[Waiting] = []
    longest = cuts = 0
    while len(found) < threads * each:
        batch = outbox.next_batch(found[-1].id if found else 0, 50)
        found += batch
        outbox.acknowledge([message.id for message in batch])
        length = made.wal.stat().st_size
        outbox.sync()
        longest, cuts = max(longest, length), cuts + (made.wal.stat().st_size < length)
    for thread in adding:
        thread.join(timeout=30)
    assert sorted(number for number in numbers(found) if isinstance(number, int)) == list(range(threads * each))
    assert seqs(found) == list(range(1, threads * each + 1))
    assert outbox.depth().rows == 0
    assert cuts >= 1
    assert longest < 2 * WAL_BLOCKING_BYTES


def test_the_log_is_copied_and_cut_when_it_is_long_and_nothing_is_lost_by_it(made: Bench) -> None:
    outbox = made.open()
    add_bytes = 0
    while add_bytes < WAL_CHECKPOINT_BYTES:
        outbox.add([alert(0, size_bytes=50_000)])
        add_bytes += 50_000
    outbox.sync()
    assert made.wal.stat().st_size == 0
    assert outbox.written_bytes > 2 * WAL_CHECKPOINT_BYTES
    add(outbox, range(1, 3))
    assert seqs(waiting(made.killed().open())) == list(range(1, add_bytes // 50_000 + 3))


def _length_after_sync_while_others_write(folder: Path, log_bytes: int) -> int:
    """Length of a log of ``log_bytes`` after a sync during which somebody commits all the time."""
    folder.mkdir()
    create(folder / "busy.db")
    with (
        closing(connect(folder / "busy.db", synchronous="FULL")) as checkpointing,
        closing(connect(folder / "busy.db", synchronous="OFF")) as writing,
        closing(connect(folder / "busy.db", synchronous="OFF")) as reading,
    ):
        writing.execute("INSERT INTO messages (payload) VALUES (?)", (bytes(log_bytes),))
        commits = count()
        with closing(
            Syncer(folder / "busy.db", Lock(), lambda: next(commits), reading=reading, checkpointing=checkpointing)
        ) as syncer:
            syncer.sync()
            return syncer.wal_bytes()


def test_the_log_is_cut_at_a_quiet_moment_and_without_one_only_when_it_is_very_long(tmp_path: Path) -> None:
    """Cutting while others write makes them wait for the disk."""
    assert _length_after_sync_while_others_write(tmp_path / "long", WAL_CHECKPOINT_BYTES) >= WAL_CHECKPOINT_BYTES
    assert _length_after_sync_while_others_write(tmp_path / "very long", WAL_BLOCKING_BYTES) == 0


def test_a_log_that_nobody_syncs_does_not_grow_for_ever(made: Bench) -> None:
    outbox = made.open()
    number = 0
    while not outbox.depth().in_memory:
        outbox.add([alert(number, size_bytes=2_000_000)])
        number += 1
        assert number * 2_000_000 < 2 * WAL_BYTES_MAX
    assert number * 2_000_000 > WAL_BYTES_MAX
    assert "sync was not called" in outbox.depth().fault
    outbox.sync()
    made.clock.advance(RETRY_INTERVAL_S)
    outbox.sync()
    assert (outbox.depth().in_memory, outbox.depth().fault) == (0, "")
    assert seqs(waiting(outbox)) == list(range(1, number + 1))


def test_a_thousand_alerts_cost_the_card_a_bounded_number_of_bytes(tmp_path: Path) -> None:
    """As the outbox counts them: the log as it was when it last brought it to the disk, which may be a while ago."""
    clock, log_bytes = ManualClock(), [0]

    def tick() -> None:
        clock.advance(1.0)
        log_bytes.append((tmp_path / f"{FILE}-wal").stat().st_size)

    spent = cost(tmp_path, clock, RecordingMeter(), alerts=200, tick=tick)
    assert 200 * 700 < log_bytes[-round(SETTLE_INTERVAL_S) - 2] <= spent.outbox_bytes <= log_bytes[-1] < 200 * 5000
    assert spent.kernel_bytes is None or spent.kernel_bytes < 200 * 6000


def _opening_reads(rows: int, folder: Path) -> tuple[int, int]:
    """Bytes read from files, and memory taken, by opening an outbox with ``rows`` and taking a first batch."""
    folder.mkdir()
    with bench(folder) as made:
        outbox = made.open()
        for first in range(0, rows, 5000):
            outbox.add([alert(number) for number in range(first, min(first + 5000, rows))])
        outbox.close()
        before = _bytes_read()
        tracemalloc.start()
        outbox = made.open()
        assert outbox.depth().rows == rows
        assert numbers(outbox.next_batch(0, 20)) == list(range(min(rows, 20)))
        _, peak_bytes = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return _bytes_read() - before, peak_bytes


def _bytes_read() -> int:
    lines = Path(f"/proc/{os.getpid()}/io").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("rchar"))


@pytest.mark.slow
def test_a_hundred_thousand_waiting_alerts_cost_opening_no_more_than_ten(tmp_path: Path) -> None:
    few_bytes, few_memory = _opening_reads(10, tmp_path / "few")
    many_bytes, many_memory = _opening_reads(100_000, tmp_path / "many")
    assert many_bytes < few_bytes + 100_000, "a few pages more: the tree is deeper"
    assert many_memory < few_memory + 200_000


def test_adding_goes_on_while_the_publisher_does_not(made: Bench) -> None:
    """A publisher that hangs in the network holds nothing that ``add`` needs."""
    outbox = made.open()
    assert outbox.next_batch(0, 10) == []
    adding = Thread(target=add, args=(outbox, range(100)))
    adding.start()
    adding.join(timeout=10.0)
    assert outbox.depth().rows == 100
