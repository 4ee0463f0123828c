"""Fixtures and rules that more than one folder of tests uses."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import pytest
from hypothesis import settings

from tests.broker import Mosquitto, mosquitto_path

REQUIRE_SYSTEM_PACKAGES = "REQUIRE_SYSTEM_PACKAGES"
"""Environment variable: at 1, what a test needs and this machine lacks is a failure, not a skip."""

# A terminal's size that is in the environment is not that of the terminals that tests make: they set their own.
for _size in ("COLUMNS", "LINES"):
    os.environ.pop(_size, None)

# Whoever runs the tests in the background of a shell has Ctrl-C ignored, and so would every program that tests start.
signal.signal(signal.SIGINT, signal.default_int_handler)

# No deadline: a busy machine is slow, not wrong; pytest's timeout is the bound.
settings.register_profile("everyday", deadline=None, max_examples=25)
settings.register_profile("thorough", deadline=None)
settings.load_profile("thorough" if os.environ.get("CI") else "everyday")


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Before any fixture starts a broker: see that there is one to start."""
    wanted = item.get_closest_marker("broker") is not None or "mosquitto" in getattr(item, "fixturenames", ())
    if wanted and mosquitto_path() is None:
        without("mosquitto")


def without(package: str) -> NoReturn:
    """Say that this test cannot run here, and what to type: a skip, or a failure where packages are required."""
    cannot(f"needs {package}: apt-get install {package}")


def cannot(reason: str) -> NoReturn:
    """Say why this machine cannot show something: a skip where people work, a failure where packages are required.

    There the machine is one that can do everything, so what is not shown there is shown nowhere.
    """
    if os.environ.get(REQUIRE_SYSTEM_PACKAGES) == "1":
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)  # each caller names what this machine lacks; CI requires it, and fails above


@pytest.fixture
def mosquitto(tmp_path: Path) -> Iterator[Mosquitto]:
    """A real broker on a free port, gone after the test."""
    with Mosquitto(tmp_path / "mosquitto") as broker:
        yield broker
