"""The numbers that describe a heartbeat: its shape laid over the wearer's own, and the rhythm around it."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from appliance.core.features.ecg import REFRACTORY_S, Signal, band
from appliance.core.features.wearer import WAVE_BEFORE, WAVE_HZ, WAVE_SAMPLES, Baseline, Candidate, Waves, correlation

SHAPE_BAND_HZ = (0.5, 26.0)
"""What a wave sampled at ``WAVE_HZ`` can hold."""
LAGS_S: Signal = np.linspace(-0.048, 0.048, 25)
"""Shifts tried to lay a beat over the baseline, up to 48 ms either way."""
EARLY = 0.85
"""A beat after less than this fraction of the window's usual interval came early."""
UNCUT_S = 0.5
"""A beat whose next comes sooner than this, and sooner than usual, has lost its T wave to it."""
UNLIKE = 0.85
"""A beat that correlates less than this with the wearer's own is of another kind, for the rhythm's sake."""
WIDTH_S = 0.14
"""The width of a beat is measured within this time of its position."""
RATIO_MAX = 4.0
"""Ratios are kept from 1/4 to 4, waves from -4 to 4 times the wearer's own: the model has seen nothing beyond."""

RHYTHM = (
    "interval_before",
    "interval_after",
    "interval_before_that",
    "interval_asymmetry",
    "interval_over_own",
    "rate",
    "irregularity",
    "irregularity_own_beats",
    "early_share",
    "unlike_share",
)
FORM = (
    "likeness",
    "likeness_before",
    "likeness_after",
    "likeness_p",
    "difference_p",
    "difference_t",
    "amplitude_ratio",
    "width_ratio",
    "slope_ratio",
    "shift",
)
NAMES = (
    *(f"wave_{index:02d}" for index in range(WAVE_SAMPLES)),
    *(f"difference_{index:02d}" for index in range(WAVE_SAMPLES)),
    *FORM,
    *RHYTHM,
)
"""The features, in the order of a vector: wave and difference are in units of the wearer's own amplitude."""
WORDS: Mapping[str, str] = {
    "likeness": "the beat does not have the shape of the wearer's own",
    "width_ratio": "the beat is wider than the wearer's own",
    "likeness_p": "no P wave like the wearer's own precedes the beat",
    "interval_before": "the beat came early",
    "interval_after": "a pause followed the beat",
    "irregularity_own_beats": "the intervals between the wearer's own beats are irregular",
}
_P = slice(0, 11)
"""The part of a wave that holds the P wave: 250 to 80 ms before the beat."""
_T = slice(WAVE_BEFORE + 8, WAVE_SAMPLES)
"""The part that holds the ST segment and the T wave: from 125 ms after the beat."""
_GRID_S = (np.arange(WAVE_SAMPLES) - WAVE_BEFORE) / WAVE_HZ


class BeatWindow:
    """A window's beats as waves and intervals."""

    def __init__(self, signal: Signal, positions: Signal, rate_hz: float) -> None:
        self.positions = positions
        self._rate_hz = rate_hz
        self._shape = band(signal, rate_hz, *SHAPE_BAND_HZ)
        self._times_s = np.arange(len(signal)) / rate_hz
        self.at_s = positions / rate_hz
        between_s = np.diff(self.at_s)
        self.usual_s = float(np.median(between_s))
        # The first interval and the last one are cut off by the window: at least so long.
        self.before_s = np.concatenate(([max(self.at_s[0], self.usual_s)], between_s))
        self.after_s = np.concatenate((between_s, [max(self._times_s[-1] - self.at_s[-1], self.usual_s)]))

    def usable(self, index: int) -> bool:
        """Say whether a beat may be learned from: whole in the window, not early, and not run into by the next."""
        at_s, before_s, after_s = self.at_s[index], self.before_s[index], self.after_s[index]
        whole = at_s + _GRID_S[0] >= 0 and at_s + _GRID_S[-1] <= self._times_s[-1]
        in_time = before_s >= EARLY * max(self.usual_s, after_s)  # a late ventricular beat is told by its pause
        return bool(whole and in_time and after_s >= min(UNCUT_S, EARLY * self.usual_s))

    def waves(self, shifts_s: Signal) -> Waves:
        """Waves of all beats at these shifts: ``[beats, shifts, WAVE_SAMPLES]``, or per beat for ``[beats, 1]``."""
        at_s = (self.at_s[:, np.newaxis] + shifts_s)[..., np.newaxis] + _GRID_S
        waves: Waves = np.interp(at_s, self._times_s, self._shape)
        centred: Waves = waves - np.median(waves, axis=-1, keepdims=True)
        return centred

    def candidate(self, index: int, shift_s: float = 0.0) -> Candidate:
        """One beat as the wearer's baseline is made of, shifted to where it lies over the others."""
        wave = np.interp(self.at_s[index] + shift_s + _GRID_S, self._times_s, self._shape)
        width_s, slope = self.extent(index)
        return Candidate(wave - np.median(wave), float(self.before_s[index]), width_s, slope)

    def extent(self, index: int) -> tuple[float, float]:
        """Width in seconds (root mean square distance of the energy from its centre) and steepest slope of a beat."""
        middle = round(float(self.positions[index]))
        half = round(WIDTH_S * self._rate_hz)
        first = max(0, middle - half)
        piece = self._shape[first : middle + half + 1]
        energy = np.square(np.diff(piece))
        total = max(float(energy.sum()), 1e-30)
        times_s = np.arange(len(energy)) / self._rate_hz
        mean_s = float(energy @ times_s) / total
        width_s = np.sqrt(float(energy @ np.square(times_s - mean_s)) / total)
        return float(max(width_s, 1e-3)), float(max(np.sqrt(energy.max()) * self._rate_hz, 1e-12))


