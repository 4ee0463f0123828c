"""What several tests on real processes use: a delegate library of ours, compiled once."""

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.conftest import without
from tests.process.delegate.library import SOURCE, DelegateLibrary

WARNINGS = ("-Wall", "-Wextra", "-Werror")


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
