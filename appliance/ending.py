"""How a process ends whose threads may hang in native code."""

import contextlib
import os
import sys
import threading
from collections.abc import Callable
from types import TracebackType
from typing import NoReturn


def run_to_end(program: Callable[[], object]) -> NoReturn:
    """Run ``program``, and end the process with the code that it gives to ``sys.exit``; else 0, or 70 after a bug."""
    with contextlib.ExitStack() as stack:
        stack.push(_told)
        program()
    leave(os.EX_OK)


def leave(code: int) -> NoReturn:
    """End the process with ``code``, also when a thread had to be left behind in a driver or a library.

    Such a thread must not see the interpreter's end: coming back from C++ then, it is unwound through frames that do
    not let it, and the process aborts (https://docs.python.org/3.11/c-api/init.html, "Cautions regarding runtime
    finalization"). Whoever calls has closed what must be closed, so what the interpreter would do is left out.
    """
    if threading.active_count() == 1:
        sys.exit(code)
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError, OSError, ValueError):  # there is none, or nobody reads it any more
            stream.flush()
    os._exit(code)


def _told(kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> bool:
    """Say what the interpreter would say of what ended a program, and leave; without an error let it go on."""
    if kind is None or error is None:
        return False
    if isinstance(error, SystemExit):
        if error.code is None or isinstance(error.code, int):
            leave(error.code or os.EX_OK)
        sys.stderr.write(f"{error.code}\n")
        leave(1)
    sys.excepthook(kind, error, trace)
    leave(os.EX_SOFTWARE)
