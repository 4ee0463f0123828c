"""A process whose thread hangs in a library ends with its own exit code, not with the interpreter's abort."""

import os
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

from appliance.ending import leave, run_to_end


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
exec(sys.argv[1])
"""


def _end(words: str) -> subprocess.CompletedProcess[str]:
    """Run the child to its end, beside its thread."""
    command = [sys.executable, "-c", _CHILD, words]
    return subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False, cwd=ROOT)


def test_a_thread_that_is_still_in_a_library_does_not_turn_the_end_into_an_abort() -> None:
    ended = _end(f"leave({CODE})")
    assert (ended.returncode, ended.stdout, ended.stderr) == (CODE, "said before the end", "and on stderr")


@pytest.mark.parametrize(
    ("program", "code", "said"),
    [
        ("print", 0, "and on stderr"),
        ("sys.exit", 0, "and on stderr"),
        ("lambda: sys.exit(7)", 7, "and on stderr"),
        ("lambda: sys.exit('in words')", 1, "and on stderrin words\n"),
    ],
)
def test_however_a_command_ends_its_code_is_the_processes(program: str, code: int, said: str) -> None:
    ended = _end(f"run_to_end({program})")
    assert (ended.returncode, ended.stderr) == (code, said)


def test_a_bug_is_shown_and_has_a_code_of_its_own() -> None:
    ended = _end("run_to_end(lambda: 1 / 0)")
    assert ended.returncode == os.EX_SOFTWARE
    assert ended.stderr.endswith("ZeroDivisionError: division by zero\n")


def test_without_an_output_there_is_nothing_to_write_to_and_nothing_fails() -> None:
    command = ["/bin/sh", "-c", 'exec "$0" -m appliance --version >&-', sys.executable]
    ended = subprocess.run(command, stderr=subprocess.PIPE, text=True, timeout=TIMEOUT_S, check=False, cwd=ROOT)
    assert (ended.returncode, ended.stderr) == (0, "")


@pytest.mark.parametrize("words", [["check", "--keys"], ["--version"]], ids=" ".join)
def test_an_output_that_is_full_is_told_and_is_no_bug(words: list[str]) -> None:
    with Path("/dev/full").open("w") as full:
        command = [sys.executable, "-m", "appliance", *words]
        ended = subprocess.run(
            command, stdout=full, stderr=subprocess.PIPE, text=True, timeout=TIMEOUT_S, check=False, cwd=ROOT
        )
    assert (ended.returncode, ended.stderr) == (
        os.EX_IOERR,
        "appliance: what it says cannot be written: No space left on device\n",
    )
