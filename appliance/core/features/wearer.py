"""The wearer's own heartbeat: learned from their first minutes, kept over restarts, followed slowly."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

Waves = NDArray[np.float64]

WAVE_HZ = 64.0
WAVE_BEFORE, WAVE_AFTER = 16, 32
"""Samples of a wave before its beat's position and from it on: 0.25 s and 0.5 s, P wave to T wave."""
WAVE_SAMPLES = WAVE_BEFORE + WAVE_AFTER

ALIKE_MIN = 0.9
"""Correlation from which two beats have the same shape."""
FOLLOWED_MIN = 0.95
"""Correlation with the baseline from which a beat may change it."""
FOLLOW_BEATS = 2048.0
"""The baseline follows the newest this many beats (about half an hour), so that posture and skin may change."""
HANDED_OUT_EVERY = 512
"""Followed beats between two hand-outs of the baseline, so that it does not wear out what it is stored on."""
CANDIDATES_PER_BEAT = 2
"""Candidates that are kept while learning, for each beat wanted: so what is learned is what most of them look like."""

_FORM = 1.0
_HEAD = 6
_RR_S = (0.2, 3.0)


@dataclass(frozen=True, slots=True, eq=False)
class Candidate:
    """One beat as it is learned from and compared."""

    wave: Waves
    """``[WAVE_SAMPLES]``, the sensor's unit, median 0."""
    rr_s: float
    """Time since the beat before."""
    width_s: float
    slope: float
    """Steepest change within the beat, unit a second."""


@dataclass(frozen=True, slots=True, eq=False)
class Baseline:
    """What this wearer's usual beat is."""

    shape: Waves
    """``[WAVE_SAMPLES]``, median 0, highest absolute value 1."""
    amplitude: float
    """What ``shape`` is multiplied by to be in the sensor's unit, above 0."""
    rr_s: float
    """Median time between beats while it was learned."""
    width_s: float
    slope: float

    def to_bytes(self) -> bytes:
        """Write it as little-endian float32."""
        head = (_FORM, WAVE_HZ, self.amplitude, self.rr_s, self.width_s, self.slope)
        return np.concatenate((head, self.shape)).astype("<f4").tobytes()


def baseline_from(data: bytes) -> Baseline | None:
    """Read what ``Baseline.to_bytes`` wrote; None for anything else."""
    if len(data) != 4 * (_HEAD + WAVE_SAMPLES):
        return None
    values = np.frombuffer(data, "<f4").astype(np.float64)
    form, wave_hz, amplitude, rr_s, width_s, slope = (float(value) for value in values[:_HEAD])
    shape = values[_HEAD:]
    sound = (
        np.isfinite(values).all()
        and (form, wave_hz) == (_FORM, WAVE_HZ)
        and min(amplitude, width_s, slope) > 0
        and _RR_S[0] <= rr_s <= _RR_S[1]
        and 0.0 < np.abs(shape).max() <= 2.0  # noqa: PLR2004 - 1 when written, followed a little since
    )
    return Baseline(shape, amplitude, rr_s, width_s, slope) if sound else None


def correlation(waves: Waves, shape: Waves) -> Waves:
    """Pearson's correlation of each of ``waves`` [..., n] with ``shape`` [n]; 0 for a wave that does not move."""
    centred = waves - waves.mean(axis=-1, keepdims=True)
    other = shape - shape.mean()
    norm = np.sqrt(np.square(centred).sum(axis=-1) * np.square(other).sum())
    correlated: Waves = np.divide(centred @ other, norm, out=np.zeros_like(norm), where=norm > 0)
    return correlated


def learn(candidates: list[Candidate], beats: int) -> Baseline | None:
    """Make a baseline of the largest group of beats that look like one another; None while it has less than ``beats``.

    The group is all that correlate with one beat, the one that most others correlate with. So of a wearer most of
    whose beats while learning were ventricular, a ventricular beat is learned: nothing here could know better.
    """
    if len(candidates) < beats:
        return None
    waves = np.stack([candidate.wave for candidate in candidates])
    centred = waves - waves.mean(axis=1, keepdims=True)
    unit = centred / np.maximum(np.sqrt(np.square(centred).sum(axis=1, keepdims=True)), 1e-12)
    alike = unit @ unit.T >= ALIKE_MIN
    middle = int(alike.sum(axis=1).argmax())
    group = [candidates[index] for index in np.flatnonzero(alike[middle])]
    if len(group) < beats:
        return None
    wave = np.median([each.wave for each in group], axis=0)
    amplitude = float(np.abs(wave).max())
    return Baseline(
        shape=wave / amplitude,
        amplitude=amplitude,
        rr_s=float(np.clip(np.median([each.rr_s for each in group]), *_RR_S)),
        width_s=float(np.median([each.width_s for each in group])),
        slope=float(np.median([each.slope for each in group])),
    )


class Wearer:
    """Learns a baseline from candidates, then follows beats that look like it. Holds no more than that."""

    def __init__(self, calibration_beats: int) -> None:
        """Know nothing yet; ``calibration_beats`` alike ones are wanted."""
        self._wanted = calibration_beats
        self._candidates: list[Candidate] = []
        self._baseline: Baseline | None = None
        self._since_handed_out = 0
        self._changed = False

    @property
    def baseline(self) -> Baseline | None:
        """What the wearer's usual beat is; None while it is being learned."""
        return self._baseline

    def add(self, candidates: list[Candidate]) -> None:
        """Take beats of a good signal, none of them early; does nothing once the baseline is known."""
        if self._baseline is not None or not candidates:
            return
        self._candidates = (self._candidates + candidates)[-CANDIDATES_PER_BEAT * self._wanted :]
        self._baseline = learn(self._candidates, self._wanted)
        if self._baseline is not None:
            self._candidates = []
            self._changed = True

    def follow(self, beat: Candidate) -> None:
        """Let a beat of a good signal, not early, change the baseline a little if it has the baseline's shape."""
        assert self._baseline is not None, "there is no baseline to follow yet"
        known = self._baseline
        if float(correlation(beat.wave, known.shape)) < FOLLOWED_MIN:
            return
        mixed = known.shape * known.amplitude * (1 - 1 / FOLLOW_BEATS) + beat.wave / FOLLOW_BEATS
        amplitude = float(np.abs(mixed).max())
        rr_s = float(np.clip(beat.rr_s, *_RR_S))
        self._baseline = replace(
            known,
            shape=mixed / amplitude,
            amplitude=amplitude,
            rr_s=known.rr_s + (rr_s - known.rr_s) / FOLLOW_BEATS,
            width_s=known.width_s + (beat.width_s - known.width_s) / FOLLOW_BEATS,
            slope=known.slope + (beat.slope - known.slope) / FOLLOW_BEATS,
        )
        self._since_handed_out += 1
        self._changed = self._changed or self._since_handed_out >= HANDED_OUT_EVERY

    def handed_out(self) -> bytes | None:
        """Return the baseline if it changed (enough) since it was last returned."""
        if not self._changed or self._baseline is None:
            return None
        self._changed, self._since_handed_out = False, 0
        return self._baseline.to_bytes()

    def take_back(self, data: bytes) -> None:
        """Go on with a baseline that was handed out; a damaged one is left out and learned anew."""
        baseline = baseline_from(data)
        if baseline is not None:
            self._baseline, self._candidates = baseline, []
