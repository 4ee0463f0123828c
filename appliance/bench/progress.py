"""What a long measurement says meanwhile: a line that changes on a terminal, now and then a new one in a pipe."""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

from rich.console import Console

from appliance.adapters.clock import SystemClock
from appliance.bench.figure import Progress

LINE_INTERVAL_S = 5.0
"""Where there is no terminal, a line of progress at most this often."""


@contextmanager
def telling(console: Console, first: str) -> Iterator[Progress]:
    """Show ``first``, then whatever is told; for any thread."""
    with console.status(first) as status:
        yield status.update if console.is_terminal else _Lines(console)


class _Lines:
    """Progress for a file or a pipe: now and then a line. For any thread."""

    def __init__(self, console: Console) -> None:
        self._console, self._clock, self._lock = console, SystemClock(), Lock()
        self._told_s = float("-inf")

    def __call__(self, line: str) -> None:
        """Print ``line``, unless one was printed a moment ago."""
        with self._lock:
            if self._clock.monotonic_s() - self._told_s >= LINE_INTERVAL_S:
                self._told_s = self._clock.monotonic_s()
                self._console.print(line, style="dim", highlight=False, soft_wrap=True)
