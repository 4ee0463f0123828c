"""systemd's units as they are installed, with programs that are there where tests run."""

import re
import subprocess
from collections.abc import Iterable
from pathlib import Path

from tests.conftest import without

SYSTEMD = Path(__file__).parents[1] / "systemd"
ANALYZE_S = 60.0
EXPOSURE_MAX = 20
"""In tenths, as systemd-analyze counts: a service is given 96 without any hardening."""


def values(file: Path, key: str) -> list[str]:
    """What a unit says under a key."""
    return re.findall(rf"^{key}=(.*)$", file.read_text(), re.MULTILINE)


def wrong_with(units: Iterable[Path], folder: Path) -> str:
    """What systemd finds wrong with units that are installed together; empty for nothing."""
    check = ["verify", "--man=no", "--recursive-errors=no", *(str(_installed(unit, folder)) for unit in units)]
    done = _analyze(*check)
    return done.stderr if done.returncode or "appliance" in done.stderr else ""


def exposed(unit: Path, folder: Path) -> str:
    """What systemd says of a service that may do more than ``EXPOSURE_MAX``; empty for one that may not."""
    done = _analyze("security", "--offline=yes", f"--threshold={EXPOSURE_MAX}", str(_installed(unit, folder)))
    return done.stdout[-300:] if done.returncode else ""


def _installed(unit: Path, folder: Path) -> Path:
    copy = folder / unit.name
    copy.write_text(re.sub(r"^(Exec\w+)=\+?/(opt|usr)\S+", r"\1=/bin/true", unit.read_text(), flags=re.MULTILINE))
    return copy


def _analyze(*words: str) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            ["systemd-analyze", *words], capture_output=True, text=True, timeout=ANALYZE_S, check=False
        )
    except FileNotFoundError:
        without("systemd")
