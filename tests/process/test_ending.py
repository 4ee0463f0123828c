"""A process whose thread hangs in a library ends with its own exit code, not with the interpreter's abort."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TIMEOUT_S = 60.0
CODE = 3
_CHILD = """
import sys
from threading import Event, Thread

import cv2
import numpy as np

from appliance.ending import leave


class SlowToGo:
    def __del__(self, wait=Event().wait):
        wait(0.5)


slow_to_go = SlowToGo()  # keeps an interpreter that ends long enough for the thread to come back to it
busy, picture = Event(), np.zeros((1000, 1000, 3), np.uint8)


def hang():
    while True:
        cv2.GaussianBlur(picture, (31, 31), 0)
        busy.set()


Thread(target=hang, daemon=True).start()
busy.wait()
print("said before the end", end="")
print("and on stderr", end="", file=sys.stderr)
leave(int(sys.argv[1]))
"""


def test_a_thread_that_is_still_in_a_library_does_not_turn_the_end_into_an_abort() -> None:
    command = [sys.executable, "-c", _CHILD, str(CODE)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False, cwd=ROOT)
    assert (ended.returncode, ended.stdout, ended.stderr) == (CODE, "said before the end", "and on stderr")


@pytest.mark.parametrize(
    ("words", "code"),
    [("pass", 0), ("sys.exit()", 0), ("sys.exit(7)", 7), ("sys.exit('in words')", 1), ("1 / 0", 70)],
)
def test_whatever_ends_the_command_its_code_is_the_processes(words: str, code: int) -> None:
    child = _CHILD.replace("leave(int(sys.argv[1]))", f"run_to_end(lambda: exec({words!r}))")
    child = child.replace("import leave", "import run_to_end")
    ended = subprocess.run(
        [sys.executable, "-c", child], capture_output=True, text=True, timeout=TIMEOUT_S, check=False, cwd=ROOT
    )
    assert ended.returncode == code
    assert ("ZeroDivisionError" in ended.stderr) == (code == 70), "a bug is shown"


def test_without_an_output_there_is_nothing_to_write_to_and_nothing_fails() -> None:
    command = ["/bin/sh", "-c", 'exec "$0" -m appliance --version >&-', sys.executable]
    ended = subprocess.run(command, stderr=subprocess.PIPE, text=True, timeout=TIMEOUT_S, check=False, cwd=ROOT)
    assert (ended.returncode, ended.stderr) == (0, "")
