"""What several tests on real processes use: patience with their end, and a delegate library of ours, compiled once."""

import shutil
import subprocess
from pathlib import Path

import pytest

from appliance.adapters.backends import worker
from tests.conftest import without
from tests.process.delegate.library import SOURCE, DelegateLibrary
from tests.workers import LONG_S

WARNINGS = ("-Wall", "-Wextra", "-Werror")


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for the end of a process as long as it takes on a busy machine: its signal is in the message then."""
    monkeypatch.setattr(worker, "LAST_WORDS_S", LONG_S)


@pytest.fixture(scope="session")
def _delegate_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``delegate.c`` as a shared library, under the name of the one that it stands in for."""
    if shutil.which("gcc") is None:
        without("gcc libc6-dev")
    file = tmp_path_factory.mktemp("delegate") / "libedgetpu.so.1"
    subprocess.run(["gcc", "-shared", "-fPIC", "-O1", *WARNINGS, "-o", str(file), str(SOURCE)], check=True)
    return file


@pytest.fixture
def delegate(_delegate_file: Path, tmp_path: Path) -> DelegateLibrary:
    """The library, with a journal of its own for this test."""
    return DelegateLibrary(_delegate_file, tmp_path)
