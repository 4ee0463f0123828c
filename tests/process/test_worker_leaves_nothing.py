"""``kill -9`` of the parent or of the worker, at any moment: no process is left, no file, no memory, no zombie."""

import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Timer
from uuid import uuid4

import pytest

from appliance.adapters.backends.worker import Worker
from appliance.errors import BackendError
from appliance.sim import tpu_tree
from appliance.sim.tpu_script import Act, Script
from tests.waiting import eventually
from tests.workers import (
    LONG_S,
    SIMULATED,
    START_S,
    TWINS_BYTES,
    TWINS_SIGNATURE,
    has_ended,
    memory,
    open_files,
    own_answer,
    own_files,
    same,
    tensor,
)

MARK = "MARK_OF_A_TEST"
SHARED = Path("/dev/shm")  # noqa: S108 - looked at, not written to
KILLED_WITHIN_S = 0.3
"""About as long as a worker takes to start and to load a model."""
HELD_S = 600.0
"""How long a device takes that is waited for in vain."""
STATES: dict[str, Act | None] = {
    "waiting for orders": None,
    "opening": Act.OPEN_SLOWLY,
    "hanging while opening": Act.OPEN_HANG,
    "running": Act.LATE,
    "hanging": Act.HANG,
}
"""What a worker does when its parent is killed, and the act that brings it there; hanging, it holds Python's lock."""
_IN_EVERY_STATE = """
import os, sys
from contextlib import suppress
from appliance.adapters.backends.worker import Worker
from appliance.errors import BackendError
from tests.workers import SIMULATED, START_S, TWINS_BYTES, TWINS_SIGNATURE, tensor

workers = [Worker(SIMULATED, {"folder": folder}) for folder in sys.argv[1:]]
for worker, folder in zip(workers, sys.argv[1:]):
    worker.start(START_S)
    with suppress(BackendError):
        number = worker.load(TWINS_SIGNATURE, TWINS_BYTES, 0.1 if "open" in folder else START_S)
        worker.invoke(number, tensor(1), 0.1)
just_begun = Worker(SIMULATED, {})
print(*(worker.pid for worker in [*workers, just_begun]), flush=True)
sys.stdin.read()
"""
_AGAIN_AND_AGAIN = """
import sys
from itertools import count
from appliance.adapters.backends.worker import Worker
from tests.workers import SIMULATED, START_S, TWINS_BYTES, TWINS_SIGNATURE, tensor

for round_ in count():
    worker = Worker(SIMULATED, {"folder": sys.argv[1]})
    print("made", flush=True)
    worker.start(START_S)
    print("started", flush=True)
    number = worker.load(TWINS_SIGNATURE, TWINS_BYTES, START_S)
    for _ in range(50):
        print("loaded", flush=True)
        worker.invoke(number, tensor(1), START_S)
    worker.kill("it is another's turn") if round_ % 2 else worker.quit(START_S)
    print("let go", flush=True)
    worker.reap()
"""


class Parent:
    """A process with workers; all of them are found by a mark in their environment."""

    def __init__(self, script: str, folder: Path, *arguments: str) -> None:
        """Run ``script``; what it leaves in a folder for temporary files is in ``folder``."""
        self.mark = uuid4().hex
        self.temporary = folder
        self.shared = set(SHARED.iterdir())
        self.process = subprocess.Popen(
            [sys.executable, "-c", script, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, MARK: self.mark, "TMPDIR": str(folder)},
        )

    def lines(self, number: int) -> list[str]:
        """The next lines that it says."""
        assert self.process.stdout is not None
        return [self.process.stdout.readline() for _ in range(number)]

    def kill(self) -> None:
        """``kill -9``."""
        self.process.kill()
        self.process.wait(START_S)

    def alive(self) -> set[int]:
        """It and its workers, those that run."""
        wanted = f"{MARK}={self.mark}".encode()
        return {pid for pid in _processes() if wanted in _environment(pid)}

    def left(self) -> set[str]:
        """The files that are there now and were not before."""
        return {str(file) for file in {*SHARED.iterdir()} - self.shared | {*self.temporary.rglob("*")}}


