"""A publisher's own files: nothing is signed that a device would not take, nothing half of it is ever to be seen."""

import json
import os
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from appliance.errors import HubError
from appliance.hub import disk
from appliance.hub.signing import DRAFT, Role, SignedRepository
from appliance.trust.metadata import Trusted
from tests.repositories import DAY, MODEL, NOW, Device, Files, Publisher, custom, new_key, published


@pytest.fixture(autouse=True)
def _without_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda _: None)


@pytest.fixture(scope="module")
def founded(tmp_path_factory: pytest.TempPathFactory) -> Publisher:
    return published(tmp_path_factory.mktemp("founded"))


@pytest.fixture
def publisher(founded: Publisher, tmp_path: Path) -> Publisher:
    return founded.copied(tmp_path / "hub")


def again(publisher: Publisher) -> SignedRepository:
    return SignedRepository(publisher.repository.public.parent)


def metadata(files: Files) -> Files:
    return {name: content for name, content in files.items() if name.startswith("metadata/")}


def test_what_was_published_is_there_after_a_restart(publisher: Publisher) -> None:
    read = again(publisher)
    assert read.versions() == {"root": 1, "timestamp": 2, "snapshot": 2, "targets": 2}
    assert read.targets() == publisher.repository.targets()
    assert read.expires()["timestamp"] == NOW + 7 * DAY
    assert read.key_ids(Role.RELEASES) == (publisher.releases.public_key.keyid,)
    assert read.root_bytes() == publisher.root
    assert len(read.key_ids(Role.ROOT)) == 3


def test_a_folder_without_a_repository_is_told(tmp_path: Path) -> None:
    with pytest.raises(HubError, match="holds no repository"):
        SignedRepository(tmp_path)


@pytest.mark.parametrize("name", ["timestamp.json", "2.snapshot.json", "2.targets.json", "1.root.json"])
@pytest.mark.parametrize("content", [b"", b"{}", None], ids=["empty", "nothing", "of another role"])
def test_damage_is_told_with_the_file(publisher: Publisher, name: str, content: bytes | None) -> None:
    folder = publisher.repository.public / "metadata"
    other = "timestamp.json" if "root" in name else "1.root.json"
    (folder / name).write_bytes((folder / other).read_bytes() if content is None else content)
    with pytest.raises(HubError, match=name.replace(".", r"\.")):
        again(publisher)


def test_a_repository_is_never_written_over(publisher: Publisher, tmp_path: Path) -> None:
    before = publisher.files()
    with pytest.raises(HubError, match="never written over"):
        Publisher(tmp_path / "hub")
    assert publisher.files() == before


@pytest.mark.parametrize(("threshold", "same"), [(0, False), (4, False), (2, True)])
def test_a_threshold_that_cannot_be_reached_or_a_key_twice_is_refused(
    tmp_path: Path,
    threshold: int,
    same: bool,  # noqa: FBT001 - a parameter of the table
) -> None:
    root = [new_key() for _ in range(3)]
    times = dict.fromkeys(("root_expires", "releases_expires", "timestamp_expires"), NOW + DAY)
    with pytest.raises(HubError, match=f"{threshold} of 3 root keys"):
        SignedRepository.create(
            tmp_path,
            root=root,
            threshold=threshold,
            releases=new_key(),
            timestamp=root[0] if same else new_key(),
            now=NOW,
            **times,
        )
    assert not list(tmp_path.rglob("*.json"))


def test_a_target_is_on_disk_by_its_digest_and_unsigned_until_it_is_signed(publisher: Publisher) -> None:
    before = metadata(publisher.files())
    digest = publisher.repository.add_target("door/2/model.toml", b"two", custom(2, version="2"))
    assert publisher.repository.file_of("door/2/model.toml").name == f"{digest}.model.toml"
    assert publisher.repository.file_of("door/2/model.toml").read_bytes() == b"two"
    assert metadata(publisher.files()) == before
    assert "door/2/model.toml" not in {target.path for target in again(publisher).targets()}


@pytest.mark.parametrize("call", ["file_of", "set_custom"])
def test_a_target_that_is_none_is_told(publisher: Publisher, call: str) -> None:
    with pytest.raises(HubError, match="door/9/whole: is no target"):
        getattr(publisher.repository, call)("door/9/whole", *([{}] if call == "set_custom" else []))


