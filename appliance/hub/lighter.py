"""Makes a version lighter to carry to devices that have the one before: its scales pinned, if the gate allows it.

What is published then is not quite the author's folder: ``model.tflite`` and the outputs of the golden vectors are
others, and with them the digests in ``model.toml``. The author's folder stays as it is; ``fielded/`` has the new one.
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from appliance.hub import pin
from appliance.hub.agree import by_goldens
from appliance.hub.folder import ModelFolder
from appliance.hub.gate import Examples, Verdict, by_examples
from appliance.hub.reference import Reference, record
from appliance.trust.consistency import EDGETPU_FILE, MODEL_FILE, ONNX_FILE
from appliance.trust.manifest import DESCRIPTION


@dataclass(frozen=True, slots=True)
class Gate:
    """What a changed network must show, and how far it may be changed."""

    examples: Path | None
    loss_max: float
    dead_zone_lsb: int
    """Weights no further from the old ones are left as they were; 0 leaves none. Only with examples."""


def lighten(new: ModelFolder, base: ModelFolder, gate: Gate) -> tuple[ModelFolder, str]:
    """Pin the scales of a folder to those of the one before, if that changes it and it is as good.

    Returns:
        The folder to publish, and a sentence of what was done or why nothing was.

    Raises:
        HubError: the examples cannot be used, or the network does not run here.
    """
    twins = sorted({EDGETPU_FILE, ONNX_FILE} & new.files.keys())
    if twins:
        return new, f"scales not pinned: {twins[0]} holds the same network and could not follow"
    pinned = pin.pin(base.model.tflite, new.model.tflite, gate.dead_zone_lsb)
    if pinned is None:
        return new, f"scales not pinned: the graph is not that of {base.version}"
    if pinned.tflite == new.model.tflite:
        return new, f"scales not pinned: they are those of {base.version} already"
    verdict = _judge(new, pinned.tflite, gate)
    if not verdict.passed:
        return new, f"scales not pinned: {verdict.words}"
    return _rewritten(new, pinned.tflite), f"{pinned} pinned to {base.version}: {verdict.words}"


def _judge(new: ModelFolder, changed: bytes, gate: Gate) -> Verdict:
    if gate.examples is None:
        return by_goldens(new.model, changed)
    return by_examples(new.model, changed, Examples.read(gate.examples, new.model), gate.loss_max)


def _rewritten(folder: ModelFolder, tflite: bytes) -> ModelFolder:
    """Return the folder with another network, its golden outputs and digests after it. Raises HubError."""
    golden, run = folder.description.golden.file, Reference(folder.model, tflite)
    outputs = {
        f"{role}_{number}": raw
        for number, tensor in enumerate(folder.model.golden.inputs)
        for role, raw in run(tensor).items()
    }
    changed = {MODEL_FILE: tflite, golden: record(folder.files[golden], outputs)}
    description = _digests(folder.files[DESCRIPTION].decode("utf-8"), changed)
    return ModelFolder.of({**folder.files, **changed, DESCRIPTION: description.encode("utf-8")}, folder.name)


def _digests(description: str, changed: Mapping[str, bytes]) -> str:
    """Return a description with the digests of changed files; every other character stays."""
    for path, content in changed.items():
        line = re.compile(rf"""^(\s*["']?{re.escape(path)}["']?\s*=\s*["'])[0-9a-f]{{64}}""", re.MULTILINE)
        description = line.sub(rf"\g<1>{hashlib.sha256(content).hexdigest()}", description, count=1)
    return description
