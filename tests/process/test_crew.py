"""The workers of one Edge TPU come and go as real processes; one that cannot be ended is left behind, and counted.

A process that a driver holds (state D) cannot be made on every machine. One whose end its parent is not told of can:
the kernel tells a tracer first (ptrace(2)), and as long as the tracer does not ask, the parent waits in vain.
"""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from appliance.adapters.backends.worker import Worker
from appliance.adapters.edgetpu import crew as crew_module
from appliance.adapters.edgetpu.crew import Crew
from appliance.errors import BackendError
from appliance.sim.meter import RecordingMeter
from tests.conftest import cannot
from tests.waiting import eventually
from tests.workers import LONG_S, START_S, TWINS_BYTES, TWINS_SIGNATURE, has_ended, own_answer, same, tensor

SHORT_S = 0.05
"""How long the end of one that cannot be ended is waited for here."""
ABANDONED = "edge_abandoned_workers_total"
_TRACER = """
import ctypes, sys

SEIZE = 0x4206  # linux/ptrace.h
ptrace = ctypes.CDLL(None).ptrace
zero = ctypes.c_ulong(0)
for line in sys.stdin:
    print(ptrace(SEIZE, int(line), zero, zero), flush=True)
"""


class Tracer:
    """Keeps the end of processes to itself until it is told to let go."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-S", "-c", _TRACER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def hold(self, worker: Worker) -> None:
        """From now on its parent is not told of its end."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(worker.pid, file=self._process.stdin, flush=True)
        if self._process.stdout.readline() != "0\n":
            cannot("nobody may trace a process here")

    def let_go(self) -> None:
        """Let parents hear of it. Idempotent."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(START_S)
        self._process.stdout.close()


@contextmanager
def tracing() -> Iterator[Tracer]:
    """A tracer that has let go at the end."""
    tracer = Tracer()
    try:
        yield tracer
    finally:
        tracer.let_go()


class Agency:
    """Hires for a crew, and sees that it leaves nobody behind."""

    def __init__(self) -> None:
        self.meter = RecordingMeter()
        self.hired: list[Worker] = []
        self.engine = "tests.engines:Traceable"
        self.crew = Crew("stick", self.meter, self._hire)

    def _hire(self) -> Worker:
        self.hired.append(Worker(self.engine, {}, name="stick"))
        return self.hired[-1]

    def close(self) -> None:
        """End the crew."""
        self.crew.retire()
        assert all(has_ended(worker.pid) for worker in self.hired)


@pytest.fixture
def agency() -> Iterator[Agency]:
    made = Agency()
    yield made
    made.close()


def test_a_successor_is_started_when_the_one_before_is_gone(agency: Agency) -> None:
    first = agency.crew.start(START_S)
    assert agency.crew.dismiss(first, "the test wants another"), "it served"
    assert not agency.crew.dismiss(first, "twice")
    second = agency.crew.start(START_S)
    assert has_ended(first.pid), "it holds the device until then"
    assert not agency.crew.dismiss(first, "it is not that one that serves")
    assert agency.crew.serving is second
    assert second.alive
    agency.crew.retire()
    assert second.died_of == 0, "it was asked to go"
    assert has_ended(second.pid)
    assert agency.meter.value(ABANDONED) == 0


def test_one_that_does_not_start_is_told_and_collected(agency: Agency) -> None:
    agency.engine = "tests.nowhere:Engine"
    with pytest.raises(BackendError, match=r"stick: No module named 'tests.nowhere'"):
        agency.crew.start(START_S)
    assert agency.crew.serving is None
    [worker] = agency.hired
    agency.crew.retire()
    assert has_ended(worker.pid), "also by those that have nobody to let go"


def test_answers_that_were_thrown_away_are_counted_once(agency: Agency) -> None:
    worker = agency.crew.start(START_S)
    worker.discarded["late"] += 3
    agency.crew.tend()
    agency.crew.tend()
    worker.discarded["foreign"] += 1
    agency.crew.dismiss(worker, "lies")
    agency.crew.retire()
    counted = {
        reason: agency.meter.value("edge_tpu_answers_discarded_total", tpu="stick", reason=reason)
        for reason in ("late", "foreign")
    }
    assert counted == {"late": 3, "foreign": 1}


def test_those_that_cannot_be_ended_are_left_behind_and_counted_up_to_a_bound(
    agency: Agency, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(crew_module, "REAP_S", SHORT_S)
    monkeypatch.setattr(crew_module, "CORPSES_MAX", 2)
    crew, meter, waited = agency.crew, agency.meter, []
    with tracing() as tracer:
        for number in range(2):
            held = crew.start(START_S)
            tracer.hold(held)
            assert crew.dismiss(held, "hangs")
            assert not held.reap(SHORT_S), "killed, and its end does not come"
            waited.append(_reaps(held, monkeypatch))
            assert not held.alive
            crew.tend()
            assert meter.value(ABANDONED) == number, "not as long as nobody had to wait for it"
        with pytest.raises(BackendError, match="stick: 2 workers cannot be ended; restart the device"):
            crew.start(START_S)
        crew.tend()
        assert meter.value(ABANDONED) == 2, "each is counted once"
        assert len(agency.hired) == 2, "and nobody was hired"
        assert [each.count(SHORT_S) for each in waited] == [1, 1], "and once it was left behind, not waited for"
        tracer.let_go()
    eventually(lambda: _all_have_ended(agency))
    worker = crew.start(START_S)
    number = worker.load(TWINS_SIGNATURE, TWINS_BYTES, START_S)
    assert same(worker.invoke(number, tensor(1), LONG_S), own_answer(tensor(1)))
    assert meter.value(ABANDONED) == 2


def _reaps(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Each time that the worker's end is waited for from now on, and how long."""
    waited: list[float] = []
    reap = worker.reap

    def watched(within_s: float) -> bool:
        waited.append(within_s)
        return reap(within_s)

    monkeypatch.setattr(worker, "reap", watched)
    return waited


def _all_have_ended(agency: Agency) -> bool:
    agency.crew.tend()
    return all(has_ended(worker.pid) for worker in agency.hired)
