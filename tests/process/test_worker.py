"""A worker that is well: its models, its answers, and what its process may do and hold."""

import json
import os
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from functools import cache
from itertools import count
from pathlib import Path

import numpy as np
import pytest

from appliance.adapters.backends import child
from appliance.adapters.backends.cpu import CpuBackend
from appliance.adapters.backends.servant import MODELS_MAX
from appliance.adapters.backends.worker import Worker
from appliance.adapters.model_folder import read_model
from appliance.errors import BackendError, ModelError
from tests.engines import FAMILIES
from tests.model_folders import FOLDERS, TINY
from tests.workers import (
    CPU,
    LONG_S,
    START_S,
    TWINS_BYTES,
    TWINS_SIGNATURE,
    end,
    has_ended,
    hired,
    memory,
    open_files,
    own_answer,
    own_files,
    same,
    signature_of,
    tensor,
)

MODELS = [read_model(folder) for folder in FOLDERS]
TINY_MODEL = read_model(TINY)
DENIED = os.strerror(13)
ENGINES = "tests.engines"
NEEDLESS = {"pydantic", "structlog", "cv2", "paho", "typer", "sqlite3", "prometheus_client"}
"""Packages that cost a worker time and memory for nothing."""
ROUNDS = 25


@cache
def _well() -> Worker:
    """One worker for the tests that leave it as it was; ends with the last of them, before those of another file."""
    worker = Worker(CPU, {})
    worker.start(START_S)
    return worker


@pytest.fixture(scope="module", autouse=True)
def _collected() -> Iterator[None]:
    yield
    if _well.cache_info().currsize:
        end(_well())
        _well.cache_clear()  # a run in parallel may come back to this file


@pytest.fixture(scope="module")
def twins() -> tuple[Worker, int]:
    """The shared worker, and the number of ``twins`` on it."""
    return _well(), _well().load(TWINS_SIGNATURE, TWINS_BYTES, START_S)


class TestModels:
    def test_several_live_on_one_worker_and_answer_as_they_do_on_the_cpu(self) -> None:
        with hired() as worker:
            numbers = [worker.load(signature_of(model), model.tflite, START_S) for model in MODELS]
            assert numbers == list(range(len(MODELS)))
            for round_ in (0, -1):
                for number, model in zip(numbers, MODELS, strict=True):
                    cpu = CpuBackend()
                    cpu.open(model)
                    asked = model.golden.inputs[round_]
                    assert same(worker.invoke(number, asked, LONG_S), cpu.invoke(asked, LONG_S))

    def test_a_file_that_contradicts_its_description_is_refused_and_harms_nobody(
        self, twins: tuple[Worker, int]
    ) -> None:
        worker, number = twins
        for content in (b"", b"x" * 4096, TINY_MODEL.tflite):
            with pytest.raises(ModelError, match=r"^twins 1\.0\.0: .*model\.tflite"):
                worker.load(TWINS_SIGNATURE, content, START_S)
        assert worker.alive
        assert not worker.owes
        tiny = worker.load(signature_of(TINY_MODEL), TINY_MODEL.tflite, START_S)
        answer = worker.invoke(tiny, TINY_MODEL.golden.inputs[0], LONG_S)
        assert same(answer, dict(TINY_MODEL.golden.outputs[0]))
        assert same(worker.invoke(number, tensor(1), LONG_S), own_answer(tensor(1)))

    def test_there_is_a_bound_to_them_and_those_within_it_go_on(self) -> None:
        with hired() as worker:
            numbers = [worker.load(TWINS_SIGNATURE, TWINS_BYTES, START_S) for _ in range(MODELS_MAX)]
            for _ in range(2):
                with pytest.raises(BackendError, match=f"more than {MODELS_MAX} models"):
                    worker.load(TWINS_SIGNATURE, TWINS_BYTES, START_S)
            for number in numbers:
                assert same(worker.invoke(number, tensor(number), LONG_S), own_answer(tensor(number)))

    def test_a_bug_that_asks_with_another_tensor_is_found_before_anything_is_sent(
        self, twins: tuple[Worker, int]
    ) -> None:
        worker, number = twins
        for wrong in (np.zeros((1, 3), np.float32), np.zeros((1, 2), np.float64)):
            with pytest.raises(AssertionError):
                worker.invoke(number, wrong, LONG_S)
        assert not worker.owes


