"""The rules by which signed metadata is believed: the client's workflow of The Update Framework, bytes in.

Clauses are of its specification, version 1.0.31 (https://theupdateframework.github.io). Where this device goes its
own way, because it may have no clock and be off line for months:

- Expiry never keeps metadata from being accepted (clauses 5.3.10, 5.4.4, 5.5.6, 5.6.5 abort there): what is expired is
  the way to what is newer. It is told by ``Trusted.stale``, and then nothing new is installed.
- Only the publisher's signed time moves the floor under the device's clock: ``signed_at``, a field of ours in the
  timestamp. Whoever signs with a stolen timestamp key can put it far into the future; the floor goes with that key.
- Delegations are not followed (clause 5.6.7); only consistent snapshots are taken (clause 5.3.12).
"""

import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from tuf.api.exceptions import LengthOrHashMismatchError
from tuf.api.metadata import MetaFile, Root, Snapshot, Targets, Timestamp

from appliance.errors import MetadataError, OlderError
from appliance.trust.manifest import Target
from appliance.trust.signed import BYTES_MAX, Held, as_named, opened, publics, signed_at_s

TARGETS_FILE = "targets.json"
"""What the snapshot calls the targets role."""
REMEMBERED: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "floor": ("timestamp",),
        "timestamp": ("timestamp", "snapshot"),
        "snapshot": ("timestamp", "snapshot", "targets"),
        "targets": ("targets",),
    }
)
"""What is remembered of a repository, and the roles whose keys it rests on: new keys, and it is forgotten (5.3.11)."""

_SHA256 = re.compile(r"[0-9a-f]{64}")
_PATH_CHARACTERS_MAX = 200
_PATH = re.compile(rf"(?=.{{1,{_PATH_CHARACTERS_MAX}}}\Z)[A-Za-z0-9][A-Za-z0-9_.+-]*(/[A-Za-z0-9][A-Za-z0-9_.+-]*)*")


@dataclass(frozen=True, slots=True)
class Wanted:
    """The file to be fetched next."""

    name: str
    size_bytes_max: int


class Trusted:
    """What is believed of one repository. Roots come first, then the other roles in the order of their methods.

    A method that raises MetadataError leaves everything as it was.
    """

    def __init__(self, root: bytes) -> None:
        """Begin with the root that came with the device (clause 5.2). Raises MetadataError: it is damaged."""
        self._root: Held[Root] = opened(Root, root, None)
        self._timestamp: Held[Timestamp] | None = None
        self._snapshot: Held[Snapshot] | None = None
        self._targets: Held[Targets] | None = None
        self._newest: Held[Timestamp] | None = None

    @property
    def root_version(self) -> int:
        """Version of the newest root that is trusted."""
        return self._root.signed.version

    @property
    def next_root(self) -> Wanted:
        """Return what the root after it is called (clause 5.3.3)."""
        return Wanted(f"{self.root_version + 1}.root.json", BYTES_MAX["root"])

    def add_root(self, raw: bytes) -> None:
        """Take the next root: signed by enough keys of the one before, and of its own (clauses 5.3.4 and 5.3.5).

        Whether it has expired does not matter (5.3.6). Raises MetadataError.
        """
        assert self._timestamp is None, "roots come first"
        root = opened(Root, raw, self._root.signed)
        if root.signed.version != self.root_version + 1:
            msg = f"root: is version {root.signed.version} where {self.root_version + 1} is due"
            raise MetadataError(msg)
        self._root = root

    def name_of(self, what: str) -> str:
        """Name the file in which one of ``REMEMBERED`` is kept.

        The keys that it rests on are part of the name: after a rotation it is not found, and so forgotten, whatever
        moment the power was cut. That is how a device recovers when somebody with stolen keys has driven versions,
        or the time, far ahead (clause 5.3.11).
        """
        root = self._root.signed
        keys = [sorted(publics(root, role)) for role in REMEMBERED[what]]
        return f"{what}-{hashlib.sha256(repr(keys).encode()).hexdigest()[:16]}.json"

    def recall(self, what: str, raw: bytes) -> None:
        """Take back one of ``REMEMBERED``. Its signatures are verified again. Raises MetadataError."""
        root = self._root.signed
        match what:
            case "floor":
                self._newest = _newer(self._newest, opened(Timestamp, raw, root))
            case "timestamp":
                self._timestamp = opened(Timestamp, raw, root)
                self._newest = _newer(self._newest, self._timestamp)
            case "snapshot":
                self._snapshot = opened(Snapshot, raw, root)
            case _:
                self._targets = opened(Targets, raw, root)

    def add_timestamp(self, raw: bytes) -> bool:
        """Take a timestamp (clause 5.4); False where it has the version that is trusted already. Raises MetadataError.

        Neither its version nor that of the snapshot it names may be lower than before (5.4.3).
        """
        new, old = opened(Timestamp, raw, self._root.signed), self._timestamp
        if old is not None:
            _not_lower("timestamp", new.signed.version, old.signed.version)
            if new.signed.version == old.signed.version:
                return False
            _not_lower("timestamp: the snapshot", new.signed.snapshot_meta.version, old.signed.snapshot_meta.version)
        self._timestamp, self._newest = new, _newer(self._newest, new)
        return True

    @property
    def newest_timestamp(self) -> bytes | None:
        """The timestamp with the newest signed time; not the last one, if its publisher's clock went backwards."""
        return self._newest.raw if self._newest else None

    @property
    def signed_at_s(self) -> int | None:
        """When the trusted timestamp was signed, in POSIX seconds; None where there is none, or it does not say."""
        return (signed_at_s(self._timestamp.signed) or None) if self._timestamp else None

    @property
    def floor_s(self) -> int:
        """The newest signed time, in POSIX seconds: it is no earlier than that, whatever a clock says; 0: unknown."""
        return signed_at_s(self._newest.signed) if self._newest else 0

    @property
    def wanted_snapshot(self) -> Wanted | None:
        """Return the snapshot that the timestamp names; None where it is the trusted one."""
        assert self._timestamp is not None, "the timestamp comes first"
        return _wanted("snapshot", self._timestamp.signed.snapshot_meta, self._snapshot)

    def add_snapshot(self, raw: bytes) -> None:
        """Take the snapshot that the timestamp names: digest, signatures, version (clauses 5.5.2 to 5.5.4).

        What the one before lists must be there, at no lower version (5.5.5). Raises MetadataError.
        """
        assert self._timestamp is not None, "the timestamp comes first"
        new = as_named(Snapshot, raw, self._timestamp.signed.snapshot_meta, self._root.signed)
        for name, before in self._snapshot.signed.meta.items() if self._snapshot else ():
            now = new.signed.meta.get(name)
            if now is None:
                msg = f"snapshot: lists {name} no more"
                raise MetadataError(msg)
            _not_lower(f"snapshot: {name}", now.version, before.version)
        self._snapshot = new

    @property
    def wanted_targets(self) -> Wanted | None:
        """Return the targets that the snapshot names; None where they are the trusted ones."""
        return _wanted("targets", self._targets_meta, self._targets)

    def add_targets(self, raw: bytes) -> None:
        """Take the targets that the snapshot names: digest, signatures, version (clauses 5.6.2 to 5.6.4).

        Their version may not be lower than that of the trusted ones either: a new timestamp key forgets the snapshot,
        not what the releases key has signed. Raises MetadataError.
        """
        new = as_named(Targets, raw, self._targets_meta, self._root.signed)
        if self._targets:
            _not_lower("targets", new.signed.version, self._targets.signed.version)
        self._targets = new

    @property
    def complete(self) -> bool:
        """Whether every role is there, each as the one before names it: nothing is mixed from two moments."""
        return bool(self._timestamp and not self.wanted_snapshot and not self.wanted_targets)

    def stale(self, reference_s: int) -> str:
        """Say what has expired at ``reference_s`` (POSIX seconds); empty for nothing (clauses 5.3.10 to 5.6.5)."""
        for each in (self._root, self._timestamp, self._snapshot, self._targets):
            if each is not None and reference_s >= each.signed.expires.timestamp():
                return f"{each.signed.type} metadata expired at {each.signed.expires:%Y-%m-%dT%H:%M:%SZ}"
        return ""

    def versions(self) -> dict[str, int]:
        """Return the version of each role that is trusted."""
        held = (self._root, self._timestamp, self._snapshot, self._targets)
        return {each.signed.type: each.signed.version for each in held if each is not None}

    def targets(self) -> tuple[Target, ...]:
        """Return the targets, for ``manifest.manifests``; those without SHA-256 or custom fields are none of ours."""
        assert self.complete, "asked before every role was there"
        return tuple(_targets(self._targets.signed)) if self._targets else ()

    @property
    def _targets_meta(self) -> MetaFile:
        assert self._snapshot is not None, "the snapshot comes first"
        meta = self._snapshot.signed.meta.get(TARGETS_FILE)
        if meta is None:
            msg = f"snapshot: does not list {TARGETS_FILE}"
            raise MetadataError(msg)
        return meta


