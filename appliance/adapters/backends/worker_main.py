"""The worker's process: owns an Edge TPU, answers one order after another, and ends with its parent.

Started by ``worker.py`` as ``python -m appliance.adapters.backends.worker_main CONTROL LIFE ENGINE``: the numbers of
two open files, and the engine. It holds no other device and can reach no network.
"""

import os
import sys

from appliance.adapters.backends import confine


def main(arguments: list[str]) -> None:
    """Serve until told to quit or the parent is gone."""
    control, life, engine = arguments
    confine.end_with_parent(int(life))
    confine.leave_no_core()
    confined = confine.forbid_network()
    # Only now: loading NumPy and a runtime takes half a second and starts threads, which must be confined too.
    from appliance.adapters.backends.servant import Servant  # noqa: PLC0415 - as the comment says

    Servant(int(control), engine, network="closed" if confined else "open").serve()
    sys.stderr.flush()
    # Not by returning: the interpreter's own end would wait for the library's threads, which may hang.
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1:])
