"""The three versions of the person model that the story is about. All of them are real files that really run.

1.0.0 and 1.1.0 are this repository's own: quantising had moved the first one's scores, and the second takes that out.
1.2.0 is what a broken conversion gives: the first layer's weights are lost, so it says the same to every picture. Its
golden vectors are its own answers, so every check of the file agrees with it.
"""

import hashlib
import re
from pathlib import Path

import numpy as np

from appliance.errors import ConfigError
from appliance.hub.folder import ModelFolder
from appliance.hub.reference import Reference, record
from appliance.trust.delta.flatbuffer import walk
from appliance.trust.model import DESCRIPTION_FILE

MODEL_FILE, GOLDEN_FILE = "model.tflite", "golden/golden.npz"
OLD, NEW, BROKEN = "1.0.0", "1.1.0", "1.2.0"


def make(repository: Path, room: Path) -> dict[str, Path]:
    """Write the three model folders into ``room``; returns them by version. Raises ConfigError, HubError."""
    origin = repository / "models" / "person" / NEW
    differences, description = (
        repository / "examples" / "updates" / f"person-{OLD}.{kind}" for kind in ("npz", "toml")
    )
    for needed in (origin, differences, description):
        if not needed.exists():
            msg = f"{needed}: not there; the demo needs a clone of the repository"
            raise ConfigError(msg)
    folder = ModelFolder.read(origin)
    network, text = folder.files[MODEL_FILE], folder.files[DESCRIPTION_FILE].decode()
    broken_text = text.replace(f'version = "{NEW}"', f'version = "{BROKEN}"', 1)
    versions = {
        OLD: (_older(network, differences), description.read_text(encoding="utf-8")),
        NEW: (network, text),
        BROKEN: (_broken(network), broken_text),
    }
    return {version: _written(folder, version, *made, room) for version, made in versions.items()}


def _older(content: bytes, differences: Path) -> bytes:
    """Return 1.0.0's network: the bytes of 1.1.0's in which they differ are in a file."""
    changed = np.frombuffer(content, np.uint8).copy()
    with np.load(differences) as file:
        changed[file["at"]] = file["byte"]
    return changed.tobytes()


def _broken(content: bytes) -> bytes:
    """Return a network whose first layer has lost its weights: every picture looks the same to it."""
    network = walk(content)
    at, count = network.tensors[network.operators[0].inputs[1]].data
    changed = bytearray(content)
    changed[at : at + count] = bytes(count)
    return bytes(changed)


def _written(folder: ModelFolder, version: str, network: bytes, text: str, room: Path) -> Path:
    """Write a version of a model: its network, golden vectors with the answers that it gives, its description."""
    reference = Reference(folder.model, network)
    outputs = {
        f"{role}_{number}": values
        for number, tensor in enumerate(folder.model.golden.inputs)
        for role, values in reference(tensor).items()
    }
    files = dict(folder.files) | {MODEL_FILE: network, GOLDEN_FILE: record(folder.files[GOLDEN_FILE], outputs)}
    for path in files.keys() - {DESCRIPTION_FILE}:
        digest = hashlib.sha256(files[path]).hexdigest()
        text = re.sub(rf'^("{re.escape(path)}" = )"[0-9a-f]+"', rf'\1"{digest}"', text, flags=re.MULTILINE)
    files[DESCRIPTION_FILE] = text.encode()
    place = room / folder.name / version
    for path, content in files.items():
        (place / path).parent.mkdir(parents=True, exist_ok=True)
        (place / path).write_bytes(content)
    return place
