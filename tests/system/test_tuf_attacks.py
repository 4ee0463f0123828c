"""Attacks of The Update Framework's threat model, on a device that asks a mirror in the attacker's hands.

Each is told by what an attacker has: the network alone, or stolen keys. Who has the network can keep a device from
hearing of anything new; nobody can make it believe what the publisher did not sign, or what it has left behind.
"""

import json
import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from socket import socket
from typing import cast

import pytest
from securesystemslib.signer import SSlibKey
from tuf.api.metadata import MetaFile, Root, Snapshot, TargetFile, Targets, Timestamp

from appliance.adapters.clock import SystemClock
from appliance.adapters.repository.http import HttpRepository
from appliance.errors import BundleError, MetadataError, RepositoryError
from appliance.hub.signing import Role
from appliance.sim.clock import ManualClock
from appliance.sim.repository import ScriptedRepository
from appliance.trust.signed import BYTES_MAX
from tests.repositories import (
    DAY,
    MODEL,
    Answer,
    Device,
    Files,
    FileServer,
    Publisher,
    RawServer,
    Signer,
    body_of,
    new_key,
    published,
    signed_by,
)

TIMESTAMP = "metadata/timestamp.json"
FAR = 2**40


@pytest.fixture(autouse=True)
def _without_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """No power is cut here."""
    monkeypatch.setattr(os, "fsync", lambda _: None)


@pytest.fixture(scope="module")
def founded(tmp_path_factory: pytest.TempPathFactory) -> Publisher:
    return published(tmp_path_factory.mktemp("founded"))


@pytest.fixture
def publisher(founded: Publisher, tmp_path: Path) -> Publisher:
    return founded.copied(tmp_path / "hub")


@pytest.fixture
def device(tmp_path: Path, publisher: Publisher) -> Device:
    return Device(tmp_path / "device", publisher.root)


def asking(url: str, clock: ManualClock | SystemClock | None = None, rate: float = 200.0) -> HttpRepository:
    clock = clock or SystemClock()
    return HttpRepository(url, timeout_s=5.0, rate_bytes_per_s_min=rate, run_s_max=600.0, clock=clock)


def snapshot_naming(targets: bytes, version: int, signer: Signer, *, of_targets: int) -> bytes:
    meta = {"targets.json": MetaFile.from_data(of_targets, targets, ["sha256"])}
    return signed_by(Snapshot(version, expires=body_of(targets).expires, meta=meta), signer)


def timestamp_naming(snapshot: bytes, version: int, signer: Signer, *, signed_at: str | None = None) -> bytes:
    body = body_of(snapshot)
    meta = MetaFile.from_data(body.version, snapshot, ["sha256"])
    fields = {"signed_at": signed_at} if signed_at else None
    return signed_by(Timestamp(version, expires=body.expires, snapshot_meta=meta, unrecognized_fields=fields), signer)


def forged(files: Files, targets: bytes, version: int, key: Signer, *, signed_at: str | None = None) -> Files:
    """What whoever has the timestamp key can put around ``targets``."""
    body = body_of(targets)
    snapshot = snapshot_naming(targets, version, key, of_targets=body.version)
    return files | {
        f"metadata/{body.version}.targets.json": targets,
        f"metadata/{version}.snapshot.json": snapshot,
        TIMESTAMP: timestamp_naming(snapshot, version, key, signed_at=signed_at),
    }


def targets_with(files: Files, version: int, signer: Signer, **extra: TargetFile) -> bytes:
    """Targets as published last, and ``extra``, under another version."""
    newest = max((name for name in files if name.endswith(".targets.json")), key=lambda name: len(files[name]))
    body = cast("Targets", body_of(files[newest]))
    body.version = version
    body.targets.update(extra)
    return signed_by(body, signer)


def evil() -> TargetFile:
    custom = {"format": 1, "kind": "model", "model": MODEL, "version": "6.6", "sequence": 666, "size_bytes": 9}
    made = TargetFile.from_data(f"{MODEL}/6.6/model.toml", b"evil", ["sha256"])
    made.unrecognized_fields["custom"] = {**custom, "rollout_percent": 100}
    return made


