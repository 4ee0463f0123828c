"""What a simulated Edge TPU does next: a list of acts in a file, so that it outlives the process that obeys it.

The test or bench that writes it and the worker's process that reads it share nothing else. Standard library only.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

LINES_MAX = 100_000


class Act(StrEnum):
    """One thing an Edge TPU, or the library that drives it, does wrong. Each happens once."""

    # While a model is loaded, which opens the device.
    OPEN_SLOWLY = "open_slowly"
    """Takes ``value`` seconds."""
    OPEN_FAIL = "open_fail"
    """The library gives up, in order."""
    OPEN_ABORT = "open_abort"
    OPEN_CRASH = "open_crash"
    """SIGSEGV: runtime and library do not fit."""
    OPEN_HANG = "open_hang"
    # While it runs a model.
    ABORT = "abort"
    """SIGABRT, as when a transfer to the device stalls."""
    CRASH = "crash"
    """SIGSEGV."""
    HANG = "hang"
    """Never returns, holds the interpreter's lock, ignores SIGTERM: a stalled transfer from the device."""
    LATE = "late"
    """Answers after ``value`` seconds."""
    FOREIGN = "foreign"
    """Answers under another request's id."""
    LIE = "lie"
    """Gives wrong numbers."""
    FAIL = "fail"
    """The runtime reports an error, in order."""
    LEAK = "leak"
    """Takes ``value`` bytes of memory and never gives them back."""
    VANISH = "vanish"
    """Falls off the bus; the library aborts."""

    @property
    def opening(self) -> bool:
        """Whether it happens while a model is loaded."""
        return self.value.startswith("open_")


class Step(NamedTuple):
    """An act with its number, and how many like it pass before it is done."""

    act: Act
    value: float = 0.0
    after: int = 0
    """Openings or invokes that go well before."""


class Script:
    """The acts to come, first to last; an opening takes the first that is about openings, an invoke the first other."""

    def __init__(self, folder: Path) -> None:
        """Use ``folder``, which exists; whoever else names the same folder sees the same acts."""
        self._file = folder / "script"
        self._lock = folder / "script.lock"

    def then(self, act: Act, value: float = 0.0, *, after: int = 0) -> None:
        """Add an act to the end."""
        with self._held():
            steps = [*self._read(), Step(act, value, after)]
            assert len(steps) <= LINES_MAX, "a script has an end"
            self._write(steps)

    def clear(self) -> None:
        """Forget the acts to come."""
        with self._held():
            self._write([])

    def left(self) -> int:
        """How many acts are to come."""
        with self._held():
            return len(self._read())

    def take(self, *, opening: bool) -> Step | None:
        """Return what to do now, at an opening or at an invoke; None: what is right."""
        try:
            if not os.stat(self._file).st_size:  # noqa: PTH116 - asked at each invoke, and Path.stat is slower
                return None
        except FileNotFoundError:
            return None
        with self._held():
            steps = self._read()
            index = next((index for index, step in enumerate(steps) if step.act.opening is opening), None)
            if index is None:
                return None
            step = steps.pop(index)
            if step.after > 0:
                steps.insert(index, step._replace(after=step.after - 1))
            self._write(steps)
        return step if step.after == 0 else None

    @contextmanager
    def _held(self) -> Iterator[None]:
        """Keep others out; they hold it for microseconds."""
        with self._lock.open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _read(self) -> list[Step]:
        try:
            lines = self._file.read_text(encoding="ascii").splitlines()
        except FileNotFoundError:
            return []
        return [Step(Act(act), float(value), int(after)) for act, value, after in (line.split() for line in lines)]

    def _write(self, steps: list[Step]) -> None:
        text = "".join(f"{step.act.value} {step.value!r} {step.after}\n" for step in steps)
        beside = self._file.with_suffix(".new")
        beside.write_text(text, encoding="ascii")
        beside.replace(self._file)
