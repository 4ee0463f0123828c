"""Workers to try things on: real processes, with an Edge TPU that fails on a script, or an engine of the tests."""

import gc
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from appliance.adapters.backends.exchange import Signature
from appliance.adapters.backends.worker import Worker
from appliance.core.model import Dtype, Model, TensorSpec
from appliance.core.types import Array, Outputs
from appliance.sim import tpu_tree
from appliance.sim.tpu_script import Script
from tests.model_folders import TWINS

CPU = "appliance.adapters.backends.engines:CpuEngine"
SIMULATED = "appliance.sim.tpu_engine:SimulatedEngine"
START_S = 30.0
"""For a process to start, a model to load: a bound, no measure."""
LONG_S = 30.0
"""A deadline that nothing sound misses, on however busy a machine."""
SERVED = "process_request_thread"
"""In the name of a thread in which a web server of the tests answers (socketserver)."""
SERVED_S = 10.0
"""For such a thread of an earlier test to see that its client is gone, and to close its end: a bound, no measure."""
GRACE_S = 0.1
"""How long an answer that is owed is waited for, by those who can do with a new worker."""

FLOAT = TensorSpec("x", (1, 2), Dtype.FLOAT32)
TWINS_SIGNATURE = Signature(
    "twins",
    "1.0.0",
    "model.tflite",
    FLOAT,
    {"minus": TensorSpec("minus", (1, 2), Dtype.FLOAT32), "plus": TensorSpec("plus", (1, 2), Dtype.FLOAT32)},
)
TWINS_BYTES = TWINS.read_bytes()


def signature_of(model: Model) -> Signature:
    """What a worker is told of a model."""
    return Signature(model.name, model.version, "model.tflite", model.input, model.outputs)


def tensor(number: float) -> Array:
    """An input of ``twins`` that is recognised by its number."""
    return np.array([[number + 0.25, -number - 0.5]], np.float32)


def own_answer(tensor: Array) -> Outputs:
    """What ``twins`` makes of an input: no two inputs have the same."""
    return {"minus": -tensor, "plus": np.abs(tensor)}


def same(one: Outputs, other: Outputs) -> bool:
    """Whether two answers are equal in every number."""
    return one.keys() == other.keys() and all(np.array_equal(one[role], other[role]) for role in one)


def open_files(pid: int | str = "self") -> dict[int, str]:
    """What each open file of a process is."""
    found = {}
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        try:
            found[int(entry.name)] = str(entry.readlink())
        except FileNotFoundError:  # the one that the folder itself is listed by
            continue
    return found


def own_files() -> dict[int, str]:
    """What each open file of this process is, once no file of earlier tests waits to be closed: to compare with."""
    gc.collect()
    for thread in threading.enumerate():
        if SERVED in thread.name:
            thread.join(SERVED_S)
    return open_files()


def memory(pid: int | str) -> set[str]:
    """The files of memory that a process has open or mapped."""
    mapped = {line.split(maxsplit=5)[-1] for line in Path(f"/proc/{pid}/maps").read_text().splitlines()}
    return {name for name in mapped | set(open_files(pid).values()) if "memfd:" in name or "/dev/shm" in name}  # noqa: S108 - looked for, not written


def has_ended(pid: int) -> bool:
    """Whether a process is gone, and collected."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


@contextmanager
def hired(engine: str = CPU, **options: str) -> Iterator[Worker]:
    """A worker that is started, and gone at the end."""
    worker = Worker(engine, options)
    try:
        worker.start(START_S)
        yield worker
    finally:
        end(worker)


def end(worker: Worker) -> None:
    """Kill a worker and see it gone: this works at any moment."""
    worker.kill("the test is over")
    assert worker.reap(START_S)


class SimulatedTpu:
    """An Edge TPU on a bus of files, and a worker with ``twins`` on it as number 0, replaced when it was lost."""

    def __init__(self, folder: Path) -> None:
        """Plug it in."""
        self.folder = folder
        self.script = Script(folder)
        self._worker: Worker | None = None

    def worker(self) -> Worker:
        """A sound worker, on a device that does nothing wrong yet."""
        self.script.clear()
        if self._worker is not None and (not self._worker.alive or self._worker.settle(GRACE_S) is None):
            self.close()
        if self._worker is None:
            self._worker = self.hire()
            self._worker.load(TWINS_SIGNATURE, TWINS_BYTES, START_S)
        return self._worker

    def hire(self) -> Worker:
        """A worker that is started and has opened nothing; the caller ends it."""
        if not tpu_tree.present(self.folder):
            tpu_tree.plug(self.folder)
        worker = Worker(SIMULATED, {"folder": str(self.folder)}, name="tpu")
        worker.start(START_S)
        return worker

    def close(self) -> None:
        """End its worker."""
        if self._worker is not None:
            end(self._worker)
            self._worker = None
