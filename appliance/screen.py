"""Where what is meant for people goes: a terminal as wide as it is, a pipe or a file as wide as its lines need."""

import os
import sys

from rich.console import Console

PIPE_COLUMNS = 400
"""As many as the longest meaning of a key takes."""


def screen() -> Console:
    """Give standard output. In a pipe nothing is cut or folded, so that grep finds it; ``COLUMNS`` overrules that."""
    here = sys.stdout is not None and sys.stdout.isatty()  # a service may have closed it
    return Console(width=None if here or "COLUMNS" in os.environ else PIPE_COLUMNS)
