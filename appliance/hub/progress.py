"""How long work says how far it is: bars on a terminal, plain lines elsewhere, on stderr."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import rich.progress
from rich.console import Console

Progress = Callable[[str, int, int], None]
"""Is told: what is done, how many parts of it are, how many there are."""


@contextmanager
def shown() -> Iterator[Progress]:
    """Give a Progress that shows until the end of the ``with``."""
    if not sys.stderr.isatty():
        yield _line
        return
    with rich.progress.Progress(console=Console(stderr=True), transient=True) as bars:
        tasks: dict[str, rich.progress.TaskID] = {}

        def told(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = bars.add_task(what, total=total)
            bars.update(tasks[what], completed=done)

        yield told


def _line(what: str, done: int, total: int) -> None:
    if done == total:
        print(f"{what}: {total} of {total}", file=sys.stderr, flush=True)  # noqa: T201 - progress stands on stderr
