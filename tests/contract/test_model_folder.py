"""Reading model folders from disk: real folders, broken in every way a disk or a person breaks them."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from appliance.adapters.model_folder import SOUND, list_models, read_model
from appliance.errors import ModelError
from appliance.trust.model import DESCRIPTION_BYTES_MAX, FILE_BYTES_MAX
from tests.model_folders import FOLDERS, MODELS, TINY


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of a sound folder, to be broken."""
    return Path(shutil.copytree(TINY, tmp_path / "models" / TINY.parent.name / TINY.name))


@pytest.mark.parametrize("path", FOLDERS, ids=lambda path: path.parent.name)
def test_a_bundled_folder_is_read_as_it_is_on_disk(path: Path) -> None:
    model = read_model(path)
    assert (model.name, model.version) == (path.parent.name, path.name)
    assert model.tflite == (path / "model.tflite").read_bytes()


def _replaced(path: Path, make: Callable[[Path], object]) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()
    make(path)


BREAKS: list[tuple[str, Callable[[Path], object], str]] = [
    ("no folder", shutil.rmtree, r"no such model folder; give models/<name>/<version>"),
    ("a file for a folder", lambda folder: _replaced(folder, Path.touch), r"no such model folder"),
    ("no description", lambda folder: (folder / "model.toml").unlink(), r"model.toml: cannot be read: No such file"),
    ("no model", lambda folder: (folder / "model.tflite").unlink(), r"model.tflite: cannot be read: No such file"),
    ("no golden", lambda folder: shutil.rmtree(folder / "golden"), r"golden.npz: cannot be read: No such file"),
    (
        "truncated",
        lambda folder: os.truncate(folder / "model.tflite", 100),
        r"model.tflite: its sha256 is .* the file is damaged or was changed",
    ),
    (
        "endless",
        lambda folder: os.truncate(folder / "labels.txt", FILE_BYTES_MAX + 1),
        r"labels.txt: larger than 67108864 bytes",
    ),
    (
        "long description",
        lambda folder: os.truncate(folder / "model.toml", DESCRIPTION_BYTES_MAX + 1),
        r"model.toml: larger than 262144 bytes",
    ),
    ("a pipe", lambda folder: _replaced(folder / "labels.txt", os.mkfifo), r"labels.txt: not a regular file"),
    ("a folder for a file", lambda folder: _replaced(folder / "labels.txt", Path.mkdir), r"not a regular file"),
    (
        "a link out of the folder",
        lambda folder: _replaced(folder / "labels.txt", lambda path: path.symlink_to(TINY / "labels.txt")),
        r"labels.txt: a link that leaves the model folder",
    ),
    (
        "a link to a device",
        lambda folder: _replaced(folder / "labels.txt", lambda path: path.symlink_to("/dev/zero")),
        r"labels.txt: a link that leaves the model folder",
    ),
    (
        "a link to itself",
        lambda folder: _replaced(folder / "labels.txt", lambda path: path.symlink_to("labels.txt")),
        r"labels.txt: cannot be read: Too many levels of symbolic links",
    ),
    ("other version", lambda folder: folder.rename(folder.parent / "2.0.0"), r"no such model folder"),
]


@pytest.mark.parametrize(("break_it", "message"), [row[1:] for row in BREAKS], ids=[row[0] for row in BREAKS])
def test_a_broken_folder_is_refused_with_its_path_and_what_is_wrong(
    folder: Path, break_it: Callable[[Path], object], message: str
) -> None:
    break_it(folder)
    with pytest.raises(ModelError, match=message) as caught:
        read_model(folder)
    assert str(caught.value).startswith(str(folder))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("other", ["tiny-uint8/1.0.1", "tiny/1.0.0"])
def test_a_folder_called_other_than_its_model_is_refused(folder: Path, other: str) -> None:
    renamed = folder.parent.parent / other
    renamed.parent.mkdir(exist_ok=True)
    folder.rename(renamed)
    with pytest.raises(ModelError, match=f"but the folder is {other}; rename it to tiny-uint8/1.0.0"):
        read_model(renamed)


def test_the_names_are_those_of_the_folder_a_link_leads_to(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "current").symlink_to(folder)
    assert read_model(tmp_path / "current").name == "tiny-uint8"


def test_a_file_that_may_not_be_read_is_named(folder: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may read everything")
    (folder / "model.tflite").chmod(0)
    with pytest.raises(ModelError, match=r"model\.tflite: cannot be read: Permission denied"):
        read_model(folder)


@given(at=st.integers(0, 10_000), bit=st.integers(0, 7), path=st.sampled_from(["model.tflite", "golden/golden.npz"]))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)  # the change is taken back
def test_a_flipped_bit_on_the_disk_never_reaches_a_runtime(folder: Path, at: int, bit: int, path: str) -> None:
    file = folder / path
    sound = file.read_bytes()
    damaged = bytearray(sound)
    damaged[at % len(sound)] ^= 1 << bit
    file.write_bytes(damaged)
    try:
        with pytest.raises(ModelError, match="its sha256 is"):
            read_model(folder)
    finally:
        file.write_bytes(sound)


def test_the_list_shows_sound_and_broken_folders_side_by_side(folder: Path) -> None:
    root = folder.parent.parent
    broken = folder.parent / "1.0.1"
    shutil.copytree(folder, broken)
    (broken / "model.toml").unlink()
    (folder.parent / "__pycache__").mkdir()
    (root / "README.md").touch()
    sound, other = list_models(root)
    assert sound[:7] == ("tiny-uint8", "1.0.0", "classify", "uint8 16 x 16 x 3", sound.size, "Apache-2.0", SOUND)
    assert sound.sha256 == read_model(folder).sha256
    assert sound.size.endswith(" kB")
    assert (other.model, other.version, other.task) == ("tiny-uint8", "1.0.1", "")
    assert "model.toml: cannot be read" in other.state


def test_every_bundled_model_is_listed_as_sound() -> None:
    rows = list(list_models(MODELS))
    assert [row.model for row in rows] == sorted(file.parents[1].name for file in MODELS.glob("*/*/model.toml"))
    assert {row.state for row in rows} == {SOUND}


def test_an_empty_root_has_no_models_and_a_missing_one_is_told(tmp_path: Path) -> None:
    assert list(list_models(tmp_path)) == []
    with pytest.raises(ModelError, match="nowhere: cannot be read: No such file"):
        list(list_models(tmp_path / "nowhere"))