def reference_s(clock_s: int | None, floor_s: int) -> int:
    """Return the time that expiry is held against, in POSIX seconds.

    Args:
        clock_s: what a synchronised clock says; None where it is not known to be right.
        floor_s: the newest signed time, or that of the release if it is newer: it is certainly no earlier.
    """
    return floor_s if clock_s is None else max(clock_s, floor_s)


def file_of(path: str, sha256: str) -> str:
    """Name the file of a target: its digest is part of it, as the specification has it for consistent snapshots.

    Raises:
        MetadataError: the path is not made of plain names, and could lead anywhere.
    """
    folder, _, name = path.rpartition("/")
    if not _PATH.fullmatch(path) or not _SHA256.fullmatch(sha256):
        msg = f"{path[:_PATH_CHARACTERS_MAX]!r}: is no path of a target"
        raise MetadataError(msg)
    return f"targets/{folder}/{sha256}.{name}" if folder else f"targets/{sha256}.{name}"


def _wanted(role: str, meta: MetaFile, held: Held[Snapshot] | Held[Targets] | None) -> Wanted | None:
    """Return the file that ``meta`` names, unless it is the one that is held."""
    if held is not None and held.signed.version == meta.version:
        try:
            meta.verify_length_and_hashes(held.raw)
        except LengthOrHashMismatchError:
            pass
        else:
            return None
    size_bytes = BYTES_MAX[role] if meta.length is None else min(meta.length, BYTES_MAX[role])
    return Wanted(f"{meta.version}.{role}.json", size_bytes)


def _not_lower(what: str, new: int, old: int) -> None:
    """Refuse to go back (clauses 5.4.3 and 5.5.5). Raises OlderError."""
    if new < old:
        msg = f"{what} is version {new}, older than version {old}, which is trusted already"
        raise OlderError(msg)


def _newer(old: Held[Timestamp] | None, new: Held[Timestamp]) -> Held[Timestamp]:
    """Return the timestamp with the newer signed time; of two with the same, ``new``."""
    return old if old is not None and signed_at_s(old.signed) > signed_at_s(new.signed) else new


def _targets(signed: Targets) -> Iterator[Target]:
    for path, file in signed.targets.items():
        sha256, custom = file.hashes.get("sha256", ""), file.custom
        if _SHA256.fullmatch(sha256) and isinstance(custom, dict):
            yield Target(path, file.length, sha256, custom)
