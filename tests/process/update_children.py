"""Children that stand for one that applies a bundle, and do something else."""

import os
import sys
import threading

from appliance.adapters.backends import confine


def main(what: str) -> None:
    """Do ``what``."""
    confine.end_with_parent(int(sys.argv[1]))
    if what == "hang":
        threading.Event().wait(600.0)
    elif what == "crash":
        os.abort()
    elif what == "grow":
        bytes(1 << 40)
    sys.exit(3)
