"""A publisher with all keys in hand, a device that asks, and web servers that answer as they are told."""

import copy
import re
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from shutil import copytree
from ssl import SSLContext
from threading import Event, Thread
from typing import Any, Self

from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Metadata, Root, Snapshot, Targets, Timestamp

from appliance.hub.signing import Role, SignedRepository
from appliance.ports import Repository
from appliance.sim.repository import ScriptedRepository
from appliance.sim.slots import VolatileSlots
from appliance.trust.manifest import Bundle
from appliance.updater.refresh import Refreshed, known, refresh

NOW = datetime(2026, 12, 1, tzinfo=UTC)
DAY = timedelta(days=1)
RELEASED_S = int(datetime(2026, 11, 1, tzinfo=UTC).timestamp())
MODEL = "door"
JOIN_S = 5.0

Files = dict[str, bytes]
Signer = CryptoSigner
Body = Root | Timestamp | Snapshot | Targets


def new_key() -> CryptoSigner:
    return CryptoSigner.generate_ed25519()


def custom(sequence: int, **changed: object) -> dict[str, object]:
    """Custom fields of a description's target."""
    fields: dict[str, object] = {
        "format": 1,
        "kind": "model",
        "model": MODEL,
        "version": f"1.0.{sequence}",
        "sequence": sequence,
        "size_bytes": 1000,
        "rollout_percent": 100,
    }
    return fields | changed


class Publisher:
    """A hub: root 2 of 3, one releases key, one timestamp key; its clock stands at ``now``."""

    def __init__(self, hub: Path) -> None:
        self.now = NOW
        self.root_keys = [new_key() for _ in range(3)]
        self.releases, self.timestamp = new_key(), new_key()
        self.repository = SignedRepository.create(
            hub,
            root=self.root_keys,
            threshold=2,
            releases=self.releases,
            timestamp=self.timestamp,
            now=self.now,
            root_expires=self.now + 365 * DAY,
            releases_expires=self.now + 90 * DAY,
            timestamp_expires=self.now + 7 * DAY,
        )
        self.root = self.repository.root_bytes()

    def copied(self, hub: Path) -> "Publisher":
        """The same keys and the same public folder, in another place."""
        made = copy.copy(self)
        copytree(self.repository.public, hub / "public")
        made.repository = SignedRepository(hub)
        made.root_keys = list(self.root_keys)
        return made

    def publish(self, sequence: int, content: bytes = b"bundle", **changed: object) -> None:
        """Sign a version of the model, and the bundle that brings it whole."""
        made = custom(sequence, **changed)
        folder = f"{MODEL}/{made['version']}"
        model_id = self.repository.add_target(f"{folder}/model.toml", b"%d" % sequence, made)
        of_bundle = {"format": 1, "kind": "bundle", "model_id": model_id, "base_id": "", "memory_bytes": 1 << 20}
        self.repository.add_target(f"{folder}/whole", content, of_bundle)
        self.sign()

    def sign(self) -> None:
        """Sign releases and timestamp."""
        self.repository.sign_releases(
            [self.releases],
            [self.timestamp],
            now=self.now,
            expires=self.now + 90 * DAY,
            timestamp_expires=self.now + 7 * DAY,
        )

    def stamp(self) -> None:
        """Sign the timestamp, as a cron job does."""
        self.repository.sign_timestamp([self.timestamp], now=self.now, expires=self.now + 7 * DAY)

    def rotate(self, role: Role, index: int = 0) -> CryptoSigner:
        """Replace a key, after it was stolen, and sign everything anew; returns the old one."""
        old, new = (
            {
                Role.ROOT: self.root_keys[index],
                Role.RELEASES: self.releases,
                Role.TIMESTAMP: self.timestamp,
            }[role],
            new_key(),
        )
        self.repository.rotate_key(role, new, old.public_key.keyid, expires=self.now + 365 * DAY)
        signers = [key for key in self.root_keys if key is not old][:2]
        if role is Role.ROOT:
            self.root_keys[index] = new
        elif role is Role.RELEASES:
            self.releases = new
        else:
            self.timestamp = new
        self.sign_root(signers)
        self.sign()
        return old

    def sign_root(self, signers: Sequence[CryptoSigner]) -> None:
        left = [self.repository.sign_root(each) for each in signers]
        assert left[-1] == 0, f"{left[-1]} signatures are missing"

    def files(self) -> Files:
        """All that is public now."""
        public = self.repository.public
        return {str(file.relative_to(public)): file.read_bytes() for file in public.rglob("*") if file.is_file()}

    def bundle(self, sequence: int) -> Bundle:
        path = f"{MODEL}/1.0.{sequence}/whole"
        found = next(each for each in self.repository.targets() if each.path == path)
        size_bytes, memory_bytes = found.size_bytes, 1 << 20
        return Bundle(path=path, size_bytes=size_bytes, sha256=found.sha256, base_id="", memory_bytes=memory_bytes)


