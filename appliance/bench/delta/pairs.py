"""The pairs of model files that are measured: kept as deltas of our own, made whole and checked here.

``index.json`` says of each file what it is a delta against and its digest; ``models/updates`` is the recipe.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from appliance.errors import BundleError, ConfigError
from appliance.trust.delta import Kind, apply

INDEX = "index.json"


@dataclass(frozen=True, slots=True)
class Stored:
    """One file, as the index has it."""

    network: str
    name: str
    base: str
    """The name of the file that it is a delta against; empty for the first version, which is whole."""
    what: str
    judged: str
    """How good it is, in a few words."""
    kind: str
    size_bytes: int
    sha256: str

    @property
    def payload(self) -> str:
        """Where the delta is, in the folder."""
        return f"{self.network}/{self.name}.{self.kind}"


@dataclass(frozen=True, slots=True)
class Pair:
    """What a device has, and what it shall have."""

    stored: Stored
    base: bytes
    result: bytes

    @property
    def name(self) -> str:
        """The network and what became of it."""
        return f"{self.stored.network} {self.stored.name}"

    @property
    def changed(self) -> float:
        """Share of the bytes that differ from those at the same place, 0..1."""
        size_bytes = min(len(self.base), len(self.result))
        base, result = (np.frombuffer(each, np.uint8, size_bytes) for each in (self.base, self.result))
        return float(np.mean(base != result))


def read(folder: Path) -> list[Pair]:
    """Make every pair of a folder whole.

    Raises:
        ConfigError: there is no index, or a file is not what it says.
    """
    try:
        index = [Stored(**each) for each in json.loads((folder / INDEX).read_text())["files"]]
        payloads = [(folder / each.payload).read_bytes() for each in index]
    except (OSError, ValueError, TypeError, KeyError) as error:
        msg = f"{folder}: no pairs of models with their {INDEX}, as a clone has in models/updates/pairs: {error!r}"
        raise ConfigError(msg) from error
    files: dict[tuple[str, str], bytes] = {}
    for each, payload in zip(index, payloads, strict=True):
        base = files.get((each.network, each.base))
        if each.base and base is None:
            msg = f"{folder / INDEX}: {each.network} {each.base} has to stand before {each.name}, which is made from it"
            raise ConfigError(msg)
        files[each.network, each.name] = _made(each, base or b"", payload)
    return [Pair(each, files[each.network, each.base], files[each.network, each.name]) for each in index if each.base]


def _made(stored: Stored, base: bytes, payload: bytes) -> bytes:
    """Apply one delta. Raises ConfigError unless it gives what the index says."""
    out = bytearray(stored.size_bytes)

    def sink(offset: int, content: bytes | memoryview) -> None:
        out[offset : offset + len(content)] = content

    try:
        apply(Kind(stored.kind), payload, base, stored.size_bytes, sink)
    except (BundleError, ValueError) as error:
        msg = f"{stored.payload} cannot be applied, make the pairs anew (models/updates/pack.py): {error}"
        raise ConfigError(msg) from error
    if hashlib.sha256(out).hexdigest() != stored.sha256:
        msg = f"{stored.payload} makes another file than the index names"
        raise ConfigError(msg)
    return bytes(out)
