"""The ``appliance`` command inside the test's process; what it does to the whole process is undone."""

import logging
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest

from appliance import cli

HELLO = "INFO: Created TensorFlow Lite"
"""TFLite's C++ greets on stderr, once a process: whichever test is first would see it."""


def without_hello(err: str) -> str:
    """What we said on stderr."""
    return "".join(line for line in err.splitlines(keepends=True) if not line.startswith(HELLO))


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str

    def message(self) -> str:
        """The one message of a command that failed on purpose: one line, no traceback, nothing beside it."""
        assert "Traceback" not in self.err
        [line] = without_hello(self.err).splitlines()
        return line


class Command:
    """Words in, exit code and texts out."""

    def __init__(self, capture: pytest.CaptureFixture[str], patch: pytest.MonkeyPatch) -> None:
        self._capture = capture
        self._patch = patch

    def __call__(self, *words: object) -> Ended:
        self._patch.setattr(sys, "argv", ["appliance", *map(str, words)])
        self._capture.readouterr()
        with _process_as_before(), pytest.raises(SystemExit) as ended:
            cli.main()
        out, err = self._capture.readouterr()
        return Ended(int(ended.value.code or 0), out, without_hello(err))


@contextmanager
def _process_as_before() -> Iterator[None]:
    """Undo what a command is entitled to as the process's only program: where logs go, who hears signals."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    signals = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        logging.captureWarnings(capture=False)
        root.handlers[:] = handlers
        root.setLevel(level)
        for number, handler in signals.items():
            signal.signal(number, handler)
