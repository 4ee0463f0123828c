"""Signed metadata of The Update Framework, one file at a time: bounded, read, verified by enough keys.

Clauses are those of its specification, version 1.0.31. A threshold counts different Ed25519 keys, not key ids: a key
that is listed twice signs once. Signatures are over the canonical form of what was read, so a file is read before it is
verified: it is bounded first, whatever is wrong with it is one error, and nothing of it is believed before.
"""

import calendar
import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Generic, TypeVar

from securesystemslib.exceptions import UnverifiedSignatureError
from securesystemslib.signer import Key, Signature
from tuf.api.exceptions import LengthOrHashMismatchError
from tuf.api.metadata import Metadata, MetaFile, Root, Signed, Snapshot, Targets, Timestamp
from tuf.api.serialization import DeserializationError, SerializationError

from appliance.errors import MetadataError

BYTES_MAX: Mapping[str, int] = MappingProxyType(
    {"root": 512 * 1024, "timestamp": 16 * 1024, "snapshot": 64 * 1024, "targets": 4 * 1024 * 1024}
)
"""Largest file of each role: nothing larger is read, whatever is signed."""
VERSION_MAX = 2**53
SIGNED_AT = "signed_at"
"""Our field of the timestamp: when it was signed, ISO 8601 in UTC to the second."""

_SCHEME = ("ed25519", "ed25519")
"""Type and scheme of the keys that count. The library knows others, among them some that would ask the network."""
_TIME = re.compile(r"([0-9]{4})-([0-9]{2})-([0-9]{2})T([0-9]{2}):([0-9]{2}):([0-9]{2})Z")
_WHY_CHARACTERS_MAX = 160

Kind = TypeVar("Kind", Root, Timestamp, Snapshot, Targets)


@dataclass(frozen=True, slots=True)
class Held(Generic[Kind]):
    """A role's metadata, its signatures verified."""

    raw: bytes
    signed: Kind


def opened(kind: type[Kind], raw: bytes, root: Root | None) -> Held[Kind]:
    """Read metadata, and verify that enough keys of ``root`` have signed it. Raises MetadataError.

    A root is also verified by its own keys; ``root`` is None for the first one.
    """
    role = kind.type
    if len(raw) > BYTES_MAX[role]:
        msg = f"{role}: larger than {BYTES_MAX[role]} bytes"
        raise MetadataError(msg)
    try:
        metadata: Metadata[Kind] = Metadata.from_bytes(raw)
        payload = metadata.signed_bytes
    except (DeserializationError, SerializationError) as error:
        msg = f"{role}: no metadata that this device can read: {str(error.__cause__)[:_WHY_CHARACTERS_MAX]}"
        raise MetadataError(msg) from error
    signed: Signed = metadata.signed
    if not isinstance(signed, kind):
        msg = f"{role}: is metadata of the role {signed.type}"
        raise MetadataError(msg)
    for each in [*([root] if root else []), *([signed] if isinstance(signed, Root) else [])]:
        _verify(role, metadata.signatures, payload, each)
    _check(signed)
    return Held(raw, signed)


def _verify(role: str, signatures: Mapping[str, Signature], payload: bytes, root: Root) -> None:
    """Count the keys of a role that have signed (clauses 5.3.4, 5.4.2, 5.5.3, 5.6.3). Raises MetadataError."""
    wanted = root.roles[role]
    keys = [(root.keys.get(keyid), signatures.get(keyid)) for keyid in wanted.keyids]
    signers = {_public(key) for key, signature in keys if key and signature and _signed(key, signature, payload)}
    if len(signers) < wanted.threshold:
        msg = f"{role}: signed by {len(signers)} of the {wanted.threshold} keys that root {root.version} asks for"
        raise MetadataError(msg)


def _signed(key: Key, signature: Signature, payload: bytes) -> bool:
    if (key.keytype, key.scheme) != _SCHEME:
        return False
    try:
        key.verify_signature(signature, payload)
    except UnverifiedSignatureError:
        return False
    return True


def _public(key: Key) -> str:
    """Return a public key in one way of writing it, of the many that are read as the same."""
    return "".join(str(key.keyval.get("public")).split()).lower()


def publics(root: Root, role: str) -> set[str]:
    """Return the public keys that ``root`` lists for a role."""
    return {_public(root.keys[keyid]) for keyid in root.roles[role].keyids if keyid in root.keys}


def _check(signed: Signed) -> None:
    """See that signed values are what they must be, beyond what the library looks at. Raises MetadataError."""
    versions = [signed.version]
    if isinstance(signed, Root) and signed.consistent_snapshot is not True:
        raise MetadataError("root: the repository has no consistent snapshots")
    if isinstance(signed, Timestamp):
        versions.append(signed.snapshot_meta.version)
        signed_at_s(signed)
    if isinstance(signed, Snapshot):
        versions.extend(each.version for each in signed.meta.values())
    if any(type(version) is not int or version > VERSION_MAX for version in versions):
        msg = f"{signed.type}: a version is no whole number up to 2**53"
        raise MetadataError(msg)


def as_named(kind: type[Kind], raw: bytes, meta: MetaFile, root: Root) -> Held[Kind]:
    """Hold a file against what names it before it is read, then read it. Raises MetadataError."""
    try:
        meta.verify_length_and_hashes(raw)
    except LengthOrHashMismatchError as error:
        msg = f"{kind.type}: is not the file that is signed: {str(error)[:_WHY_CHARACTERS_MAX]}"
        raise MetadataError(msg) from error
    held = opened(kind, raw, root)
    if held.signed.version != meta.version:
        msg = f"{kind.type}: is version {held.signed.version} where {meta.version} is signed"
        raise MetadataError(msg)
    return held


def signed_at_s(timestamp: Timestamp) -> int:
    """Return when it was signed, in POSIX seconds; 0 where it does not say. Raises MetadataError: it is no time."""
    text = timestamp.unrecognized_fields.get(SIGNED_AT)
    if text is None:
        return 0
    parts = _TIME.fullmatch(str(text))
    try:
        return calendar.timegm(tuple(map(int, parts.groups()))) if parts else int("no time")
    except ValueError as error:
        msg = f"timestamp: {SIGNED_AT} is {str(text)[:_WHY_CHARACTERS_MAX]!r}, no time in UTC"
        raise MetadataError(msg) from error