def test_a_target_of_a_path_that_leads_elsewhere_is_refused(publisher: Publisher, tmp_path: Path) -> None:
    with pytest.raises(HubError, match="no path"):
        publisher.repository.add_target("../../evil", b"x", {})
    assert not list(tmp_path.rglob("*evil*"))


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"rollout_percent": 200}, "rollout_percent"),
        ({"sequence": 0}, "sequence"),
        ({"version": "9.9"}, r"are of door 9\.9"),
        ({"terms": {"agreement_min": 1.5}}, "agreement_min"),
    ],
)
def test_what_a_device_could_not_use_is_not_signed(publisher: Publisher, changed: dict[str, Any], why: str) -> None:
    before = publisher.files()
    publisher.repository.set_custom(f"{MODEL}/1.0.1/model.toml", custom(1) | changed)
    with pytest.raises(HubError, match=f"no device would accept this: .*{why}"):
        publisher.sign()
    assert publisher.files() == before


def test_what_canonical_json_cannot_hold_is_told(publisher: Publisher) -> None:
    publisher.repository.set_custom(f"{MODEL}/1.0.1/model.toml", custom(1, summary=b"bytes"))
    with pytest.raises(HubError, match="targets: cannot be signed"):
        publisher.sign()


def test_fractions_reach_a_device_as_they_were_meant(publisher: Publisher, tmp_path: Path) -> None:
    terms = {"agreement_min": 0.85, "duration_s": 12.5, "tries": 2}
    publisher.repository.set_custom(f"{MODEL}/1.0.1/model.toml", custom(1, terms=terms))
    publisher.sign()
    (manifest,) = Device(tmp_path / "device", publisher.root).refresh(publisher.files()).manifests[MODEL]
    assert (manifest.custom.terms.agreement_min, manifest.custom.terms.duration_s) == (0.85, 12.5)


@pytest.mark.parametrize("role", ["releases", "timestamp"])
def test_a_key_that_is_not_the_repositorys_signs_nothing(publisher: Publisher, role: str) -> None:
    before = publisher.files()
    setattr(publisher, role, new_key())
    with pytest.raises(HubError, match="signed by 0 of the 1 keys"):
        publisher.sign()
    assert publisher.files() == before


def test_a_cron_job_signs_the_timestamp_and_leaves_the_rest_as_it_is(publisher: Publisher) -> None:
    before = metadata(publisher.files())
    publisher.now += DAY
    publisher.stamp()
    after = metadata(publisher.files())
    assert {name for name in after if after[name] != before.get(name)} == {"metadata/timestamp.json"}
    signed = json.loads(after["metadata/timestamp.json"])["signed"]
    assert (signed["signed_at"], signed["expires"]) == ("2026-12-02T00:00:00Z", "2026-12-09T00:00:00Z")


@pytest.mark.parametrize(("days", "role"), [(91, "targets|snapshot"), (366, "root")])
def test_a_timestamp_over_what_has_expired_is_refused_aloud(publisher: Publisher, days: int, role: str) -> None:
    """A cron job that fails is heard; a fleet that stopped to install is not."""
    publisher.now += timedelta(days=days)
    with pytest.raises(HubError, match=f"({role}) metadata expired"):
        publisher.stamp()


def test_a_root_is_published_when_enough_have_signed_it_and_not_before(publisher: Publisher) -> None:
    repository, new = publisher.repository, new_key()
    repository.rotate_key(Role.RELEASES, new, publisher.releases.public_key.keyid, expires=NOW + 400 * DAY)
    before = metadata(publisher.files())
    assert repository.sign_root(publisher.root_keys[2]) == 1
    assert repository.sign_root(publisher.root_keys[2]) == 1, "the same key again is no other"
    assert metadata(publisher.files()) == before
    assert again(publisher).sign_root(publisher.root_keys[0]) == 0, "days later, by somebody else"
    assert again(publisher).versions()["root"] == 2
    assert again(publisher).key_ids(Role.RELEASES) == (new.public_key.keyid,)
    assert not (repository.public.parent / DRAFT).exists()