class Device:
    """A device that was shipped with a root."""

    def __init__(self, folder: Path, root: bytes, clock: datetime | None = NOW) -> None:
        self.slots = VolatileSlots(folder)
        self.root = root
        self.clock = clock
        """Its synchronised clock; None while it has none."""

    @property
    def clock_s(self) -> int | None:
        return int(self.clock.timestamp()) if self.clock else None

    def refresh(self, source: Mapping[str, bytes] | Repository) -> Refreshed:
        """Ask a repository, or whoever has these files."""
        repository = ScriptedRepository(source) if isinstance(source, Mapping) else source
        return refresh(repository, self.slots, self.root, clock_s=self.clock_s, released_s=RELEASED_S)

    def known(self) -> Refreshed | None:
        return known(self.slots, self.root, clock_s=self.clock_s, released_s=RELEASED_S)

    def sequences(self, source: Mapping[str, bytes] | Repository) -> list[int]:
        """Ask, and return the sequences of what is signed for the model."""
        return [each.sequence for each in self.refresh(source).manifests.get(MODEL, ())]


def signed_by(body: Body, *signers: CryptoSigner) -> bytes:
    """Sign what no honest publisher signs."""
    metadata: Metadata[Any] = Metadata(body)
    for each in signers:
        metadata.sign(each, append=True)
    return metadata.to_bytes()


def body_of(raw: bytes) -> Body:
    """Read metadata, to change it."""
    metadata: Metadata[Any] = Metadata.from_bytes(raw)
    body: Body = metadata.signed
    return body


@contextmanager
def serving(server: ThreadingHTTPServer) -> Iterator[None]:
    """Have a server answer, as long as this lasts."""
    thread = Thread(target=server.serve_forever, args=(0.005,), daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join(JOIN_S)


class FileServer:
    """An honest web server over files in memory, with tags and ranges; ``hub.serve`` is the one that is shipped."""

    def __init__(self, files: Mapping[str, bytes], tls: SSLContext | None = None) -> None:
        self.files = files
        self.asked: list[tuple[str, Mapping[str, str]]] = []
        """Path and headers of each request."""
        self.broken_after_bytes: int | None = None
        """Every answer breaks off after so much content."""
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                outer.answer(self)

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        if tls:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        self._serving = serving(self._server)
        self.url = f"http{'s' if tls else ''}://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        self._serving.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._serving.__exit__(None, None, None)

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        path = re.sub(r"^http://[^/]*", "", request.path)  # as a proxy is asked
        self.asked.append((path, dict(request.headers.items())))
        content = self.files.get(path.lstrip("/"))
        if content is None:
            request.send_error(404)
            return
        tag = f'"{sha256(content).hexdigest()[:16]}"'
        wanted = re.fullmatch(r"bytes=(\d+)-", request.headers.get("Range", ""))
        start = int(wanted[1]) if wanted and request.headers.get("If-Range", tag) == tag else 0
        request.send_response(206 if start else 200)
        if start:
            request.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        request.send_header("ETag", tag)
        request.send_header("Content-Length", str(len(content) - start))
        request.end_headers()
        request.wfile.write(content[start:][: self.broken_after_bytes])
        request.close_connection = self.broken_after_bytes is not None or request.close_connection


Answer = Callable[[socket.socket], None]


class RawServer:
    """A server that does with each connection, after its request came, what the next of ``answers`` does."""

    def __init__(self, *answers: Answer | bytes, tls: SSLContext | None = None) -> None:
        self._answers = list(answers)
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._socket.settimeout(0.02)
        self._tls = tls
        self._over = Event()
        self._thread = Thread(target=self._serve, daemon=True)
        self.requests: list[str] = []
        self.url = f"http{'s' if tls else ''}://127.0.0.1:{self._socket.getsockname()[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join(JOIN_S)
        self._socket.close()

    def _serve(self) -> None:
        while self._answers and not self._over.is_set():
            with suppress(OSError), self._accepted() as connection:  # nobody yet, or the client has gone
                self.requests.append(_request(connection))
                answer = self._answers.pop(0)
                if isinstance(answer, bytes):
                    connection.sendall(answer)
                else:
                    answer(connection)

    def _accepted(self) -> socket.socket:
        connection, _ = self._socket.accept()
        connection.settimeout(JOIN_S)
        return self._tls.wrap_socket(connection, server_side=True) if self._tls else connection


def _request(connection: socket.socket) -> str:
    """Read a request as far as the end of its headers."""
    head = b""
    while b"\r\n\r\n" not in head and (more := connection.recv(4096)):
        head += more
    return head.decode("latin-1")


def reply(status: str, content: bytes = b"", *headers: str, length: int | None = None) -> bytes:
    """An HTTP answer."""
    told = f"Content-Length: {len(content) if length is None else length}"
    return "\r\n".join([f"HTTP/1.1 {status}", told, *headers, "", ""]).encode() + content


def published(hub: Path) -> Publisher:
    """A publisher with one update."""
    made = Publisher(hub)
    made.publish(1)
    return made
