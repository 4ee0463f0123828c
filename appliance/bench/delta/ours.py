"""Our own delta of a pair: what the hub makes of it, and what applying it costs a device."""

import hashlib
import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

from appliance.bench.delta.pairs import Pair
from appliance.bench.delta.rivals import BSDIFF4
from appliance.bench.delta.rivals import measure as measure_rival
from appliance.errors import BundleError
from appliance.hub.bundle import build
from appliance.hub.delta import encode
from appliance.hub.pin import pin
from appliance.trust.bundle import read_header
from appliance.trust.manifest import DESCRIPTION

WORKER = Path(__file__).with_name("worker.py")
FILE = "model.tflite"
APPLY_TIMEOUT_S = 120.0
"""Of one delta in its process: a second and the start of an interpreter."""


@dataclass(frozen=True, slots=True)
class Ours:
    """What was measured."""

    kind: str
    """The kind that was smallest."""
    size_bytes: int
    size_by_kind: Mapping[str, int]
    bundle_bytes: int
    """The whole file that is sent, with what proves the model and a description of its folder; no golden vectors."""
    took_s: float
    """Wall time of trying every kind."""
    apply_cpu_s: float
    apply_peak_bytes: int
    """Resident memory over that of the interpreter with NumPy in it; pages of the mapped base count."""


def _folder(tflite: bytes) -> dict[str, bytes]:
    """A model folder of the least that there is: the network, and a description with its digest."""
    return {DESCRIPTION: f'[files]\n"{FILE}" = "{hashlib.sha256(tflite).hexdigest()}"\n'.encode(), FILE: tflite}


def measure(pair: Pair) -> Ours:
    """Make a bundle, apply its delta in a process of its own, compare.

    Raises:
        HubError: the bundle cannot be made.
        BundleError: the process fails, or makes another file.
    """
    start_s = perf_counter()
    built = build(_folder(pair.base), _folder(pair.result))
    took_s = perf_counter() - start_s
    row = next(row for row in built.entries if row.path == FILE)
    entry = next(each for each in read_header(built.content).entries if each.path == FILE)
    with TemporaryDirectory(prefix="bench-delta-") as scratch:
        base, payload, made = (Path(scratch) / name for name in ("base", "payload", "made"))
        base.write_bytes(pair.base)
        payload.write_bytes(built.content[entry.payload_start : entry.payload_start + entry.payload_bytes])
        words = [
            sys.executable,
            "-I",
            str(WORKER),
            row.kind,
            str(len(pair.result)),
            *map(str, (base, payload, made)),
        ]
        try:
            done = subprocess.run(words, check=True, capture_output=True, timeout=APPLY_TIMEOUT_S)  # noqa: S603 - our own script
        except subprocess.SubprocessError as error:
            msg = f"{pair.name}: applying {row.kind} failed: {error}"
            raise BundleError(msg) from error
        if made.read_bytes() != pair.result:
            msg = f"{pair.name}: {row.kind} makes another file"
            raise BundleError(msg)
    cost = json.loads(done.stdout)
    return Ours(
        kind=row.kind,
        size_bytes=row.payload_bytes,
        size_by_kind={str(kind): size for kind, size in row.sizes.items()},
        bundle_bytes=len(built.content),
        took_s=took_s,
        apply_cpu_s=cost["cpu_s"],
        apply_peak_bytes=cost["peak_bytes"],
    )


@dataclass(frozen=True, slots=True)
class Pinned:
    """The same pair with the new weights written on the old scales, as the hub does before it makes a delta."""

    ours_bytes: int
    bsdiff4_bytes: int | None
    """None where it is missing."""


def pinned(pair: Pair) -> Pinned | None:
    """Pin, and make both deltas; None where there is nothing to pin."""
    found = pin(pair.base, pair.result)
    if found is None or found.tflite == pair.result:
        return None
    theirs = measure_rival(BSDIFF4, pair.base, found.tflite)
    return Pinned(len(encode(pair.base, found.tflite).payload), theirs.size_bytes)
