"""A fleet, where this machine can have one."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import cannot, without
from tests.fleet.fleet import Fleet, fleet_in
from tests.fleet.town import why_not
from tests.fleet.webserver import nginx_path


@pytest.fixture
def fleet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Fleet]:
    """A publisher, and three devices that decide with the factory's model."""
    if nginx_path() is None:
        without("nginx-light")
    reason = why_not()
    if reason:
        cannot(reason)
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.delenv("STATE_DIRECTORY", raising=False)
    with fleet_in(tmp_path / "fleet") as made:
        yield made
