"""What is kept of an Edge TPU over a reboot: it reads back, or it is nothing; and no disk ends anything."""

import json
import logging
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.adapters.ladder_file import COUNT_MAX, FILE_BYTES_MAX, Kept, LadderFile
from appliance.sim.clock import ManualClock
from tests.mounts import fill, read_only, small_disk

GIVEN_UP = Kept(replace_hardware=True, rounds=6, dfu_rounds=1, path="2-1.4")
WORN = Kept(rounds=2, path="apex_0")
EMPTY = Kept()
PATHS = st.from_regex(r"\A([0-9]{1,2}-[0-9](\.[0-9]){0,6}|apex_[0-9]|)\Z")
KEPT = st.builds(Kept, st.booleans(), st.integers(0, COUNT_MAX), st.integers(0, COUNT_MAX), PATHS)


def made(folder: Path, name: str = "tpu") -> LadderFile:
    return LadderFile(folder, name, monotonic_s=ManualClock().monotonic_s)


def file_of(folder: Path) -> Path:
    return folder / "tpu-tpu.json"


def part_of(folder: Path) -> Path:
    return folder / "tpu-tpu.json.part"


def written(**changes: object) -> bytes:
    """A file's content, with some of it changed."""
    form = {"version": 1, "replace_hardware": True, "rounds": 3, "dfu_rounds": 1, "path": "2-1"}
    return json.dumps(form | changes).encode()


def said(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    """What was logged as a fault or its end."""
    events = [record.msg for record in caplog.records if isinstance(record.msg, dict)]
    return [event for event in events if event["event"] in {"fault", "recovered"}]


def test_where_there_is_no_file_nothing_is_kept_and_that_is_no_fault(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    assert made(tmp_path / "not yet").load() == EMPTY
    assert [record.levelname for record in caplog.records] == ["INFO"]


@settings(max_examples=50)
@given(kept=st.lists(KEPT, min_size=1, max_size=4))
def test_what_was_saved_last_is_loaded_by_the_next_process(
    kept: list[Kept], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("state")
    file = made(folder)
    for each in kept:
        file.save(each)
        assert made(folder).load() == each
    assert [each.name for each in folder.iterdir()] in ([], ["tpu-tpu.json"]), "nothing is left lying beside it"


def test_each_edge_tpu_has_a_file_of_its_own(tmp_path: Path) -> None:
    made(tmp_path, "left").save(GIVEN_UP)
    made(tmp_path, "right").save(WORN)
    assert (made(tmp_path, "left").load(), made(tmp_path, "right").load()) == (GIVEN_UP, WORN)


def test_the_state_folder_is_made_where_it_is_missing(tmp_path: Path) -> None:
    folder = tmp_path / "var" / "lib"
    made(folder).save(WORN)
    assert made(folder).load() == WORN


def test_what_is_there_already_is_not_written_again(tmp_path: Path) -> None:
    """The ladder tells after each of its steps; a memory card lives from not being written."""
    file = made(tmp_path)
    assert file.load() == EMPTY
    file.save(EMPTY)
    assert list(tmp_path.iterdir()) == []
    file.save(WORN)
    before = file_of(tmp_path).stat().st_ino
    file.save(WORN)
    again = made(tmp_path)
    assert again.load() == WORN
    again.save(WORN)
    assert file_of(tmp_path).stat().st_ino == before
    again.save(GIVEN_UP)
    assert file_of(tmp_path).stat().st_ino != before, "a file is never changed, only another takes its place"


def test_without_having_looked_everything_is_written(tmp_path: Path) -> None:
    made(tmp_path).save(EMPTY)
    assert file_of(tmp_path).exists()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\n",
        b"not json",
        b"null",
        b"[]",
        b"[" * FILE_BYTES_MAX,
        b"\x00" * 200,
        b"\xff\xfe{}",
        b"{}",
        written(version=2),
        written(more=1),
        written(rounds="3"),
        written(rounds=3.5),
        written(rounds=None),
        written(replace_hardware=0),
        written(path=7),
        written() + b" " * FILE_BYTES_MAX,
        written() + written(),
    ],
    ids=lambda content: repr(content[:40]),
)
def test_a_file_that_is_not_ours_is_an_empty_one_told_once_and_replaced_by_the_next_save(
    tmp_path: Path, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    file_of(tmp_path).write_bytes(content)
    file = made(tmp_path)
    assert file.load() == EMPTY
    assert file.load() == EMPTY
    (told,) = said(caplog)
    assert str(file_of(tmp_path)) in told["reason"]
    file.save(EMPTY)
    assert json.loads(file_of(tmp_path).read_bytes())["rounds"] == 0


def test_a_file_cut_short_anywhere_is_nothing_rather_than_half_of_something(tmp_path: Path) -> None:
    made(tmp_path).save(GIVEN_UP)
    whole = file_of(tmp_path).read_bytes()
    assert whole.endswith(b"}\n")
    for length in range(len(whole) - 1):
        file_of(tmp_path).write_bytes(whole[:length])
        assert made(tmp_path).load() == EMPTY


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"rounds": -3}, Kept(True, 0, 1, "2-1")),
        ({"rounds": 10**30, "dfu_rounds": COUNT_MAX + 1}, Kept(True, COUNT_MAX, COUNT_MAX, "2-1")),
        ({"path": "../../etc"}, Kept(True, 3, 1)),
        ({"path": "2-1/.."}, Kept(True, 3, 1)),
        ({"path": "--all"}, Kept(True, 3, 1)),
        ({"path": "2-1\n"}, Kept(True, 3, 1)),
        ({"path": "x" * 65}, Kept(True, 3, 1)),
    ],
)
def test_what_cannot_be_is_put_right_and_the_flag_beside_it_is_not_lost(
    tmp_path: Path, changes: dict[str, object], expected: Kept
) -> None:
    file_of(tmp_path).write_bytes(written(**changes))
    assert made(tmp_path).load() == expected


