"""Newer models for tests: copies of this repository's with a change, in a store, with a record at SELFTEST."""

import hashlib
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tomli_w

from appliance.ports import SlotStore
from appliance.trust.manifest import Bundle, Custom, Manifest, Terms
from appliance.trust.state import Candidate, ModelState, Stage

QUICK = Terms(tries=3, shadow_frames=4, agreement_min=0.75, decisions_min=6, duration_s=0.0)
"""A trial that a few frames decide."""


def newer(
    source: Path,
    root: Path,
    version: str = "2.0.0",
    *,
    files: Mapping[str, bytes] | None = None,
    **sections: Mapping[str, Any],
) -> Path:
    """Copy a model folder to ``<root>/<name>/<version>``, with other files and keys of its description's sections."""
    folder = root / source.parent.name / version
    tree = tomllib.loads((source / "model.toml").read_text())
    content = {path: (source / path).read_bytes() for path in tree["files"]} | dict(files or {})
    for path, each in content.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(each)
    tree["version"] = version
    tree["files"] = {path: hashlib.sha256(each).hexdigest() for path, each in content.items()}
    for section, keys in sections.items():
        tree[section] |= keys
    (folder / "model.toml").write_bytes(tomli_w.dumps(tree).encode())
    return folder


def stored(slots: SlotStore, folder: Path) -> str:
    """Put a model folder into the store; returns its id."""
    contents = {file.relative_to(folder): file.read_bytes() for file in folder.rglob("*") if file.is_file()}

    def fill(place: Path) -> None:
        for path, content in contents.items():
            (place / path).parent.mkdir(parents=True, exist_ok=True)
            (place / path).write_bytes(content)

    model_id = hashlib.sha256((folder / "model.toml").read_bytes()).hexdigest()
    slots.add(model_id, fill)
    return model_id


def candidate_of(model_id: str, folder: Path, terms: Terms, sequence: int = 2) -> Candidate:
    """What a record says of a candidate."""
    custom = Custom(
        format=1,
        kind="model",
        model=folder.parent.name,
        version=folder.name,
        sequence=sequence,
        size_bytes=1,
        rollout_percent=100,
        summary="Better",
        terms=terms,
    )
    bundle = Bundle(path="b", size_bytes=1000, sha256="0" * 64, base_id="", memory_bytes=1)
    return Candidate(manifest=Manifest(model_id=model_id, custom=custom, bundles=(bundle,)), bundle=bundle)


def laid_ready(slots: SlotStore, folder: Path, terms: Terms = QUICK, *, stage: Stage = Stage.SELFTEST) -> str:
    """Bring a model folder to the stage in which the updater leaves it to the loop; returns the model's id."""
    model_id = stored(slots, folder)
    name = folder.parent.name
    with slots.locked(name):
        state = slots.load(name)
        slots.save(
            state.model_copy(
                update={
                    "stage": stage,
                    "candidate": candidate_of(model_id, folder, terms, state.sequence + 1),
                    "tries_left": terms.tries,
                    "latest_id": model_id,
                    "latest_version": folder.name,
                    "attempt": state.attempt + 1,
                }
            )
        )
    return model_id


def record(slots: SlotStore, folder: Path) -> ModelState:
    """The record of a folder's model."""
    return slots.load(folder.parent.name)
