"""Where a publisher works: a hub held by one command, what an interrupted one left behind put right first."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from securesystemslib.signer import CryptoSigner

from appliance.errors import HubError, MetadataError
from appliance.hub import disk, keys
from appliance.hub.clock import now_utc
from appliance.hub.folder import Fielded
from appliance.hub.keyring import Keyring, retired, succeed, successors
from appliance.hub.signing import DRAFT, Role, SignedRepository
from appliance.trust.manifest import DESCRIPTION, Manifest, manifests

ROOT_LIFE = timedelta(days=730)
"""A root key is fetched from where it was carried to once in two years."""
RELEASES_LIFE = timedelta(days=365)
TIMESTAMP_LIFE = timedelta(days=30)
"""How long a device that hears nothing newer installs: for a stick on its way, or a cron job that fails."""


@dataclass(frozen=True, slots=True, eq=False)
class Desk:
    """A hub, held."""

    repository: SignedRepository
    fielded: Fielded
    keyring: Keyring
    now: datetime

    def sign(self) -> None:
        """Sign what is published, and that it is the newest. Raises HubError."""
        self.sign_with({role: self.keyring.signers(role) for role in (Role.RELEASES, Role.TIMESTAMP)})

    def sign_with(self, signers: Mapping[Role, list[CryptoSigner]]) -> None:
        """Sign with these. Raises HubError."""
        self.repository.sign_releases(
            signers[Role.RELEASES],
            signers[Role.TIMESTAMP],
            now=self.now,
            expires=self.now + RELEASES_LIFE,
            timestamp_expires=self.now + TIMESTAMP_LIFE,
        )

    def published(self, model: str, version: str | None = None) -> Manifest:
        """Return what is signed of a version, the newest for None. Raises HubError when there is none."""
        return _named(self.repository, model, version)

    def change(self, manifest: Manifest, fields: Mapping[str, object]) -> None:
        """Change custom fields of a version and sign it. Raises HubError."""
        path = f"{manifest.model}/{manifest.version}/{DESCRIPTION}"
        custom = next(dict(target.custom) for target in self.repository.targets() if target.path == path)
        self.repository.set_custom(path, {**custom, **fields})
        self.sign()

    def rotate(self, role: Role, retire: str | None) -> Path:
        """Draft a root in which a new key takes the place of another; returns the new key's file.

        Args:
            role: whose key.
            retire: what the id of the key that goes starts with; None where there is one only.

        Raises:
            HubError: no such key, a root is under way already, or the disk refuses.
        """
        draft = self.repository.public.parent / DRAFT
        if draft.exists():
            msg = f"{draft}: a new root is under way; sign it (sign-root), or delete it to drop it"
            raise HubError(msg)
        old = retired(self.repository, role, retire)
        file, new = self.keyring.successor(role)
        if role is not Role.ROOT and self.keyring.file(role).exists():
            self.sign()  # with the old key and the new one: no device meets a moment without a signature it knows
        self.repository.rotate_key(role, new, old, expires=self.now + ROOT_LIFE)
        return file

    def settle(self) -> list[Role]:
        """Put right what a command that was cut off left; returns the roles that have another key now.

        Raises:
            HubError: a key is missing, or the disk refuses.
        """
        self._drop_published_draft()
        self.fielded.settle({target.sha256 for target in self.repository.targets()})
        moved = successors(self.repository, self.keyring)
        if moved:
            both = {role: self.keyring.signers(role) for role in (Role.RELEASES, Role.TIMESTAMP)}
            self.sign_with({role: each[-1:] if role in moved else each for role, each in both.items()})
            for role in moved:  # only now: whoever is cut off before signs again
                succeed(self.keyring, role)
        return moved

    def _drop_published_draft(self) -> None:
        """Remove a draft that was published, where a cut came between."""
        draft, published = self.repository.public.parent / DRAFT, self.repository.versions()[Role.ROOT]
        try:
            if json.loads(draft.read_bytes())["signed"]["version"] <= published:
                draft.unlink()
        except (
            OSError,
            ValueError,
            KeyError,
            TypeError,
        ):  # there is none, or it is unreadable: refused later
            return


@contextmanager
def opened(hub: Path, keyring: Keyring) -> Iterator[Desk]:
    """Work in a hub, alone.

    Raises:
        HubError: it is none, another publisher is at work in it, or what an interrupted command left cannot be mended.
    """
    with disk.locked(hub):
        desk = Desk(SignedRepository(hub), Fielded(hub), keyring, now_utc())
        desk.settle()
        yield desk


def create(hub: Path, keyring: Keyring, root_keys: int, root_threshold: int) -> list[Path]:
    """Make a hub and its keys; returns the files of the root keys.

    Raises:
        HubError: there is a repository or a key of that name already, or the disk refuses.
    """
    now = now_utc()
    files = [keyring.folder / f"root-{number}.pem" for number in range(1, root_keys + 1)]
    root = [keys.generate(file, keyring.passphrase) for file in files]
    SignedRepository.create(
        hub,
        root=root,
        threshold=root_threshold,
        releases=keys.generate(keyring.file(Role.RELEASES), keyring.passphrase),
        timestamp=keys.generate(keyring.file(Role.TIMESTAMP), keyring.passphrase),
        now=now,
        root_expires=now + ROOT_LIFE,
        releases_expires=now + RELEASES_LIFE,
        timestamp_expires=now + TIMESTAMP_LIFE,
    )
    return files


def all_published(repository: SignedRepository) -> Mapping[str, tuple[Manifest, ...]]:
    """Return every version that is signed, by model, the newest first. Raises HubError."""
    try:
        return manifests(repository.targets())
    except MetadataError as error:
        msg = f"what is signed cannot be read by this program: {error}"
        raise HubError(msg) from error


def _named(repository: SignedRepository, model: str, version: str | None) -> Manifest:
    found = all_published(repository).get(model, ())
    manifest = next((each for each in found if version in (None, each.version)), None)
    if manifest is None:
        there = ", ".join(each.version for each in found) or "none"
        wanted = f"{model} {version}" if version else model
        msg = f"{wanted}: not published here; versions of it that are: {there}"
        raise HubError(msg)
    return manifest
