"""A bundle is applied in a process of its own: it gives the folder that was signed, or an error of ours, and ends."""

import hashlib
from pathlib import Path

import pytest

from appliance.adapters.applying import Applier, hash_folder
from appliance.errors import ModelError, StoreError
from appliance.hub.bundle import build
from appliance.trust.delta import Kind
from appliance.trust.manifest import DESCRIPTION, Bundle
from tests.slots import Sample, bundle_of, sample

V1, V2 = sample("1.0.0", size_bytes=5000), sample("2.0.0", size_bytes=5000)
KINDS = (Kind.FULL_XZ, Kind.SUB_XZ)
"""Those that are made fast; each is applied in the same way."""


def folder_of(made: Sample, root: Path) -> Path:
    """The folder of a sample."""
    folder = root / made.name / made.version
    folder.mkdir(parents=True)
    made.make(folder)
    return folder


def bundle_for(root: Path, base: Sample | None, result: Sample) -> tuple[Bundle, Path]:
    """A real bundle: what is signed of it, and its file."""
    built = build(base.files if base else None, result.files, kinds=KINDS)
    file = root / f"{base.version if base else 'whole'}.part"
    file.write_bytes(built.content)
    return bundle_of(built.content, base).model_copy(update={"memory_bytes": built.memory_bytes}), file


def test_a_folder_with_one_wrong_byte_or_none_is_no_base(tmp_path: Path) -> None:
    folder = folder_of(V1, tmp_path)
    assert hash_folder(folder) == hashlib.sha256(V1.files[DESCRIPTION]).hexdigest()
    content = bytearray(V1.files["model.tflite"])
    content[-1] ^= 1
    (folder / "model.tflite").write_bytes(content)
    with pytest.raises(ModelError, match="damaged or was changed"):
        hash_folder(folder)
    with pytest.raises(ModelError, match="cannot be read"):
        hash_folder(tmp_path / "nowhere")


def test_a_process_that_cannot_be_started_is_the_devices_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.executable", str(tmp_path / "no-python"))
    bundle = bundle_of(b"content")
    with pytest.raises(StoreError, match="cannot be begun"):
        Applier()(bundle, tmp_path / "x", None, tmp_path)
