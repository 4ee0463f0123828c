"""A device with this machine's Debian: its own systemd, booted in a container, with the appliance installed.

Below it lies this machine's root, which it does not change (an overlay in memory). The units are installed as they are;
/opt/appliance is a virtual environment of Debian's Python with this repository and the packages that tests run with.
"""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import sysconfig
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from uuid import uuid4

import pytest
import tomli_w

from tests.conftest import cannot, without
from tests.mounts import mounted
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
PYTHON = f"python3.{sys.version_info.minor}"
PACKAGES = Path(sysconfig.get_path("purelib"))
ROOMS = ("appliance", "tests")
"""What of the repository is in the machine."""
MANAGED = Path("/run/systemd/system")
"""There where systemd manages this machine."""
GROUPS = Path("/sys/fs/cgroup")
JOURNAL_LINES = 40
UP = frozenset({"running", "degraded"})
"""Of the machine's state: other units of this machine may not like a container."""
BOOT_S = 60.0
COMMAND_S = 60.0
END_S = 20.0
SIZE = "1g"
"""Most that a machine may write."""


class Machine:
    """Booted while the context is; nothing of it is left on this machine then."""

    def __init__(self, room: Path, public: Path) -> None:
        """``room`` is an empty folder; ``public`` becomes the files of a hub that is served in the machine."""
        self.root = room / "root"
        self._room, self._public = room, public
        self._log = room / "console.log"
        self._stack = ExitStack()
        self._leader = 0
        self._name = f"edge-{uuid4().hex[:12]}"

    def __enter__(self) -> Self:
        """Install and boot. A test that needs what this machine cannot give ends here, saying so."""
        _see_that_it_can()
        with ExitStack() as stack:
            memory = self._room / "memory"
            for folder in (memory, self.root):
                folder.mkdir(parents=True)
            stack.enter_context(mounted(memory, "-t", "tmpfs", "-o", f"size={SIZE}", "none"))
            for name in ("upper", "work"):
                (memory / name).mkdir()
            options = f"lowerdir=/,upperdir={memory / 'upper'},workdir={memory / 'work'}"
            stack.enter_context(mounted(self.root, "-t", "overlay", "-o", options, "overlay"))
            self._install()
            self._boot(stack)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Cut its power."""
        self._stack.close()

    def place(self, path: Path) -> Path:
        """Where a path of the machine is on this one; not what it has mounted."""
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
        command = ["nsenter", "--target", str(self._leader), "--all", *map(str, words)]
        return subprocess.run(command, capture_output=True, text=True, timeout=COMMAND_S, check=False)

    def shows(self, unit: str, key: str) -> str:
        """A property of a unit."""
        return self("systemctl", "show", unit, "--property", key, "--value").strip()

    def journal(self, unit: str) -> str:
        """What a unit has said."""
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

    def _install(self) -> None:
        """Do what the units' first lines say, with the tools of the machine."""
        for unit in SYSTEMD.glob("appliance*"):
            shutil.copy(unit, self.place(Path("/usr/lib/systemd/system")))
        for kind in ("sysusers.d", "tmpfiles.d", "modules-load.d"):
            folder = self.place(Path("/usr/lib")) / kind
            for file in (SYSTEMD / kind).iterdir():
                shutil.copy(file, folder)
        libexec = self.place(Path("/usr/lib/appliance"))
        libexec.mkdir()
        for file in (SYSTEMD / "libexec").iterdir():
            shutil.copy(file, libexec)
        self.place(Path("/etc/mosquitto/conf.d")).mkdir(parents=True, exist_ok=True)
        for file in (SYSTEMD / "mosquitto.d").iterdir():
            shutil.copy(file, self.place(Path("/etc/mosquitto/conf.d")))
        subprocess.run(
            ["systemd-sysusers", f"--root={self.root}", str(SYSTEMD / "sysusers.d" / "appliance.conf")],
            capture_output=True,
            timeout=COMMAND_S,
            check=True,
        )
        packages = self.place(HOME) / "lib" / PYTHON / "site-packages"
        places = [self.place(HOME) / name for name in ("bin", "packages")]
        for folder in (packages, *places, *(self.place(SOURCE / name) for name in ROOMS)):
            folder.mkdir(parents=True)
        self.place(CONFIG).parent.mkdir(exist_ok=True)
        self.place(HUB).mkdir(parents=True)
        (packages / "here.pth").write_text(f"{SOURCE}\n{HOME / 'packages'}\n")
        (self.place(HOME) / "pyvenv.cfg").write_text("home = /usr/bin\ninclude-system-site-packages = false\n")
        (self.place(HOME) / "bin" / "python").symlink_to(f"/usr/bin/{PYTHON}")
        program = self.place(HOME) / "bin" / "appliance"
        program.write_text(f"#!{HOME}/bin/python\nfrom appliance.__main__ import start\n\nstart()\n")
        program.chmod(0o755)

    def _boot(self, stack: ExitStack) -> None:
        binds = {ROOT / name: SOURCE / name for name in ROOMS}
        binds |= {PACKAGES: HOME / "packages", self._public: HUB / "public"}
        command = [
            # Ends with whoever tests: nspawn takes SIGTERM for a wish that the machine shuts down.
            *("setpriv", "--pdeathsig", "TERM"),
            *("systemd-nspawn", "--quiet", "--register=no", f"--machine={self._name}", "--private-network"),
            *("--link-journal=no", "--console=pipe", f"--directory={self.root}"),
            *(f"--bind-ro={here}:{there}" for here, there in binds.items()),
        ]
        if not MANAGED.exists():  # nobody who would make a control group for it
            groups = [stack.enter_context(_control_group(hierarchy / self._name)) for hierarchy in _hierarchies()]
            enter = "".join(f"echo $$ >{group}/cgroup.procs; " for group in groups)
            command = ["/bin/sh", "-c", f'{enter}exec "$@"', "sh", *command, "--keep-unit"]
        # Not multi-user.target: what else is enabled on this machine is not wanted, and may wait for a network.
        with self._log.open("wb") as log:
            nspawn = subprocess.Popen(
                [*command, "--boot", "systemd.unit=basic.target"], stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        stack.callback(self._cut, nspawn)
        with contextlib.suppress(AssertionError):
            eventually(lambda: nspawn.poll() is not None or self._is_up(nspawn.pid), within_s=BOOT_S)
            if nspawn.poll() is None:
                return
        jobs = self.run("systemctl", "list-jobs").stdout if self._leader else ""
        cannot(f"needs a machine where systemd-nspawn boots: {self._log.read_text(errors='replace')[-300:]} {jobs}")

    def _is_up(self, nspawn: int) -> bool:
        """Whether everything is started; finds the machine's first process."""
        self._leader = _leader_of(nspawn)
        return bool(self._leader) and self.run("systemctl", "is-system-running").stdout.strip() in UP

    def _cut(self, nspawn: subprocess.Popen[bytes]) -> None:
        """End the machine's first process, and with it all others."""
        leader = _leader_of(nspawn.pid) if nspawn.poll() is None else 0
        if leader:
            with contextlib.suppress(ProcessLookupError):
                os.kill(leader, signal.SIGKILL)
        else:
            nspawn.terminate()
        try:
            nspawn.wait(END_S)
        except subprocess.TimeoutExpired:
            nspawn.kill()
            nspawn.wait(END_S)


def _leader_of(nspawn: int) -> int:
    """The machine's first process, once it is systemd; 0 before, and after its end."""
    try:
        children = Path(f"/proc/{nspawn}/task/{nspawn}/children").read_text().split()
        is_there = bool(children) and Path(f"/proc/{children[0]}/comm").read_text() == "systemd\n"
    except OSError:
        return 0
    return int(children[0]) if is_there else 0


def _hierarchies() -> list[Path]:
    """Where systemd has its control groups: one of version 2, or those of version 1 that it uses by name."""
    named = [GROUPS / name for name in ("systemd", "unified") if (GROUPS / name / "cgroup.procs").exists()]
    return named or [GROUPS]


@contextlib.contextmanager
def _control_group(group: Path) -> Iterator[Path]:
    """Make a control group; at the end it and all below it go."""
    group.mkdir()
    try:
        yield group
    finally:
        for folder, _, _ in os.walk(group, topdown=False):
            eventually(partial(_removed, Path(folder)), within_s=END_S)


def _removed(group: Path) -> bool:
    with contextlib.suppress(OSError):  # its last process is not quite gone
        group.rmdir()
    return not group.exists()


def _see_that_it_can() -> None:
    if os.geteuid() != 0:
        cannot("booting a machine takes root")
    if shutil.which("systemd-nspawn") is None:
        without("systemd-container")
    if not Path("/sbin/init").exists():
        without("systemd-sysv")
    closed = [place for place in (PACKAGES, *(ROOT / name for name in ROOMS)) if place.stat().st_mode & 0o005 != 0o005]
    if closed:
        cannot(f"needs a clone that everybody may read, as the units' user does; {closed[0]} is closed")
    if not Path("/usr/bin", PYTHON).exists():
        cannot(f"needs Debian's own {PYTHON}: the units see nothing of a home")
