"""``kill -9`` at any moment: an alert is there when ``add`` has returned, and gone once its deletion was synced."""

import os
import random
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import without
from tests.outboxes import FILE, bench, numbers, seqs, waiting

ROUNDS = 8
SYNCED = 11
"""Batches that were delivered and synced, before what was seen of them counts."""
_CHILD = """
import os, sys
from itertools import count
from pathlib import Path
from threading import Event, Thread

from tests.outboxes import Bench, alert, numbers

made = Bench(Path(sys.argv[1]))
outbox = made.open()
first = int(sys.argv[2])
size_bytes = int(sys.argv[3])
pause = Event()


def tell(what, number):
    os.write(1, f"{what} {number}\\n".encode())


def publish():
    after = 0
    while True:
        batch = outbox.next_batch(after, 7)
        batch = [message for message in batch if message.payload["number"] % 3]
        if batch:
            after = batch[-1].id
            tell("delivered", max(numbers(batch)))
            outbox.acknowledge([message.id for message in batch])
        outbox.sync()
        if batch:
            tell("synced", max(numbers(batch)))


tell("pid", os.getpid())
Thread(target=publish, daemon=True).start()
for number in count(first):
    outbox.add([alert(number, size_bytes)])
    tell("added", number)
    if number % 10 == 9:
        pause.wait(0.05)  # a moment without additions, in which the log can be cut
"""


def _start(folder: Path, first: int, size_bytes: int, *before: str) -> subprocess.Popen[bytes]:
    command = [*before, sys.executable, "-c", _CHILD, str(folder), str(first), str(size_bytes)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True)


def _kill_after(child: subprocess.Popen[bytes], wal: Path, lines: int, cuts: int, synced: int = 0) -> dict[str, int]:
    """Kill it after so many lines, so many of them of a sync, and after its log was seen to be cut so often.

    Returns its last words of each kind.

    What it wrote until it died is still read. It alone is killed: an strace beside it still writes down what it saw.
    """
    told: dict[str, int] = {}
    length, killed = 0, False
    assert child.stdout is not None
    with child.stdout as output:
        for index, line in enumerate(output):
            before, length = length, wal.stat().st_size
            cuts -= length < before
            synced -= line.startswith(b"synced")
            if index >= lines and max(cuts, synced) <= 0 and not killed:
                os.kill(told["pid"], signal.SIGKILL)
                killed = True
            what, _, number = line.decode().partition(" ")
            if number.endswith("\n"):
                told[what] = int(number)
    child.wait(timeout=10)
    return told


@pytest.mark.slow
@pytest.mark.parametrize("size_bytes", [100, 30_000], ids=["small", "large enough for the log to be copied and cut"])
def test_every_alert_whose_addition_returned_is_there_after_a_kill_and_none_that_was_synced_comes_back(
    tmp_path: Path, size_bytes: int
) -> None:
    chance = random.Random(size_bytes)  # noqa: S311 - chooses moments, keeps no secrets
    first, expected_seq = 0, 1
    with bench(tmp_path) as made:
        for index in range(ROUNDS):
            child = _start(tmp_path, first, size_bytes)
            cuts = 1 if size_bytes > 1000 and index == 0 else 0
            told = {"added": first - 1, "delivered": -1, "synced": -1}
            told |= _kill_after(child, made.wal, chance.randrange(1, 600), cuts)
            outbox = made.open()
            found = waiting(outbox)
            there = {int(str(number)) for number in numbers(found)}
            kept = {number for number in range(first, told["added"] + 1) if number % 3 == 0}
            assert kept <= there, "added, and never acknowledged"
            undelivered = set(range(max(first, told["delivered"] + 1), told["added"] + 1))
            assert undelivered <= there, "never delivered"
            gone = {number for number in range(first, told["synced"] + 1) if number % 3}
            assert not gone & there, "acknowledged, and synced"
            newest = max(there | {told["added"], told["delivered"]})
            assert newest in (told["added"], told["added"] + 1), "one may have been added and not told"
            assert seqs(found) == [
                expected_seq + number - first for number in numbers(found) if isinstance(number, int)
            ]
            outbox.acknowledge([message.id for message in found])
            outbox.close()
            expected_seq += newest + 1 - first
            first = newest + 1


def test_the_thread_that_adds_never_waits_for_the_disk(tmp_path: Path) -> None:
    """Seen from the kernel: of the process's threads only the publisher's asks for an fsync, or copies the log."""
    strace = shutil.which("strace")
    if strace is None:
        without("strace")
    trace = tmp_path / "trace"
    folder = tmp_path / "outbox"
    folder.mkdir()
    calls = "trace=fsync,fdatasync,sync_file_range,ftruncate,write"
    child = _start(folder, 0, 30_000, strace, "-f", "--seccomp-bpf", "-o", str(trace), "-e", calls)
    _kill_after(child, folder / f"{FILE}-wal", lines=200, cuts=1, synced=SYNCED)
    lines = trace.read_text().splitlines()
    begun = next(index for index, line in enumerate(lines) if '"added' in line)
    (adding,) = {line.split()[0] for line in lines[begun:] if '"added' in line}
    syncs = [line for line in lines[begun:] if re.search(r"\b(fsync|fdatasync|sync_file_range)\(", line)]
    cuts = [line for line in lines[begun:] if re.search(r"\bftruncate\(\d+, 0\b", line)]  # or "0 <unfinished ...>"
    assert len(syncs) >= len([line for line in lines[begun:] if '"synced' in line]) >= SYNCED
    assert cuts, "the log was copied and cut in the meantime"
    assert not [line for line in syncs if line.split()[0] == adding]
