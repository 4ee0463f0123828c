"""The outbox on a disk that behaves."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from appliance.core.types import Message, Priority
from appliance.errors import OutboxError
from appliance.outbox import Outbox, Waiting
from appliance.outbox.disk import SETTLE_INTERVAL_S
from appliance.outbox.outbox import ACKS_ROWS_MAX
from tests.outboxes import Bench, add, alert, bench, numbers, telemetry, waiting


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Bench]:
    with bench(tmp_path, attempts_max=3, dead_letters_max=2) as found:
        yield found


def test_alerts_are_numbered_without_a_gap_and_telemetry_takes_no_number(made: Bench) -> None:
    outbox = made.open()
    add(outbox, range(2))
    outbox.add([telemetry(2)], Priority.TELEMETRY)
    outbox.add([alert(3), alert(4)])
    found = waiting(outbox)
    assert numbers(found) == [0, 1, 2, 3, 4]
    assert [message.payload.get("seq") for message in found] == [1, 2, None, 3, 4]
    assert [message.id for message in found] == sorted({message.id for message in found})


@pytest.mark.parametrize("last", [Priority.ALERT, Priority.TELEMETRY], ids=str)
@pytest.mark.parametrize("acknowledged", [True, False])
def test_numbers_go_on_after_a_restart_even_when_nothing_waits(
    made: Bench, last: Priority, *, acknowledged: bool
) -> None:
    outbox = made.open()
    add(outbox, range(3))
    add(outbox, range(3, 5), last)
    numbered = 5 if last is Priority.ALERT else 3
    if acknowledged:
        outbox.acknowledge([message.id for message in waiting(outbox)])
        outbox.sync()
    outbox = made.reopen(outbox)
    newest = max((message.id for message in waiting(outbox)), default=0)
    add(outbox, range(9, 10))
    assert waiting(outbox, newest)[0].payload["seq"] == numbered + 1


def test_a_message_is_what_was_added(made: Bench) -> None:
    outbox = made.open()
    made.clock.advance(5.5)
    sent = Message("edge/ä/event", {"id": 'é"\\', "seq": 0, "box": None, "list": [1, {"a": 0.25}]}, qos=0, retain=True)
    outbox.add([sent])
    outbox = made.reopen(outbox)
    (found,) = waiting(outbox)
    assert found == Waiting(
        id=found.id,
        topic="edge/ä/event",
        payload={"id": 'é"\\', "seq": 1, "box": None, "list": [1, {"a": 0.25}]},
        qos=0,
        retain=True,
        boot_id=made.clock.boot_id,
        added_mono_s=1005.5,
        attempts=0,
    )


def test_an_addition_is_there_after_a_kill_without_any_sync(made: Bench) -> None:
    outbox = made.open()
    add(outbox, range(5))
    assert numbers(waiting(made.killed().open())) == [0, 1, 2, 3, 4]


def test_acknowledged_messages_are_not_handed_out_again_and_are_gone_after_a_sync(made: Bench) -> None:
    outbox = made.open()
    add(outbox, range(5))
    found = waiting(outbox)
    outbox.acknowledge([found[1].id, found[3].id])
    assert numbers(waiting(outbox)) == [0, 2, 4]
    assert outbox.depth().rows == 3
    outbox.sync()
    after_kill = made.killed().open()
    assert numbers(waiting(after_kill)) == [0, 2, 4]
    assert after_kill.depth().rows == 3


def test_acknowledgements_are_written_together_and_at_the_bound_at_the_latest(made: Bench) -> None:
    outbox = made.open()
    add(outbox, range(ACKS_ROWS_MAX + 10))
    ids = [message.id for message in waiting(outbox)]
    written = made.wal.stat().st_size
    for id_ in ids[: ACKS_ROWS_MAX - 1]:
        outbox.acknowledge([id_])
    assert made.wal.stat().st_size == written, "not yet"
    outbox.acknowledge([ids[ACKS_ROWS_MAX - 1]])
    assert [message.id for message in waiting(made.killed().open())] == ids[ACKS_ROWS_MAX:]


def test_acknowledging_what_is_not_there_changes_nothing(made: Bench) -> None:
    outbox = made.open()
    add(outbox, range(3))
    outbox.acknowledge([999])
    first = waiting(outbox)[0].id
    outbox.acknowledge([first, first])
    outbox.sync()
    outbox.acknowledge([first])
    outbox.sync()
    assert (outbox.depth().rows, numbers(waiting(outbox))) == (2, [1, 2])


def test_what_waits_is_handed_out_in_order_in_batches_of_the_asked_size(made: Bench) -> None:
    outbox = made.open()
    add(outbox, range(10))
    first = outbox.next_batch(0, 4)
    assert numbers(first) == [0, 1, 2, 3]
    assert numbers(outbox.next_batch(first[-1].id, 4)) == [4, 5, 6, 7]
    outbox.acknowledge([message.id for message in first])
    assert numbers(outbox.next_batch(0, 2)) == [4, 5]


def test_failed_attempts_outlive_a_kill_and_end_among_the_dead_letters(made: Bench) -> None:
    outbox = made.open()
    add(outbox, range(3))
    poison = waiting(outbox)[0].id
    assert not outbox.failed_attempt(poison, "session lost")
    assert not outbox.failed_attempt(poison, "session lost")
    outbox = made.killed().open()
    assert waiting(outbox)[0].attempts == 2
    assert outbox.failed_attempt(poison, "packet too large")
    assert numbers(waiting(outbox)) == [1, 2]
    (letter,) = outbox.dead_letters(10)
    assert letter.id == poison
    assert letter.attempts == 3
    assert "packet too large" in letter.reason
    assert '"number":0' in letter.payload
    assert (outbox.depth().rows, outbox.depth().dead_letters) == (2, 1)
    assert not outbox.failed_attempt(poison, "gone"), "what is not there has no attempts"


def test_the_newest_dead_letters_are_kept_and_no_more_than_the_bound(made: Bench) -> None:
    outbox = made.open()
    add(outbox, range(4))
    for message in waiting(outbox):
        outbox.bury(message.id, f"refused {message.payload['number']}")
    assert [letter.reason for letter in outbox.dead_letters(10)] == ["refused 3", "refused 2"]
    assert outbox.depth().dead_letters == 2
    outbox.sync()
    assert made.meter.value("edge_spool_dead_letters") == 2
    assert made.reopen(outbox).depth().dead_letters == 2


def test_without_dead_letters_a_message_that_is_given_up_is_only_deleted(tmp_path: Path) -> None:
    with bench(tmp_path, dead_letters_max=0) as made:
        outbox = made.open()
        add(outbox, range(2))
        outbox.bury(waiting(outbox)[0].id, "refused")
        assert (numbers(waiting(outbox)), outbox.depth().dead_letters, outbox.dead_letters(9)) == ([1], 0, [])


def test_two_processes_cannot_use_one_file(made: Bench) -> None:
    outbox = made.open()
    with pytest.raises(OutboxError, match="in use by another process"):
        made.open()
    made.reopen(outbox)


def test_a_folder_that_is_not_there_is_said_so(tmp_path: Path) -> None:
    with bench(tmp_path / "missing") as made, pytest.raises(OutboxError, match=r"missing/outbox.db: No such file"):
        made.open()


def test_closing_twice_is_fine_and_leaves_one_file(made: Bench) -> None:
    outbox = made.open()
    add(outbox, range(3))
    outbox.close()
    outbox.close()
    assert not made.wal.exists()
    assert made.file.stat().st_mode & 0o077 == 0, "alerts are nobody else's business"


def test_whoever_adds_may_be_told_and_may_ask_back(tmp_path: Path) -> None:
    told: list[int] = []
    with bench(tmp_path) as made:
        outbox = Outbox(made.file, made.limits, made.clock, made.meter, on_add=lambda: told.append(outbox.depth().rows))
        outbox.open()
        made.outboxes.append(outbox)
        outbox.add([alert(1), alert(2)])
        outbox.add([])
    assert told == [2]


def test_the_age_of_the_oldest_message_is_known_within_a_boot_and_at_least_known_after_it(made: Bench) -> None:
    outbox = made.open()
    assert outbox.depth().oldest_age_s == 0.0
    add(outbox, range(1))
    made.clock.advance(7.0)
    add(outbox, range(1, 2))
    assert outbox.depth().oldest_age_s == 7.0
    outbox.acknowledge([waiting(outbox)[0].id])
    outbox.sync()
    made.clock.advance(1.0)
    assert outbox.depth().oldest_age_s == 1.0
    outbox.close()
    made.clock.reboot("11111111-0000-4000-8000-000000000000", monotonic_s=50.0)
    outbox = made.open()
    assert outbox.depth().oldest_age_s == 50.0
    outbox.acknowledge([message.id for message in waiting(outbox)])
    outbox.sync()
    assert outbox.depth().oldest_age_s == 0.0


def test_the_metrics_say_what_waits(made: Bench) -> None:
    outbox = made.open()
    add(outbox, range(3))
    made.clock.advance(2.0)
    outbox.sync()
    assert made.meter.value("edge_spool_messages") == 3
    assert made.meter.value("edge_spool_bytes") == outbox.depth().size_bytes > 200
    assert made.meter.value("edge_spool_oldest_age_seconds") == 2.0
    assert made.meter.value("edge_disk_written_bytes_total") == outbox.written_bytes > 0


def test_while_nothing_waits_the_disk_is_left_alone_for_a_while(made: Bench) -> None:
    outbox = made.open()
    outbox.sync()
    for number in range(5):
        add(outbox, range(number, number + 1))
        outbox.acknowledge([message.id for message in waiting(outbox)])
        outbox.sync()
    assert outbox.written_bytes == 0
    made.clock.advance(SETTLE_INTERVAL_S)
    outbox.sync()
    after = outbox.written_bytes
    assert after > 0
    add(outbox, range(1))
    outbox.sync()
    assert outbox.written_bytes > after, "what waits is synced at once"
