"""A hub with a published version, made once, and a copy of it for each test."""

import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest

from appliance.hub import bundle
from tests.hub.hubs import Shop, hub_in, tuned
from tests.model_folders import TINY

_build = bundle.build
_built: dict[object, bundle.Built] = {}


def build_once(base: Mapping[str, bytes] | None, result: Mapping[str, bytes], **_: object) -> bundle.Built:
    """As `bundle.build`, but not twice: encoders take a second, and are tested elsewhere."""
    key = (tuple((base or {}).items()), tuple(result.items()))
    if key not in _built:
        _built[key] = _build(base, result)
    return _built[key]


@pytest.fixture(scope="session")
def first(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """Version 1.0.0 left the factory, 1.1.0 is published."""
    root = tmp_path_factory.mktemp("shop")
    hub = hub_in(root)
    hub("field", TINY)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bundle, "build", build_once)
        said = hub(
            "publish", tuned(TINY, root / "models", "1.1.0"), "--rollout", 10, "--summary", "sees teal", "--tries", 2
        )
    return Shop(root, said)


@pytest.fixture
def shop(first: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shop:
    """The same again, for one test to change."""
    monkeypatch.setattr(bundle, "build", build_once)
    return Shop(shutil.copytree(first.root, tmp_path / "shop"), first.said)
