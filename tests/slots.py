"""Models to store, and what is signed of them."""

import hashlib
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from appliance.trust.manifest import DESCRIPTION, Bundle, Custom, Manifest, Terms
from appliance.trust.state import Candidate
from tests.trust.making import digests, sound, toml

MODEL = "made"
"""What every sample is a version of, unless told otherwise."""


@dataclass(frozen=True, slots=True)
class Sample:
    """A model folder's files, and the id that they have together."""

    name: str
    version: str
    model_id: str
    files: dict[str, bytes]

    def make(self, folder: Path) -> None:
        """Write the files into an empty folder, as an update does."""
        for path, content in self.files.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(content)

    def spoilt(self, path: str, content: bytes) -> Callable[[Path], None]:
        """Return what makes the folder with one file that is not right."""
        return Sample(self.name, self.version, self.model_id, {**self.files, path: content}).make


def sample(version: str, *, name: str = MODEL, size_bytes: int = 1000) -> Sample:
    """Return a sound model folder whose network is ``size_bytes`` bytes, the same for the same arguments."""
    tree, files = sound("classify")
    network = random.Random(f"{name} {version}").randbytes(size_bytes)  # noqa: S311 - filling, no secret
    files["model.tflite"] = b"\x1c\0\0\0TFL3" + network
    description = toml({**tree, "name": name, "version": version, "files": digests(files)})
    return Sample(name, version, hashlib.sha256(description).hexdigest(), {**files, DESCRIPTION: description})


def bundle_of(content: bytes, base: Sample | None = None) -> Bundle:
    """Return what is signed of a bundle."""
    return Bundle(
        path=f"{MODEL}/2/{base.model_id if base else 'whole'}",
        size_bytes=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
        base_id=base.model_id if base else "",
        memory_bytes=1 << 20,
    )


def candidate_of(made: Sample, bundle: Bundle, sequence: int = 2) -> Candidate:
    """Return an update under way."""
    custom = Custom(
        format=1,
        kind="model",
        model=made.name,
        version=made.version,
        sequence=sequence,
        size_bytes=sum(map(len, made.files.values())),
        rollout_percent=100,
        terms=Terms(tries=10),
    )
    return Candidate(manifest=Manifest(model_id=made.model_id, custom=custom, bundles=(bundle,)), bundle=bundle)
