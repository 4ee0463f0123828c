"""A publisher with a real repository, and the configuration of a device that trusts it."""

import os
import subprocess
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from threading import Event

import tomli_w

from appliance.hub.archive import export, members
from appliance.hub.bundle import build
from appliance.hub.signing import SignedRepository
from tests.process.test_update_apply import KINDS, folder_of
from tests.repositories import FileServer, new_key
from tests.slots import MODEL, Sample

ROOT = Path(__file__).parents[2]
NOW, FAR = datetime(2026, 11, 2, tzinfo=UTC), datetime(2099, 1, 1, tzinfo=UTC)
"""Whatever day the test runs on, what is signed holds."""
STALL_S_MAX = 60.0


class Hub:
    """A publisher's keys and folder."""

    def __init__(self, folder: Path) -> None:
        self.releases, self.timestamp, self.sequence = new_key(), new_key(), 0
        self.repository = SignedRepository.create(
            folder,
            root=[new_key()],
            threshold=1,
            releases=self.releases,
            timestamp=self.timestamp,
            now=NOW,
            root_expires=FAR,
            releases_expires=FAR,
            timestamp_expires=FAR,
        )

    def publish(self, made: Sample, base: Sample | None = None, **terms: object) -> None:
        """Sign a version, and the bundles that bring it: against ``base``, and whole."""
        self.sequence += 1
        place = f"{made.name}/{made.version}"
        custom = {"format": 1, "kind": "model", "model": made.name, "version": made.version, "sequence": self.sequence}
        custom |= {"size_bytes": sum(map(len, made.files.values())), "rollout_percent": 100} | terms
        self.repository.add_target(f"{place}/model.toml", made.files["model.toml"], custom)
        for there in (base, None) if base else (None,):
            built = build(there.files if there else None, made.files, kinds=KINDS)
            base_id = there.model_id if there else ""
            of_bundle = {"format": 1, "kind": "bundle", "model_id": made.model_id, "base_id": base_id}
            self.repository.add_target(
                f"{place}/{base_id or 'whole'}", built.content, of_bundle | {"memory_bytes": built.memory_bytes}
            )
        self.repository.sign_releases([self.releases], [self.timestamp], now=NOW, expires=FAR, timestamp_expires=FAR)

    def files(self) -> dict[str, bytes]:
        """All that is public now."""
        public = self.repository.public
        return {str(file.relative_to(public)): file.read_bytes() for file in public.rglob("*") if file.is_file()}

    def archive(self, file: Path) -> Path:
        """Put all of it into one file."""
        export(self.repository.public, members(self.repository, None), file)
        return file


class StallingServer(FileServer):
    """A web server that stops in the middle of a bundle, until it is told to go on."""

    def __init__(self, files: Mapping[str, bytes]) -> None:
        super().__init__(files)
        self.stall_after_bytes: int | None = None
        self.stalled, self.go_on = Event(), Event()

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        if self.stall_after_bytes is None or not request.path.startswith("/targets/"):
            super().answer(request)
            return
        content = self.files[request.path.lstrip("/")]
        request.send_response(200)
        request.send_header("ETag", '"one"')
        request.send_header("Content-Length", str(len(content)))
        request.end_headers()
        request.wfile.write(content[: self.stall_after_bytes])
        request.wfile.flush()
        self.stalled.set()
        self.go_on.wait(STALL_S_MAX)
        request.close_connection = True


def device(folder: Path, factory: Sample, root: bytes, **update: object) -> Path:
    """Return the configuration of a device that came with a model and a publisher's root."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "root.json").write_bytes(root)
    there = folder_of(factory, folder / "factory")
    tree = {
        "node": {"id": "b1", "state_dir": str(folder / "state")},
        "models": {"pets": {"folder": str(there)}},
        "channels": {
            "gate": {
                "model": "pets",
                "sensor": {"kind": "camera", "source": "/dev/null/no-camera"},
                "rules": [{"name": "cat", "labels": ["cat"], "threshold": 0.5}],
            }
        },
        "update": {"root_file": str(folder / "root.json"), "timeout_s": 5.0, **update},
    }
    file = folder / "appliance.toml"
    file.write_text(tomli_w.dumps(tree))
    return file


def command(*words: object) -> list[str]:
    """The command line of ``appliance update``."""
    return [sys.executable, "-m", "appliance", "update", *map(str, words)]


def started(*words: object) -> subprocess.Popen[str]:
    """``appliance update`` as a process of its own."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "NO_COLOR": "1", "COLUMNS": "200"}
    pipe = subprocess.PIPE
    return subprocess.Popen(command(*words), env=environment, cwd=ROOT, stdout=pipe, stderr=pipe, text=True)


def done(*words: object) -> tuple[int, str, str]:
    """The same to its end: exit code, and what it said on stdout and stderr."""
    process = started(*words)
    out, err = process.communicate(timeout=110.0)
    return process.returncode, out, err


__all__ = ["MODEL", "Hub", "StallingServer", "command", "device", "done", "started"]
