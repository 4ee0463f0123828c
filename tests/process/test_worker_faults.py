"""Every fault of an Edge TPU and of the library that drives it, in a real process: the parent is told, and goes on.

No test measures how fast: that an answer comes at all, from a worker that would hang for ever, is what is shown, and in
which order things happen. Each ends with a worker that answers right, or with one that is gone.
"""

import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.adapters.backends import worker as worker_module
from appliance.adapters.backends.exchange import Area
from appliance.adapters.backends.worker import Worker
from appliance.core.types import Outputs
from appliance.errors import BackendError
from appliance.sim.lies import lie
from appliance.sim.tpu_script import Act, Script
from tests.waiting import eventually
from tests.workers import (
    GRACE_S,
    LONG_S,
    START_S,
    TWINS_BYTES,
    TWINS_SIGNATURE,
    SimulatedTpu,
    end,
    has_ended,
    hired,
    own_answer,
    same,
    tensor,
)

SHORT_S = 0.05
"""A deadline that a hang misses."""
LATE_S = 1.0
"""How late a late answer is: after ``SHORT_S``, also where a busy machine looks late for it, and before ``LONG_S``."""
LATER_S = 2.0
"""How late one is that somebody else is still to wait for, and to give up."""
ASKED = tensor(1)


@pytest.fixture(scope="module")
def tpu(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimulatedTpu]:
    made = SimulatedTpu(tmp_path_factory.mktemp("bus"))
    yield made
    made.close()


def _obeyed(script: Script) -> None:
    """Wait until the worker's process does what the script says."""
    eventually(lambda: script.left() == 0)


def _answers(worker: Worker, number: float = 2) -> bool:
    return same(worker.invoke(0, tensor(number), LONG_S), own_answer(tensor(number)))


