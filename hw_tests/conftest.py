"""The bench: which real devices there are. Without a bench file every test skips, saying so."""

import fcntl
import os
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

BENCH = "APPLIANCE_BENCH"
Section = dict[str, Any]


@pytest.fixture(scope="session")
def bench(record_testsuite_property: Callable[[str, object], None]) -> Iterator[dict[str, Section]]:
    """The bench file's sections; the devices on it are ours alone while the tests run."""
    if BENCH not in os.environ:
        pytest.skip(f"no bench: set {BENCH} to a bench file (see hw_tests/README.md)")
    file = Path(os.environ[BENCH]).resolve()
    with file.open("rb") as stream, file.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        record_testsuite_property("bench", str(file))
        yield tomllib.load(stream)


@pytest.fixture
def section(bench: dict[str, Section], request: pytest.FixtureRequest) -> Section:
    """The section that the test's class names as its ``device``."""
    device = str(request.cls.device)
    if device not in bench:
        pytest.skip(f"the bench has no {device}")
    return dict(bench[device])