class TestAnswers:
    def test_they_are_copies_that_a_later_one_leaves_alone(self, twins: tuple[Worker, int]) -> None:
        worker, number = twins
        first = worker.invoke(number, tensor(1), LONG_S)
        worker.invoke(number, tensor(2), LONG_S)
        assert same(first, own_answer(tensor(1)))
        for values in first.values():
            values.fill(0.0)
        assert same(worker.invoke(number, tensor(3), LONG_S), own_answer(tensor(3)))

    def test_each_of_several_threads_gets_its_own(self, twins: tuple[Worker, int]) -> None:
        worker, number = twins

        def ask(thread: int) -> bool:
            asked = [tensor(1000 * thread + round_) for round_ in range(ROUNDS)]
            return all(same(worker.invoke(number, each, LONG_S), own_answer(each)) for each in asked)

        with ThreadPoolExecutor(4) as threads:
            assert all(threads.map(ask, range(4)))


class TestStartAndEnd:
    def test_its_engine_says_what_it_is_made_of(self) -> None:
        assert _well().facts["runtime"] in {"ai_edge_litert", "tflite_runtime"}

    def test_an_engine_that_is_not_there_is_named(self) -> None:
        worker = Worker("tests.nowhere:Engine", {}, name="tpu")
        try:
            with pytest.raises(BackendError, match=r"^tpu: No module named 'tests\.nowhere'$"):
                worker.start(START_S)
            assert worker.died_of == 0
            assert worker.alive, "told in order: it is not taken for a dying device"
        finally:
            end(worker)

    def test_a_program_that_cannot_be_started_leaves_no_file_open(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sys, "executable", "/nowhere/python")
        before = own_files()
        with pytest.raises(BackendError, match="tpu: cannot be started: No such file"):
            Worker(CPU, {}, name="tpu")
        assert open_files() == before

    def test_where_no_more_files_can_be_opened_it_is_not_started_and_loads_nothing_and_that_is_all(self) -> None:
        with hired() as worker, _few_files_left() as left:
            before = own_files()
            for number in range(1, 9):
                with left(number), pytest.raises(BackendError, match="tpu: cannot be started: Too many open files"):
                    Worker(CPU, {}, name="tpu")
                assert open_files() == before
            for number in range(3):
                with left(number), pytest.raises(BackendError, match="no memory for twins: Too many open files"):
                    worker.load(TWINS_SIGNATURE, TWINS_BYTES, START_S)
                assert open_files() == before
            assert worker.load(TWINS_SIGNATURE, TWINS_BYTES, START_S) == 0

    def test_asked_to_quit_it_ends_by_itself_and_answers_no_more(self) -> None:
        with hired() as worker:
            number = worker.load(TWINS_SIGNATURE, TWINS_BYTES, START_S)
            worker.quit(LONG_S)
            assert worker.died_of == 0, "it was not killed"
            for _ in range(2):
                assert worker.reap(LONG_S)
                worker.quit(LONG_S)
            assert has_ended(worker.pid)
            assert worker.resident_bytes == 0
            for ask in (lambda: worker.invoke(number, tensor(1), LONG_S), lambda: worker.start(START_S)):
                with pytest.raises(BackendError, match="worker: closed"):
                    ask()

    def test_a_library_that_talks_without_end_is_not_held_up_and_its_last_words_are_heard(self) -> None:
        with hired(f"{ENGINES}:Talkative") as worker:
            number = worker.load(TWINS_SIGNATURE, TWINS_BYTES, START_S)
            zero = np.zeros((1, 2), np.float32)
            for _ in range(3):
                assert same(worker.invoke(number, zero, LONG_S), own_answer(zero))
            worker.listen()
            with pytest.raises(BackendError, match=r"died \(SIGABRT\): F somewhere\.cc:1\] the last word$"):
                worker.invoke(number, tensor(1), LONG_S)