def test_what_an_honest_publisher_signs_is_heard_over_http(publisher: Publisher, device: Device) -> None:
    publisher.publish(2)
    with FileServer(publisher.files()) as server:
        heard = device.refresh(asking(server.url))
    assert [each.sequence for each in heard.manifests[MODEL]] == [2, 1]
    assert heard.stale == ""


@pytest.mark.parametrize("victim", ["timestamp.json", "2.snapshot.json", "2.targets.json", "2.root.json"])
@pytest.mark.parametrize("own_key", [True, False], ids=["signed by the attacker", "changed, its signature kept"])
def test_arbitrary_software_is_not_believed(
    publisher: Publisher,
    device: Device,
    victim: str,
    own_key: bool,  # noqa: FBT001 - a parameter of the table
) -> None:
    files = publisher.files()
    name = "1.root.json" if "root" in victim else victim
    if own_key:
        body = body_of(files[f"metadata/{name}"])
        body.version += 1 if "root" in victim else 0
        files[f"metadata/{victim}"] = signed_by(body, new_key())
    else:
        tree = json.loads(files[f"metadata/{name}"])
        tree["signed"]["version"] += 1
        files[f"metadata/{victim}"] = json.dumps(tree).encode()
    with pytest.raises(MetadataError):
        device.refresh(files)
    assert device.known() is None


def test_arbitrary_software_in_a_bundle_has_another_digest_than_is_signed(publisher: Publisher, device: Device) -> None:
    bundle = publisher.bundle(1)
    files = {name: b"eviles" if name.endswith(".whole") else content for name, content in publisher.files().items()}
    into = device.slots.partial(bundle)
    ScriptedRepository(files).fetch(bundle, into, lambda _: None)
    assert into.size_bytes == bundle.size_bytes
    assert into.digest() != bundle.sha256


def for_ever(connection: socket) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
    while True:
        connection.sendall(b"x" * 65536)


@pytest.mark.parametrize("role", ["root", "timestamp", "snapshot", "targets"])
def test_endless_metadata_is_cut_off_at_its_bound(publisher: Publisher, role: str) -> None:
    sent = 0

    def counting(connection: socket) -> None:
        nonlocal sent
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            sent += connection.send(b"x" * 65536)

    with RawServer(counting) as server, pytest.raises(MetadataError, match="larger than"):
        asking(server.url).metadata(f"7.{role}.json", BYTES_MAX[role])
    assert sent <= BYTES_MAX[role] + 8 * 1024 * 1024, "what the kernel holds on its way, and no more"


def test_an_endless_bundle_is_cut_off_at_the_size_that_is_signed(publisher: Publisher, device: Device) -> None:
    bundle = publisher.bundle(1)
    into = device.slots.partial(bundle)
    with RawServer(for_ever) as server, pytest.raises(BundleError, match="longer than"):
        asking(server.url).fetch(bundle, into, lambda _: None)
    assert into.size_bytes <= bundle.size_bytes


def test_extraneous_targets_are_not_believed_and_extraneous_files_are_never_asked_for(
    publisher: Publisher, device: Device
) -> None:
    files = publisher.files()
    evil_files = files | {"metadata/evil.json": b"{}", "targets/evil": b"evil"}
    repository = ScriptedRepository(evil_files)
    assert [each.sequence for each in device.refresh(repository).manifests[MODEL]] == [1]
    assert not [name for name in repository.script.asked if "evil" in name]
    with_evil = targets_with(files, 3, publisher.timestamp, evil=evil())
    with pytest.raises(MetadataError, match="signed by 0 of the 1 keys"):
        device.refresh(forged(files, with_evil, 3, publisher.timestamp))


