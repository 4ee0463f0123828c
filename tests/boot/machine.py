"""A device that has booted: what an administrator, and whoever stands before it, does with it."""

import json
import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import tomli_w

from tests.units import SYSTEMD
from tests.waiting import eventually

ROOT = Path(__file__).parents[2]
HOME = Path("/opt/appliance")
SOURCE = HOME / "src"
"""Where the repository is in the machine."""
HUB = Path("/srv/hub")
HUB_PORT = 8093
STICK_UNIT = "appliance-update-stick@.service"
CONFIG = Path("/etc/appliance/appliance.toml")
STATE = Path("/var/lib/appliance")
COMMAND_S = 240.0
JOURNAL_LINES = 40


def run_in(leader: int, *words: object) -> subprocess.CompletedProcess[str]:
    """Run a command, as root, in the machine whose first process is ``leader``."""
    command = ["nsenter", "--target", str(leader), "--all", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, timeout=COMMAND_S, check=False)


@dataclass(frozen=True, slots=True)
class Machine:
    """One that is up, with the units installed and none of them started."""

    root: Path
    """Where its file system is on this machine; not what it has mounted."""
    leader: int
    """Its first process."""

    def place(self, path: Path) -> Path:
        """Where a path of the machine is on this one."""
        return self.root / path.relative_to("/")

    def configure(self, tree: Mapping[str, Any]) -> None:
        """Write the configuration."""
        models = {
            key: {"folder": str(SOURCE / Path(each["folder"]).relative_to(ROOT))}
            for key, each in tree["models"].items()
        }
        node = {**tree["node"], "state_dir": str(STATE)}
        self.place(CONFIG).write_text(tomli_w.dumps({**tree, "models": models, "node": node}))

    def drop_in(self, unit: str, *lines: str) -> None:
        """Change a service, as an administrator would."""
        folder = self.place(Path("/etc/systemd/system")) / f"{unit}.d"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "test.conf").write_text("\n".join(["[Service]", *lines, ""]))
        self("systemctl", "daemon-reload")

    def __call__(self, *words: object) -> str:
        """Run a command in the machine, as root, that must succeed; gives what it printed."""
        done = self.run(*words)
        if done.returncode:
            said = self.run("journalctl", "--no-pager", "--lines", JOURNAL_LINES).stdout
            pytest.fail(f"{words}: {done.stdout}{done.stderr}\n{said}")
        return done.stdout

    def run(self, *words: object) -> subprocess.CompletedProcess[str]:
        """Run a command in the machine, as root."""
        return run_in(self.leader, *words)

    def shows(self, unit: str, key: str) -> str:
        """A property of a unit."""
        return self("systemctl", "show", unit, "--property", key, "--value").strip()

    def journal(self, unit: str) -> str:
        """What a unit has said, until now: journald reads what a unit prints when it comes to it."""
        self("journalctl", "--sync")
        return self("journalctl", "--no-pager", "--output", "cat", "--unit", unit)

    def updates(self) -> dict[str, Any]:
        """What ``appliance update status`` says."""
        told: dict[str, Any] = json.loads(
            self(HOME / "bin" / "appliance", "update", "status", "--json", "--config", CONFIG)
        )
        return told

    def plug(self, device: str) -> None:
        """Give the machine a block device of this one, and the stick's unit a life without udev, which tells of it."""
        number = Path("/dev", device).stat().st_rdev
        self("mknod", f"/dev/{device}", "b", os.major(number), os.minor(number))
        unit = SYSTEMD / STICK_UNIT
        told = [line for line in unit.read_text().splitlines() if "dev-%i.device" not in line]
        self.place(Path("/etc/systemd/system") / STICK_UNIT).write_text("\n".join(told))
        self("systemctl", "daemon-reload")

    def serve_hub(self) -> None:
        """Serve the hub's files on the machine's own loopback."""
        program = [HOME / "bin" / "appliance", "hub", "serve", "--hub", HUB, "--port", HUB_PORT]
        self("systemd-run", "--quiet", "--unit", "hub", *program)
        eventually(lambda: f":{HUB_PORT}" in self.journal("hub"), within_s=COMMAND_S)