@contextmanager
def parent(script: str, folder: Path, *arguments: str) -> Iterator[Parent]:
    """A parent that is gone at the end."""
    made = Parent(script, folder, *arguments)
    try:
        yield made
    finally:
        made.kill()
        assert made.process.stdin is not None
        assert made.process.stdout is not None
        made.process.stdin.close()
        made.process.stdout.close()
        for pid in made.alive():
            os.kill(pid, signal.SIGKILL)


def _processes() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def _environment(pid: int) -> list[bytes]:
    try:
        return Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:  # it has ended, or is another's
        return []


@pytest.fixture
def temporary(tmp_path: Path) -> Path:
    """An empty folder."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    return folder


def _bus(folder: Path) -> Path:
    """A folder with an Edge TPU plugged in."""
    folder.mkdir()
    tpu_tree.plug(folder)
    return folder


def test_with_its_parent_ends_every_worker_whatever_it_does_and_nothing_is_left(
    tmp_path: Path, temporary: Path
) -> None:
    folders = [_bus(tmp_path / state) for state in STATES]
    for folder, act in zip(folders, STATES.values(), strict=True):
        if act is not None:
            Script(folder).then(act, HELD_S)
    with parent(_IN_EVERY_STATE, temporary, *map(str, folders)) as killed:
        [line] = killed.lines(1)
        workers = [int(pid) for pid in line.split()]
        assert len(workers) == len(STATES) + 1
        # One that has just begun has no environment yet: execve(2) ends for its parent before that is there.
        eventually(lambda: killed.alive() == {killed.process.pid, *workers})
        for folder in folders:
            eventually(lambda folder=folder: Script(folder).left() == 0)  # type: ignore[misc]  # a default binds the loop's value
        held = {pid: memory(pid) for pid in [killed.process.pid, *workers]}
        assert {name.partition(":")[0] for names in held.values() for name in names} == {"/memfd"}
        killed.kill()
        eventually(lambda: not killed.alive())
        eventually(lambda: not killed.left())


def test_a_parent_killed_at_any_moment_leaves_nothing(tmp_path: Path, temporary: Path) -> None:
    chance = random.Random(4)  # noqa: S311 - chooses moments, keeps no secrets
    bus = _bus(tmp_path / "bus")
    for lines in [2, chance.randrange(3, 50), chance.randrange(50, 150)]:
        with parent(_AGAIN_AND_AGAIN, temporary, str(bus)) as killed:
            killed.lines(lines)
            killed.kill()
            eventually(lambda killed=killed: not killed.alive())  # type: ignore[misc]  # as above
            eventually(lambda killed=killed: not killed.left())  # type: ignore[misc]  # as above


def test_a_worker_killed_at_any_moment_is_an_error_and_leaves_nothing(tmp_path: Path) -> None:
    chance = random.Random(5)  # noqa: S311 - chooses moments, keeps no secrets
    bus = _bus(tmp_path / "bus")
    script = Script(bus)
    files, shared = own_files(), set(SHARED.iterdir())
    for round_ in range(20):
        script.clear()
        if round_ % 4:
            script.then([Act.OPEN_SLOWLY, Act.LATE, Act.HANG][round_ % 3], HELD_S)
        pid, told = _killed(bus, chance.choice([0.0, chance.uniform(0.0, KILLED_WITHIN_S)]))
        assert told.startswith(("worker: died (SIGKILL)", "worker: ended")), told
        assert has_ended(pid), "no zombie"
    assert open_files() == files
    eventually(lambda: set(SHARED.iterdir()) <= shared)


def _killed(bus: Path, after_s: float) -> tuple[int, str]:
    """Start a worker that another hand kills; return its pid, and what its parent was told."""
    worker = Worker(SIMULATED, {"folder": str(bus)})
    timer = Timer(after_s, os.kill, (worker.pid, signal.SIGKILL))
    timer.start()
    try:
        worker.start(START_S)
        number = worker.load(TWINS_SIGNATURE, TWINS_BYTES, START_S)
        while True:
            assert same(worker.invoke(number, tensor(1), LONG_S), own_answer(tensor(1)))
    except BackendError as error:
        return worker.pid, str(error)
    finally:
        timer.join(START_S)
        assert worker.reap(START_S)