def test_whatever_is_saved_can_be_read(tmp_path: Path) -> None:
    made(tmp_path).save(Kept(True, 10**9, -1, "/" * 5000))
    assert made(tmp_path).load() == Kept(True, COUNT_MAX, 0, "")


def test_a_part_of_a_file_that_a_power_cut_left_is_neither_read_nor_in_the_way(tmp_path: Path) -> None:
    made(tmp_path).save(GIVEN_UP)
    whole = file_of(tmp_path).read_bytes().replace(b"true", b"false")
    for length in range(len(whole) + 1):
        part_of(tmp_path).write_bytes(whole[:length])
        assert made(tmp_path).load() == GIVEN_UP
    made(tmp_path).save(WORN)
    assert made(tmp_path).load() == WORN
    assert not part_of(tmp_path).exists()


def test_a_full_disk_is_told_once_and_so_is_its_end(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    with small_disk(tmp_path, "64k"):
        file = made(tmp_path)
        file.save(GIVEN_UP)
        ballast = fill(tmp_path)
        for _ in range(3):
            file.save(WORN)
        assert made(tmp_path).load() == GIVEN_UP, "what was there stays"
        (full,) = said(caplog)
        assert full["reason"] == f"{file_of(tmp_path)}: cannot be written: No space left on device"
        ballast.unlink()
        file.save(WORN)
        assert made(tmp_path).load() == WORN
    assert [event["event"] for event in said(caplog)] == ["fault", "recovered"]


def test_a_state_folder_that_cannot_be_is_told_and_ends_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    file = made(tmp_path / "file" / "state")
    assert file.load() == EMPTY
    file.save(WORN)
    assert len(said(caplog)) == 1


def test_a_folder_in_the_place_of_the_file_is_told_and_ends_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (file_of(tmp_path) / "in it").mkdir(parents=True)
    file = made(tmp_path)
    assert file.load() == EMPTY
    file.save(WORN)
    assert not part_of(tmp_path).exists()
    assert len(said(caplog)) == 1


def test_a_read_only_disk_is_told_and_ends_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    made(tmp_path).save(GIVEN_UP)
    with read_only(tmp_path):
        file = made(tmp_path)
        assert file.load() == GIVEN_UP
        file.save(WORN)
    assert [event["reason"] for event in said(caplog)] == [
        f"{file_of(tmp_path)}: cannot be written: Read-only file system"
    ]
    file.save(WORN)
    assert made(tmp_path).load() == WORN


def test_a_file_larger_than_memory_is_not_read(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with file_of(tmp_path).open("wb") as stream:
        stream.truncate(1 << 40)
    assert made(tmp_path).load() == EMPTY
    assert "larger than" in said(caplog)[0]["reason"]
