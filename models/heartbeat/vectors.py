"""From recordings to labelled vectors, by the very extractor that the device runs."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from appliance.core.features.beats import Beats
from appliance.core.model import BeatsExtract
from appliance.core.types import Frame, FrameKind
from appliance.errors import NoScoreError, NoSignalError
from models.heartbeat import simulator
from models.heartbeat.disturbance import RATE_HZ

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Array = NDArray[Any]

EXTRACT = BeatsExtract(rate_hz=RATE_HZ, length=1250, stride=250, calibration_beats=120)
CLOSE_S = 0.15
"""A beat found and a beat annotated within this time are the same (ANSI/AAMI EC57)."""
PROCESSES = 2


@dataclass(frozen=True, eq=False)
class Judged:
    """The beats that the extractor judged in one recording, and what it refused."""

    vectors: Array
    """float32 ``[n, features]``."""
    kinds: Array
    """int ``[n]``: what each beat really was; ``nothing`` where there was none."""
    positions: Array
    """float64 ``[n]``, samples from the recording's start."""
    frames: int
    refused: Counter[str]
    """Reason to frames that were not judged."""


def judge(
    signal: Array,
    positions: Array,
    kinds: Array,
    *,
    nothing: int,
    baseline: bytes | None = None,
    extract: BeatsExtract = EXTRACT,
) -> Judged:
    """Play a recording through the extractor, window after window, as the device would.

    Args:
        signal: float ``[n]`` at ``extract.rate_hz``.
        positions: of the annotated beats, ascending, in samples.
        kinds: int, of each annotated beat.
        nothing: kind of a beat that was found where none was annotated.
        baseline: what the extractor remembers from before; None: it learns first.
        extract: the extractor's settings.
    """
    beats = Beats(extract)
    if baseline is not None:
        beats.restore({"baseline": baseline})
    vectors, found, refused = [], [], Counter[str]()
    starts = range(0, len(signal) - extract.length + 1, extract.stride)
    for number, start in enumerate(starts):
        window = np.asarray(signal[start : start + extract.length, np.newaxis], np.float32)
        try:
            judged = beats.judge(Frame(FrameKind.WINDOW, window, 0.0, number))
        except (NoScoreError, NoSignalError) as error:
            refused[str(error)] += 1
            continue
        vectors += [beat.vector for beat in judged]
        found += [beat.position + start for beat in judged]
    at = np.array(found)
    names = len(beats.names)
    return Judged(
        vectors=np.array(vectors, np.float32).reshape(len(vectors), names),
        kinds=_nearest(at, positions, kinds, nothing, CLOSE_S * extract.rate_hz),
        positions=at,
        frames=len(starts),
        refused=refused,
    )


def baseline_of(signal: Array, extract: BeatsExtract = EXTRACT) -> bytes | None:
    """Give the baseline that the extractor learns from a recording; None when it never gets there."""
    beats = Beats(extract)
    for start in range(0, len(signal) - extract.length + 1, extract.stride):
        window = np.asarray(signal[start : start + extract.length, np.newaxis], np.float32)
        try:
            beats.judge(Frame(FrameKind.WINDOW, window, 0.0, 0))
        except (NoScoreError, NoSignalError):
            if learned := beats.changes(1):
                return learned["baseline"]
    return None


def _nearest(found: Array, positions: Array, kinds: Array, nothing: int, close: float) -> Array:
    """Give the kind of the annotated beat nearest to each found one, ``nothing`` when none is ``close``."""
    if not len(found) or not len(positions):
        return np.full(len(found), nothing)
    right = np.clip(np.searchsorted(positions, found), 1, len(positions) - 1)
    left_is_nearer = found - positions[right - 1] < positions[right] - found
    nearest = np.where(left_is_nearer, right - 1, right)
    return np.where(np.abs(positions[nearest] - found) <= close, kinds[nearest], nothing)


@dataclass(frozen=True, eq=False)
class Cohort:
    """Vectors of many simulated wearers."""

    vectors: Array
    kinds: Array
    wearers: Array
    """int ``[n]``: whose beat it is."""
    frames: int
    refused: Counter[str]


def simulate_wearer(seed: int, wearer: int, duration_s: float) -> Judged:
    """Simulate one wearer from a seed of their own, so that any number of processes gives the same."""
    rng = np.random.default_rng((seed, wearer))
    person = simulator.make_wearer(rng)
    recording = simulator.record(person, simulator.random_plan(rng, duration_s), rng)
    return judge(recording.signal, recording.positions, recording.kinds, nothing=simulator.ARTEFACT)


def simulate(seed: int, wearers: Sequence[int], duration_s: float) -> Cohort:
    """Simulate wearers, each for ``duration_s``; the first two minutes of each go into their baseline."""
    with ProcessPoolExecutor(PROCESSES) as pool:
        judged = list(pool.map(partial(simulate_wearer, seed, duration_s=duration_s), wearers, chunksize=4))
    return Cohort(
        vectors=np.concatenate([each.vectors for each in judged]),
        kinds=np.concatenate([each.kinds for each in judged]),
        wearers=np.repeat(wearers, [len(each.kinds) for each in judged]),
        frames=sum(each.frames for each in judged),
        refused=sum((each.refused for each in judged), Counter[str]()),
    )
