"""The build machine's tools are tested with what takes long: a change of the device does not touch them."""

from pathlib import Path

import pytest

HERE = Path(__file__).parent


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what is in this folder, before the marks choose what runs."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.slow)