def test_an_indefinite_freeze_is_noticed_when_the_timestamp_expires(publisher: Publisher, device: Device) -> None:
    frozen = publisher.files()
    assert device.refresh(frozen).stale == ""
    publisher.now += 8 * DAY
    publisher.publish(2)
    device.clock = publisher.now
    heard = device.refresh(frozen)
    assert heard.stale == "timestamp metadata expired at 2026-12-08T00:00:00Z"
    assert heard.manifests[MODEL], "what is known is still known"
    assert device.refresh(publisher.files()).stale == ""


def test_a_freeze_is_not_noticed_without_a_clock_but_newer_signed_time_ends_it(
    publisher: Publisher, device: Device
) -> None:
    frozen = publisher.files()
    device.clock = None
    publisher.now += 8 * DAY
    publisher.stamp()
    assert device.refresh(frozen).stale == "", "nothing tells the device what day it is"
    assert device.refresh(publisher.files()).reference_s == int(publisher.now.timestamp())


@pytest.mark.parametrize("old", ["2.snapshot.json", "2.targets.json", "timestamp.json"])
def test_metadata_of_two_moments_is_not_mixed(publisher: Publisher, device: Device, old: str) -> None:
    before = publisher.files()
    publisher.publish(2)
    after = publisher.files()
    new = old.replace("2.", "3.")
    mixed = after | {f"metadata/{new}": before[f"metadata/{old}"]}
    if old == "timestamp.json":  # names a snapshot that is served as another one
        mixed |= {"metadata/2.snapshot.json": after["metadata/3.snapshot.json"]}
    with pytest.raises(MetadataError, match=r"is not the file that is signed|larger than"):
        device.refresh(mixed)


def test_a_mirror_that_is_being_written_is_asked_again_later(publisher: Publisher, device: Device) -> None:
    files = publisher.files()
    del files["metadata/2.targets.json"]
    with pytest.raises(RepositoryError, match=r"no 2\.targets\.json"):
        device.refresh(files)
    assert device.sequences(publisher.files()) == [1]


def test_a_rollback_of_the_timestamp_is_refused(publisher: Publisher, device: Device) -> None:
    before = publisher.files()
    publisher.publish(2)
    device.refresh(publisher.files())
    with pytest.raises(MetadataError, match="timestamp is version 2, older than version 3"):
        device.refresh(before)
    known = device.known()
    assert known is not None
    assert [each.sequence for each in known.manifests[MODEL]] == [2, 1]


def test_a_rollback_of_the_snapshot_needs_the_timestamp_key_and_is_refused_even_so(
    publisher: Publisher, device: Device
) -> None:
    before = publisher.files()
    publisher.publish(2)
    device.refresh(publisher.files())
    older = timestamp_naming(before["metadata/2.snapshot.json"], 9, publisher.timestamp)
    with pytest.raises(MetadataError, match="the snapshot is version 2, older than version 3"):
        device.refresh(before | {TIMESTAMP: older})


def test_a_rollback_of_the_targets_needs_the_timestamp_key_and_is_refused_even_so(
    publisher: Publisher, device: Device
) -> None:
    before = publisher.files()
    publisher.publish(2)
    device.refresh(publisher.files())
    with pytest.raises(MetadataError, match=r"targets\.json is version 2, older than version 3"):
        device.refresh(forged(before, before["metadata/2.targets.json"], 9, publisher.timestamp))


def test_targets_that_vanish_from_the_snapshot_are_missed(publisher: Publisher, device: Device) -> None:
    files = publisher.files()
    device.refresh(files)
    other = {"other.json": MetaFile(1)}
    snapshot = signed_by(Snapshot(9, expires=publisher.now + DAY, meta=other), publisher.timestamp)
    stamp = timestamp_naming(snapshot, 9, publisher.timestamp)
    with pytest.raises(MetadataError, match=r"lists targets\.json no more"):
        device.refresh(files | {"metadata/9.snapshot.json": snapshot, TIMESTAMP: stamp})


def test_a_rollback_of_the_root_is_refused(publisher: Publisher, device: Device) -> None:
    publisher.rotate(Role.ROOT)
    device.refresh(publisher.files())
    replayed = publisher.files() | {"metadata/3.root.json": publisher.files()["metadata/1.root.json"]}
    with pytest.raises(MetadataError):
        device.refresh(replayed)


