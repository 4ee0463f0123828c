"""A hub under test, and model folders as a team makes them: a next version, fine-tuned, in a folder of its own."""

import hashlib
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tuf.api.metadata import Metadata, Root, Snapshot, Targets, Timestamp
from typer.testing import CliRunner, Result

from appliance.errors import ApplianceError
from appliance.hub.cli import app
from appliance.hub.folder import ModelFolder
from appliance.hub.pin import _layers, _put, _put_rows, _rows, _scales, _values
from appliance.hub.reference import Reference, record
from appliance.trust.delta.flatbuffer import walk
from appliance.trust.manifest import Manifest, Target, manifests


def copied(source: Path, root: Path, version: str | None = None) -> Path:
    """A model folder again, below ``root``, perhaps as another version."""
    folder = root / source.parent.name / (version or source.name)
    shutil.copytree(source, folder)
    _rewrite(folder, "version", version or source.name)
    return folder


def tuned(source: Path, root: Path, version: str, *, noise: float = 0.5, seed: int = 0) -> Path:
    """A next version: every weight moved by ``noise`` old steps and quantised anew, as training and converter do."""
    folder = copied(source, root, version)
    file = folder / "model.tflite"
    file.write_bytes(retrained(file.read_bytes(), noise, seed))
    read = ModelFolder.read(source)
    golden, run = read.description.golden.file, Reference(read.model, file.read_bytes())
    outputs = {
        f"{role}_{number}": raw
        for number, tensor in enumerate(read.model.golden.inputs)
        for role, raw in run(tensor).items()
    }
    (folder / golden).write_bytes(record((folder / golden).read_bytes(), outputs))
    for path in ("model.tflite", golden):
        _rewrite(folder, f'"{path}"', hashlib.sha256((folder / path).read_bytes()).hexdigest())
    return folder


def retrained(tflite: bytes, noise: float, seed: int) -> bytes:
    """A network with every weight moved a little, on scales of its own."""
    rng, out = np.random.default_rng(seed), bytearray(tflite)
    for layer in _layers(walk(tflite), tflite):
        before = _scales(tflite, layer.weights.scale)
        rows = _rows(tflite, layer.weights)
        real = (rows + rng.normal(0, noise, rows.shape)) * before[:, np.newaxis].astype(np.float64)
        peak = np.abs(real).max(axis=1)
        after = np.where(peak > 0, peak / 127, before).astype("<f4")
        _put_rows(out, layer.weights, np.clip(np.round(real / after[:, np.newaxis]), -127, 127))
        _put(out, layer.weights.scale, after)
        scales = _scales(tflite, layer.bias.scale)
        new = after * _scales(tflite, layer.given.scale)
        bias = np.round(_values(tflite, layer.bias.data, "<i4") * (scales.astype(np.float64) / new))
        _put(out, layer.bias.data, np.clip(bias, -(2**31), 2**31 - 1).astype("<i4"))
        _put(out, layer.bias.scale, new.astype("<f4"))
    return bytes(out)


def _rewrite(folder: Path, key: str, value: str) -> None:
    file = folder / "model.toml"
    text, times = re.subn(rf'^{re.escape(key)} = ".*"$', f'{key} = "{value}"', file.read_text(), flags=re.MULTILINE)
    assert times == 1
    file.write_text(text)


COMMANDS = sorted(str(command.name) for command in app.registered_commands)


@dataclass(frozen=True, slots=True)
class Hub:
    """A hub's folder, and its command line."""

    folder: Path

    @property
    def public(self) -> Path:
        return self.folder / "public"

    def __call__(self, *words: object) -> str:
        """Run a command that must succeed; gives what it printed."""
        done = self.run(*words)
        assert done.exit_code == 0, f"{words}: {done.output} {done.exception!r}"
        return done.output

    def refused(self, *words: object) -> str:
        """Run a command that must be refused on purpose; gives its message."""
        done = self.run(*words)
        assert isinstance(done.exception, ApplianceError), f"{words}: {done.output} {done.exception!r}"
        return str(done.exception)

    def run(self, *words: object) -> Result:
        environment = {"EDGE_HUB": str(self.folder), "COLUMNS": "160"}
        return CliRunner().invoke(app, [str(word) for word in words], env=environment)

    def files(self) -> dict[str, bytes]:
        """Every file of the public folder."""
        return {
            str(file.relative_to(self.public)): file.read_bytes() for file in self.public.rglob("*") if file.is_file()
        }


def hub_in(folder: Path) -> Hub:
    """A new hub."""
    made = Hub(folder / "hub")
    made("init", made.folder)
    return made


def seen(public: Path) -> tuple[Target, ...]:
    """What any client of TUF sees in a public folder: every signature, version and digest is held against the rest."""
    folder = public / "metadata"
    roots = sorted(folder.glob("*.root.json"), key=lambda file: int(file.name.partition(".")[0]))
    root = Metadata[Root].from_file(str(roots[0]))
    for file in roots:
        new = Metadata[Root].from_file(str(file))
        root.signed.verify_delegate("root", new.signed_bytes, new.signatures)
        new.signed.verify_delegate("root", new.signed_bytes, new.signatures)
        root = new
    timestamp = Metadata[Timestamp].from_file(str(folder / "timestamp.json"))
    snapshot = Metadata[Snapshot].from_file(str(folder / f"{timestamp.signed.snapshot_meta.version}.snapshot.json"))
    version = snapshot.signed.meta["targets.json"].version
    targets = Metadata[Targets].from_file(str(folder / f"{version}.targets.json"))
    for role, file_of_role in (("timestamp", timestamp), ("snapshot", snapshot), ("targets", targets)):
        root.signed.verify_delegate(role, file_of_role.signed_bytes, file_of_role.signatures)
        assert not file_of_role.signed.is_expired()
    found = []
    for path, target in targets.signed.targets.items():
        place, _, name = path.rpartition("/")
        content = (public / "targets" / place / f"{target.hashes['sha256']}.{name}").read_bytes()
        target.verify_length_and_hashes(content)
        found.append(Target(path, target.length, target.hashes["sha256"], target.custom or {}))
    return tuple(found)


def offered(public: Path, model: str) -> dict[str, Manifest]:
    """The versions of a model as a device reads them, by version."""
    return {each.version: each for each in manifests(seen(public)).get(model, ())}


@dataclass(frozen=True, slots=True)
class Shop:
    """A hub and the folders of a team beside it."""

    root: Path
    said: str = ""

    @property
    def hub(self) -> Hub:
        return Hub(self.root / "hub")

    @property
    def next(self) -> Path:
        return self.root / "models" / "tiny-uint8" / "1.1.0"

    def content(self, version: str, base: str) -> bytes:
        """The bundle of a version from a base's id, or the whole."""
        manifest = offered(self.hub.public, "tiny-uint8")[version]
        found = manifest.bundle_for(base)
        assert found is not None
        place, _, name = found.path.rpartition("/")
        return (self.hub.public / "targets" / place / f"{found.sha256}.{name}").read_bytes()
