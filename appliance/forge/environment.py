"""Python environments that the forge makes for tools whose pins clash with its own, and keeps for the next time.

One lies in ``$XDG_CACHE_HOME/appliance-forge/<name>-<hash>`` (``~/.cache`` where the variable is not set); the hash is
of the Python version and the requirements, so that other pins make another environment and never change an old one.
It is made in place, for a venv cannot be moved, and counts only when its stamp is there, which is written last.
"""

import fcntl
import hashlib
import os
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from appliance.errors import ForgeError
from appliance.forge.process import Tell, run, silent

INSTALL_TIMEOUT_S = 2400.0
"""The largest set is about 1 GB to fetch: 40 minutes are enough at 0.5 MB/s."""
LOCK_TIMEOUT_S = INSTALL_TIMEOUT_S
"""Whoever comes second waits for the first to have made the environment."""
CHECK_TIMEOUT_S = 60.0
STAMP = "appliance-forge-complete"

Find = Callable[[str], str | None]
"""Finds a program: its name to its path, None when it is not installed."""


@dataclass(frozen=True, slots=True)
class Environment:
    """A Python with what one tool needs."""

    name: str
    python: Path

    def run(
        self,
        arguments: Sequence[str],
        *,
        timeout_s: float,
        cwd: Path | None = None,
        variables: Mapping[str, str] | None = None,
        tell: Tell = silent,
    ) -> str:
        """Run ``python -I`` with these arguments, isolated from the caller's modules and site packages.

        Args:
            arguments: what follows the interpreter: a script with its arguments, or ``-c`` and a program.
            timeout_s: after this the process and its children are killed.
            cwd: where it runs.
            variables: set for it in addition to this process's own.
            tell: is told each line it prints, as it comes.

        Returns:
            The last lines it printed.

        Raises:
            ForgeError: it failed or took too long; the message holds its last words.
        """
        command = [str(self.python), "-I", *arguments]
        return run(command, timeout_s=timeout_s, cwd=cwd, variables=variables, tell=tell)

    def versions(self, distributions: Sequence[str]) -> dict[str, str]:
        """Tell which of these distributions are installed in it, and in which version."""
        text = self.run(["-c", _VERSIONS, *distributions], timeout_s=CHECK_TIMEOUT_S)
        pairs = (line.split("==", 1) for line in text.splitlines() if "==" in line)
        return {name: version for name, version in pairs if version}


_VERSIONS = """
import sys
from importlib.metadata import PackageNotFoundError, version
for name in sys.argv[1:]:
    try:
        print(f"{name}=={version(name)}")
    except PackageNotFoundError:
        print(f"{name}==")
"""


def pinned(name: str) -> tuple[str, ...]:
    """Read the requirements that the forge ships for ``name``: exact versions of everything, one an entry."""
    text = files("appliance.forge").joinpath("requirements", f"{name}.txt").read_text("utf-8")
    lines = (line.partition("#")[0].strip() for line in text.splitlines())
    return tuple(line for line in lines if line)


def environment(
    name: str,
    requirements: Sequence[str],
    python: str = "3.11",
    *,
    cache: Path | None = None,
    tell: Tell = silent,
    timeout_s: float = INSTALL_TIMEOUT_S,
    find: Find = shutil.which,
) -> Environment:
    """Give the environment with exactly these requirements: the one made earlier, or a new one.

    Args:
        name: what it is for, as ``onnx``; part of its folder's name.
        requirements: one an entry, pinned (``numpy==1.26.4``), as ``pinned`` gives them.
        python: the version it needs.
        cache: the folder of all environments; by default the user's cache folder.
        tell: is told what is being done, a line at a time.
        timeout_s: for making it, all in all.
        find: how ``uv`` and ``python3.11`` are looked for.

    Raises:
        ForgeError: it could not be made (no such Python, no network, disk full, too slow). Nothing half-made is used.
    """
    folder = (cache or cache_folder()) / f"{name}-{_digest(requirements, python)}"
    made = Environment(name, folder / "bin" / "python")
    if _is_whole(folder):
        return made
    with _locked(folder, timeout_s=LOCK_TIMEOUT_S, tell=tell):
        if not _is_whole(folder):  # unless another process made it meanwhile
            tell(f"making the environment {name} with {len(requirements)} packages in {folder} (once)")
            try:
                _make(folder, requirements, python, tell=tell, timeout_s=timeout_s, find=find)
            except (ForgeError, OSError) as error:
                shutil.rmtree(folder, ignore_errors=True)
                raise ForgeError(_advice(name, requirements, error)) from error
    return made


