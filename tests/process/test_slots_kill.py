"""An update's writes of the store, ended by a kill or refused by the disk at any system call: nothing promised is lost.

A kill leaves what the kernel was told; what a power cut leaves is shown in tests/power.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from appliance.adapters.slots import Slots
from tests.conftest import without
from tests.power.claims import Claims, Told, faults
from tests.power.marks import VARIABLE
from tests.power.subject import BUNDLE, CONTENT, ended, prepare
from tests.process.slots_server import REFUSED
from tests.slots import MODEL

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

ROOT = Path(__file__).parents[2]
CALLS = ("write", "pwrite64", "ftruncate", "fsync", "rename", "mkdir", "rmdir", "unlink", "unlinkat", "chmod")
CALLS_MIN = 100
"""An update makes more of them."""
BUNDLES = {BUNDLE.sha256: (BUNDLE, CONTENT)}


class Server:
    """Runs updates that end as strace wants."""

    def __init__(self, folder: Path) -> None:
        """Keep everything in ``folder``."""
        self._folder = folder
        self.store, self._before = folder / "models", folder / "before"
        self.marks, self._told = folder / "marks", folder / "told"
        self._told.touch()
        self._errors = (folder / "errors").open("w+")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.process.slots_server"],
            cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors, text=True,
        )  # fmt: skip

    def prepare(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Make the store that each update begins with."""
        monkeypatch.setenv(VARIABLE, str(self._told))
        prepare(Told(Slots(self._before)))
        monkeypatch.delenv(VARIABLE)

    def run(self, what: str, *inject: str) -> int:
        """Run an update on a copy of the prepared store, with a trace in ``trace``; return its exit code or -signal."""
        shutil.rmtree(self.store, ignore_errors=True)
        shutil.copytree(self._before, self.store)
        shutil.copy(self._told, self.marks)
        assert self._process.stdin is not None
        order = {"folder": str(self.store), "marks": str(self.marks), "what": what}
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        number = int(self._line())
        command = [
            "strace",
            "-o",
            str(self._folder / "trace"),
            "-e",
            f"trace={','.join(CALLS)}",
            *inject,
            "-p",
            str(number),
        ]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as tracing:
            assert tracing.stderr is not None
            assert "attached" in tracing.stderr.readline()
            os.kill(number, signal.SIGCONT)
            status = int(self._line())
            tracing.wait(timeout=10)
        return os.waitstatus_to_exitcode(status)

    def calls(self) -> list[str]:
        """What was traced."""
        names = (line.partition("(")[0] for line in (self._folder / "trace").read_text().splitlines())
        return [name for name in names if name in CALLS]

    def wrong(self) -> list[str]:
        """What is not as was promised."""
        return list(faults(self.store, Claims.of(self.marks.read_text().splitlines(), MODEL), BUNDLES))

    def close(self) -> None:
        """Nobody asks any more."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(timeout=10)
        assert self._process.stdout is not None
        self._process.stdout.close()
        self._errors.close()

    def _line(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, (self._folder / "errors").read_text()
        return line


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    if shutil.which("strace") is None:
        without("strace")
    made = Server(tmp_path)
    made.prepare(monkeypatch)
    yield made
    made.close()


@pytest.mark.parametrize(("what", "every"), [("good", 2), ("bad", 7)])
def test_a_kill_at_any_write_loses_nothing_that_was_promised_and_the_update_goes_on(
    server: Server, what: str, every: int
) -> None:
    assert server.run(what) == 0
    calls = server.calls()
    assert len(calls) > CALLS_MIN
    for place in range(0, len(calls), every):
        call, before = calls[place], calls[:place].count(calls[place])
        assert server.run(what, "-e", f"inject={call}:signal=KILL:when={before + 1}") == -signal.SIGKILL
        assert server.wrong() == [], f"killed at call {place}: {call}"
        ended(server.store, good=what == "good")


@pytest.mark.parametrize(("error", "every"), [("ENOSPC", 5), ("EIO", 7), ("EROFS", 23)])
def test_a_disk_that_refuses_from_any_write_on_loses_nothing_that_was_promised_and_the_update_goes_on(
    server: Server, error: str, every: int
) -> None:
    assert server.run("good") == 0
    calls = server.calls()
    for place in range(0, len(calls), every):
        # strace counts each call by itself
        counts = [(call, calls[:place].count(call)) for call in CALLS]
        rules = [rule for call, before in counts for rule in ("-e", f"inject={call}:error={error}:when={before + 1}+")]
        assert server.run("good", *rules) == REFUSED, f"{error} from call {place} on: {calls[place]}"
        assert server.wrong() == [], f"{error} from call {place} on: {calls[place]}"
        ended(server.store, good=True)


def test_a_record_is_on_the_medium_before_anybody_acts_on_it_whoever_wrote_it_was_killed_in_between(
    tmp_path: Path,
) -> None:
    """Seen from the kernel: a process that finds a record syncs its name, once."""
    if shutil.which("strace") is None:
        without("strace")
    folder, trace = tmp_path / "models", tmp_path / "trace"
    prepare(Slots(folder))
    code = f"""
from pathlib import Path
from appliance.adapters.slots import Slots
slots = Slots(Path({str(folder)!r}))
slots.load({MODEL!r}), slots.load({MODEL!r}), print("loaded", flush=True)
"""
    command = ["strace", "-f", "-y", "-o", str(trace), "-e", "trace=write,fsync", sys.executable, "-c", code]
    subprocess.run(command, check=True, capture_output=True, timeout=60, cwd=ROOT)
    lines = [line for line in trace.read_text().splitlines() if str(folder) in line or '"loaded' in line]
    assert ["fsync" in line and f"{folder}/state>" in line for line in lines] == [True, False], lines
