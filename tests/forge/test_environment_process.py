"""Programs the forge runs: bounded, told line by line, with their last words when they fail."""

import sys
import time
from pathlib import Path

import pytest

from appliance.errors import ForgeError
from appliance.forge.process import LINE_BYTES_MAX, LINES_KEPT_MAX, READ_BYTES, run
from tests.waiting import eventually


def _python(program: str) -> list[str]:
    return [sys.executable, "-c", program]


def _is_gone(pid: int) -> bool:
    try:
        return "State:\tZ" in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return True


def test_lines_of_both_streams_are_told_as_they_come() -> None:
    told: list[str] = []
    program = "import sys; print('one'); print('two', file=sys.stderr); print('three\\rfour')"
    assert run(_python(program), timeout_s=20, tell=told.append) == "one\ntwo\nthree\nfour"
    assert told == ["one", "two", "three", "four"]


def test_a_program_that_fails_leaves_its_last_words() -> None:
    with pytest.raises(ForgeError, match=r"failed with status 3:\n  the disk is full"):
        run(_python("import sys; print('the disk is full'); sys.exit(3)"), timeout_s=20)
    with pytest.raises(ForgeError, match="it printed nothing"):
        run(_python("import sys; sys.exit(1)"), timeout_s=20)


def test_a_program_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ForgeError, match="no-such-program cannot be started: No such file"):
        run([str(tmp_path / "no-such-program")], timeout_s=20)


def test_a_program_that_takes_too_long_is_ended_with_its_children(tmp_path: Path) -> None:
    told = tmp_path / "child"
    program = (
        "import os, pathlib, subprocess, sys\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        f"pathlib.Path({str(told)!r}).write_text(str(child.pid))\n"
        "child.wait()\n"
    )
    with pytest.raises(ForgeError, match="did not end within 10 s and was stopped"):
        run(_python(program), timeout_s=10)
    eventually(lambda: _is_gone(int(told.read_text())))


def test_a_child_that_keeps_the_output_open_does_not_hold_the_caller() -> None:
    program = "import subprocess, sys; subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(30)'])"
    begun_s = time.monotonic()
    with pytest.raises(ForgeError, match="did not end"):
        run(_python(program), timeout_s=0.5)
    assert time.monotonic() - begun_s < 10


def test_what_is_kept_is_bounded_however_much_is_printed() -> None:
    told: list[str] = []
    program = f"print('x' * {READ_BYTES * 10}); [print(i) for i in range({LINES_KEPT_MAX})]"
    text = run(_python(program), timeout_s=20, tell=told.append)
    assert max(map(len, told)) <= LINE_BYTES_MAX + READ_BYTES
    assert len(text.splitlines()) == LINES_KEPT_MAX
    assert text.splitlines()[-1] == str(LINES_KEPT_MAX - 1)


def test_the_callers_python_is_not_the_programs() -> None:
    program = "import os; print(os.environ.get('VIRTUAL_ENV'), os.environ.get('PYTHONPATH'), os.environ['OWN'])"
    assert run(_python(program), timeout_s=20, variables={"OWN": "yes"}).endswith("yes")
    assert run(_python(program), timeout_s=20, variables={"OWN": "yes"}).startswith("None None")
