"""Any client of The Update Framework reads what we publish: here python-tuf's own, over HTTP, against `hub serve`."""

import os
import re
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tuf.api.exceptions import RepositoryError
from tuf.ngclient import Updater

from appliance.hub import bundle
from appliance.hub.folder import ModelFolder
from tests.hub.hubs import Hub, Shop, offered
from tests.model_folders import TINY

pytestmark = pytest.mark.slow
MODEL = "tiny-uint8"
START_S = 60.0


@contextmanager
def served(hub: Hub) -> Iterator[str]:
    """The address of `appliance hub serve`, in a process of its own that is ended by Ctrl-C."""
    script = "from appliance.hub.cli import app; app()"
    words = [sys.executable, "-c", script, "serve", "--hub", str(hub.folder), "--port", "0"]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        assert select.select([process.stdout], [], [], START_S)[0], "it never said where"
        found = re.match(r"(http://127\.0\.0\.1:\d+) serves .*; Ctrl-C ends it", process.stdout.readline())
        assert found
        try:
            yield found[1]
        finally:
            process.send_signal(signal.SIGINT)
            assert process.wait(timeout=START_S) == 0
            assert process.stdout.read().endswith("ended\n")


def client(url: str, root: bytes, folder: Path) -> Updater:
    """A client that ships with ``root`` and keeps its files in ``folder``."""
    (folder / "metadata").mkdir(parents=True, exist_ok=True)
    (folder / "targets").mkdir(exist_ok=True)
    return Updater(
        str(folder / "metadata"),
        f"{url}/metadata/",
        str(folder / "targets"),
        f"{url}/targets/",
        bootstrap=root,
    )


def test_python_tufs_own_client_fetches_a_delta_that_makes_the_model(shop: Shop, tmp_path: Path) -> None:
    hub, base = shop.hub, ModelFolder.read(TINY)
    root = (hub.public / "metadata" / "1.root.json").read_bytes()
    keys = [word for n in (1, 2) for word in ("--root-key", hub.folder / "keys" / f"root-{n}.pem")]
    with served(hub) as url:
        updater = client(url, root, tmp_path / "client")
        updater.refresh()
        manifest = offered(hub.public, MODEL)["1.1.0"]
        chosen = manifest.bundle_for(base.model_id)
        assert chosen is not None
        target = updater.get_targetinfo(chosen.path)
        assert target is not None
        made = bundle.unpack(Path(updater.download_target(target)).read_bytes(), base.files)
        assert ModelFolder.of(made, MODEL).model_id == manifest.model_id
        hub("stop", MODEL)
        hub("rotate-key", "releases", *keys)
        hub("rotate-key", "timestamp", *keys)
        updater = client(url, root, tmp_path / "client")
        updater.refresh()
        description = updater.get_targetinfo(f"{MODEL}/1.1.0/model.toml")
        assert description is not None
        assert description.custom["rollout_percent"] == 0


def test_a_client_that_trusts_another_publisher_believes_nothing(shop: Shop, tmp_path: Path) -> None:
    other = Hub(tmp_path / "other")
    other("init", other.folder)
    root = (other.public / "metadata" / "1.root.json").read_bytes()
    with served(shop.hub) as url, pytest.raises(RepositoryError):
        client(url, root, tmp_path / "client").refresh()
