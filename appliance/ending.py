"""How a process ends whose threads may hang in native code."""

import contextlib
import os
import sys
import threading
from typing import NoReturn


def leave(code: int) -> NoReturn:
    """End the process with ``code``, also when a thread had to be left behind in a driver or a library.

    Such a thread must not see the interpreter's end: coming back from C++ then, it is unwound through frames that do
    not let it, and the process aborts (https://docs.python.org/3.11/c-api/init.html, "Cautions regarding runtime
    finalization"). Whoever calls has closed what must be closed, so what the interpreter would do is left out.
    """
    if threading.active_count() == 1:
        sys.exit(code)
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):  # nobody reads it any more
            stream.flush()
    os._exit(code)