def dripping(clock: ManualClock) -> Answer:
    """A server that sends a byte each ten seconds of the device's clock."""

    def drip(connection: socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n")
        for _ in range(6):
            clock.advance(10.0)
            connection.sendall(b"x")
        connection.recv(1)

    return drip


def dripping_headers(clock: ManualClock) -> Answer:
    def drip(connection: socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\n")
        for number in range(6):
            clock.advance(10.0)
            connection.sendall(b"X-%d: x\r\n" % number)
        connection.recv(1)

    return drip


@pytest.mark.parametrize("drip", [dripping, dripping_headers], ids=["content", "headers"])
@pytest.mark.parametrize("what", ["metadata", "bundle"])
def test_slow_retrieval_is_left_after_a_minute(
    publisher: Publisher, device: Device, drip: Callable[[ManualClock], Answer], what: str
) -> None:
    clock = ManualClock()
    bundle = publisher.bundle(1)
    with RawServer(drip(clock)) as server:
        repository = asking(server.url, clock)
        asks: dict[str, Callable[[], object]] = {
            "metadata": lambda: repository.metadata("timestamp.json", 100),
            "bundle": lambda: repository.fetch(bundle, device.slots.partial(bundle), lambda _: None),
        }
        with pytest.raises(RepositoryError, match=r"too slow: \d bytes/s over 60 s"):
            asks[what]()


def test_an_answer_that_never_ends_is_left_however_fast_it_is(publisher: Publisher) -> None:
    clock = ManualClock()

    def headers_for_ever(connection: socket) -> None:
        while True:
            connection.sendall(b"HTTP/1.1 100 Continue\r\n" + b"X: y\r\n" * 90 + b"\r\n")
            clock.advance(1.0)

    with RawServer(headers_for_ever) as server, pytest.raises(RepositoryError, match="too long altogether"):
        asking(server.url, clock, rate=0.0).metadata("timestamp.json", 100)


def test_a_fast_forward_with_a_stolen_timestamp_key_ends_with_that_key(publisher: Publisher, device: Device) -> None:
    files = publisher.files()
    honest = files["metadata/2.targets.json"]
    far = snapshot_naming(honest, FAR, publisher.timestamp, of_targets=FAR)
    stamp = timestamp_naming(far, FAR, publisher.timestamp, signed_at="9999-01-01T00:00:00Z")
    with pytest.raises(MetadataError, match="is version 2 where"):
        device.refresh(
            files | {f"metadata/{FAR}.snapshot.json": far, f"metadata/{FAR}.targets.json": honest, TIMESTAMP: stamp}
        )
    publisher.publish(2)
    with pytest.raises(MetadataError, match="older than version"):
        device.refresh(publisher.files())
    publisher.rotate(Role.TIMESTAMP)
    heard = device.refresh(publisher.files())
    assert [each.sequence for each in heard.manifests[MODEL]] == [2, 1]
    assert heard.stale == "", "the time that was signed with the stolen key is forgotten with it"


def test_a_fast_forward_with_a_stolen_releases_key_ends_with_that_key(publisher: Publisher, device: Device) -> None:
    files = publisher.files()
    far = targets_with(files, FAR, publisher.releases)
    device.refresh(forged(files, far, 3, publisher.timestamp))  # and the timestamp key, for a snapshot that names it
    publisher.publish(2)
    publisher.publish(3)
    with pytest.raises(MetadataError, match="older than version"):
        device.refresh(publisher.files())
    publisher.rotate(Role.RELEASES)
    publisher.rotate(Role.TIMESTAMP)
    assert device.sequences(publisher.files()) == [3, 2, 1]


def test_a_new_timestamp_key_does_not_forget_what_the_releases_key_signed(publisher: Publisher, device: Device) -> None:
    """Beyond clause 5.3.11: the snapshot is forgotten, but the targets prove their own version."""
    before = publisher.files()
    publisher.publish(2)
    device.refresh(publisher.files())
    publisher.rotate(Role.TIMESTAMP)
    old = before["metadata/2.targets.json"]
    with pytest.raises(MetadataError, match="targets is version 2, older than version 3"):
        device.refresh(forged(publisher.files(), old, 99, publisher.timestamp))


def test_a_stolen_timestamp_key_starts_no_install(publisher: Publisher, device: Device) -> None:
    files = publisher.files()
    device.refresh(files)
    with_evil = targets_with(files, 3, publisher.timestamp, evil=evil())
    with pytest.raises(MetadataError, match="targets: signed by 0 of the 1 keys"):
        device.refresh(forged(files, with_evil, 3, publisher.timestamp))


def test_a_stolen_timestamp_key_can_stop_installs_until_it_is_replaced(publisher: Publisher, device: Device) -> None:
    files = publisher.files()
    targets = files["metadata/2.targets.json"]
    heard = device.refresh(forged(files, targets, 4, publisher.timestamp, signed_at="9999-01-01T00:00:00Z"))
    assert heard.stale, "a time far ahead makes everything look old: a flag, and no installs"
    assert [each.sequence for each in heard.manifests[MODEL]] == [1]
    publisher.rotate(Role.TIMESTAMP)
    assert device.refresh(publisher.files()).stale == ""


@pytest.mark.parametrize("signers", [0, 1], ids=["no key of root", "one of two"])
def test_a_root_below_its_threshold_is_refused(publisher: Publisher, device: Device, signers: int) -> None:
    body = cast("Root", body_of(publisher.root))
    body.version = 2
    files = publisher.files() | {"metadata/2.root.json": signed_by(body, new_key(), *publisher.root_keys[:signers])}
    with pytest.raises(MetadataError, match=f"root: signed by {signers} of the 2 keys"):
        device.refresh(files)


def test_a_root_that_vouches_for_itself_alone_is_refused(publisher: Publisher, device: Device, tmp_path: Path) -> None:
    """An attacker's whole repository, sound in itself, behind the publisher's first root."""
    attacker = Publisher(tmp_path / "attacker")
    attacker.publish(666)
    attacker.rotate(Role.ROOT)
    files = attacker.files()
    assert Device(tmp_path / "victim", attacker.root).sequences(files) == [666]
    with pytest.raises(MetadataError, match="root: signed by 0 of the 2 keys that root 1 asks for"):
        device.refresh(files)


def test_a_root_that_its_own_keys_have_not_signed_is_refused(publisher: Publisher, device: Device) -> None:
    """Else a typing mistake in the new keys would end every device's updates for good (clause 5.3.4)."""
    body = cast("Root", body_of(publisher.root))
    body.version = 2
    for key in publisher.root_keys:
        body.revoke_key(key.public_key.keyid, "root")
        body.add_key(new_key().public_key, "root")
    files = publisher.files() | {"metadata/2.root.json": signed_by(body, *publisher.root_keys)}
    with pytest.raises(MetadataError, match="root: signed by 0 of the 2 keys that root 2 asks for"):
        device.refresh(files)


def test_one_key_under_two_names_signs_once(publisher: Publisher, device: Device) -> None:
    """Key ids are what the publisher calls a key; a threshold of two wants two keys (CVE-2020-15163 and its kin)."""
    twin = Signer(publisher.root_keys[0]._private_key)
    listed = SSlibKey.from_dict("another-name", twin.public_key.to_dict())
    public = listed.keyval["public"]
    listed.keyval["public"] = f"{public[:2].upper()} {public[2:]}"
    body = cast("Root", body_of(publisher.root))
    body.version = 2
    body.add_key(listed, "root")
    honest = signed_by(body, *publisher.root_keys[:2])
    device.refresh(publisher.files() | {"metadata/2.root.json": honest})
    body.version = 3
    twin._public_key = listed
    with pytest.raises(MetadataError, match="root: signed by 1 of the 2 keys"):
        device.refresh(publisher.files() | {"metadata/3.root.json": signed_by(body, publisher.root_keys[0], twin)})


def test_a_signature_that_is_there_twice_is_refused(publisher: Publisher, device: Device) -> None:
    body = cast("Root", body_of(publisher.root))
    body.version = 2
    tree = json.loads(signed_by(body, publisher.root_keys[0]))
    tree["signatures"] *= 2
    with pytest.raises(MetadataError):
        device.refresh(publisher.files() | {"metadata/2.root.json": json.dumps(tree).encode()})


@pytest.mark.parametrize("role", list(Role))
def test_a_replaced_key_is_believed_no_more_and_the_new_one_is(
    publisher: Publisher, device: Device, role: Role
) -> None:
    device.refresh(publisher.files())
    old = publisher.rotate(role)
    publisher.publish(2)
    files = publisher.files()
    assert device.sequences(files) == [2, 1]
    if role is Role.ROOT:
        body = cast("Root", body_of(publisher.repository.root_bytes()))
        body.version += 1
        stolen = files | {f"metadata/{body.version}.root.json": signed_by(body, old, publisher.root_keys[1])}
    elif role is Role.RELEASES:
        stolen = forged(files, targets_with(files, 50, old, evil=evil()), 50, publisher.timestamp)
    else:
        newest = max((name for name in files if name.endswith(".targets.json")), key=lambda name: len(files[name]))
        stolen = forged(files, files[newest], 50, old)
    with pytest.raises(MetadataError, match="signed by"):
        device.refresh(stolen)


@pytest.mark.parametrize("role", [Role.RELEASES, Role.TIMESTAMP])
def test_a_planned_rotation_is_noticed_by_no_device_at_any_moment(
    publisher: Publisher, tmp_path: Path, role: Role
) -> None:
    """Signed by the old and the new key first: whoever knows the next root already, or not yet, finds its own."""
    moments = [publisher.files()]
    repository, new = publisher.repository, new_key()
    old = publisher.releases if role is Role.RELEASES else publisher.timestamp
    both = {Role.RELEASES: [publisher.releases], Role.TIMESTAMP: [publisher.timestamp], role: [old, new]}
    repository.rotate_key(role, new, old.public_key.keyid, expires=publisher.now + 365 * DAY)
    later = {"now": publisher.now, "expires": publisher.now + 90 * DAY, "timestamp_expires": publisher.now + 7 * DAY}
    repository.sign_releases(both[Role.RELEASES], both[Role.TIMESTAMP], **later)
    moments.append(publisher.files())
    publisher.sign_root(publisher.root_keys[1:])
    moments.append(publisher.files())
    only = both | {role: [new]}
    repository.sign_releases(only[Role.RELEASES], only[Role.TIMESTAMP], **later)
    moments.append(publisher.files())
    follower = Device(tmp_path / "follower", publisher.root)
    for number, files in enumerate(moments):
        assert follower.sequences(files) == [1]
        assert Device(tmp_path / f"{number}", publisher.root).sequences(files) == [1]


def test_an_expired_chain_of_roots_leads_to_the_one_that_has_not(publisher: Publisher, device: Device) -> None:
    for number in range(6):
        publisher.now += 300 * DAY
        publisher.rotate(Role.ROOT, number % 3)
    device.clock = publisher.now
    heard = device.refresh(publisher.files())
    assert heard.stale == ""
    assert heard.versions["root"] == 7
    assert [each.sequence for each in heard.manifests[MODEL]] == [1]


def test_a_root_that_has_expired_stops_installs_and_not_the_way_to_the_next(
    publisher: Publisher, device: Device
) -> None:
    device.clock = datetime(2028, 6, 1, tzinfo=UTC)
    assert device.refresh(publisher.files()).stale == "root metadata expired at 2027-12-01T00:00:00Z"
    publisher.now = device.clock
    publisher.rotate(Role.ROOT)
    assert device.refresh(publisher.files()).stale == ""
