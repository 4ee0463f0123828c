"""The files of a signed repository: read, made, signed, and held against what a device believes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Generic, Self, TypeVar

from securesystemslib.signer import CryptoSigner, Signature
from tuf.api.metadata import Metadata, MetaFile, Root, Snapshot, Targets, Timestamp
from tuf.api.serialization import DeserializationError, SerializationError

from appliance.errors import HubError, MetadataError
from appliance.trust.manifest import manifests
from appliance.trust.metadata import TARGETS_FILE, Trusted
from appliance.trust.signed import BYTES_MAX, SIGNED_AT

TIME_FORMAT = "%Y-%m-%dT%H:%M:%SZ"

_Kind = TypeVar("_Kind", Root, Timestamp, Snapshot, Targets)


class Role(StrEnum):
    """Whose keys there are."""

    ROOT = "root"
    RELEASES = "targets"
    TIMESTAMP = "timestamp"
    """Signs the snapshot, too."""

    @property
    def names(self) -> tuple[str, ...]:
        """The roles of the specification that its keys sign."""
        return ("timestamp", "snapshot") if self is Role.TIMESTAMP else (self.value,)


@dataclass(frozen=True, slots=True)
class File(Generic[_Kind]):
    """A metadata file: its bytes, and what they say."""

    raw: bytes
    signed: _Kind
    signatures: Mapping[str, Signature]

    @classmethod
    def read(cls, kind: type[_Kind], file: Path) -> Self:
        """Read a file of the publisher's own. Raises HubError: it is missing, or no metadata of this kind."""
        try:
            with file.open("rb") as stream:
                raw = stream.read(BYTES_MAX[kind.type])
            metadata: Metadata[_Kind] = Metadata.from_bytes(raw)
        except OSError as error:
            msg = f"{file}: cannot be read: {error.strerror}"
            raise HubError(msg) from error
        except DeserializationError as error:
            msg = f"{file}: is no metadata: {error.__cause__}"
            raise HubError(msg) from error
        if not isinstance(metadata.signed, kind):
            msg = f"{file}: is metadata of another role"
            raise HubError(msg)
        return cls(raw, metadata.signed, metadata.signatures)

    def also_signed(self, signer: CryptoSigner) -> "File[_Kind]":
        """Return it with one signature more."""
        return _made(Metadata(self.signed, dict(self.signatures)), [signer])


def newest_root(folder: Path) -> Path:
    """Return the root file with the highest version. Raises HubError: there is none."""
    versions = [file.name.partition(".")[0] for file in folder.glob("*.root.json")]
    newest = max((int(version) for version in versions if version.isdecimal()), default=None)
    if newest is None:
        msg = f"{folder}: holds no repository; `appliance hub init` makes one, --hub says where it is"
        raise HubError(msg)
    return folder / f"{newest}.root.json"


def sign(signed: _Kind, signers: Sequence[CryptoSigner]) -> File[_Kind]:
    """Return a file signed by each of ``signers``. Raises HubError: it holds what canonical JSON cannot."""
    return _made(Metadata(signed), signers)


def _made(metadata: Metadata[_Kind], signers: Sequence[CryptoSigner]) -> File[_Kind]:
    try:
        for each in signers:
            metadata.sign(each, append=True)
        return File(metadata.to_bytes(), metadata.signed, metadata.signatures)
    except SerializationError as error:
        msg = f"{metadata.signed.type}: cannot be signed: {error.__cause__}"
        raise HubError(msg) from error


def snapshot_of(targets: File[Targets], version: int, signers: Sequence[CryptoSigner]) -> File[Snapshot]:
    """Return the snapshot that names ``targets``; it says no more than they do, and expires with them."""
    meta = {TARGETS_FILE: MetaFile.from_data(targets.signed.version, targets.raw, ["sha256"])}
    return sign(Snapshot(version, expires=targets.signed.expires, meta=meta), signers)


def timestamp_of(
    snapshot: File[Snapshot], version: int, signers: Sequence[CryptoSigner], now: datetime, expires: datetime
) -> File[Timestamp]:
    """Return the timestamp that names ``snapshot``, signed ``now``."""
    meta = MetaFile.from_data(snapshot.signed.version, snapshot.raw, ["sha256"])
    fields = {SIGNED_AT: now.strftime(TIME_FORMAT)}
    return sign(Timestamp(version, expires=expires, snapshot_meta=meta, unrecognized_fields=fields), signers)


def missing(draft: File[Root], before: Root) -> int:
    """Return how many signatures a root still needs at least, by the keys of the root before it and by its own."""
    payload = Metadata(draft.signed).signed_bytes
    result = draft.signed.get_root_verification_result(before, payload, dict(draft.signatures))
    return max(result.first.missing, result.second.missing)


def check_root(before: File[Root], draft: File[Root]) -> None:
    """Raise HubError if a device that trusts the root ``before`` would not accept the one after it."""
    try:
        Trusted(before.raw).add_root(draft.raw)
    except MetadataError as error:
        msg = f"no device would accept this: {error}"
        raise HubError(msg) from error


def check(
    root: File[Root], timestamp: File[Timestamp], snapshot: File[Snapshot], targets: File[Targets], now: datetime
) -> None:
    """Raise HubError if a device that trusts ``root`` would not accept and use the rest ``now``."""
    try:
        trusted = Trusted(root.raw)
        trusted.add_timestamp(timestamp.raw)
        trusted.add_snapshot(snapshot.raw)
        trusted.add_targets(targets.raw)
        manifests(trusted.targets())
        stale = trusted.stale(int(now.timestamp()))
    except MetadataError as error:
        msg = f"no device would accept this: {error}"
        raise HubError(msg) from error
    if stale:
        msg = f"no device would install anything: {stale}; sign that anew first, or see whether the clock is right"
        raise HubError(msg)
