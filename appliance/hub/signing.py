"""A signed repository on the publisher's disk, as static files: what any web server can give to a fleet.

The four roles of The Update Framework are signed by three kinds of keys: root by its own, targets by the releases key,
snapshot and timestamp by the timestamp key. Whoever reads the public folder while it is written never meets half of a
change: every file but one has its version or digest in its name, and ``timestamp.json``, which says what is true, is
put in place last. Everything is held against the device's own rules before it is written.
"""

import contextlib
import copy
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Self

from securesystemslib.signer import CryptoSigner, Key
from tuf.api.metadata import Role as TufRole
from tuf.api.metadata import Root, Snapshot, TargetFile, Targets, Timestamp

from appliance.errors import HubError, MetadataError
from appliance.hub import disk
from appliance.hub.signed_files import (
    File,
    Role,
    check,
    check_root,
    missing,
    newest_root,
    sign,
    snapshot_of,
    timestamp_of,
)
from appliance.trust.manifest import Target
from appliance.trust.metadata import TARGETS_FILE, file_of

PUBLIC = "public"
DRAFT = "next.root.json"
"""The root under way, beside the public folder: it waits for the signatures that it still needs."""


class SignedRepository:
    """What is published, and what is to be: changes of targets wait in memory until they are signed. For one thread.

    All times are in UTC. Every method that signs raises HubError where a key does not fit, a device would not accept
    the result, or the disk refuses; what is public is then as it was.
    """

    def __init__(self, hub: Path) -> None:
        """Read the public folder of a hub. Raises HubError: there is no repository, or it is damaged."""
        self.public = hub / PUBLIC
        self._folder = self.public / "metadata"
        self._draft = hub / DRAFT
        self._root = File.read(Root, newest_root(self._folder))
        self._timestamp = File.read(Timestamp, self._folder / "timestamp.json")
        snapshot = f"{self._timestamp.signed.snapshot_meta.version}.snapshot.json"
        self._snapshot = File.read(Snapshot, self._folder / snapshot)
        self._targets = File.read(
            Targets, self._folder / f"{self._snapshot.signed.meta[TARGETS_FILE].version}.targets.json"
        )
        self._next: dict[str, TargetFile] = copy.deepcopy(self._targets.signed.targets)

    @classmethod
    def create(
        cls,
        hub: Path,
        *,
        root: Sequence[CryptoSigner],
        threshold: int,
        releases: CryptoSigner,
        timestamp: CryptoSigner,
        now: datetime,
        root_expires: datetime,
        releases_expires: datetime,
        timestamp_expires: datetime,
    ) -> Self:
        """Found an empty repository, whose root needs ``threshold`` of the ``root`` keys; its root is written last.

        Raises:
            HubError: there is one already, two keys are the same, or the threshold cannot be reached.
        """
        folder = hub / PUBLIC / "metadata"
        if any(folder.glob("*.root.json")):
            msg = f"{folder}: holds a repository already, and one is never written over"
            raise HubError(msg)
        keys = [(Role.ROOT, each) for each in root] + [(Role.RELEASES, releases), (Role.TIMESTAMP, timestamp)]
        if len({each.public_key.keyid for _, each in keys}) < len(keys) or not 1 <= threshold <= len(root):
            msg = f"{threshold} of {len(root)} root keys: 1 to all of them must sign, and no key may be there twice"
            raise HubError(msg)
        made = Root(expires=root_expires, roles={name: TufRole([], 1) for kind in Role for name in kind.names})
        for kind, each in keys:
            for name in kind.names:
                made.add_key(each.public_key, name)
        made.roles[Role.ROOT].threshold = threshold
        signed_root, targets = sign(made, root), sign(Targets(expires=releases_expires), [releases])
        snapshot = snapshot_of(targets, 1, [timestamp])
        _write(
            folder, signed_root, targets, snapshot, timestamp_of(snapshot, 1, [timestamp], now, timestamp_expires), now
        )
        disk.write(folder / "1.root.json", signed_root.raw)
        return cls(hub)

    def root_bytes(self) -> bytes:
        """Return the newest root: what a device is shipped with."""
        return self._root.raw

    def versions(self) -> dict[str, int]:
        """Return the version of each of the four roles."""
        return {each.signed.type: each.signed.version for each in self._files()}

    def expires(self) -> dict[str, datetime]:
        """Return when each of the four roles expires."""
        return {each.signed.type: each.signed.expires for each in self._files()}

    def key_ids(self, role: Role) -> tuple[str, ...]:
        """Return the ids of a role's keys."""
        return tuple(self._root.signed.roles[role].keyids)

    def targets(self) -> tuple[Target, ...]:
        """Return the targets as they would be signed now, by path."""
        found = sorted(self._next.items())
        return tuple(Target(path, each.length, each.hashes["sha256"], each.custom or {}) for path, each in found)

    def file_of(self, path: str) -> Path:
        """Return where the content of a target is. Raises HubError: there is no such target."""
        return self._place(path, self._target(path))

    def add_target(self, path: str, content: bytes, custom: Mapping[str, object]) -> str:
        """Add a target, or replace one; returns its SHA-256. The content is on the disk at once, by its digest."""
        made = TargetFile.from_data(path, content, ["sha256"])
        disk.write(self._place(path, made), content)
        self._next[path] = made
        self.set_custom(path, custom)
        return made.hashes["sha256"]

    def set_custom(self, path: str, custom: Mapping[str, object]) -> None:
        """Replace the custom fields of a target. Raises HubError: there is none.

        Numbers with a fraction are signed as text ("0.8"), which devices read back: canonical JSON has no others.
        """
        self._target(path).unrecognized_fields["custom"] = _plain(custom)

    def sign_releases(
        self,
        releases: Sequence[CryptoSigner],
        timestamp: Sequence[CryptoSigner],
        *,
        now: datetime,
        expires: datetime,
        timestamp_expires: datetime,
    ) -> None:
        """Publish the targets as they are now, and with them a new snapshot and timestamp.

        Args:
            releases: the key; while it is being replaced, the old and the new one, so that each device finds its own.
            timestamp: as ``releases``.
            now: the signed time, which devices take for the truth.
            expires: when devices that hear of nothing newer stop to install.
            timestamp_expires: the same, for the timestamp alone: how long a freeze goes unnoticed.
        """
        new = Targets(self._unused(self._targets), expires=expires, targets=copy.deepcopy(self._next))
        self._publish(sign(new, releases), timestamp, now, timestamp_expires)

    def sign_timestamp(self, timestamp: Sequence[CryptoSigner], *, now: datetime, expires: datetime) -> None:
        """Publish a new timestamp of what is published already; a new snapshot only where its keys are others now."""
        self._publish(self._targets, timestamp, now, expires)

    def rotate_key(self, role: Role, new: CryptoSigner | Key, retire: str, *, expires: datetime) -> None:
        """Put another key into the next root, in place of the one with the id ``retire``; ``sign_root`` publishes it.

        A root that is under way is changed further; what has signed it must sign again. For a planned rotation sign
        releases or timestamp with both keys first, and devices notice nothing.
        """
        draft = self._drafted()
        try:
            for name in role.names:
                draft.revoke_key(retire, name)
                draft.add_key(new.public_key if isinstance(new, CryptoSigner) else new, name)
        except ValueError as error:
            msg = f"{role}: has no key {retire}; it has {', '.join(draft.roles[role].keyids)}"
            raise HubError(msg) from error
        draft.expires = expires
        disk.write(self._draft, sign(draft, []).raw)

    def renew_root(self, *, expires: datetime) -> None:
        """Begin a next root that differs by its expiry only; ``sign_root`` publishes it."""
        draft = self._drafted()
        draft.expires = expires
        disk.write(self._draft, sign(draft, []).raw)

    def sign_root(self, signer: CryptoSigner) -> int:
        """Add a signature to the next root, and publish it when there are enough; returns how many are missing."""
        draft = File.read(Root, self._draft)
        if draft.signed.version != self._root.signed.version + 1:
            msg = f"{self._draft}: is of another time; remove it"
            raise HubError(msg)
        if signer.public_key.keyid not in {*self.key_ids(Role.ROOT), *draft.signed.roles[Role.ROOT].keyids}:
            msg = f"{signer.public_key.keyid}: is no root key"
            raise HubError(msg)
        draft = draft.also_signed(signer)
        if left := missing(draft, self._root.signed):
            disk.write(self._draft, draft.raw)
            return left
        check_root(self._root, draft)
        disk.write(self._folder / f"{draft.signed.version}.root.json", draft.raw)
        with contextlib.suppress(OSError):  # what stays is of another time from now on
            self._draft.unlink()
        self._root = draft
        return 0

    def _publish(
        self, targets: File[Targets], signers: Sequence[CryptoSigner], now: datetime, expires: datetime
    ) -> None:
        snapshot = self._snapshot
        if targets is not self._targets or set(snapshot.signatures) != {each.public_key.keyid for each in signers}:
            snapshot = snapshot_of(targets, self._unused(snapshot), signers)
        timestamp = timestamp_of(snapshot, self._timestamp.signed.version + 1, signers, now, expires)
        _write(self._folder, self._root, targets, snapshot, timestamp, now)
        self._targets, self._snapshot, self._timestamp = targets, snapshot, timestamp

    def _unused(self, newest: File[Targets] | File[Snapshot]) -> int:
        """Return the next version whose name is free: what a run left that was cut short may be in a mirror's cache."""
        version = newest.signed.version + 1
        while (self._folder / f"{version}.{newest.signed.type}.json").exists():
            version += 1
        return version

    def _files(self) -> tuple[File[Root], File[Timestamp], File[Snapshot], File[Targets]]:
        return self._root, self._timestamp, self._snapshot, self._targets

    def _place(self, path: str, target: TargetFile) -> Path:
        try:
            return self.public / file_of(path, target.hashes["sha256"])
        except MetadataError as error:
            raise HubError(str(error)) from error

    def _target(self, path: str) -> TargetFile:
        if path not in self._next:
            msg = f"{path}: is no target of this repository"
            raise HubError(msg)
        return self._next[path]

    def _drafted(self) -> Root:
        """Return the root under way, or the present one, as the next version."""
        due = self._root.signed.version + 1
        if self._draft.exists() and (draft := File.read(Root, self._draft).signed).version == due:
            return draft
        draft = copy.deepcopy(self._root.signed)
        draft.version = due
        return draft


def _write(
    folder: Path,
    root: File[Root],
    targets: File[Targets],
    snapshot: File[Snapshot],
    timestamp: File[Timestamp],
    now: datetime,
) -> None:
    """Publish one moment, the timestamp last. Raises HubError: a device would not believe it, or the disk refuses."""
    check(root, timestamp, snapshot, targets, now)
    for each in (targets, snapshot):
        disk.write(folder / f"{each.signed.version}.{each.signed.type}.json", each.raw)
    disk.write(folder / "timestamp.json", timestamp.raw)


def _plain(value: object) -> object:
    """Return ``value`` as canonical JSON can hold it."""
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return repr(value) if isinstance(value, float) else value


__all__ = ["DRAFT", "PUBLIC", "Role", "SignedRepository"]
