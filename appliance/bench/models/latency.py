"""How long one inference takes on each runtime: every process takes its turn, round after round, in one run.

So whatever else the machine does meets all of them alike, and of many rounds the least disturbed one counts.
"""

import json
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, Queue
from threading import Thread
from typing import Any, Self

from appliance.errors import BackendError

WORKER = Path(__file__).with_name("worker.py")
ROUNDS = 20
ROUND_S = 0.02
"""Each candidate runs about this long a round, so that a microsecond's model is not drowned by the clock."""
TIMES_MAX = 5000
ANSWER_TIMEOUT_S = 60.0
"""Longest wait for one answer: loading a runtime on a busy machine takes some seconds."""
END_TIMEOUT_S = 5.0


@dataclass(frozen=True, slots=True)
class Candidate:
    """One model on one runtime."""

    model: str
    form: str
    """``int8`` or ``float32``."""
    runtime: str
    threads: int
    file: Path


@dataclass(frozen=True, slots=True)
class Timed:
    """What came out: the least time of one inference, or why there is none."""

    candidate: Candidate
    took_s: float | None
    fault: str = ""


class Worker:
    """The other end of ``worker.py``."""

    def __init__(self, python: Path) -> None:
        """Start it with an environment's interpreter, isolated from this one's modules."""
        self._process = subprocess.Popen(  # noqa: S603 - our own script
            [str(python), "-I", str(WORKER)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            text=True,
        )  # fmt: skip
        self._answers: Queue[str] = Queue(maxsize=2)
        self._ended = ""
        Thread(target=self._listen, name="bench-worker", daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait(END_TIMEOUT_S)
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                with suppress(OSError):  # closing sends what a dead process no longer took
                    stream.close()

    def ask(self, **order: object) -> dict[str, Any]:
        """Give an order, wait for its answer. Raises BackendError when it says no, died, or does not answer."""
        assert self._process.stdin is not None, "started with a pipe"
        if self._ended:
            raise BackendError(self._ended)
        try:
            self._process.stdin.write(json.dumps(order) + "\n")
            self._process.stdin.flush()
            line = self._answers.get(timeout=ANSWER_TIMEOUT_S)
        except OSError as error:
            raise self._end("the process died") from error
        except Empty as error:
            msg = f"no answer within {ANSWER_TIMEOUT_S:g} s"
            raise self._end(msg) from error
        if not line:
            raise self._end("the process died")
        return _answer(line)

    def _end(self, why: str) -> BackendError:
        """Ask no more: a pipe may take an order after its reader died, and a late answer would be the wrong one's."""
        self._ended = why
        self._process.kill()
        return BackendError(why)

    def _listen(self) -> None:
        """Hand on every line; an empty one at the end."""
        assert self._process.stdout is not None, "started with a pipe"
        for line in self._process.stdout:
            self._answers.put(line)
        self._answers.put("")


def _answer(line: str) -> dict[str, Any]:
    """Read one answer. Raises BackendError when it says no, or is none."""
    try:
        answer = dict(json.loads(line))
    except (ValueError, TypeError) as error:
        msg = "what the process answered is no JSON object"
        raise BackendError(msg) from error
    if "error" in answer:
        raise BackendError(answer["error"])
    return answer


@dataclass(slots=True)
class _Loaded:
    candidate: Candidate
    worker: Worker
    index: int
    times: int
    least_s: float = float("inf")


def measure(candidates: Sequence[Candidate], pythons: dict[str, Path], *, rounds: int = ROUNDS) -> list[Timed]:
    """Time every candidate, each ``rounds`` times in turn with all the others.

    Args:
        candidates: what to time; one that does not run is told with its fault.
        pythons: an interpreter for each runtime that is there.
        rounds: how often each takes its turn.
    """
    faults: dict[Candidate, str] = {}
    with _workers(pythons) as workers:
        loaded: list[_Loaded] = []
        for candidate in candidates:
            try:
                loaded.append(_load(candidate, workers))
            except BackendError as error:
                faults[candidate] = str(error)
        for _ in range(rounds):
            for each in [each for each in loaded if each.candidate not in faults]:
                try:
                    took_s = each.worker.ask(run=each.index, times=each.times)["took_s"]
                    each.least_s = min(each.least_s, took_s / each.times)
                except BackendError as error:
                    faults[each.candidate] = str(error)
    times = {each.candidate: each.least_s for each in loaded if each.candidate not in faults}
    return [Timed(candidate, times.get(candidate), faults.get(candidate, "")) for candidate in candidates]


@contextmanager
def _workers(pythons: dict[str, Path]) -> Iterator[dict[str, Worker]]:
    with ExitStack() as stack:
        yield {runtime: stack.enter_context(Worker(python)) for runtime, python in pythons.items()}


def _load(candidate: Candidate, workers: dict[str, Worker]) -> _Loaded:
    """Load one model and find how many inferences fill a round. Raises BackendError."""
    worker = workers.get(candidate.runtime)
    if worker is None:
        msg = f"{candidate.runtime} is not installed"
        raise BackendError(msg)
    index = worker.ask(load=str(candidate.file), runtime=candidate.runtime, threads=candidate.threads)["index"]
    trial_s = min(worker.ask(run=index, times=1)["took_s"] for _ in range(3))
    return _Loaded(candidate, worker, index, max(1, min(TIMES_MAX, round(ROUND_S / max(trial_s, 1e-7)))))
