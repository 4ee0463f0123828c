"""The power-cut rig tells protocols that lose models from those that do not: what it lets pass has been tried."""

import sys
from collections import Counter
from functools import cache
from pathlib import Path

import pytest

from tests.power.protocols import ACKNOWLEDGED, NEW, OLD, PROTOCOLS
from tests.power.rig import Bench, Image, images, needed, prepare, record

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

PROGRAM = (sys.executable, "-m", "tests.power.protocols")
DEFAULTS = ""
WRITEBACK = "data=writeback,noauto_da_alloc"
BAD = (
    ("overwrite", DEFAULTS, "broken"),
    ("rename_unsynced", DEFAULTS, "lost"),
    ("rename_unsynced", WRITEBACK, "broken"),
    ("rename_unsynced_folder", DEFAULTS, "lost"),
    ("store_unsynced", DEFAULTS, "broken"),
    ("pointer_in_place", DEFAULTS, "broken"),
)
GOOD = [(name, options) for name in ("rename_synced", "store_synced") for options in (DEFAULTS, WRITEBACK)]


@pytest.fixture(autouse=True)
def _rig() -> None:
    needed()


@cache
def prepared() -> bytes:
    """A disk that holds the old model."""
    base, _ = prepare([*PROGRAM, "setup", "{folder}"])
    return base


def found(name: str, folder: Path, image: Image) -> str:
    """``old`` or ``new`` serves; or it is ``broken``; or the new one was promised and the old one serves, ``lost``."""
    try:
        serving = {OLD: "old", NEW: "new"}.get(PROTOCOLS[name].read(folder), "broken")
    except (OSError, ValueError):
        return "broken"
    return "lost" if serving == "old" and ACKNOWLEDGED in image.marks else serving


def counted(name: str, options: str, torn: int = 1) -> Counter[str]:
    log = record([*PROGRAM, name, "{folder}"], prepared(), options=options)
    counts: Counter[str] = Counter()
    with Bench() as bench:
        for image in images(log, seed=1, torn=torn):
            with bench.mounted(image.content) as folder:
                counts[found(name, folder, image)] += 1
    print(f"{name} ({options or 'defaults'}): {dict(counts)}")
    return counts


@pytest.mark.parametrize(("name", "options", "how"), BAD, ids=[f"{name}-{how}" for name, _, how in BAD])
def test_a_bad_protocol_is_caught(name: str, options: str, how: str) -> None:
    counts = counted(name, options)
    assert counts[how], counts
    assert counts["old"], "a cut at the beginning leaves what was"


@pytest.mark.parametrize(("name", "options"), GOOD)
def test_a_good_protocol_passes(name: str, options: str) -> None:
    counts = counted(name, options)
    assert counts.keys() == {"old", "new"}, counts
