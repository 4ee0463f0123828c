"""Folders that are put in place whole or not at all, whatever kills the one who writes them."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from appliance.errors import ForgeError
from appliance.forge.folder import put_folder, read_folder
from tests.forge.packaging import everything
from tests.model_folders import CARD

OLD = {"model.toml": b"old", "golden/golden.npz": b"o" * 3000, "gone.txt": b"only the old one has it"}
NEW = {"model.toml": b"new", "golden/golden.npz": b"n" * 5000, "labels.txt": b"only the new one has it"}

DYING = '''
"""Put a folder in place, again and again; die at the n-th thing that touches the disk. Prints how often it died."""
import os, shutil, sys
from pathlib import Path
from appliance.forge.folder import put_folder

root, exchange = Path(sys.argv[1]), sys.argv[2] == "exchange"
OLD, NEW = eval(sys.argv[3])
EVENTS = {"open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.scandir", "ctypes.dlsym", "ctypes.dlopen"}
state = {"left": None}

def hook(event, arguments):
    if event in EVENTS and state["left"] is not None:
        state["left"] -= 1
        if state["left"] < 0:
            os._exit(77)

sys.addaudithook(hook)
if not exchange:
    import ctypes
    ctypes.CDLL = lambda *_, **__: object()  # a C library without renameat2
died = 0
for step in range(1000):
    folder = root / str(step) / "1.0.0"
    put_folder(folder, OLD)
    child = os.fork()
    if child == 0:
        state["left"] = step
        put_folder(folder, NEW)
        os._exit(0)
    if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0:
        break
    died += 1
print(died)
'''


@pytest.mark.parametrize("way", ["exchange", "two renames"])
def test_who_is_killed_at_any_step_leaves_the_old_folder_or_the_new_one(way: str, tmp_path: Path) -> None:
    command = [sys.executable, "-c", DYING, str(tmp_path), way, repr((OLD, NEW))]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=280)
    died = int(done.stdout)
    assert died > 20, "each file, each sync, each rename is a step to die at"
    seen = []
    for step in range(died):
        folder = tmp_path / str(step) / "1.0.0"
        if folder.exists() or way == "exchange":
            seen.append(everything(folder))
        put_folder(folder, NEW)
        assert everything(folder.parent) == {f"1.0.0/{path}": content for path, content in NEW.items()}
    assert OLD in seen
    assert NEW in seen
    assert all(each in (OLD, NEW) for each in seen)
    assert died - len(seen) <= (0 if way == "exchange" else 1), "without exchange there is one instant with neither"


def test_what_was_set_aside_comes_back_before_anything_else(tmp_path: Path) -> None:
    """Killed between two renames, and then the next packaging is refused by the disk: the old folder is there."""
    aside = tmp_path / ".1.0.0-forge-99999999" / "old"
    aside.mkdir(parents=True)
    (aside / "model.toml").write_bytes(b"old")
    with pytest.raises(ForgeError, match="what was there before is still there"):
        put_folder(tmp_path / "1.0.0", {"a": b"", "a/b": b"a file cannot be a folder as well"})
    assert everything(tmp_path) == {"1.0.0/model.toml": b"old"}


def test_whoever_still_writes_is_left_alone(tmp_path: Path) -> None:
    other = tmp_path / f".1.0.0-forge-{os.getppid()}" / "new"
    other.mkdir(parents=True)
    put_folder(tmp_path / "1.0.0", NEW)
    assert other.is_dir()


def test_a_disk_that_refuses_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ForgeError, match=r"cannot be written: Not a directory; what was there before is still there"):
        put_folder(tmp_path / "file" / "name" / "1.0.0", NEW)
    assert everything(tmp_path) == {"file": b""}


def test_a_folder_is_read_as_the_device_reads_it_or_refused_in_words(tmp_path: Path) -> None:
    assert read_folder(CARD).name == "card-example"
    with pytest.raises(ForgeError, match=r"no model folder \(model.toml: No such file"):
        read_folder(tmp_path)
    put_folder(tmp_path / "1", {"model.toml": b"schema = 2"})
    with pytest.raises(ForgeError, match=r"model.toml:1: schema: input should be 1"):
        read_folder(tmp_path / "1")
