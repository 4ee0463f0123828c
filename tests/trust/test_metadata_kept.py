"""What a device keeps of a repository: whole after a cut at any write, proven again when read, and never older."""

import contextlib
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from appliance.errors import MetadataError, RepositoryError, StoreError
from appliance.hub.signing import Role
from appliance.sim.repository import ScriptedRepository
from tests.repositories import MODEL, Device, Files, Publisher


@pytest.fixture(scope="module")
def moments(tmp_path_factory: pytest.TempPathFactory) -> list[Files]:
    """A repository's life: releases, and a rotation of each key."""
    publisher = Publisher(tmp_path_factory.mktemp("hub"))
    found = []
    for sequence, role in enumerate([Role.TIMESTAMP, Role.RELEASES, Role.ROOT, Role.TIMESTAMP], start=1):
        publisher.publish(sequence)
        found.append(publisher.files())
        publisher.rotate(role)
        found.append(publisher.files())
    return found


def shipped(folder: Path, moments: list[Files], moment: int = 0) -> Device:
    roots = [name for name in moments[moment] if name.endswith(".root.json")]
    return Device(folder, moments[moment][f"metadata/{len(roots)}.root.json"])


def test_a_new_device_knows_nothing_and_then_what_it_heard(tmp_path: Path, moments: list[Files]) -> None:
    device = shipped(tmp_path, moments)
    assert device.known() is None
    heard = device.refresh(moments[-1])
    assert device.known() == heard
    assert [each.sequence for each in heard.manifests[MODEL]] == [4, 3, 2, 1]


def test_what_is_kept_is_not_asked_for_again(tmp_path: Path, moments: list[Files]) -> None:
    device = shipped(tmp_path, moments)
    device.refresh(moments[-1])
    repository = ScriptedRepository(moments[-1])
    device.refresh(repository)
    assert repository.script.asked == ["metadata/6.root.json", "metadata/timestamp.json"]


def test_what_rested_on_replaced_keys_is_removed(tmp_path: Path, moments: list[Files]) -> None:
    device = shipped(tmp_path, moments)
    for files in moments:
        device.refresh(files)
    kept = [name for name in device.slots.files("trust") if not name.endswith(".root.json")]
    assert [name.partition("-")[0] for name in kept] == ["trust/snapshot", "trust/targets", "trust/timestamp"]


def assert_a_cut_is_harmless(folder: Path, moments: list[Files], first: int, second: int, writes: int) -> None:
    """Go from one moment to another, with a cut after so many writes, and then on."""
    device = shipped(folder, moments)
    before = device.sequences(moments[first])
    device.slots.script.writes_left = writes
    with contextlib.suppress(StoreError):
        device.refresh(moments[second])
    device.slots.script.writes_left = None
    known = device.known()
    assert known is None or [each.sequence for each in known.manifests[MODEL]] >= before
    assert device.refresh(moments[second]) == shipped(folder / "fresh", moments).refresh(moments[second])
    with pytest.raises((MetadataError, RepositoryError)):
        device.refresh(moments[first])


@pytest.mark.parametrize("writes", range(9))
def test_a_cut_at_any_write_of_the_way_from_the_first_root_to_the_newest_loses_nothing(
    tmp_path: Path, moments: list[Files], writes: int
) -> None:
    """Here once through everything; ``test_metadata_long.py`` goes each step of it."""
    assert_a_cut_is_harmless(tmp_path, moments, 0, len(moments) - 1, writes)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=12)
@given(data=st.data())
def test_a_kept_file_that_is_damaged_is_asked_for_again(
    tmp_path: Path, moments: list[Files], data: st.DataObject
) -> None:
    device = shipped(tmp_path, moments)
    heard = device.refresh(moments[-1])
    name = data.draw(st.sampled_from(device.slots.files("trust")))
    raw = bytearray(device.slots.file(name) or b"")
    place = data.draw(st.integers(0, len(raw) - 1))
    raw[place] ^= 1 << data.draw(st.integers(0, 7))
    device.slots.write_file(name, bytes(raw[: data.draw(st.sampled_from([len(raw), place]))]))
    known = device.known()
    assert known in (None, heard)
    assert device.refresh(moments[-1]) == heard


def test_a_device_that_was_shipped_with_a_newer_root_goes_on_from_there(tmp_path: Path, moments: list[Files]) -> None:
    device = shipped(tmp_path, moments)
    device.refresh(moments[2])
    device.root = shipped(tmp_path, moments, -1).root
    assert device.known() is None, "nothing that was kept was signed by today's keys"
    assert device.refresh(moments[-1]).versions["root"] == 5


def test_a_device_of_another_publisher_believes_nothing_that_was_kept(
    tmp_path: Path, moments: list[Files], tmp_path_factory: pytest.TempPathFactory
) -> None:
    device = shipped(tmp_path, moments)
    device.refresh(moments[0])
    other = Publisher(tmp_path_factory.mktemp("other"))
    device.root = other.root
    assert device.known() is None
    assert device.refresh(other.files()).manifests == {}


def test_a_root_of_the_device_that_is_damaged_is_told(tmp_path: Path, moments: list[Files]) -> None:
    device = shipped(tmp_path, moments)
    device.root = device.root[:-9]
    assert device.known() is None
    with pytest.raises(MetadataError, match="root"):
        device.refresh(moments[0])


def test_a_repository_that_is_lost_midway_leaves_what_was_known(tmp_path: Path, moments: list[Files]) -> None:
    device = shipped(tmp_path, moments)
    heard = device.refresh(moments[0])
    repository = ScriptedRepository(moments[1])
    repository.script.absent = "no network"
    with pytest.raises(RepositoryError, match="no network"):
        device.refresh(repository)
    assert device.known() == heard
