"""What was made on a publisher's machine is the same file on the Raspberry Pi: the golden bundles, run by qemu."""

from pathlib import Path

import pytest

from tests.trust.aarch64 import python
from tests.trust.goldens import GOLDENS

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


def test_a_device_of_the_other_architecture_makes_the_same_files(request: pytest.FixtureRequest) -> None:
    cache = request.config.cache
    assert cache is not None
    interpreter = python(cache.mkdir("aarch64"))
    said = interpreter.run("from tests.trust.goldens import main; main()", Path(__file__).resolve().parents[2])
    assert said.splitlines() == [f"aarch64 makes {kind}" for kind in GOLDENS]
