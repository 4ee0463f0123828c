"""What is dropped when there is no room: as little as possible, telemetry first, the oldest first, and counted."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.config import OutboxConfig
from appliance.core.types import Priority
from appliance.errors import OutboxError
from appliance.outbox.bounds import make_room
from appliance.outbox.row import Row
from tests.outboxes import Bench, add, alert, bench, numbers, seqs, waiting

A, T = Priority.ALERT, Priority.TELEMETRY


def _row(id_: int, priority: Priority, size_bytes: int) -> Row:
    return Row(id_, 0, priority, b"", b"x" * size_bytes, 1, retain=False, boot_id="", added_s=0.0)


_sizes = st.integers(1, 60_000)
_some = st.lists(st.tuples(st.sampled_from(Priority), _sizes), max_size=14)


@given(stored=_some, incoming=_some)
def test_what_is_kept_fits_and_no_more_is_dropped_than_had_to_be(
    stored: list[tuple[Priority, int]], incoming: list[tuple[Priority, int]]
) -> None:
    limits = OutboxConfig(rows_max=10, size_bytes_max=100_000)
    rows = [_row(index, *what) for index, what in enumerate(stored + incoming)]
    old, new = rows[: len(stored)], rows[len(stored) :]
    room = make_room(
        len(old),
        sum(row.size_bytes for row in old),
        new,
        limits,
        lambda priority: [(row.id, row.size_bytes) for row in old if row.priority is priority],
    )
    gone = set(room.remove) | {row.id for row in new if row not in room.keep}
    kept = [row for row in rows if row.id not in gone]
    assert len(kept) <= 10
    assert sum(row.size_bytes for row in kept) <= 100_000
    assert sum(room.dropped.values()) == len(gone)
    expected = [row.id for row in sorted(rows, key=lambda row: (-row.priority, row.id))][: len(gone)]
    assert sorted(gone) == sorted(expected), "telemetry before alerts, and of each the oldest"
    if gone:
        last = rows[expected[-1]]
        with_last = [*kept, last]
        assert len(with_last) > 10 or sum(row.size_bytes for row in with_last) > 100_000, "the last one had to go"


@pytest.mark.parametrize(
    ("before", "incoming", "left", "dropped"),
    [
        ("A" * 10, "A", list(range(1, 11)), {"alert_full": 1}),
        ("TATATATATA", "A", [1, *range(2, 11)], {"telemetry_full": 1}),
        ("AAAAAAAAAT", "AA", [*range(1, 9), 10, 11], {"telemetry_full": 1, "alert_full": 1}),
        ("A" * 10, "T", list(range(10)), {"telemetry_full": 1}),
        ("T" * 10, "T", list(range(1, 11)), {"telemetry_full": 1}),
        ("A" * 9, "T", list(range(10)), {}),
    ],
)
def test_at_the_bound_of_rows_telemetry_goes_before_alerts_and_the_oldest_first(
    tmp_path: Path, before: str, incoming: str, left: list[int], dropped: dict[str, int]
) -> None:
    with bench(tmp_path, rows_max=10) as made:
        outbox = made.open()
        for number, kind in enumerate(before + incoming):
            add(outbox, range(number, number + 1), A if kind == "A" else T)
        assert numbers(waiting(outbox)) == left
        assert outbox.depth().dropped == dropped
        for reason, count in dropped.items():
            assert made.meter.value("edge_spool_dropped_total", reason=reason) == count
        assert outbox.depth().rows == made.reopen(outbox).depth().rows == len(left)


def test_bytes_are_bounded_like_rows(tmp_path: Path) -> None:
    with bench(tmp_path, size_bytes_max=100_000) as made:
        outbox = made.open()
        for number in range(5):
            outbox.add([alert(number, size_bytes=30_000)])
        assert numbers(waiting(outbox)) == [2, 3, 4]
        assert outbox.depth().dropped == {"alert_full": 2}
        assert outbox.depth().size_bytes <= 100_000


def test_a_message_larger_than_the_bound_costs_no_other(tmp_path: Path) -> None:
    with bench(tmp_path, size_bytes_max=100_000) as made:
        outbox = made.open()
        add(outbox, range(2))
        with pytest.raises(OutboxError, match="1 of 2 messages lost: too large"):
            outbox.add([alert(2, size_bytes=101_000), alert(3)])
        assert numbers(waiting(outbox)) == [0, 1, 3]
        assert outbox.depth().dropped == {"too_large": 1}


def test_a_subscriber_sees_a_gap_where_alerts_were_dropped(tmp_path: Path) -> None:
    with bench(tmp_path, rows_max=10) as made:
        outbox = made.open()
        add(outbox, range(3))
        outbox.acknowledge([message.id for message in waiting(outbox)])
        add(outbox, range(3, 15))
        assert seqs(waiting(outbox)) == list(range(6, 16))


def test_the_number_of_a_dropped_alert_is_never_given_out_again(tmp_path: Path) -> None:
    with bench(tmp_path, size_bytes_max=100_000) as made:
        outbox = made.open()
        outbox.add([alert(0, size_bytes=99_000), alert(1, size_bytes=99_000), alert(2, size_bytes=99_000)])
        assert seqs(waiting(outbox)) == [3]
        outbox.bury(waiting(outbox)[0].id, "refused")
        outbox = made.reopen(outbox)
        add(outbox, range(1))
        assert seqs(waiting(outbox)) == [4]


def test_what_is_acknowledged_makes_room_before_anything_is_lost(tmp_path: Path) -> None:
    with bench(tmp_path, rows_max=10) as made:
        outbox = made.open()
        add(outbox, range(10))
        outbox.acknowledge([message.id for message in waiting(outbox)][:4])
        add(outbox, range(10, 14))
        assert numbers(waiting(outbox)) == list(range(4, 14))
        assert outbox.depth().dropped == {}


def test_what_was_dropped_while_in_flight_may_be_acknowledged_all_the_same(tmp_path: Path) -> None:
    with bench(tmp_path, rows_max=10) as made:
        outbox = made.open()
        add(outbox, range(10))
        flying = [message.id for message in waiting(outbox)][:2]
        add(outbox, range(10, 12))
        outbox.acknowledge(flying)
        outbox.sync()
        assert outbox.depth().rows == made.reopen(outbox).depth().rows == 10


def test_bench_is_reopened_within_other_bounds(tmp_path: Path) -> None:
    """Bounds may be lowered between two runs: the next addition makes the outbox fit."""
    with bench(tmp_path) as made:
        outbox = made.open()
        add(outbox, range(30))
        smaller = Bench(made.folder, OutboxConfig(rows_max=10), made.clock, made.meter, made.outboxes)
        outbox.close()
        outbox = smaller.open()
        assert outbox.depth().rows == 30
        add(outbox, range(30, 31))
        assert numbers(waiting(outbox)) == list(range(21, 31))
        assert outbox.depth().dropped == {"alert_full": 21}
