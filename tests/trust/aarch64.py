"""A Python of the Raspberry Pi's architecture, run by qemu: Debian's, in a folder of its own, with NumPy beside it.

Nothing is installed into the system: apt and dpkg work in the folder, which is kept for the next run.
"""

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from shutil import rmtree, which

from tests.conftest import without

QEMU = ("qemu-aarch64-static", "qemu-aarch64")
PACKAGES = ("python3-minimal", "libpython3-stdlib", "libstdc++6")
WHEELS = ("numpy", "pydantic")
GET_S = 300.0
"""For one step of getting it: 30 MB over a slow line."""
RUN_S = 600.0


@dataclass(frozen=True, slots=True)
class Python:
    """An interpreter."""

    qemu: str
    folder: Path

    def run(self, code: str, path: Path) -> str:
        """Run code with ``path`` to import from; return what it prints. Raises CalledProcessError."""
        root = self.folder / "root"
        variables = {"PYTHONHOME": str(root / "usr"), "PYTHONPATH": f"{self.folder / 'site'}:{path}"}
        command = [self.qemu, "-L", str(root), str(_interpreter(root)), "-B", "-c", code]
        return _run(command, timeout_s=RUN_S, variables=variables)


def python(cache: Path) -> Python:
    """Find an interpreter in ``cache``, or get it there. Skips the test, or fails it, where that cannot be had."""
    qemu = next((found for found in map(which, QEMU) if found), None)
    if qemu is None:
        without("qemu-user-static")
        raise AssertionError("without() does not return")
    ready = cache / "ready"
    if not ready.exists():
        try:
            _get(cache)
        except (OSError, subprocess.SubprocessError) as error:
            without(f"an aarch64 Python from Debian's archive and NumPy from PyPI ({error}); qemu-user-static")
        ready.touch()
    return Python(qemu, cache)


def _get(cache: Path) -> None:
    """Fill an empty folder. Raises OSError, SubprocessError."""
    rmtree(cache)
    for folder in ("apt/state/lists/partial", "apt/cache/archives/partial", "root"):
        (cache / folder).mkdir(parents=True)
    (cache / "apt" / "status").touch()
    settings = {
        "APT::Architecture": "arm64",
        "APT::Architectures": "arm64",
        "APT::Sandbox::User": "root",
        "Acquire::Retries": 5,
        "Dir::State": cache / "apt" / "state",
        "Dir::State::status": cache / "apt" / "status",
        "Dir::Cache": cache / "apt" / "cache",
    }
    apt = ["apt-get", "-qq", *(f"-o{key}={value}" for key, value in settings.items())]
    _run([*apt, "update"])
    _run([*apt, "install", "--download-only", "--yes", "--no-install-recommends", *PACKAGES])
    for package in (cache / "apt" / "cache" / "archives").glob("*.deb"):
        _run(["dpkg-deb", "-x", str(package), str(cache / "root")])
    rmtree(cache / "apt")
    version = _interpreter(cache / "root").name.removeprefix("python")
    platforms = ("--platform=manylinux2014_aarch64", "--platform=manylinux_2_28_aarch64")
    only = ("--only-binary=:all:", f"--python-version={version}", *platforms, f"--target={cache / 'site'}")
    _run(
        [
            sys.executable,
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "--retries=10",
            *only,
            *WHEELS,
        ]
    )


def _interpreter(root: Path) -> Path:
    """Name the interpreter. Raises OSError: there is none."""
    found = sorted((root / "usr" / "bin").glob("python3.*"))
    if not found:
        msg = f"no Python in {root}"
        raise OSError(msg)
    return found[0]


def _run(command: Sequence[str], timeout_s: float = GET_S, variables: dict[str, str] | None = None) -> str:
    environment = {**os.environ, **(variables or {})}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=timeout_s, check=False)
    if done.returncode:
        msg = f"{command[0]}: {done.stderr.strip().splitlines()[-1:]}"
        raise OSError(msg)
    return done.stdout
