"""Boots a device with this machine's Debian: its own systemd, in a container, with the appliance installed.

Below it lies this machine's root, which it does not change (an overlay in memory). The units are installed as they are;
/opt/appliance is a virtual environment of Debian's Python with this repository and the packages that tests run with.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from uuid import uuid4

from tests.boot.machine import COMMAND_S, CONFIG, HOME, HUB, ROOT, SOURCE, Machine, run_in
from tests.conftest import cannot, without
from tests.mounts import mounted
from tests.units import SYSTEMD
from tests.waiting import eventually

PYTHON = f"python3.{sys.version_info.minor}"
PACKAGES = Path(sysconfig.get_path("purelib"))
ROOMS = ("appliance", "tests")
"""What of the repository is in the machine."""
PLACES = {
    "sysusers.d": "usr/lib/sysusers.d",
    "tmpfiles.d": "usr/lib/tmpfiles.d",
    "modules-load.d": "usr/lib/modules-load.d",
    "libexec": "usr/lib/appliance",
    "mosquitto.d": "etc/mosquitto/conf.d",
}
"""Where the folders of systemd/ go."""
MANAGED = Path("/run/systemd/system")
"""There where systemd manages this machine."""
GROUPS = Path("/sys/fs/cgroup")
UP = frozenset({"running", "degraded"})
"""Of the machine's state: other units of this machine may not like a container."""
BOOT_S = 180.0
END_S = 60.0
SIZE = "1g"
"""Most that a machine may write."""


@contextmanager
def booted(room: Path, public: Path) -> Iterator[Machine]:
    """Install and boot a machine; at the end its power is cut, and nothing of it is left.

    Args:
        room: an empty folder.
        public: becomes the files of a hub that is served in the machine.
    """
    _see_that_it_can()
    root, memory = room / "root", room / "memory"
    for folder in (memory, root):
        folder.mkdir(parents=True)
    with ExitStack() as stack:
        stack.enter_context(mounted(memory, "-t", "tmpfs", "-o", f"size={SIZE}", "none"))
        for name in ("upper", "work"):
            (memory / name).mkdir()
        options = f"lowerdir=/,upperdir={memory / 'upper'},workdir={memory / 'work'}"
        stack.enter_context(mounted(root, "-t", "overlay", "-o", options, "overlay"))
        _install_units(root)
        _install_program(root)
        yield Machine(root, stack.enter_context(_running(root, public, room / "console.log")))


def _install_units(root: Path) -> None:
    """Do what the units' first lines say, with the tools of the machine."""
    for unit in SYSTEMD.glob("appliance*"):
        shutil.copy(unit, root / "usr/lib/systemd/system")
    for name, place in PLACES.items():
        (root / place).mkdir(parents=True, exist_ok=True)
        for file in (SYSTEMD / name).iterdir():
            shutil.copy(file, root / place)
    command = ["systemd-sysusers", f"--root={root}", str(SYSTEMD / "sysusers.d" / "appliance.conf")]
    subprocess.run(command, capture_output=True, timeout=COMMAND_S, check=True)


def _install_program(root: Path) -> None:
    """Make a virtual environment, and the folders that the program and its hub are seen in."""
    home = root / HOME.relative_to("/")
    packages = home / "lib" / PYTHON / "site-packages"
    places = [home / name for name in ("bin", "packages")]
    for folder in (packages, *places, *(root / (SOURCE / name).relative_to("/") for name in ROOMS)):
        folder.mkdir(parents=True)
    (root / CONFIG.relative_to("/")).parent.mkdir(exist_ok=True)
    (root / HUB.relative_to("/")).mkdir(parents=True)
    (packages / "here.pth").write_text(f"{SOURCE}\n{HOME / 'packages'}\n")
    (home / "pyvenv.cfg").write_text("home = /usr/bin\ninclude-system-site-packages = false\n")
    (home / "bin" / "python").symlink_to(f"/usr/bin/{PYTHON}")
    program = home / "bin" / "appliance"
    program.write_text(f"#!{HOME}/bin/python\nfrom appliance.__main__ import start\n\nstart()\n")
    program.chmod(0o755)


@contextmanager
def _running(root: Path, public: Path, log: Path) -> Iterator[int]:
    """Boot what is at ``root``; gives its first process once everything is started, and ends it, and all others."""
    name = f"edge-{uuid4().hex[:12]}"
    binds = {ROOT / room: SOURCE / room for room in ROOMS} | {PACKAGES: HOME / "packages", public: HUB / "public"}
    command = [
        # Ends with whoever tests: nspawn takes SIGTERM for a wish that the machine shuts down.
        *("setpriv", "--pdeathsig", "TERM"),
        *("systemd-nspawn", "--quiet", "--register=no", f"--machine={name}", "--private-network"),
        *("--link-journal=no", "--console=pipe", f"--directory={root}"),
        *(f"--bind-ro={here}:{there}" for here, there in binds.items()),
        # Not multi-user.target: what else is enabled on this machine is not wanted, and may wait for a network.
        *("--boot", "systemd.unit=basic.target"),
    ]
    with ExitStack() as stack:
        if not MANAGED.exists():  # nobody who would make a control group for it
            groups = [stack.enter_context(_control_group(hierarchy / name)) for hierarchy in _hierarchies()]
            enter = "".join(f"echo $$ >{group}/cgroup.procs; " for group in groups)
            keep = command.index("--quiet")
            command = ["/bin/sh", "-c", f'{enter}exec "$@"', "sh", *command[:keep], "--keep-unit", *command[keep:]]
        with log.open("wb") as console:
            nspawn = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=console, stderr=console)
        stack.callback(_cut, nspawn)
        with contextlib.suppress(AssertionError):
            eventually(lambda: nspawn.poll() is not None or _is_up(_leader_of(nspawn.pid)), within_s=BOOT_S)
        leader = _leader_of(nspawn.pid)
        if not _is_up(leader):
            jobs = run_in(leader, "systemctl", "list-jobs").stdout if leader else ""
            cannot(f"needs a machine where systemd-nspawn boots: {log.read_text(errors='replace')[-300:]} {jobs}")
        yield leader


def _is_up(leader: int) -> bool:
    return bool(leader) and run_in(leader, "systemctl", "is-system-running").stdout.strip() in UP


def _cut(nspawn: subprocess.Popen[bytes]) -> None:
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


@contextmanager
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