@contextmanager
def _few_files_left() -> Iterator[Callable[[int], AbstractContextManager[None]]]:
    """Gives what leaves this process only so many more files to open."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)

    @contextmanager
    def left(number: int) -> Iterator[None]:
        with ExitStack() as taken:
            for _ in range(_free_files() - number):
                taken.callback(os.close, os.dup(0))
            yield

    resource.setrlimit(resource.RLIMIT_NOFILE, (max(open_files()) + 20, hard))
    try:
        yield left
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def _free_files() -> int:
    """How many more this process may open."""
    with ExitStack() as taken, suppress(OSError):
        for number in count():
            taken.callback(os.close, os.dup(0))
            free = number + 1
    return free


@pytest.fixture(scope="module")
def confined(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worker]:
    """A worker that tells what it may do, started by a process that has more than it may hand on."""
    camera = os.open(tmp_path_factory.mktemp("dev") / "video0", os.O_CREAT | os.O_RDWR)
    os.set_inheritable(camera, True)
    try:
        with pytest.MonkeyPatch.context() as patch:
            for name in child.PRIVATE:
                patch.setenv(name, "not for you")
            with hired(f"{ENGINES}:Surroundings") as worker:
                worker.load(TWINS_SIGNATURE, TWINS_BYTES, START_S)
                yield worker
    finally:
        os.close(camera)


class TestConfinement:
    def test_no_socket_can_be_made_in_any_way_but_to_the_kernel_itself(self, confined: Worker) -> None:
        tried = json.loads(confined.facts["sockets"])
        assert tried.pop("netlink") == "done", "it tells the library of USB devices"
        assert tried.keys() == {*FAMILIES, "a thread's", "a child's", "io_uring"} - {"netlink"}
        assert set(tried.values()) == {DENIED}

    def test_no_core_is_written(self, confined: Worker) -> None:
        assert confined.facts["core"] in {"0", "1"}, "bytes"

    def test_it_holds_no_file_but_its_own(self, confined: Worker) -> None:
        files = open_files(confined.pid)
        assert files.pop(0) == "/dev/null"
        assert files.pop(1) == files.pop(2), "what the library says goes to us"
        kinds = sorted(name.partition(":")[0] for name in files.values())
        assert kinds == ["/memfd", "pipe", "socket"], "a model's tensors, the pipe that it ends by, its orders"

    def test_its_memory_has_no_name_and_the_models_file_is_closed(self, confined: Worker) -> None:
        assert memory(confined.pid) == {"/memfd:tensors (deleted)"}

    def test_it_has_a_session_of_its_own(self, confined: Worker) -> None:
        assert os.getsid(confined.pid) == confined.pid != os.getsid(0)
        assert os.getpgid(confined.pid) == confined.pid

    def test_it_knows_nothing_of_the_service_that_started_it(self, confined: Worker) -> None:
        environment = Path(f"/proc/{confined.pid}/environ").read_bytes().split(b"\0")
        names = {entry.partition(b"=")[0].decode() for entry in environment}
        assert names & set(child.PRIVATE) == set()
        assert "PYTHONPATH" in names

    def test_it_loads_nothing_that_it_does_not_need(self, confined: Worker) -> None:
        ours = set(confined.facts["own modules"].split())
        assert set(confined.facts["modules"].split()) & NEEDLESS == set()
        assert not [name for name in ours if name.startswith(("appliance.config", "appliance.trust", "appliance.sim"))]


def test_neither_does_the_engine_of_the_device_nor_that_of_the_stand_in() -> None:
    modules = "appliance.sim.tpu_engine, appliance.adapters.backends.edgetpu_engine"
    script = f"import sys, {modules}; print(*{{name.partition('.')[0] for name in sys.modules}} & {NEEDLESS})"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60.0)
    assert done.stdout.split() == []
