"""What is kept of an Edge TPU, when its process ends within a save: it is what was kept before, or what is to be kept.

A kill leaves what the kernel was told; what a power cut leaves is decided by the order of the syncs.
"""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from appliance.adapters.ladder_file import Kept, LadderFile
from tests.conftest import without

pytestmark = pytest.mark.slow

OLD = Kept(replace_hardware=True, rounds=6, dfu_rounds=1, path="2-1.4")
NEW = Kept(rounds=1, path="2-1.3")
_SAVE = "from pathlib import Path; from appliance.adapters.ladder_file import Kept, LadderFile"
_KILLED = f"""
import os, signal, sys
{_SAVE}
import appliance.adapters.ladder_file as module

OLD, NEW = Kept{tuple(getattr(OLD, name) for name in Kept.__slots__)}, Kept{
    tuple(getattr(NEW, name) for name in Kept.__slots__)
}
folder = Path(sys.argv[1])


def killed_at(number):
    \"\"\"A tracer that ends this process before the line of the module that is executed as the so manieth.\"\"\"
    left = number

    def trace(frame, event, _arg):
        nonlocal left
        if frame.f_code.co_filename != module.__file__:
            return None
        if event == "line":
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            left -= 1
        return trace

    return trace


for number in range(1000):
    LadderFile(folder, "tpu").save(OLD)
    child = os.fork()
    if not child:
        sys.settrace(killed_at(number))
        LadderFile(folder, "tpu").save(NEW)
        sys.settrace(None)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    print(number, {{OLD: "old", NEW: "new"}}.get(LadderFile(folder, "tpu").load(), "neither"), status, flush=True)
    if not status:
        break
"""


def test_a_kill_between_any_two_lines_of_a_save_leaves_the_old_or_the_new(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _KILLED, str(tmp_path)], capture_output=True, text=True, check=True, timeout=60
    )
    rows = [line.split() for line in done.stdout.splitlines()]
    left = [what for _, what, _ in rows]
    assert set(left) == {"old", "new"}
    assert left == sorted(left, reverse=True), "old until its name is taken, new from then on"
    assert [status for *_, status in rows] == ["9"] * (len(rows) - 1) + ["0"]
    assert len(rows) > 20, "each line of a save was a place to die at"
    assert LadderFile(tmp_path, "tpu").load() == NEW


def test_the_content_is_on_the_disk_before_it_takes_the_name_and_the_name_before_the_save_returns(
    tmp_path: Path,
) -> None:
    """Seen from the kernel; else a power cut could leave the new name with nothing in it, or the old name."""
    strace = shutil.which("strace")
    if strace is None:
        without("strace")
    assert strace is not None
    trace, folder = tmp_path / "trace", tmp_path / "state"
    LadderFile(folder, "tpu").save(OLD)
    code = f"{_SAVE}; LadderFile(Path({str(folder)!r}), 'tpu').save(Kept(rounds=1)); print('saved', flush=True)"
    calls = "trace=write,fsync,fdatasync,rename,renameat,renameat2"
    command = [strace, "-f", "-y", "-o", str(trace), "-e", calls, sys.executable, "-c", code]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    lines = [line for line in trace.read_text().splitlines() if str(folder) in line or '"saved' in line]
    part = re.escape(f"{folder}/tpu-tpu.json.part")
    expected = [
        rf"write\(\d+<{part}>",
        rf"fsync\(\d+<{part}>\)",
        rf"rename.*{part}.*tpu-tpu\.json\"",
        rf"fsync\(\d+<{re.escape(str(folder))}>\)",
        r"write\(1<.*\"saved",
    ]
    assert len(lines) == len(expected), lines
    assert all(re.search(pattern, line) for pattern, line in zip(expected, lines, strict=True)), lines
