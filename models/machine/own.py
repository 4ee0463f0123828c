"""Learn one's own machine from recordings of it while it is well: `build.py --healthy RECORDING.npz`."""

from __future__ import annotations

import zipfile
import zlib
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from pydantic import ValidationError

from appliance.core.features.spectrum import Spectrum
from appliance.core.types import Frame, FrameKind
from appliance.errors import ForgeError
from appliance.forge.package import package
from appliance.forge.report import Estimate
from appliance.trust.description import SpectrumSection
from models.machine.folder import spec_for
from models.machine.network import learn
from models.machine.vectors import EXTRACT, SEED

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator, Sequence

    from appliance.core.model import SpectrumExtract
    from appliance.forge.progress import Progress
    from models.machine.simulator import Array

WINDOWS_MIN = 300
"""Independent ones for some 40 features; fewer describe the recording and not the machine."""
UPDATES = 4000
"""Of training: one machine is learned sooner than many."""
HELD_OUT = 0.25
"""The last part of each recording, on which the threshold is found."""
SAMPLES_MAX = 200_000_000
"""Of one recording: 17 hours at 3200 Hz, 800 MB in memory."""
THRESHOLD_QUANTILE, RELEASE_QUANTILE = 0.995, 0.98
FOREIGN = (OSError, ValueError, KeyError, EOFError, IndexError, RuntimeError, TypeError, zipfile.BadZipFile, zlib.error)
"""What NumPy and ``zipfile`` raise on a file that is no ``.npz``, is cut short, or holds pickled objects."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options for an own machine."""
    group = parser.add_argument_group("learn your own machine")
    group.add_argument(
        "--healthy",
        type=Path,
        nargs="+",
        metavar="NPZ",
        help="recordings of it while it is well, at every speed and load that is usual: `samples` [n] or [n, 1]",
    )
    group.add_argument("--name", default="my-machine", help="of the folder that is written (default: my-machine)")
    group.add_argument("--version", default="1.0.0")
    group.add_argument("--rate-hz", type=float, default=EXTRACT.rate_hz, help="samples a second (default: 3200)")
    group.add_argument("--shaft-hz", type=float, nargs=2, default=EXTRACT.shaft_hz, metavar=("SLOWEST", "FASTEST"))
    group.add_argument("--envelope-hz", type=float, nargs=2, default=EXTRACT.envelope_hz, metavar=("LOW", "HIGH"))


def build(options: argparse.Namespace, progress: Progress) -> None:
    """Read the recordings, learn, find a threshold on what was held out, write the folder. Raises ForgeError."""
    recordings = [read(file) for file in options.healthy]
    extract = _checked(
        replace(
            EXTRACT,
            rate_hz=options.rate_hz,
            shaft_hz=tuple(options.shaft_hz),
            envelope_hz=tuple(options.envelope_hz),
            rms_min=_rms_min(np.concatenate([_loudness(samples, EXTRACT.length) for samples in recordings])),
        )
    )
    parts = [_split(samples, extract) for samples in recordings]
    learned, held_out = (np.concatenate([part[side] for part in parts]) for side in (0, 1))
    if len(learned) < WINDOWS_MIN:
        wanted_s = WINDOWS_MIN * extract.length / (1 - HELD_OUT) / extract.rate_hz
        minutes = wanted_s / 60
        msg = f"{len(learned)} windows to learn from; {WINDOWS_MIN} are needed: record {minutes:.0f} minutes or more"
        raise ForgeError(msg)
    trained = learn(learned, SEED, progress, UPDATES)
    errors = trained.scores(held_out)
    threshold, release = (float(np.quantile(errors, quantile)) for quantile in (THRESHOLD_QUANTILE, RELEASE_QUANTILE))
    spec = spec_for(
        trained,
        learned,
        extract,
        name=options.name,
        version=options.version,
        description=f"Unusual vibration of {options.name}, learned from recordings of it while it was well.",
        source=f"Trained by models/machine/build.py on {len(options.healthy)} recordings of the machine itself.",
        figures={"score, median of healthy windows": Estimate.exact(float(np.median(errors)))},
        measured_on=f"the last quarter of the recordings, {len(held_out)} windows",
        command="python models/machine/build.py --healthy ...",
        training_data=f"{len(learned)} windows of the machine's own vibration",
        toolchain={},
        missing="Any fault: how well this machine's faults are found is not known. Speeds and loads not recorded.",
    )
    folder = package(spec, options.out)
    print(f"{folder}\nrms_min {extract.rms_min:g}; a rule to begin with:")
    print(f"threshold = {threshold:.2f}\nrelease = {release:.2f}\nhold_n = 6\nhold_m = 8")


def _checked(extract: SpectrumExtract) -> SpectrumExtract:
    """Hold the settings against the rules for a model folder. Raises ForgeError."""
    try:
        SpectrumSection.model_validate({"kind": "spectrum", **asdict(extract)})
    except ValidationError as error:
        reasons = "; ".join(f"{'.'.join(map(str, each['loc']))} {each['msg']}".strip() for each in error.errors())
        msg = f"these options do not go together: {reasons}"
        raise ForgeError(msg) from error
    return extract


def read(file: Path) -> Array:
    """Read a recording: float32 [n, 1] in the sensor's unit. Raises ForgeError."""
    try:
        with file.open("rb") as stream, np.load(stream, allow_pickle=False) as held:
            samples = np.asarray(held["samples"])
    except FOREIGN as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else "damaged, or holds something else"
        msg = f"{file}: an .npz with the array `samples` is wanted ({why})"
        raise ForgeError(msg) from error
    if samples.ndim == 1:
        samples = samples[:, np.newaxis]
    length_min = EXTRACT.length
    if samples.ndim != 2 or samples.shape[1] != 1 or not length_min <= len(samples) <= SAMPLES_MAX:  # noqa: PLR2004 - [n, 1]
        wanted = f"[n] or [n, 1] is wanted, n from {length_min:,} (one window) to {SAMPLES_MAX:,}"
        msg = f"{file}: samples are {list(samples.shape)}; {wanted}"
        raise ForgeError(msg)
    if not np.issubdtype(samples.dtype, np.number) or not np.isfinite(samples).all():
        msg = f"{file}: samples must be finite numbers"
        raise ForgeError(msg)
    return samples.astype(np.float32)


def _windows(samples: Array, length: int) -> Iterator[Array]:
    for begin in range(0, len(samples) - length + 1, length):
        yield samples[begin : begin + length]


def _loudness(samples: Array, length: int) -> Array:
    return np.array([float(window.std()) for window in _windows(samples, length)])


def _rms_min(loudness: Array) -> float:
    """Find what is quieter than the running machine ever was, from the rms of each window. Raises ForgeError."""
    flat = int((loudness == 0.0).sum())
    if flat:
        msg = f"{flat} of {len(loudness)} windows are constant: a cable that was off is not healthy; cut them out"
        raise ForgeError(msg)
    return round(float(np.quantile(loudness, 0.01)) / 2, 6)


def _split(samples: Array, extract: SpectrumExtract) -> Sequence[Array]:
    """Extract all windows in which the machine runs; gives the first part of them and the last, [n, features]."""
    extractor = Spectrum(extract)
    running = [window for window in _windows(samples, extract.length) if float(window.std()) >= extract.rms_min]
    rows = [extractor(Frame(FrameKind.WINDOW, window, 0.0, 0))[0] for window in running]
    vectors = np.array(rows, dtype=np.float32).reshape(len(rows), len(extractor.names))
    first = round(len(vectors) * (1 - HELD_OUT))
    return vectors[:first], vectors[first:]