class TestDeath:
    @pytest.mark.parametrize(
        ("act", "killed_by", "words"),
        [
            (Act.ABORT, signal.SIGABRT, r": F simulated/usb_driver\.cc:857\] transfer failed"),
            (Act.CRASH, signal.SIGSEGV, ""),
            (Act.VANISH, signal.SIGABRT, ""),
        ],
    )
    def test_in_an_invoke_is_told_with_its_signal_and_the_librarys_last_words(
        self, tpu: SimulatedTpu, act: Act, killed_by: signal.Signals, words: str
    ) -> None:
        worker = tpu.worker()
        tpu.script.then(act)
        for _ in range(2):
            with pytest.raises(BackendError, match=rf"^tpu: died \({killed_by.name}\){words}$"):
                worker.invoke(0, ASKED, LONG_S)
        assert not worker.alive
        assert not worker.owes
        assert worker.died_of == killed_by
        with pytest.raises(BackendError, match=rf"^tpu: died \({killed_by.name}\)"):
            worker.load(TWINS_SIGNATURE, TWINS_BYTES, START_S)
        assert worker.reap(START_S)
        assert has_ended(worker.pid)

    @pytest.mark.parametrize(("act", "killed_by"), [(Act.OPEN_ABORT, signal.SIGABRT), (Act.OPEN_CRASH, signal.SIGSEGV)])
    def test_while_the_device_is_opened_is_told_with_its_signal(
        self, tpu: SimulatedTpu, act: Act, killed_by: signal.Signals
    ) -> None:
        worker = tpu.worker()
        tpu.script.then(act)
        with pytest.raises(BackendError, match=rf"^tpu: died \({killed_by.name}\)"):
            worker.load(TWINS_SIGNATURE, TWINS_BYTES, START_S)
        assert not worker.alive

    def test_by_another_hand_between_two_frames_is_told_at_the_next(self, tpu: SimulatedTpu) -> None:
        worker = tpu.worker()
        os.kill(worker.pid, signal.SIGKILL)
        with pytest.raises(BackendError, match=r"^tpu: died \(SIGKILL\)$"):
            worker.invoke(0, ASKED, LONG_S)

    def test_that_a_driver_holds_up_is_death_all_the_same(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """It has closed its socket, and the process does not end."""
        monkeypatch.setattr(worker_module, "LAST_WORDS_S", SHORT_S)
        with hired("tests.engines:Deaf") as worker:
            worker.load(TWINS_SIGNATURE, TWINS_BYTES, START_S)
            for _ in range(2):
                with pytest.raises(BackendError, match=r"^worker: ended$"):
                    worker.invoke(0, ASKED, LONG_S)
            assert not worker.alive, "or it would be asked again, for ever"
            assert not has_ended(worker.pid)
            assert not worker.reap(0.0)


class TestHang:
    def test_in_an_invoke_costs_one_deadline_and_then_nothing_more(self, tpu: SimulatedTpu) -> None:
        worker = tpu.worker()
        tpu.script.then(Act.HANG)
        with pytest.raises(BackendError, match=r"^tpu: no answer within 0\.05 s$"):
            worker.invoke(0, ASKED, SHORT_S)
        _obeyed(tpu.script)
        assert worker.owes
        assert worker.alive
        with pytest.raises(BackendError, match=r"^tpu: busy with an earlier frame$"):
            worker.invoke(0, ASKED, 1e6)
        with pytest.raises(BackendError, match=r"^tpu: busy with an earlier frame$"):
            worker.load(TWINS_SIGNATURE, TWINS_BYTES, 1e6)
        for _ in range(2):
            assert worker.settle(SHORT_S) is None
        assert worker.owes
        self._ends(worker)

    def test_while_the_device_is_opened_is_given_up_at_the_deadline(self, tpu: SimulatedTpu) -> None:
        worker = tpu.worker()
        tpu.script.then(Act.OPEN_HANG)
        with pytest.raises(BackendError, match=r"^tpu: no answer to load twins within 0\.05 s$"):
            worker.load(TWINS_SIGNATURE, TWINS_BYTES, SHORT_S)
        _obeyed(tpu.script)
        assert worker.settle(SHORT_S) is None
        self._ends(worker)

    def test_is_not_passed_on_to_those_who_waited_for_their_turn(self, tpu: SimulatedTpu) -> None:
        """Here of a process that was stopped."""
        worker = tpu.worker()
        os.kill(worker.pid, signal.SIGSTOP)
        with ThreadPoolExecutor(2) as threads:
            first = threads.submit(worker.invoke, 0, tensor(4), LATE_S)
            eventually(worker._turn.locked)
            second = threads.submit(worker.invoke, 0, tensor(5), LONG_S)
            with pytest.raises(BackendError, match="no answer within"):
                first.result(LONG_S)
            with pytest.raises(BackendError, match="busy with an earlier frame"):
                second.result(LONG_S)
        worker.kill("hangs")
        assert worker.reap(START_S)

    def test_does_not_keep_quit_from_ending_it(self, tpu: SimulatedTpu) -> None:
        worker = tpu.worker()
        tpu.script.then(Act.HANG)
        with pytest.raises(BackendError):
            worker.invoke(0, ASKED, SHORT_S)
        worker.quit(1e6)
        assert worker.reap(START_S)

    def _ends(self, worker: Worker) -> None:
        """It ignores SIGTERM while it holds the interpreter's lock; SIGKILL ends it."""
        eventually(lambda: _ignores(worker.pid, signal.SIGTERM))
        os.kill(worker.pid, signal.SIGTERM)
        assert worker.settle(SHORT_S) is None
        assert worker.alive
        worker.kill("hangs")
        assert worker.reap(START_S)
        assert has_ended(worker.pid)
        assert worker.died_of == signal.SIGKILL
        assert worker.settle(LONG_S) is None, "what is owed by the dead never comes"
        with pytest.raises(BackendError, match=r"^tpu: hangs$"):
            worker.invoke(0, ASKED, LONG_S)


class TestLateAnswer:
    def test_is_taken_and_thrown_away_and_the_next_frame_gets_its_own(self, tpu: SimulatedTpu) -> None:
        worker = tpu.worker()
        for round_ in range(2):
            tpu.script.then(Act.LATE, LATE_S)
            discarded = worker.discarded["late"]
            with pytest.raises(BackendError, match="no answer within"):
                worker.invoke(0, tensor(round_), SHORT_S)
            with pytest.raises(BackendError, match="busy with an earlier frame"):
                worker.invoke(0, tensor(10), LONG_S)
            took_s = worker.settle(LONG_S)
            assert took_s is not None
            assert took_s >= LATE_S
            assert not worker.owes
            assert worker.discarded["late"] == discarded + 1
            assert _answers(worker, 20 + round_)
        assert worker.settle(0.0) == 0.0

    def test_that_came_before_the_deadline_is_the_frames_own(self, tpu: SimulatedTpu) -> None:
        worker = tpu.worker()
        tpu.script.then(Act.LATE, SHORT_S)
        assert _answers(worker, 3)

    def test_that_has_come_already_is_thrown_away_without_a_wait(self, tpu: SimulatedTpu) -> None:
        worker = tpu.worker()
        tpu.script.then(Act.LATE, LATE_S)
        with pytest.raises(BackendError, match="no answer within"):
            worker.invoke(0, ASKED, SHORT_S)
        assert eventually(lambda: worker.settle(0.001)), "settled at last, by many short looks"
        assert _answers(worker)

    def test_leaves_those_who_wait_for_their_turn_a_bound_of_their_own(self, tpu: SimulatedTpu) -> None:
        worker = tpu.worker()
        tpu.script.then(Act.LATE, LATER_S)
        with ThreadPoolExecutor(1) as threads:
            first = threads.submit(worker.invoke, 0, tensor(4), LONG_S)
            _obeyed(tpu.script)
            with pytest.raises(BackendError, match="busy with an earlier frame"):
                worker.invoke(0, tensor(5), SHORT_S)
            assert same(first.result(LONG_S), own_answer(tensor(4)))
        assert _answers(worker)

    def test_of_an_opening_is_thrown_away_and_the_model_is_loaded_anew(self, tpu: SimulatedTpu) -> None:
        worker = tpu.hire()
        try:
            tpu.script.clear()
            tpu.script.then(Act.OPEN_SLOWLY, LATE_S)
            with pytest.raises(BackendError, match="no answer to load twins within"):
                worker.load(TWINS_SIGNATURE, TWINS_BYTES, SHORT_S)
            assert worker.owes
            assert (worker.settle(LONG_S) or 0.0) >= LATE_S
            assert worker.load(TWINS_SIGNATURE, TWINS_BYTES, START_S) == 0
            assert _answers(worker)
        finally:
            end(worker)

    def test_of_an_opening_in_time_is_as_good_as_any(self, tpu: SimulatedTpu) -> None:
        worker = tpu.worker()
        tpu.script.then(Act.OPEN_SLOWLY, SHORT_S)
        number = worker.load(TWINS_SIGNATURE, TWINS_BYTES, START_S)
        assert same(worker.invoke(number, ASKED, LONG_S), own_answer(ASKED))


class TestWrongAnswer:
    def test_of_another_frames_is_never_taken(self, tpu: SimulatedTpu) -> None:
        worker = tpu.worker()
        tpu.script.then(Act.FOREIGN)
        discarded = worker.discarded["foreign"]
        with pytest.raises(BackendError, match="no answer within"):
            worker.invoke(0, ASKED, LATE_S)
        assert worker.settle(SHORT_S) is None, "the frame's own never comes"
        assert worker.discarded["foreign"] == discarded + 1

    def test_under_the_frames_own_id_is_not_taken_when_the_memory_says_that_it_is_anothers(
        self, tpu: SimulatedTpu, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        worker = tpu.worker()
        area = worker._areas[0]

        def meddled(request: int, sequence: int) -> Outputs | None:
            area.answer(own_answer(tensor(9)), request + 1, sequence)
            return Area.outputs_of(area, request, sequence)

        discarded = worker.discarded["foreign"]
        with monkeypatch.context() as patch:
            patch.setattr(area, "outputs_of", meddled)
            with pytest.raises(BackendError, match=r"^tpu: the outputs in the memory are another request's$"):
                worker.invoke(0, ASKED, LONG_S)
        assert worker.discarded["foreign"] == discarded + 1
        assert _answers(worker)

    def test_is_not_even_made_of_an_input_that_the_memory_says_is_anothers(
        self, tpu: SimulatedTpu, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        worker = tpu.worker()
        area = worker._areas[0]
        with monkeypatch.context() as patch:
            patch.setattr(area, "ask", lambda asked, request: Area.ask(area, asked, request + 1))
            with pytest.raises(BackendError, match=r"^tpu: the tensor in the memory is another request's$"):
                worker.invoke(0, ASKED, LONG_S)
        assert _answers(worker)

    def test_of_wrong_numbers_is_handed_on_for_the_golden_vectors_to_find(self, tpu: SimulatedTpu) -> None:
        worker = tpu.worker()
        tpu.script.then(Act.LIE)
        answer = worker.invoke(0, ASKED, LONG_S)
        assert same(answer, {role: lie(values) for role, values in own_answer(ASKED).items()})
        assert _answers(worker)

    def test_that_the_runtime_failed_is_told_and_the_worker_goes_on(self, tpu: SimulatedTpu) -> None:
        worker = tpu.worker()
        tpu.script.then(Act.FAIL)
        with pytest.raises(BackendError, match=r"^tpu: simulated: the device reports an error$"):
            worker.invoke(0, ASKED, LONG_S)
        assert not worker.owes
        assert _answers(worker)

    def test_that_the_device_does_not_open_is_told_and_the_worker_goes_on(self, tpu: SimulatedTpu) -> None:
        worker = tpu.worker()
        tpu.script.then(Act.OPEN_FAIL)
        with pytest.raises(BackendError, match=r"^tpu: simulated: the device does not open$"):
            worker.load(TWINS_SIGNATURE, TWINS_BYTES, START_S)
        assert _answers(worker)


def test_a_library_that_leaks_is_seen_growing(tpu: SimulatedTpu) -> None:
    worker = tpu.worker()
    before = worker.resident_bytes
    tpu.script.then(Act.LEAK, 48 * 1024 * 1024)
    assert _answers(worker)
    assert 40 * 1024 * 1024 <= worker.resident_bytes - before <= 64 * 1024 * 1024


def test_whoever_waits_for_an_answer_hears_at_once_that_the_worker_is_killed_and_why(tpu: SimulatedTpu) -> None:
    worker = tpu.worker()
    tpu.script.then(Act.HANG)
    with ThreadPoolExecutor(2) as threads:
        waiting = [threads.submit(worker.invoke, 0, tensor(each), 1e6) for each in range(2)]
        _obeyed(tpu.script)
        worker.kill("unplugged")
        assert worker.reap(START_S), "while others still ask it"
        for each in waiting:
            with pytest.raises(BackendError, match=r"^tpu: unplugged$"):
                each.result(LONG_S)


ACTS = st.sampled_from([None] * 3 + [Act.LATE] * 4 + [Act.FAIL, Act.LIE])
FRAMES = st.lists(
    st.tuples(ACTS, st.sampled_from([0.0, 0.0005, 0.003, 0.03, 5.0]), st.sampled_from([0.001, 0.01]), st.booleans()),
    min_size=4,
    max_size=16,
)


@settings(max_examples=10)
@given(frames=FRAMES, foreign=st.sampled_from([99, 99, 99, 2, 6]))
def test_whatever_goes_wrong_no_frame_gets_an_answer_that_is_anothers(
    tpu: SimulatedTpu, frames: list[tuple[Act | None, float, float, bool]], foreign: int
) -> None:
    """Each frame with its act, deadline, how late a late answer is, and whether what is owed is waited for before.

    ``foreign`` is the number of the one frame, if there are as many, that is answered with another's id.
    """
    worker = tpu.worker()
    for number, (drawn, deadline_s, late_s, settles) in enumerate(frames):
        act = Act.FOREIGN if number == foreign else drawn
        if settles and (not worker.alive or worker.settle(GRACE_S) is None):
            worker = tpu.worker()
        if not worker.owes:
            tpu.script.clear()
            if act is not None:
                tpu.script.then(act, late_s)
        asked = tensor(number)
        try:
            answer = worker.invoke(0, asked, min(deadline_s, SHORT_S) if act is Act.FOREIGN else deadline_s)
        except BackendError:
            continue
        own = own_answer(asked)
        lied = {role: lie(values) for role, values in own.items()}
        assert same(answer, own) or (act is Act.LIE and same(answer, lied))
        assert act not in {Act.FOREIGN, Act.FAIL}


def _ignores(pid: int, number: signal.Signals) -> bool:
    """Whether a process ignores a signal."""
    status = Path(f"/proc/{pid}/status").read_text()
    [ignored] = [line.split()[1] for line in status.splitlines() if line.startswith("SigIgn:")]
    return bool(int(ignored, 16) >> (number - 1) & 1)
