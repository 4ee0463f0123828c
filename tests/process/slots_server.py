"""Runs the update of tests/power/subject.py in a child for each order: ``python -m tests.process.slots_server``.

An order is a line of JSON: the store's folder, the file for marks, and whether the update is a good one. The child
stops before it begins, so that a tracer can be laid on it; its number is told, and after it has ended its status.
"""

import json
import os
import signal
import sys
import traceback
from pathlib import Path

from appliance.adapters.slots import Slots
from appliance.errors import StoreError
from tests.power.claims import Told
from tests.power.marks import VARIABLE
from tests.power.subject import run

REFUSED, BUG = 75, 70
"""Exit codes: the store could not be written; something else was raised."""


def child(order: dict[str, str]) -> int:
    """Run the update, and return what to exit with."""
    os.environ[VARIABLE] = order["marks"]
    os.kill(os.getpid(), signal.SIGSTOP)
    try:
        run(Told(Slots(Path(order["folder"]))), good=order["what"] == "good")
    except StoreError:
        return REFUSED
    return 0


def main() -> None:
    """Serve until nobody asks any more."""
    for line in sys.stdin:
        number = os.fork()
        if not number:
            code = BUG
            try:
                code = child(json.loads(line))
            except BaseException:
                traceback.print_exc()
                raise
            finally:
                os._exit(code)
        os.waitpid(number, os.WUNTRACED)
        print(number, flush=True)
        _, status = os.waitpid(number, 0)
        print(status, flush=True)


if __name__ == "__main__":
    main()