def test_one_root_may_replace_several_keys(publisher: Publisher) -> None:
    repository = publisher.repository
    old = {Role.RELEASES: publisher.releases, Role.TIMESTAMP: publisher.timestamp}
    for role, key in old.items():
        repository.rotate_key(role, new_key(), key.public_key.keyid, expires=NOW + 400 * DAY)
    publisher.sign_root(publisher.root_keys[:2])
    assert repository.versions()["root"] == 2
    for role, key in old.items():
        assert key.public_key.keyid not in repository.key_ids(role)


def test_a_new_root_key_must_be_vouched_for_by_enough_of_the_old(publisher: Publisher) -> None:
    repository, new = publisher.repository, new_key()
    repository.rotate_key(Role.ROOT, new, publisher.root_keys[0].public_key.keyid, expires=NOW + 400 * DAY)
    assert repository.sign_root(new) == 2
    assert repository.sign_root(publisher.root_keys[1]) == 1
    assert repository.sign_root(publisher.root_keys[2]) == 0
    trusted = Trusted(publisher.root)
    trusted.add_root(repository.root_bytes())


def test_who_is_no_root_key_does_not_sign_one_and_what_is_no_key_is_not_retired(publisher: Publisher) -> None:
    repository = publisher.repository
    with pytest.raises(HubError, match="has no key nobody"):
        repository.rotate_key(Role.TIMESTAMP, new_key(), "nobody", expires=NOW + 400 * DAY)
    with pytest.raises(HubError, match=r"next\.root\.json: cannot be read"):
        repository.sign_root(publisher.root_keys[0])
    repository.renew_root(expires=NOW + 400 * DAY)
    with pytest.raises(HubError, match="is no root key"):
        repository.sign_root(publisher.releases)


def test_a_root_under_way_that_was_left_from_another_time_is_told(publisher: Publisher) -> None:
    repository = publisher.repository
    repository.renew_root(expires=NOW + 400 * DAY)
    left = (repository.public.parent / DRAFT).read_bytes()
    publisher.sign_root(publisher.root_keys[:2])
    (repository.public.parent / DRAFT).write_bytes(left)
    with pytest.raises(HubError, match="of another time"):
        repository.sign_root(publisher.root_keys[0])


def test_a_root_that_is_renewed_keeps_its_keys(publisher: Publisher) -> None:
    repository = publisher.repository
    repository.renew_root(expires=NOW + 1000 * DAY)
    publisher.sign_root(publisher.root_keys[1:])
    assert repository.expires()["root"] == NOW + 1000 * DAY
    assert {role: len(repository.key_ids(role)) for role in Role} == {Role.ROOT: 3, Role.RELEASES: 1, Role.TIMESTAMP: 1}


def test_whoever_reads_while_it_is_written_sees_the_old_or_the_new(
    publisher: Publisher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = [publisher.files()]
    write = disk.write

    def watched(file: Path, content: bytes) -> None:
        write(file, content)
        seen.append(publisher.files())

    monkeypatch.setattr(disk, "write", watched)
    publisher.publish(2)
    publisher.stamp()
    heard = [Device(tmp_path / f"{number}", publisher.root).sequences(files) for number, files in enumerate(seen)]
    assert heard == sorted(heard, key=len)
    assert {tuple(each) for each in heard} == {(1,), (2, 1)}
    follower = Device(tmp_path / "follower", publisher.root)
    assert [follower.sequences(files) for files in seen] == heard


def test_a_publisher_that_is_cut_off_at_any_write_goes_on(
    founded: Publisher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, left = disk.write, 0

    def failing(file: Path, content: bytes) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise HubError("killed")
        write(file, content)

    for count in range(7):
        publisher = founded.copied(tmp_path / f"hub-{count}")
        with monkeypatch.context() as patch:
            patch.setattr(disk, "write", failing)
            left = count
            with suppress(HubError):
                publisher.publish(2)
        publisher.repository = again(publisher)
        device = Device(tmp_path / f"device-{count}", publisher.root)
        published = device.sequences(publisher.files())
        assert published in ([1], [2, 1])
        left_behind = {name: raw for name, raw in publisher.files().items() if name != "metadata/timestamp.json"}
        publisher.publish(3)
        assert device.sequences(publisher.files()) == [3, *published]
        assert left_behind.items() <= publisher.files().items(), "a mirror may have kept what was there under its name"
