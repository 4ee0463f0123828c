"""One lead of an ECG: filtered, judged as a signal, and its heartbeats found. Pure functions of one window.

Values may be in any unit: every limit here is a ratio. Positions are samples, fractions included.
"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

Signal = NDArray[np.float64]

QRS_BAND_HZ = (5.0, 18.0)
"""Where the energy of the QRS complex stands out against P, T and muscles (Pan and Tompkins 1985: 5 to 15 Hz).

A little wider than theirs at the upper end; ventricular beats keep enough energy above 5 Hz to be found.
"""
ENERGY_S = 0.12
"""Length over which energy is averaged: about one QRS complex (Pan and Tompkins 1985: 0.15 s)."""
REFRACTORY_S = 0.24
"""Two heartbeats are at least this far apart (250 a minute)."""
T_WAVE_S = 0.36
"""A weak peak within this time of a strong one is its T wave (Pan and Tompkins 1985)."""
T_WAVE_MAX = 0.4
"""What weak means: the height as a fraction of the peak before."""
FOUND_MIN = 0.35
"""Height of a beat as a fraction of the window's typical one."""
MISSED_MIN = 0.2
"""The same where a beat is missing: more than ``MISSED_RR`` usual intervals without one."""
MISSED_RR = 1.6
BLOCK_S = 1.2
"""One heartbeat is expected in a block of this length, so the median of the blocks' peaks is a typical height."""
CENTRE_S = 0.08
"""A beat's position is the centre of its QRS energy within this time of the peak: it ignores the lead's polarity."""
EDGE_S = 1.0
"""The window is mirrored at both ends by this much before it is filtered."""


def band(signal: Signal, rate_hz: float, low_hz: float, high_hz: float) -> Signal:
    """Keep frequencies from ``low_hz`` to ``high_hz``, without shifting anything in time.

    Filtered in the frequency domain, with raised-cosine flanks of half the lower and a quarter of the upper edge; the
    ends are continued by point reflection, so that a drifting baseline makes no step there.

    Args:
        signal: ``[n]``, n at least 2.
        rate_hz: samples a second.
        low_hz: lower edge, above 0.
        high_hz: upper edge; what lies above half of ``rate_hz`` is not there to be kept.
    """
    edge = min(len(signal) - 1, round(EDGE_S * rate_hz))
    before = 2 * signal[0] - signal[edge:0:-1]
    after = 2 * signal[-1] - signal[-2 : -edge - 2 : -1]
    spectrum = np.fft.rfft(np.concatenate((before, signal, after)))
    frequency_hz = np.fft.rfftfreq(len(signal) + 2 * edge, 1 / rate_hz)
    rising = np.clip((frequency_hz - low_hz / 2) / (low_hz / 2), 0, 1)
    falling = np.clip((1.25 * high_hz - frequency_hz) / (0.25 * high_hz), 0, 1)
    gain = np.sin(np.pi / 2 * rising) ** 2 * np.sin(np.pi / 2 * falling) ** 2
    filtered = np.fft.irfft(spectrum * gain, len(signal) + 2 * edge)
    kept: Signal = filtered[edge : edge + len(signal)]
    return kept


def moving_mean(values: Signal, width: int) -> Signal:
    """Average over ``width`` values (made odd) around each; fewer at the ends."""
    half = max(1, width) // 2
    total = np.concatenate(([0.0], np.cumsum(values)))
    index = np.arange(len(values))
    first, last = np.maximum(index - half, 0), np.minimum(index + half + 1, len(values))
    mean: Signal = (total[last] - total[first]) / (last - first)
    return mean


