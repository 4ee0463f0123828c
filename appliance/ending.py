"""How a process ends whose threads may hang in native code."""

import contextlib
import os
import sys
import threading
from collections.abc import Callable
from typing import NoReturn


def run_to_end(program: Callable[[], object]) -> NoReturn:
    """Run ``program``, and end the process with the code that it gives to ``sys.exit``; else 0, or 70 after a bug."""
    try:
        program()
        code = os.EX_OK
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except Exception:  # noqa: BLE001 - whatever it is, it is shown, and the threads may hang all the same
        sys.excepthook(*sys.exc_info())
        code = os.EX_SOFTWARE
    leave(code)


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
