"""Signed metadata is read as it was signed, or refused with a MetadataError: nothing else ever comes of it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tuf.api.metadata import MetaFile, Root, Snapshot, Targets, Timestamp

from appliance.errors import MetadataError
from appliance.trust.metadata import REMEMBERED, Trusted, file_of
from appliance.trust.signed import BYTES_MAX
from tests.repositories import NOW, Files, Publisher, Signer, body_of, new_key, published, signed_by

Tree = dict[str, Any]


@pytest.fixture(scope="module")
def publisher(tmp_path_factory: pytest.TempPathFactory) -> Publisher:
    return published(tmp_path_factory.mktemp("hub"))


@pytest.fixture(scope="module")
def files(publisher: Publisher) -> Files:
    return {Path(name).name: content for name, content in publisher.files().items() if name.startswith("metadata/")}


@pytest.fixture
def trusted(files: Files) -> Trusted:
    made = Trusted(files["1.root.json"])
    made.add_timestamp(files["timestamp.json"])
    made.add_snapshot(files["2.snapshot.json"])
    made.add_targets(files["2.targets.json"])
    return made


def again(raw: bytes, signer: Signer, change: Callable[[Any], None]) -> bytes:
    """Change what was signed, and sign it with the right key: a publisher that makes mistakes."""
    body = body_of(raw)
    change(body)
    return signed_by(body, signer)


def test_what_was_signed_is_there_with_its_versions(trusted: Trusted) -> None:
    assert trusted.complete
    assert trusted.versions() == {"root": 1, "timestamp": 2, "snapshot": 2, "targets": 2}
    assert [each.path for each in trusted.targets()] == ["door/1.0.1/model.toml", "door/1.0.1/whole"]
    assert trusted.signed_at_s == trusted.floor_s == int(NOW.timestamp())


def test_what_comes_next_is_named_with_its_signed_size(files: Files) -> None:
    trusted = Trusted(files["1.root.json"])
    assert trusted.next_root.name == "2.root.json"
    trusted.add_timestamp(files["timestamp.json"])
    wanted = trusted.wanted_snapshot
    assert wanted is not None
    assert (wanted.name, wanted.size_bytes_max) == ("2.snapshot.json", len(files["2.snapshot.json"]))
    trusted.add_snapshot(files["2.snapshot.json"])
    assert trusted.wanted_snapshot is None
    assert not trusted.complete


def test_the_same_timestamp_again_is_no_news(trusted: Trusted, files: Files) -> None:
    assert trusted.add_timestamp(files["timestamp.json"]) is False


def _set(*path: str, value: object) -> Callable[[Tree], None]:
    def change(tree: Tree) -> None:
        for key in path[:-1]:
            tree = tree[key]
        tree[path[-1]] = value

    return change


def _drop(key: str) -> Callable[[Tree], None]:
    def change(tree: Tree) -> None:
        del tree["signed"][key]

    return change


@pytest.mark.parametrize(
    "change",
    [
        _set("signed", "_type", value="root"),
        _set("signed", "_type", value="mirrors"),
        _set("signed", "_type", value=[]),
        _set("signed", "spec_version", value="2.0.0"),
        _set("signed", "spec_version", value="1"),
        _set("signed", "spec_version", value=1.0),
        _set("signed", "version", value=0),
        _set("signed", "version", value=-1),
        _set("signed", "version", value="2"),
        _set("signed", "version", value=2.0),
        _set("signed", "version", value=True),
        _set("signed", "version", value=None),
        _set("signed", "version", value=[2]),
        _set("signed", "version", value=10**400),
        _set("signed", "expires", value="tomorrow"),
        _set("signed", "expires", value="99999-01-01T00:00:00Z"),
        _set("signed", "expires", value=4),
        _set("signed", "meta", value={}),
        _set("signed", "meta", value=[]),
        _set("signed", "meta", "snapshot.json", value={"version": 0}),
        _set("signed", "meta", "snapshot.json", "length", value=-1),
        _set("signed", "meta", "snapshot.json", "hashes", value={}),
        _set("signed", "meta", "snapshot.json", "hashes", value={"sha256": 4}),
        _set("signed", "more", value=0.5),
        _set("signed", value=[]),
        _set("signed", value=None),
        _set("signatures", value=None),
        _set("signatures", value=[]),
        _set("signatures", value=[{"keyid": ["x"], "sig": "00"}]),
        _set("signatures", value=[{"keyid": "x"}]),
        _set("signatures", value=["x"]),
        _drop("version"),
        _drop("expires"),
        _drop("meta"),
        _drop("_type"),
    ],
)
def test_metadata_of_another_shape_is_refused(files: Files, change: Callable[[Tree], None]) -> None:
    tree = json.loads(files["timestamp.json"])
    change(tree)
    trusted = Trusted(files["1.root.json"])
    with pytest.raises(MetadataError):
        trusted.add_timestamp(json.dumps(tree).encode())
    assert trusted.signed_at_s is None


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b"null",
        b"[]",
        b'"text"',
        b"{}",
        b'{"signed": {}}',
        b"[" * 16_000,
        b'{"signed":' * 1_600,
        b"[" * 8_000 + b"]" * 8_000,
        b"9" * 10_000,
        b"NaN",
        b'{"signatures": [], "signed": {"_type": "timestamp", "version": NaN}}',
        b'{"a": "\\ud800"}',
    ],
)
def test_what_is_no_metadata_is_refused(files: Files, raw: bytes) -> None:
    with pytest.raises(MetadataError):
        Trusted(files["1.root.json"]).add_timestamp(raw)
    with pytest.raises(MetadataError):
        Trusted(raw)


@pytest.mark.parametrize("change", [{"more": "[" * 3000 + "]" * 3000}, {"more": '"\\ud800"'}])
def test_what_cannot_be_written_in_canonical_form_is_refused(files: Files, change: dict[str, str]) -> None:
    text = files["timestamp.json"].decode().replace('"signed":{', f'"signed":{{"more":{change["more"]},')
    with pytest.raises(MetadataError):
        Trusted(files["1.root.json"]).add_timestamp(text.encode())


@pytest.mark.parametrize("role", BYTES_MAX)
def test_nothing_beyond_its_bound_is_read(files: Files, trusted: Trusted, role: str) -> None:
    raw = b" " * (BYTES_MAX[role] + 1)
    if role == "root":
        with pytest.raises(MetadataError, match="larger than"):
            Trusted(raw)
    else:
        with pytest.raises(MetadataError, match="larger than"):
            trusted.recall(role, raw)


@given(data=st.data())
def test_metadata_in_which_anything_was_changed_is_refused_or_says_the_same(files: Files, data: st.DataObject) -> None:
    """What is between the signed values (spaces, the order of keys) may change; nothing of it means anything."""
    raw = bytearray(files["timestamp.json"])
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(raw) - 1))
        match data.draw(st.sampled_from(["flip", "cut", "double"])):
            case "flip":
                raw[place] ^= 1 << data.draw(st.integers(0, 7))
            case "cut":
                del raw[place : place + data.draw(st.integers(1, 9))]
            case _:
                raw[place:place] = raw[place : place + data.draw(st.integers(1, 9))]
    trusted = Trusted(files["1.root.json"])
    try:
        trusted.add_timestamp(bytes(raw))
    except MetadataError:
        return
    assert trusted.versions()["timestamp"] == 2
    assert trusted.floor_s == int(NOW.timestamp())


@pytest.mark.parametrize(
    "signed_at", ["yesterday", "2026-13-01T00:00:00Z", "2026-12-01 00:00:00Z", "2026-12-01T00:00:00+01:00", 5, None, ""]
)
def test_a_signed_time_that_is_none_is_refused_and_a_missing_one_moves_no_floor(
    publisher: Publisher, files: Files, signed_at: object
) -> None:
    def change(body: Timestamp) -> None:
        body.unrecognized_fields["signed_at"] = signed_at

    trusted, raw = Trusted(files["1.root.json"]), again(files["timestamp.json"], publisher.timestamp, change)
    if signed_at is None:
        trusted.add_timestamp(raw)
        assert (trusted.signed_at_s, trusted.floor_s) == (None, 0)
    else:
        with pytest.raises(MetadataError, match="no time in UTC"):
            trusted.add_timestamp(raw)


def test_versions_are_whole_numbers_up_to_a_bound(publisher: Publisher, files: Files) -> None:
    for version in (True, 2**53 + 1):

        def change(body: Timestamp, version: int = version) -> None:
            body.snapshot_meta.version = version

        raw = again(files["timestamp.json"], publisher.timestamp, change)
        with pytest.raises(MetadataError, match="no whole number"):
            Trusted(files["1.root.json"]).add_timestamp(raw)


def test_a_snapshot_or_targets_of_another_version_than_named_is_refused(publisher: Publisher, files: Files) -> None:
    def renamed(body: Timestamp) -> None:
        body.snapshot_meta = MetaFile.from_data(7, files["2.snapshot.json"], ["sha256"])

    trusted = Trusted(files["1.root.json"])
    trusted.add_timestamp(again(files["timestamp.json"], publisher.timestamp, renamed))
    with pytest.raises(MetadataError, match="is version 2 where 7 is signed"):
        trusted.add_snapshot(files["2.snapshot.json"])


def test_a_hash_of_a_kind_that_is_not_known_is_refused(publisher: Publisher, files: Files) -> None:
    def hashed(body: Timestamp) -> None:
        body.snapshot_meta.hashes = {"md17": "00"}

    trusted = Trusted(files["1.root.json"])
    trusted.add_timestamp(again(files["timestamp.json"], publisher.timestamp, hashed))
    assert trusted.wanted_snapshot is not None
    with pytest.raises(MetadataError, match="not the file that is signed"):
        trusted.add_snapshot(files["2.snapshot.json"])


def test_a_snapshot_that_lists_no_targets_is_refused(publisher: Publisher, files: Files) -> None:
    snapshot = signed_by(Snapshot(3, expires=NOW, meta={"other.json": MetaFile(1)}), publisher.timestamp)

    def named(body: Timestamp) -> None:
        body.version += 1
        body.snapshot_meta = MetaFile.from_data(3, snapshot, ["sha256"])

    trusted = Trusted(files["1.root.json"])
    trusted.add_timestamp(again(files["timestamp.json"], publisher.timestamp, named))
    trusted.add_snapshot(snapshot)
    with pytest.raises(MetadataError, match=r"does not list targets\.json"):
        assert trusted.wanted_targets


def _inconsistent(root: Root) -> None:
    root.consistent_snapshot = False


def _skipped(root: Root) -> None:
    root.version = 3


def _same(root: Root) -> None:
    root.version = 1


@pytest.mark.parametrize("change", [_inconsistent, _skipped, _same])
def test_a_root_that_is_not_the_next_or_not_as_it_must_be_is_refused(
    publisher: Publisher, files: Files, change: Callable[[Root], None]
) -> None:
    body = cast("Root", body_of(files["1.root.json"]))
    body.version = 2
    change(body)
    trusted = Trusted(files["1.root.json"])
    with pytest.raises(MetadataError):
        trusted.add_root(signed_by(body, *publisher.root_keys))
    assert trusted.root_version == 1


def test_keys_of_a_kind_that_is_not_ed25519_do_not_count(publisher: Publisher, files: Files) -> None:
    """The library knows kinds that would ask the network, or a program, to verify."""
    rsa = Signer.generate_ecdsa()
    body = cast("Root", body_of(files["1.root.json"]))
    body.version = 2
    body.add_key(rsa.public_key, "timestamp")
    trusted = Trusted(files["1.root.json"])
    trusted.add_root(signed_by(body, *publisher.root_keys))
    with pytest.raises(MetadataError, match="signed by 0 of the 1 keys"):
        trusted.add_timestamp(signed_by(body_of(files["timestamp.json"]), rsa))


def test_targets_of_another_publishers_kind_are_passed_over(publisher: Publisher, files: Files) -> None:
    def foreign(body: Targets) -> None:
        for number, each in enumerate(body.targets.values()):
            if number:
                each.unrecognized_fields.clear()
            else:
                each.hashes = {"sha512": "00"}

    raw = again(files["2.targets.json"], publisher.releases, foreign)
    snapshot = signed_by(
        Snapshot(3, expires=NOW, meta={"targets.json": MetaFile.from_data(2, raw, ["sha256"])}), publisher.timestamp
    )

    def named(body: Timestamp) -> None:
        body.snapshot_meta = MetaFile.from_data(3, snapshot, ["sha256"])

    trusted = Trusted(files["1.root.json"])
    trusted.add_timestamp(again(files["timestamp.json"], publisher.timestamp, named))
    trusted.add_snapshot(snapshot)
    trusted.add_targets(raw)
    assert trusted.targets() == ()


def test_the_name_under_which_a_role_is_kept_changes_with_its_keys_alone(publisher: Publisher, files: Files) -> None:
    """Clause 5.3.11: what rests on replaced keys is forgotten."""
    before = {what: Trusted(files["1.root.json"]).name_of(what) for what in REMEMBERED}
    for role in ("root", "timestamp", "snapshot", "targets"):
        body = cast("Root", body_of(files["1.root.json"]))
        body.version = 2
        body.add_key(new_key().public_key, role)
        trusted = Trusted(files["1.root.json"])
        trusted.add_root(signed_by(body, *publisher.root_keys))
        changed = {what for what in REMEMBERED if trusted.name_of(what) != before[what]}
        assert changed == {what for what, roles in REMEMBERED.items() if role in roles}


def test_the_file_of_a_target_has_its_digest_in_its_name() -> None:
    digest = "0a" * 32
    assert file_of("door/1.0/whole", digest) == f"targets/door/1.0/{digest}.whole"
    assert file_of("whole", digest) == f"targets/{digest}.whole"


@pytest.mark.parametrize("path", ["", "/a", "a/", "a//b", "..", "a/../b", ".a", "a b", "a\n", "a\\b", "x" * 201, "é"])
def test_a_path_that_is_not_made_of_plain_names_is_refused(path: str) -> None:
    with pytest.raises(MetadataError):
        file_of(path, "0a" * 32)
    with pytest.raises(MetadataError):
        file_of("a", path)