def find_beats(signal: Signal, rate_hz: float) -> Signal:
    """Find the heartbeats of a window: positions in samples, ascending, none where there is no beat.

    Energy in the QRS band, a threshold from the window's own typical peak, a refractory time, a second look with half
    the threshold where a beat is missing, and T waves left out: the steps of Pan and Tompkins (A real-time QRS
    detection algorithm, IEEE Trans. Biomed. Eng. 32, 1985) on a window that is known to its end.

    Args:
        signal: ``[n]``, some seconds of one lead.
        rate_hz: samples a second.
    """
    qrs = band(signal, rate_hz, *QRS_BAND_HZ)
    height = np.sqrt(np.maximum(moving_mean(qrs**2, round(ENERGY_S * rate_hz)), 0.0))
    typical = _typical_peak(height, rate_hz)
    peaks = _peaks(height, rate_hz, FOUND_MIN * typical)
    peaks = _with_missed(peaks, _peaks(height, rate_hz, MISSED_MIN * typical), rate_hz)
    peaks = _without_t_waves(peaks, height, rate_hz)
    return np.array([_centre(qrs, peak, round(CENTRE_S * rate_hz)) for peak in peaks])


def _typical_peak(height: Signal, rate_hz: float) -> float:
    """Median of the highest values of consecutive blocks; whole blocks only, if there is one."""
    length = max(1, min(len(height), round(BLOCK_S * rate_hz)))
    blocks = height[: len(height) // length * length].reshape(-1, length)
    return float(np.median(blocks.max(axis=1)))


def _peaks(height: Signal, rate_hz: float, height_min: float) -> list[int]:
    """Local maxima above ``height_min``; of two within the refractory time the higher. Ascending."""
    inner = height[1:-1]
    candidates = 1 + np.flatnonzero((inner > height[:-2]) & (inner >= height[2:]) & (inner > height_min))
    apart = round(REFRACTORY_S * rate_hz)
    taken = np.zeros(len(height), np.bool_)
    kept: list[int] = []
    for candidate in candidates[np.argsort(-height[candidates], kind="stable")]:
        if not taken[candidate]:
            kept.append(int(candidate))
            taken[max(0, candidate - apart + 1) : candidate + apart] = True
    return sorted(kept)


def _with_missed(peaks: list[int], weaker: list[int], rate_hz: float) -> list[int]:
    """Add weaker peaks where the distance of two beats is much longer than usual."""
    if len(peaks) < _BEATS_FOR_A_USUAL_DISTANCE:
        return peaks
    long = MISSED_RR * float(np.median(np.diff(peaks)))
    apart = T_WAVE_S * rate_hz
    found = list(peaks)
    for before, after in pairwise(peaks):
        if after - before > long:
            found += [each for each in weaker if before + apart <= each <= after - apart]
    return sorted(found)


_BEATS_FOR_A_USUAL_DISTANCE = 3


def _without_t_waves(peaks: list[int], height: Signal, rate_hz: float) -> list[int]:
    """Leave out a peak that follows a much higher one too soon to be a beat of its own."""
    kept: list[int] = []
    for peak in peaks:
        soon = kept and peak - kept[-1] < T_WAVE_S * rate_hz
        if not (soon and height[peak] < T_WAVE_MAX * height[kept[-1]]):
            kept.append(peak)
    return kept


def _centre(qrs: Signal, peak: int, half: int) -> float:
    """Centre of the energy within ``half`` samples of ``peak``."""
    first = max(0, peak - half)
    energy = qrs[first : peak + half + 1] ** 2
    total = float(energy.sum())
    return peak if total == 0.0 else first + float(np.arange(len(energy)) @ energy) / total


@dataclass(frozen=True, slots=True)
class Quality:
    """How much a window looks like an ECG. Each has its limit in ``quality_fault``."""

    beats: int
    """Heartbeats found."""
    agreement: float
    """Agreement of two unlike detectors, 0 to 1: twice the common beats over all (bSQI; Li, Mark, Clifford 2008)."""
    contrast: float
    """Height of the beats in the QRS band over what is between them, at least 0."""
    qrs_power: float
    """Power from 5 to 15 Hz over power from 5 to 40 Hz, 0 to 1 (pSQI; Li, Mark, Clifford 2008)."""
    baseline_power: float
    """Power below 0.7 Hz over power from 0.7 to 40 Hz, at least 0 (as basSQI; Li, Mark, Clifford 2008)."""


AGREEMENT_S = 0.1
"""Two detectors mean the same beat when they are this close."""
BEATS_MIN = 3
"""In a window of ten seconds: 18 a minute."""
AGREEMENT_MIN = 0.6
"""Where every second beat is ventricular, one detector may miss half of them: 2/3."""
CONTRAST_MIN = 1.9
"""Noise of any colour stays under 1.85 (600 windows of four kinds); clean bigeminy goes down to 1.3 now and then."""
QRS_POWER_MIN = 0.3
BASELINE_POWER_MAX = 20.0
"""Twenty times the power of the beats themselves: what the filter leaves of such a baseline looks like beats."""
SLOPE_S = 0.04
SLOPE_BAND_HZ = (1.0, 30.0)


def measure_quality(signal: Signal, rate_hz: float, beats: Signal) -> Quality:
    """Measure how much ``signal`` [n] looks like an ECG whose ``beats`` are where ``find_beats`` says."""
    slow, low, high = (
        float(np.square(band(signal, rate_hz, *edges)).mean()) for edges in ((0.05, 0.7), (5.0, 15.0), (5.0, 40.0))
    )
    whole = float(np.square(band(signal, rate_hz, 0.7, 40.0)).mean())
    return Quality(
        beats=len(beats),
        agreement=_agreement(beats, _steep_places(signal, rate_hz), AGREEMENT_S * rate_hz),
        contrast=_contrast(signal, rate_hz, beats),
        qrs_power=low / high if high > 0 else 0.0,
        baseline_power=slow / whole if whole > 0 else float("inf"),
    )


def quality_fault(quality: Quality) -> str:
    """Say why a window is no ECG that could be judged; empty when it is one. One of four fixed sentences."""
    if quality.beats < BEATS_MIN:
        return "no heartbeats can be found in the signal"
    if quality.baseline_power > BASELINE_POWER_MAX:
        return "the baseline moves too much: the electrode or the wearer moves"
    if quality.qrs_power < QRS_POWER_MIN:
        return "muscle or mains noise covers the heartbeats"
    if quality.agreement < AGREEMENT_MIN or quality.contrast < CONTRAST_MIN:
        return "heartbeats cannot be told from noise"
    return ""


def _steep_places(signal: Signal, rate_hz: float) -> Signal:
    """Find heartbeats by their slope alone: another band and another measure than ``find_beats``."""
    smooth = band(signal, rate_hz, *SLOPE_BAND_HZ)
    step = max(1, round(SLOPE_S * rate_hz))
    slope = np.abs(smooth[step:] - smooth[:-step])
    steep = moving_mean(np.pad(slope, (step // 2, step - step // 2)), round(ENERGY_S * rate_hz))
    peaks = _peaks(steep, rate_hz, FOUND_MIN * _typical_peak(steep, rate_hz))
    return np.array(_without_t_waves(peaks, steep, rate_hz), np.float64)


def _agreement(one: Signal, other: Signal, close: float) -> float:
    """Twice the beats that both have, over the beats of both; those of one are further apart than ``close``."""
    if not len(one) or not len(other):
        return 0.0
    common = int((np.abs(one[:, np.newaxis] - other).min(axis=1) <= close).sum())
    return min(1.0, 2 * common / (len(one) + len(other)))


def _contrast(signal: Signal, rate_hz: float, beats: Signal) -> float:
    """Median height of the beats over the median of the upper half of what lies between them."""
    if not len(beats):
        return 0.0
    qrs = band(signal, rate_hz, *QRS_BAND_HZ)
    height = np.sqrt(np.maximum(moving_mean(qrs**2, round(ENERGY_S * rate_hz)), 0.0))
    index = np.arange(len(signal))
    near = np.abs(index[:, np.newaxis] - beats).min(axis=1) <= REFRACTORY_S / 2 * rate_hz
    at_beats = float(np.median(height[np.clip(np.rint(beats).astype(int), 0, len(height) - 1)]))
    between = float(np.quantile(height[~near], 0.75)) if (~near).any() else at_beats
    return at_beats / between if between > 0 else float("inf")