def existing(name: str, folder: Path, requirements: Sequence[str], *, tell: Tell = silent) -> Environment:
    """Use an environment that somebody else made (``--environment``), after a look at what is installed in it.

    Args:
        name: what it is for.
        folder: a venv, or the Python in it.
        requirements: as for ``environment``. Another version than the pinned one is told to ``tell``, not refused.
        tell: is told what differs.

    Raises:
        ForgeError: there is no Python that starts, or one of the required packages is missing.
    """
    python = folder if folder.is_file() else folder / "bin" / "python"
    if not python.exists():
        msg = f"{folder} is no Python environment: {python} does not exist"
        raise ForgeError(msg)
    found = Environment(name, python.absolute())
    pins = dict(_pin(line) for line in requirements)
    installed = found.versions(tuple(pins))
    missing = sorted(set(pins) - set(installed))
    if missing:
        msg = f"{folder} lacks {', '.join(missing)}; install them there, or leave out --environment to have one made"
        raise ForgeError(msg)
    for package, version in pins.items():
        if version and installed[package] != version:
            tell(f"{folder} has {package} {installed[package]}; measured was {version}")
    return found


def cache_folder() -> Path:
    """Where they are kept: ``$XDG_CACHE_HOME/appliance-forge``, ``~/.cache`` by default (XDG base directories)."""
    home = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(home) if Path(home).is_absolute() else Path.home() / ".cache") / "appliance-forge"


def _is_whole(folder: Path) -> bool:
    """Say whether it was made to the end, and the Python it was made from is still there (``bin/python`` is a link)."""
    return (folder / STAMP).is_file() and (folder / "bin" / "python").exists()


def _make(folder: Path, requirements: Sequence[str], python: str, *, tell: Tell, timeout_s: float, find: Find) -> None:
    """Make it in ``folder``, in place of what may be left there of an attempt that was cut off."""
    shutil.rmtree(folder, ignore_errors=True)
    until_s = time.monotonic() + timeout_s
    wanted, inside = folder / "requirements.txt", str(folder / "bin" / "python")
    uv = find("uv")
    if uv:
        create = [uv, "venv", "--python", python, str(folder)]
        install = [uv, "pip", "install", "--python", inside, "--requirement", str(wanted)]
    else:
        create = [_interpreter(python, find), "-I", "-m", "venv", str(folder)]
        pip = [inside, "-I", "-m", "pip", "--disable-pip-version-check", "install", "--retries", "3", "--timeout", "30"]
        install = [*pip, "--progress-bar", "off", "--requirement", str(wanted)]
    run(create, timeout_s=timeout_s, tell=tell)
    wanted.write_text("\n".join(requirements) + "\n", "utf-8")
    run(install, timeout_s=max(1.0, until_s - time.monotonic()), tell=tell)
    stamp = folder / f"{STAMP}.new"
    stamp.write_text(_digest(requirements, python), "utf-8")
    stamp.rename(folder / STAMP)


def _interpreter(python: str, find: Find) -> str:
    """Find a Python of this version: the one that runs this, or one on PATH."""
    if ".".join(map(str, sys.version_info[:2])) == python:
        return sys.executable
    found = find(f"python{python}")
    if found is None:
        msg = f"Python {python} is not installed (looked for uv and python{python} on PATH)"
        raise ForgeError(msg)
    return found


@contextmanager
def _locked(folder: Path, *, timeout_s: float, tell: Tell) -> Iterator[None]:
    """Hold the right to make this environment; the kernel frees it when the process ends, however it ends."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    until_s = time.monotonic() + timeout_s
    told = False
    with folder.with_name(f"{folder.name}.lock").open("w") as lock:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() >= until_s:
                    msg = f"another process has been making {folder} for more than {timeout_s:.0f} s"
                    raise ForgeError(msg) from None
                if not told:
                    tell(f"waiting for another process that is making {folder}")
                    told = True
                threading.Event().wait(0.2)
            else:
                yield
                return


def _advice(name: str, requirements: Sequence[str], error: Exception) -> str:
    return (
        f"the environment {name} could not be made: {error}\n"
        f"It is fetched once and needs the network and room on the disk. To use one that you made yourself, with "
        f"{', '.join(requirements[:3])}{', ...' if len(requirements) > 3 else ''}: --environment PATH"  # noqa: PLR2004 - a taste of the list
    )


def _digest(requirements: Sequence[str], python: str) -> str:
    return hashlib.sha256("\n".join([python, *requirements]).encode()).hexdigest()[:12]


def _pin(requirement: str) -> tuple[str, str]:
    """Split ``numpy==1.26.4`` into name and version; the version is empty where none is pinned exactly."""
    name, _, version = requirement.partition("==")
    for mark in "<>=!~[;":
        name = name.partition(mark)[0]
    return name.strip(), version.partition(";")[0].strip()
