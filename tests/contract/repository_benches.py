"""A repository of each kind with its files in hand: what the repositories' contract suite runs on."""

import io
import os
import tarfile
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from hashlib import sha256
from pathlib import Path
from typing import Protocol

from appliance.adapters.clock import SystemClock
from appliance.adapters.repository.archive import ArchiveRepository
from appliance.adapters.repository.http import HttpRepository
from appliance.hub.serve import server as hub_server
from appliance.ports import Clock, Repository
from appliance.sim.repository import ScriptedRepository
from appliance.trust.manifest import Bundle
from tests.repositories import Files, FileServer, serving

TIMEOUT_S = 5.0


def http_repository(url: str, *, clock: Clock | None = None, **changed: float) -> HttpRepository:
    bounds = {"timeout_s": TIMEOUT_S, "rate_bytes_per_s_min": 200.0, "run_s_max": 600.0, **changed}
    return HttpRepository(url, clock=clock or SystemClock(), **bounds)


def bundle_of(content: bytes, path: str = "door/1.0.0/whole") -> Bundle:
    digest = sha256(content).hexdigest()
    return Bundle(path=path, size_bytes=len(content), sha256=digest, base_id="", memory_bytes=1 << 20)


def files_of(bundle: Bundle, content: bytes) -> Files:
    folder, _, name = bundle.path.rpartition("/")
    return {f"targets/{folder}/{bundle.sha256}.{name}": content}


def archive_of(files: Mapping[str, bytes], form: int = tarfile.GNU_FORMAT) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=form) as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return stream.getvalue()


class Bench(Protocol):
    """Makes a repository of one kind."""

    def open(self, files: Files) -> Repository:
        """Give out ``files``."""
        ...

    def lose(self) -> None:
        """Let the repository be out of reach from now on."""
        ...


class ServerBench:
    """A web server of the tests' own on loopback."""

    def __init__(self, _folder: Path, stack: ExitStack) -> None:
        self._stack, self._closing = stack, ExitStack()
        stack.push(self._closing)

    def open(self, files: Files) -> Repository:
        server = self._closing.enter_context(FileServer(files))
        return http_repository(server.url)

    def lose(self) -> None:
        self._closing.close()


class HubBench(ServerBench):
    """The hub's own server, over a folder."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        super().__init__(folder, stack)
        self._folder = folder

    def open(self, files: Files) -> Repository:
        for name, content in files.items():
            (self._folder / name).parent.mkdir(parents=True, exist_ok=True)
            (self._folder / name).write_bytes(content)
        server = hub_server(self._folder, 0, lambda _: None)
        self._closing.enter_context(serving(server))
        return http_repository(f"http://127.0.0.1:{server.server_address[1]}/")


class ArchiveBench:
    """One file, as on a stick."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self._file, self._stack = folder / "made.update", stack
        self._opened: ArchiveRepository | None = None

    def open(self, files: Files) -> Repository:
        self._file.write_bytes(archive_of(files))
        self._opened = self._stack.enter_context(ArchiveRepository(self._file))
        return self._opened

    def lose(self) -> None:
        """Pull the stick: the file is open, and every read of it fails."""
        assert self._opened is not None
        hole = os.open(self._file.parent, os.O_RDONLY)
        os.dup2(hole, self._opened._descriptor)
        os.close(hole)


class ScriptedBench:
    """The simulation."""

    def __init__(self, _folder: Path, _stack: ExitStack) -> None:
        self._made: ScriptedRepository | None = None

    def open(self, files: Files) -> Repository:
        self._made = ScriptedRepository(files)
        return self._made

    def lose(self) -> None:
        assert self._made is not None
        self._made.script.absent = "no network"


BENCHES: dict[str, Callable[[Path, ExitStack], Bench]] = {
    "http": ServerBench,
    "hub": HubBench,
    "archive": ArchiveBench,
    "scripted": ScriptedBench,
}
