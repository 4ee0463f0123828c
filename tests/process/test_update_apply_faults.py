"""The process that applies a bundle: damaged bundles, other bases, too little memory, a full disk, a hang, a kill."""

import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from threading import Event, Thread

import pytest

from appliance.adapters.applying import Applier, hash_folder
from appliance.adapters.slots import Slots
from appliance.errors import BundleError, StoreError
from tests.mounts import small_disk
from tests.process.test_update_apply import V1, V2, bundle_for, folder_of
from tests.slots import Sample

pytestmark = pytest.mark.slow

_CHILD = "import sys; from tests.process.update_children import main; main({what!r})"


def child(folder: Path, what: str) -> str:
    """A module that does ``what`` instead of applying; its name."""
    name = f"update_child_{what}"
    (folder / f"{name}.py").write_text(_CHILD.format(what=what))
    return name


@pytest.mark.parametrize("base", [V1, None], ids=["delta", "whole"])
def test_what_a_child_makes_is_stored_under_the_id_that_was_signed(base: Sample | None, tmp_path: Path) -> None:
    slots = Slots(tmp_path / "models")
    bundle, file = bundle_for(tmp_path, base, V2)
    there = folder_of(base, tmp_path) if base else None
    folder = slots.add(V2.model_id, lambda into: Applier()(bundle, file, there, into))
    assert {path: (folder / path).read_bytes() for path in V2.files} == V2.files
    assert hash_folder(folder) == V2.model_id


@pytest.mark.parametrize("place", [0, 5, 40, -40, -1])
def test_a_bundle_with_a_wrong_byte_gives_an_error_of_ours_or_what_was_signed(place: int, tmp_path: Path) -> None:
    bundle, file = bundle_for(tmp_path, V1, V2)
    content = bytearray(file.read_bytes())
    content[place] ^= 0x40
    file.write_bytes(content)
    (into := tmp_path / "into").mkdir()
    with suppress(BundleError):
        Applier()(bundle, file, folder_of(V1, tmp_path), into)
        made = {path: (into / path).read_bytes() for path in V2.files}
        assert made == V2.files, "a byte that is not needed may be wrong"


def test_another_base_gives_an_error_of_ours(tmp_path: Path) -> None:
    bundle, file = bundle_for(tmp_path, V1, V2)
    base = folder_of(V2, tmp_path)
    (base / "labels.txt").unlink()
    (into := tmp_path / "into").mkdir()
    with pytest.raises((BundleError, StoreError)):
        Applier()(bundle, file, base, into)


@pytest.mark.parametrize(("wanted_bytes", "has"), [(8 << 20, "had"), (64 << 20, "refused")])
def test_more_memory_than_is_signed_is_not_had(wanted_bytes: int, has: str) -> None:
    code = (
        "from appliance.adapters.apply_main import _limit\n_limit(32 << 20)\n"
        f"try:\n    print(bytes({wanted_bytes}) and 'had')\nexcept MemoryError:\n    print('refused')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == has


def test_a_folder_that_takes_nothing_is_the_devices_fault(tmp_path: Path) -> None:
    bundle, file = bundle_for(tmp_path, None, V2)
    with pytest.raises(StoreError, match="nowhere"):
        Applier()(bundle, file, None, Path("/proc/nowhere"))


def test_a_full_disk_is_the_devices_fault(tmp_path: Path) -> None:
    """A file system of 64 KiB."""
    small = tmp_path / "small"
    with small_disk(small, "64k"):
        bundle, file = bundle_for(tmp_path, None, V2)
        (small / "filling").write_bytes(bytes(53_000))
        with pytest.raises(StoreError, match="No space left"):
            Applier()(bundle, file, None, small)


@pytest.mark.parametrize(("what", "words"), [("hang", "within 1 s"), ("crash", "SIGABRT"), ("grow", "MemoryError")])
def test_a_child_that_hangs_or_dies_ends_in_bounded_time(
    what: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), str(Path(__file__).parents[2])]))
    bundle, file = bundle_for(tmp_path, None, V2)
    timeout_s = 1.0 if what == "hang" else 60.0
    with pytest.raises(BundleError, match=words):
        Applier(timeout_s=timeout_s, main=child(tmp_path, what))(bundle, file, None, tmp_path)


def test_a_child_ends_with_its_parent(tmp_path: Path) -> None:
    """A kill of the updater leaves no process behind that goes on writing."""
    name = child(tmp_path, "hang")
    code = (
        "import sys; from pathlib import Path; from appliance.adapters.applying import Applier; "
        "from tests.slots import bundle_of; "
        f"Applier(main={name!r})(bundle_of(b'x'), Path('x'), None, Path('.'))"
    )
    root = str(Path(__file__).parents[2])
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), root])}
    parent = subprocess.Popen([sys.executable, "-c", code], env=environment, cwd=root)
    try:
        running = _until(lambda: _named(name))
        assert running
        os.kill(parent.pid, signal.SIGKILL)
        parent.wait(10.0)
        assert _until(lambda: not _named(name))
    finally:
        parent.kill()
        parent.wait(10.0)


def _named(name: str) -> bool:
    """Whether a process with ``-m name`` runs that has got as far as its own code."""
    found = subprocess.run(["pgrep", "-f", "--", f"-m {name} "], capture_output=True, text=True, check=False)
    return any(Path(f"/proc/{pid}/wchan").exists() for pid in found.stdout.split())


def _until(holds: object, tries: int = 200) -> bool:
    """Look until something holds, for 20 s at most."""
    assert callable(holds)
    never = Event()
    return any(holds() or never.wait(0.1) for _ in range(tries))


def test_two_children_do_not_meet(tmp_path: Path) -> None:
    """For two updaters of two devices on one machine."""
    bundle, file = bundle_for(tmp_path, None, V2)
    folders = [tmp_path / "a", tmp_path / "b"]
    for folder in folders:
        folder.mkdir()
    threads = [Thread(target=Applier(), args=(bundle, file, None, folder)) for folder in folders]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60.0)
    assert all((folder / "model.tflite").read_bytes() == V2.files["model.tflite"] for folder in folders)
