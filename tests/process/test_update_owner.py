"""Whoever works on the store of models by hand is root; what is written there must stay readable for the appliance."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

NOBODY = 65534
PROGRAM = """
import os, sys
from pathlib import Path
from appliance.compose.folders import act_as_owner
act_as_owner(Path(sys.argv[1]))
(Path(sys.argv[1]) / "written").touch()
print(os.getuid(), os.getgid(), os.getgroups())
"""

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can go on as somebody else")


def acted_on(folder: Path) -> str:
    command = [sys.executable, "-c", PROGRAM, str(folder)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout.strip()


def opened(folder: Path) -> None:
    """Let another user reach a folder of pytest's, which makes them for its own user only."""
    for parent in folder.parents[:-2]:
        parent.chmod(parent.stat().st_mode | 0o011)


def test_root_goes_on_as_the_owner_of_the_state_folder(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    folder.mkdir(mode=0o700)
    opened(folder)
    os.chown(folder, NOBODY, NOBODY)
    assert acted_on(folder) == f"{NOBODY} {NOBODY} [{NOBODY}]"
    assert (folder / "written").stat().st_uid == NOBODY


def test_where_root_is_the_owner_it_stays_root(tmp_path: Path) -> None:
    assert acted_on(tmp_path).split()[0] == "0"
