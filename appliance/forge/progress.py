"""How a long step says how far it is: a bar on a terminal, plain lines elsewhere, always on stderr."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

import rich.progress
from rich.console import Console

LINES_MAX = 10
"""Plain lines a step, at most, where there is no terminal."""


class Progress(Protocol):
    """Whoever is told."""

    def __call__(self, what: str, done: int, total: int) -> None:
        """``done`` of ``total`` parts of a step are done; ``what`` names the step and stays the same throughout."""


def silent(what: str, done: int, total: int) -> None:
    """Tell nobody: the default of every function that takes a Progress."""


@contextmanager
def shown() -> Iterator[Progress]:
    """Give a Progress that shows on stderr until the end of the ``with``."""
    if sys.stderr.isatty():
        with rich.progress.Progress(console=Console(stderr=True), transient=True) as bars:
            yield _Bars(bars)
    else:
        yield plain


def plain(what: str, done: int, total: int) -> None:
    """Print a line whenever another LINES_MAX-th of the step is done."""
    if done * LINES_MAX // total > (done - 1) * LINES_MAX // total:
        print(f"{what}: {done} of {total}", file=sys.stderr, flush=True)  # noqa: T201 - the forge speaks on stderr


class _Bars:
    """One bar a step."""

    def __init__(self, bars: rich.progress.Progress) -> None:
        self._bars = bars
        self._tasks: dict[str, rich.progress.TaskID] = {}

    def __call__(self, what: str, done: int, total: int) -> None:
        if what not in self._tasks:
            self._tasks[what] = self._bars.add_task(what, total=total)
        self._bars.update(self._tasks[what], completed=done, total=total)
