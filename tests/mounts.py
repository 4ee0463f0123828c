"""File systems for a while: small ones, read-only ones. Only root may mount, and not on every machine."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.conftest import cannot

MOUNT_S = 10.0


@contextmanager
def mounted(point: Path, *options: str) -> Iterator[None]:
    """Mount something at ``point``, as ``mount *options point`` does."""
    if os.geteuid() != 0 or shutil.which("mount") is None:
        cannot("needs root, and leave to mount")
    if subprocess.run(["mount", *options, str(point)], capture_output=True, check=False, timeout=MOUNT_S).returncode:
        cannot("needs leave to mount: this machine gives root none")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(point)], check=True, timeout=MOUNT_S)


@contextmanager
def small_disk(point: Path, size: str) -> Iterator[None]:
    """Mount a file system in memory of ``size``, as tmpfs takes it (``64k``, ``1m``)."""
    point.mkdir(exist_ok=True)
    with mounted(point, "-t", "tmpfs", "-o", f"size={size}", "none"):
        yield


def fill(disk: Path) -> Path:
    """Leave not a byte free; returns the file that takes it all."""
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as stream, suppress(OSError):
        while True:
            stream.write(b"x" * 4096)
    return ballast


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """Let nothing be written in ``folder``, not by root either."""
    with mounted(folder, "-o", "bind,ro", str(folder)):
        yield
