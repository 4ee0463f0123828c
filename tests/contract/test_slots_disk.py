"""What only a disk can do to the store of models: damage, leftovers, other processes, no space, no leave to write."""

import fcntl
import json
import logging
import os
import shutil
import stat
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.adapters.slots import Slots, lock, store
from appliance.adapters.slots.records import SET_ASIDE_MAX
from appliance.adapters.slots.store import FILE_BYTES_MAX, REASON_LOST, RESERVE_BYTES
from appliance.errors import BundleError, StoreError
from appliance.ports.updates import CONDEMNED_MAX
from appliance.trust.manifest import DESCRIPTION
from appliance.trust.state import RECORD_BYTES_MAX, ModelState, Stage
from appliance.trust.stored import write_note
from tests.contract.slot_suite import ONE, THREE, TWO, committed, save
from tests.mounts import read_only, small_disk
from tests.slots import MODEL, Sample, bundle_of

BUNDLE, CONTENT = bundle_of(b"content" * 1000), b"content" * 1000


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "models"


@pytest.fixture
def slots(folder: Path) -> Slots:
    return Slots(folder)


def record_of(folder: Path) -> Path:
    return folder / "state" / f"{MODEL}.json"


def said(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    """What was logged as a fault or its end."""
    events = [record.msg for record in caplog.records if isinstance(record.msg, dict)]
    return [event for event in events if event["event"] in {"fault", "recovered"}]


def damage(file: Path) -> None:
    """Change one bit in the middle, as a medium does."""
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def test_only_the_owner_may_look(slots: Slots, folder: Path) -> None:
    committed(slots, ONE, 1)
    slots.condemn(TWO.model_id, "x")
    slots.write_file("trust/timestamp.json", b"{}")
    slots.partial(BUNDLE).begin("t")
    modes = {stat.S_IMODE(path.stat().st_mode) for path in folder.rglob("*") if path.is_file()}
    assert modes == {0o600}
    assert {stat.S_IMODE(path.stat().st_mode) for path in (folder, *folder.rglob("*")) if path.is_dir()} == {0o700}


def test_nothing_is_written_by_looking(slots: Slots, folder: Path) -> None:
    slots.load(MODEL)
    slots.condemned()
    slots.partial(BUNDLE)
    slots.files("reports/mqtt")
    assert slots.free_bytes() > 0
    assert not folder.exists()


@pytest.mark.parametrize(
    "raw", [b"", b"null", b"\0" * 500, b"[" * 100_000, b"x" * (RECORD_BYTES_MAX + 10)], ids=lambda raw: repr(raw[:9])
)
def test_a_damaged_record_is_told_once_rebuilt_and_set_aside_by_the_next_save(
    slots: Slots, folder: Path, raw: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    committed(slots, ONE, 1)
    record_of(folder).write_bytes(raw)
    rebuilt = ModelState(model=MODEL, committed=ONE.model_id, sequence=1)
    assert [Slots(folder).load(MODEL), slots.load(MODEL), slots.load(MODEL)] == [rebuilt] * 3
    assert save(slots, stage=Stage.METADATA).generation == 1
    assert slots.load(MODEL).stage is Stage.METADATA
    assert [event["event"] for event in said(caplog)] == ["fault", "fault", "recovered"], "once by each process"
    assert record_of(folder).with_name(f"{MODEL}.json.damaged-1").read_bytes() == raw


def test_marks_of_before_they_had_numbers_are_read_and_what_is_committed_now_goes_first(
    slots: Slots, folder: Path
) -> None:
    for sequence, made in enumerate((ONE, TWO, THREE), start=1):
        slots.add(made.model_id, made.make)
        old = write_note({"model_id": made.model_id, "sequence": sequence})
        (folder / "store" / made.model_id / "committed").write_bytes(old)
    assert slots.load(MODEL).committed == THREE.model_id
    slots.commit(ONE.model_id, 1)
    assert (slots.load(MODEL).committed, slots.load(MODEL).previous) == (ONE.model_id, THREE.model_id)


def test_no_byte_of_a_record_can_change_unnoticed(slots: Slots, folder: Path) -> None:
    state = committed(slots, ONE, 1)
    whole = record_of(folder).read_bytes()
    for place in range(0, len(whole), 11):
        record_of(folder).write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        found = slots.load(MODEL)
        assert (found.committed, found.sequence) == (ONE.model_id, 1)
        assert found in (state, ModelState(model=MODEL, committed=ONE.model_id, sequence=1))


def test_of_damaged_records_the_newest_few_are_kept(slots: Slots, folder: Path) -> None:
    for number in range(SET_ASIDE_MAX + 3):
        save(slots)
        record_of(folder).write_bytes(b"%d" % number)
    save(slots)
    kept = sorted(path.read_bytes() for path in (folder / "state").glob("*.damaged-*"))
    assert kept == [b"%d" % number for number in range(3, SET_ASIDE_MAX + 3)]


def test_a_committed_model_that_is_damaged_gives_way_to_the_one_before_and_that_to_the_factorys(
    slots: Slots, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for sequence, made in enumerate((ONE, TWO), start=1):
        committed(slots, made, sequence)
    damage(folder / "store" / TWO.model_id / MODEL / TWO.version / "model.tflite")
    state = slots.load(MODEL)
    assert (state.committed, state.sequence, state.previous, state.generation) == (ONE.model_id, 1, None, 2)
    assert slots.folder(TWO.model_id) is None, "what is not as its name says is not there"
    shutil.rmtree(folder / "store" / ONE.model_id)
    assert (slots.load(MODEL).committed, slots.load(MODEL).sequence) == (None, 0)
    assert "model.tflite: its sha256 is" in said(caplog)[0]["reason"]
    assert f"{ONE.model_id} serves" in said(caplog)[0]["reason"]
    slots.add(TWO.model_id, TWO.make)
    assert slots.load(MODEL).committed == TWO.model_id, "it was only the model that was lost"
    assert slots.load(MODEL).sequence == 2


def test_a_damaged_model_is_replaced_by_adding_it_and_that_it_served_stays_known(slots: Slots, folder: Path) -> None:
    committed(slots, ONE, 5)
    record_of(folder).unlink()
    damage(folder / "store" / ONE.model_id / MODEL / ONE.version / DESCRIPTION)
    assert slots.load(MODEL).committed is None
    slots.add(ONE.model_id, ONE.make)
    assert (slots.load(MODEL).committed, slots.load(MODEL).sequence) == (ONE.model_id, 5)


def test_a_record_lost_with_its_newest_model_goes_back_to_the_one_before(slots: Slots, folder: Path) -> None:
    for sequence, made in enumerate((ONE, TWO, THREE), start=1):
        slots.add(made.model_id, made.make)
        slots.commit(made.model_id, sequence)
    damage(folder / "store" / THREE.model_id / MODEL / THREE.version / "labels.txt")
    damage(folder / "store" / ONE.model_id / "committed")
    assert slots.load(MODEL) == ModelState(model=MODEL, committed=TWO.model_id, sequence=2)


def test_a_slot_under_another_models_id_is_not_that_model(slots: Slots, folder: Path) -> None:
    slots.add(ONE.model_id, ONE.make)
    (folder / "store" / ONE.model_id).rename(folder / "store" / TWO.model_id)
    assert slots.folder(TWO.model_id) is None
    (folder / "store" / TWO.model_id / MODEL).rename(folder / "store" / TWO.model_id / "renamed")
    assert slots.folder(TWO.model_id) is None


@pytest.mark.parametrize("what", ["link", "folder link", "pipe"])
def test_a_folder_with_something_else_than_files_is_not_stored(slots: Slots, what: str, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()

    def make(folder: Path) -> None:
        ONE.make(folder)
        if what == "pipe":
            os.mkfifo(folder / "more")
            return
        (folder / "labels.txt").rename(tmp_path / "outside" / "labels.txt")
        (folder / "labels.txt").symlink_to(tmp_path / "outside" / ("labels.txt" if what == "link" else ""))

    with pytest.raises(BundleError):
        slots.add(ONE.model_id, make)
    assert slots.folder(ONE.model_id) is None


def test_a_note_of_a_failure_that_is_damaged_still_condemns(slots: Slots, folder: Path) -> None:
    slots.condemn(ONE.model_id, "degenerate")
    damage(folder / "bad" / ONE.model_id)
    (folder / "bad" / "README").write_text("not an id")
    assert slots.condemned() == {ONE.model_id: REASON_LOST}


def test_what_failed_last_is_remembered_whatever_the_clock_said(slots: Slots, folder: Path) -> None:
    ids = [f"{number:064x}" for number in range(CONDEMNED_MAX + 1)]
    for age_s, model_id in enumerate(ids):
        slots.condemn(model_id, "degenerate")
        os.utime(folder / "bad" / model_id, (1e9 - age_s, 1e9 - age_s))
    assert slots.condemned().keys() == set(ids[1:])


@pytest.mark.parametrize("note", [b"", b"{}", b"[]", b'"x"'], ids=repr)
def test_without_its_note_a_part_is_worth_nothing(slots: Slots, note: bytes) -> None:
    part = slots.partial(BUNDLE)
    part.begin("t")
    part.append(CONTENT)
    part.sync()
    part.file.with_suffix(".tag").write_bytes(note)
    again = slots.partial(BUNDLE)
    assert (again.size_bytes, again.tag) == (0, "")
    with pytest.raises(AssertionError, match="begin"):
        again.append(b"x")


def test_what_is_behind_the_noted_length_is_cut_off_and_what_is_short_of_it_is_not_believed(slots: Slots) -> None:
    part = slots.partial(BUNDLE)
    part.begin("t")
    part.append(CONTENT[:4000])
    part.sync()
    with part.file.open("ab") as stream:
        stream.write(b"\0" * 10_000)
    again = slots.partial(BUNDLE)
    assert again.size_bytes == 4000
    again.append(CONTENT[4000:])
    again.sync()
    assert again.digest() == BUNDLE.sha256
    os.truncate(part.file, 6999)
    assert slots.partial(BUNDLE).size_bytes == 0


def test_what_was_not_synced_is_received_again(slots: Slots) -> None:
    part = slots.partial(BUNDLE)
    part.begin("x" * 1000)
    part.append(CONTENT[:100])
    assert (part.size_bytes, slots.partial(BUNDLE).size_bytes) == (0, 0)
    assert part.tag == "", "a name that long is not kept"


def test_a_part_is_on_the_medium_every_so_often_without_asking(slots: Slots) -> None:
    content = b"x" * 1_000_000
    part = slots.partial(bundle_of(content))
    part.begin("t")
    part.append(content)
    assert slots.partial(bundle_of(content)).size_bytes >= len(content) - 256 * 1024


def test_leftovers_are_removed_and_what_somebody_is_making_is_not(slots: Slots, folder: Path) -> None:
    committed(slots, ONE, 1)
    for place in ("store", "state", f"store/{ONE.model_id}", "files"):
        (folder / place / ".new-0123").parent.mkdir(exist_ok=True)
        (folder / place / ".new-0123").write_bytes(b"left")
    (folder / "store" / ".new-4567" / "filling").mkdir(parents=True)

    def make(made: Path) -> None:
        Slots(folder).collect([], [])
        assert made.is_dir()
        TWO.make(made)

    slots.add(TWO.model_id, make)
    assert list(folder.rglob(".new-*")) == []
    assert slots.folder(TWO.model_id) is not None


def test_a_lock_that_another_process_holds_is_waited_for_and_not_for_ever(
    slots: Slots, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock, "WAIT_S", 0.1)
    save(slots)
    with (folder / "state" / f"{MODEL}.lock").open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(StoreError, match=r"made\.lock: held by another process"), slots.locked(MODEL):
            pass
        with slots.locked("other"):
            pass
    save(slots)


def test_a_lock_is_had_as_soon_as_its_holder_lets_go(slots: Slots, folder: Path) -> None:
    save(slots)
    held = (folder / "state" / f"{MODEL}.lock").open()
    fcntl.flock(held, fcntl.LOCK_EX)
    letting_go = threading.Timer(0.05, held.close)
    letting_go.start()
    assert save(slots).generation == 2
    letting_go.join(10)


BAD_NAMES = ("", "..", "../x", "/dev/null/x", "a/../b", "a//b", ".hidden", "a/.hidden", "a/", "x\n", "a\0", "é")


@pytest.mark.parametrize("name", BAD_NAMES, ids=repr)
def test_a_name_that_could_lead_elsewhere_is_a_bug_that_is_shown(slots: Slots, folder: Path, name: str) -> None:
    for use in (
        slots.load, slots.folder, slots.pardon, slots.file, slots.remove_file,
        lambda name: slots.condemn(name, ""), lambda name: slots.commit(name, 1),
        lambda name: slots.add(name, ONE.make), lambda name: slots.write_file(name, b""),
        lambda name: slots.locked(name).__enter__(),
    ):  # fmt: skip
        with pytest.raises(AssertionError):
            use(name)
    assert not [path for path in folder.rglob("*") if path.name != ".lock" and not path.is_dir()]


def test_what_is_too_large_is_neither_written_nor_read(slots: Slots, folder: Path) -> None:
    with pytest.raises(StoreError, match="larger than"):
        slots.write_file("x", bytes(FILE_BYTES_MAX + 1))
    slots.write_file("x", b"")
    os.truncate(folder / "files" / "x", 1 << 40)
    with pytest.raises(StoreError, match="larger than"):
        slots.file("x")
    with pytest.raises(StoreError, match="more than a record may have"):
        save(slots, reason="x" * RECORD_BYTES_MAX)


def test_a_folder_in_the_place_of_a_file_is_told(slots: Slots, folder: Path) -> None:
    (record_of(folder) / "in it").mkdir(parents=True)
    with pytest.raises(StoreError, match="Is a directory"):
        slots.load(MODEL)


def test_a_reserve_is_left_to_the_rest_of_the_device(slots: Slots, tmp_path: Path) -> None:
    free_bytes = shutil.disk_usage(tmp_path).free
    assert abs(free_bytes - RESERVE_BYTES - slots.free_bytes()) < 1 << 28, "others write here, too"


WRITES: tuple[Callable[[Slots], object], ...] = (
    lambda slots: save(slots, stage=Stage.METADATA, reason="x" * 400),
    lambda slots: slots.add(THREE.model_id, Sample(MODEL, "3", "", {**THREE.files, "big": bytes(1 << 20)}).make),
    lambda slots: slots.write_file("trust/timestamp.json", bytes(1 << 20)),
    lambda slots: slots.partial(BUNDLE).append(bytes(1 << 20)),
    lambda slots: slots.condemn(TWO.model_id, "x" * 400),
    lambda slots: slots.commit(ONE.model_id, 7),
    lambda slots: slots.pardon(THREE.model_id),
    lambda slots: slots.remove_file("trust/timestamp.json"),
    lambda slots: slots.collect([], []),
)


def filled(slots: Slots) -> ModelState:
    """Some of everything."""
    state = committed(slots, ONE, 1)
    slots.write_file("trust/timestamp.json", b"old")
    slots.condemn(THREE.model_id, "failed")
    part = slots.partial(BUNDLE)
    part.begin("t")
    part.append(CONTENT)
    part.sync()
    return state


def unharmed(slots: Slots, state: ModelState) -> None:
    assert slots.load(MODEL) == state
    assert slots.folder(ONE.model_id) is not None
    assert slots.file("trust/timestamp.json") == b"old"
    assert slots.condemned() == {THREE.model_id: "failed"}
    assert slots.partial(BUNDLE).digest() == BUNDLE.sha256
    assert slots.folder(THREE.model_id) is None


def test_a_disk_that_may_not_be_written_any_more_keeps_everything_and_says_so(slots: Slots, folder: Path) -> None:
    state = filled(slots)
    with read_only(folder):
        for write in WRITES:
            with pytest.raises(StoreError, match="Read-only file system"):
                write(slots)
        unharmed(Slots(folder), state)
    unharmed(slots, state)


def test_a_full_disk_keeps_everything_and_says_so(tmp_path: Path) -> None:
    with small_disk(tmp_path, "256k"):
        slots = Slots(tmp_path / "models")
        state = filled(slots)
        with (tmp_path / "filling").open("wb", buffering=0) as stream, suppress(OSError):
            while True:
                stream.write(bytes(4096))
        for write in WRITES[:6]:
            with pytest.raises(StoreError, match="No space left on device"):
                write(slots)
            unharmed(Slots(tmp_path / "models"), state)
        assert slots.free_bytes() == 0
        (tmp_path / "filling").unlink()
        assert save(slots).generation == state.generation + 1


@pytest.fixture(scope="module")
def spoilt(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a stored model; what else is in it may be anything."""
    folder = tmp_path_factory.mktemp("models")
    Slots(folder).add(ONE.model_id, ONE.make)
    return folder


@given(raw=st.binary(max_size=300))
def test_whatever_lies_in_the_place_of_a_mark_a_note_or_a_record_no_error_but_ours_comes_of_it(
    spoilt: Path, raw: bytes
) -> None:
    folder, slots = spoilt, Slots(spoilt)
    for place in (record_of(folder), folder / "bad" / TWO.model_id, folder / "inbox" / f"{BUNDLE.sha256}.tag"):
        place.parent.mkdir(exist_ok=True)
        place.write_bytes(raw)
    (folder / "store" / ONE.model_id / "committed").write_bytes(raw)
    (folder / "inbox" / f"{BUNDLE.sha256}.part").write_bytes(raw)
    assert slots.load(MODEL) == ModelState(model=MODEL)
    assert slots.partial(BUNDLE).size_bytes == 0
    assert slots.condemned().keys() == {TWO.model_id}
    slots.collect([ONE.model_id], [])


def test_what_proves_itself_is_json_that_a_person_can_read(slots: Slots, folder: Path) -> None:
    slots.condemn(ONE.model_id, "degenerate")
    told = json.loads(json.loads((folder / "bad" / ONE.model_id).read_bytes())["body"])
    assert told == {"reason": "degenerate", "number": 1}
    assert store.REASON_LOST