@dataclass(frozen=True, slots=True, eq=False)
class Compared:
    """A window's beats laid over the wearer's own."""

    window: BeatWindow
    baseline: Baseline
    shifts_s: Signal
    waves: Waves
    """``[beats, WAVE_SAMPLES]`` in units of the wearer's amplitude."""
    likeness: Signal

    def vector(self, index: int) -> NDArray[np.float32]:
        """Return the features of one beat, float32 ``[len(NAMES)]``."""
        wave = np.clip(self.waves[index], -RATIO_MAX, RATIO_MAX)
        difference = wave - self.baseline.shape
        numbers = (*self._form(index, wave, difference), *self._rhythm(index))
        return np.concatenate((wave, difference, numbers)).astype(np.float32)

    def _form(self, index: int, wave: Waves, difference: Waves) -> tuple[float, ...]:
        """Return ``FORM``."""
        width_s, slope = self.window.extent(index)
        own = self.baseline
        last = len(self.likeness) - 1
        return (
            float(self.likeness[index]),
            float(self.likeness[max(0, index - 1)]),
            float(self.likeness[min(last, index + 1)]),
            float(correlation(wave[_P], own.shape[_P])),
            float(np.sqrt(np.square(difference[_P]).mean())),
            float(np.sqrt(np.square(difference[_T]).mean())),
            _log_ratio(float(np.ptp(self.waves[index])), float(np.ptp(own.shape))),
            _log_ratio(width_s, own.width_s),
            _log_ratio(slope, own.slope),
            float(self.shifts_s[index] / LAGS_S[-1]),
        )

    def _rhythm(self, index: int) -> tuple[float, ...]:
        """Return ``RHYTHM``."""
        window = self.window
        before_s, after_s = window.before_s, window.after_s
        between_s = before_s[1:]
        own = self.likeness >= UNLIKE
        own_pairs = own[1:] & own[:-1]
        early = between_s < EARLY * window.usual_s
        return (
            _ratio(before_s[index], window.usual_s),
            _ratio(after_s[index], window.usual_s),
            _ratio(before_s[max(0, index - 1)], window.usual_s),
            float((after_s[index] - before_s[index]) / (after_s[index] + before_s[index])),
            _log_ratio(window.usual_s, self.baseline.rr_s),
            1.0 / max(window.usual_s, REFRACTORY_S),
            _irregularity(between_s, window.usual_s, np.ones(len(between_s), np.bool_)),
            _irregularity(between_s, window.usual_s, own_pairs),
            float(early.mean()),
            float((~own).mean()),
        )


def compare(window: BeatWindow, baseline: Baseline) -> Compared:
    """Lay each beat over the wearer's own at the shift where they are most alike."""
    waves = window.waves(LAGS_S)
    alike = correlation(waves, baseline.shape)
    best = alike.argmax(axis=1)
    beats = np.arange(len(best))
    return Compared(window, baseline, LAGS_S[best], waves[beats, best] / baseline.amplitude, alike[beats, best])


def _irregularity(between_s: Signal, usual_s: float, counted: NDArray[np.bool_]) -> float:
    """Median change from one interval to the next over the usual one, of neighbours that are both counted."""
    both = counted[1:] & counted[:-1]
    changes_s = np.abs(np.diff(between_s))[both]
    return min(1.0, float(np.median(changes_s)) / usual_s) if len(changes_s) else 0.0


def _ratio(value: float, usual: float) -> float:
    """Return ``value / usual``, from 0 to ``RATIO_MAX``."""
    return float(np.clip(value / usual, 0.0, RATIO_MAX))


def _log_ratio(value: float, usual: float) -> float:
    """Return the natural logarithm of ``value / usual``, from 1 / ``RATIO_MAX`` to ``RATIO_MAX``."""
    return float(np.log(np.clip(value / usual, 1 / RATIO_MAX, RATIO_MAX)))
