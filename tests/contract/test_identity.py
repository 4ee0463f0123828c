"""The device's id stays its own, and tells nobody the machine id."""

import os
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.adapters.identity import NODE_ID_FILE, hardware, node_id
from appliance.config import NodeConfig
from appliance.errors import ConfigError

MACHINE_ID = "0123456789abcdef0123456789abcdef"


def machine(folder: Path, text: str) -> list[Path]:
    file = folder / "machine-id"
    file.write_text(text)
    return [folder / "absent", file]


def test_the_id_is_derived_from_the_machine_id_and_needs_no_disk(tmp_path: Path) -> None:
    files = machine(tmp_path, f"{MACHINE_ID}\n")
    first = node_id(tmp_path / "no such folder", files)
    assert first == node_id(tmp_path, files) == "c787ea28b262"
    assert not (tmp_path / "no such folder").exists()


@given(st.binary(min_size=16, max_size=16).map(bytes.hex))
def test_the_id_is_a_topic_level_that_does_not_show_the_machine_id(
    tmp_path_factory: pytest.TempPathFactory, machine_id: str
) -> None:
    folder = tmp_path_factory.mktemp("node")
    found = node_id(folder, machine(folder, machine_id))
    assert NodeConfig(id=found).id == found
    assert found not in machine_id


@pytest.mark.parametrize("text", ["", "uninitialized\n", "0123\n", "not a machine id at all, but long enough"])
def test_without_a_machine_id_one_is_drawn_once_and_kept(tmp_path: Path, text: str) -> None:
    files, state_dir = machine(tmp_path, text), tmp_path / "state"
    first = node_id(state_dir, files)
    assert re.fullmatch(r"[0-9a-f]{12}", first)
    assert node_id(state_dir, files) == first
    assert node_id(tmp_path / "another device", files) != first


def test_an_id_is_told_to_nobody_before_a_power_cut_could_take_it_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[Path] = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: synced.append(Path(f"/proc/self/fd/{descriptor}").readlink()))
    node_id(tmp_path, [])
    assert synced[-2:] == [tmp_path / f"{NODE_ID_FILE}.part", tmp_path], "the content, and then its name"


def test_a_kept_id_that_is_damaged_is_drawn_again(tmp_path: Path) -> None:
    (tmp_path / NODE_ID_FILE).write_bytes(b"\xff\x00garbage")
    first = node_id(tmp_path, [])
    assert re.fullmatch(r"[0-9a-f]{12}", first)
    assert node_id(tmp_path, []) == first


def test_where_no_id_can_be_kept_the_configuration_has_to_give_one(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match=r"give node\.id"):
        node_id(tmp_path / "file", [])


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"Raspberry Pi 4 Model B Rev 1.5\0", "Raspberry Pi 4 Model B Rev 1.5"),
        (b"KVM\n", "KVM"),
        (b"a\xffb", "a\ufffdb"),
    ],
)
def test_the_board_says_its_name(tmp_path: Path, content: bytes, expected: str) -> None:
    (tmp_path / "model").write_bytes(content)
    assert hardware([tmp_path / "absent", tmp_path / "model"]) == expected


def test_a_board_without_a_name_is_called_by_its_architecture(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    assert re.fullmatch(r"\w+", hardware([tmp_path / "empty"]))
