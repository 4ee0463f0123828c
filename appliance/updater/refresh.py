"""Asks a repository what is signed, role by role, and keeps what is believed: each file at once, so a cut is harmless.

What is kept is verified again each time it is read. The order in which it is written does not matter: what does not fit
together is asked for again, and a role is never older than what is kept of it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from appliance.errors import MetadataError, RepositoryError
from appliance.log import get
from appliance.ports import Repository
from appliance.trust.manifest import Manifest, manifests
from appliance.trust.metadata import REMEMBERED, Trusted, reference_s
from appliance.trust.signed import BYTES_MAX

FOLDER = "trust"
TIMESTAMP_FILE = "timestamp.json"
ROTATIONS_MAX = 256
"""Roots that are taken in one run; who is further behind goes on at the next."""

_log = get(__name__)


class Files(Protocol):
    """What of ``ports.SlotStore`` is needed here."""

    def file(self, name: str) -> bytes | None:
        """Return a small file; None where there is none. Raises StoreError."""
        ...

    def write_file(self, name: str, content: bytes) -> None:
        """Replace a small file, whole or not at all. Raises StoreError."""
        ...

    def files(self, folder: str) -> tuple[str, ...]:
        """Return the names of such files in a folder."""
        ...

    def remove_file(self, name: str) -> None:
        """Remove a small file. Raises StoreError."""
        ...


@dataclass(frozen=True, slots=True)
class Refreshed:
    """What is signed."""

    manifests: Mapping[str, tuple[Manifest, ...]]
    """Updates by the model's name, the highest sequence first."""
    stale: str
    """Why nothing new may be installed now; empty for nothing. What is under way goes on."""
    signed_at_s: int | None
    """When the publisher said so, in POSIX seconds."""
    reference_s: int
    """The time that expiry was held against, in POSIX seconds."""
    versions: Mapping[str, int]
    """Version of each role's metadata."""


def refresh(repository: Repository, files: Files, root: bytes, *, clock_s: int | None, released_s: int) -> Refreshed:
    """Ask for what is newer, and say what is signed.

    Args:
        repository: where to ask.
        files: where what is believed is kept.
        root: the root that came with the device.
        clock_s: what a synchronised clock says, in POSIX seconds; None where it is not known to be right.
        released_s: when this software was released, in POSIX seconds.

    Raises:
        RepositoryError: it cannot be reached, or is not whole.
        RefusedError: as ``Repository.metadata`` raises it.
        MetadataError: something is not trusted; what was trusted before still is.
        StoreError: it cannot be kept.
    """
    trusted = _rooted(files, root)
    _walk(trusted, repository, files)
    _recall(trusted, files)
    _tidy(trusted, files)
    _take_timestamp(trusted, repository, files)
    if wanted := trusted.wanted_snapshot:
        raw = _ask(repository, wanted.name, wanted.size_bytes_max)
        trusted.add_snapshot(raw)
        _keep(trusted, files, "snapshot", raw)
    if wanted := trusted.wanted_targets:
        raw = _ask(repository, wanted.name, wanted.size_bytes_max)
        trusted.add_targets(raw)
        _keep(trusted, files, "targets", raw)
    return _summary(trusted, clock_s, released_s)


def known(files: Files, root: bytes, *, clock_s: int | None, released_s: int) -> Refreshed | None:
    """Say what was signed when it was last asked; None where that is not known as a whole. Nothing is written.

    Raises:
        StoreError: what was kept cannot be read.
    """
    try:
        trusted = _rooted(files, root)
        _recall(trusted, files)
        return _summary(trusted, clock_s, released_s) if trusted.complete else None
    except MetadataError as error:
        _log.warning("nothing that was kept is trusted", reason=str(error))
        return None


def _rooted(files: Files, root: bytes) -> Trusted:
    """Begin with the root that came with the device, and go on by those that were kept since."""
    trusted = Trusted(root)
    while raw := files.file(f"{FOLDER}/{trusted.next_root.name}"):
        try:
            trusted.add_root(raw)
        except MetadataError as error:
            _log.warning("a root that was kept is not trusted; it is asked for again", reason=str(error))
            break
    return trusted


def _walk(trusted: Trusted, repository: Repository, files: Files) -> None:
    """Take newer roots one by one, whether they have expired or not (clause 5.3 of the specification)."""
    for _ in range(ROTATIONS_MAX):
        wanted = trusted.next_root
        raw = repository.metadata(wanted.name, wanted.size_bytes_max)
        if raw is None:
            return
        trusted.add_root(raw)
        files.write_file(f"{FOLDER}/{wanted.name}", raw)


def _recall(trusted: Trusted, files: Files) -> None:
    """Take back what was kept under the present keys."""
    for what in REMEMBERED:
        if raw := files.file(f"{FOLDER}/{trusted.name_of(what)}"):
            try:
                trusted.recall(what, raw)
            except MetadataError as error:
                _log.warning("what was kept is not trusted; it is asked for again", what=what, reason=str(error))


def _tidy(trusted: Trusted, files: Files) -> None:
    """Remove what rested on keys that are replaced, so that it cannot come back with them."""
    names = {f"{FOLDER}/{trusted.name_of(what)}" for what in REMEMBERED}
    for name in files.files(FOLDER):
        if name not in names and not name.endswith(".root.json"):
            files.remove_file(name)


def _take_timestamp(trusted: Trusted, repository: Repository, files: Files) -> None:
    raw = _ask(repository, TIMESTAMP_FILE, BYTES_MAX["timestamp"])
    if not trusted.add_timestamp(raw):
        return
    if trusted.newest_timestamp is not None and trusted.newest_timestamp != raw:  # its publisher's clock went back
        _keep(trusted, files, "floor", trusted.newest_timestamp)
    _keep(trusted, files, "timestamp", raw)


def _keep(trusted: Trusted, files: Files, what: str, raw: bytes) -> None:
    files.write_file(f"{FOLDER}/{trusted.name_of(what)}", raw)


def _ask(repository: Repository, name: str, size_bytes_max: int) -> bytes:
    raw = repository.metadata(name, size_bytes_max)
    if raw is None:
        msg = f"the repository has no {name}; it is none, or is being written"
        raise RepositoryError(msg)
    return raw


def _summary(trusted: Trusted, clock_s: int | None, released_s: int) -> Refreshed:
    """Raises MetadataError: a target is signed but cannot be."""
    now_s = reference_s(clock_s, max(released_s, trusted.floor_s))
    return Refreshed(
        manifests=manifests(trusted.targets()),
        stale=trusted.stale(now_s),
        signed_at_s=trusted.signed_at_s,
        reference_s=now_s,
        versions=trusted.versions(),
    )
