"""What disturbs an ECG: muscles, mains, breathing, movement, an electrode that came off."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]
    Rng = np.random.Generator

RATE_HZ = 125.0
SHARE = 0.5
"""Of wearers whose electrodes are jerked now and then."""
COVERED = 0.4
"""A burst of this fraction of the QRS complex hides what kind of beat is under it."""


@dataclass(frozen=True)
class Electrodes:
    """How well the electrodes hold, and what else they pick up."""

    noise_mv: float
    """Standard deviation of what muscles add at usual effort."""
    wander_mv: float
    """How far the baseline swings."""
    mains_mv: float
    bursts_a_minute: float
    """Jerks of the electrode."""
    burst_mv_max: float


def make_electrodes(rng: Rng, scale: float) -> Electrodes:
    """Draw electrodes; ``scale`` is the height of the wearer's largest wave in mV."""
    restless = rng.random() < SHARE
    return Electrodes(
        noise_mv=scale * np.exp(rng.uniform(np.log(0.004), np.log(0.07))),
        wander_mv=scale * np.exp(rng.uniform(np.log(0.02), np.log(0.6))),
        mains_mv=scale * rng.choice([0.0, rng.uniform(0, 0.05)]),
        bursts_a_minute=rng.uniform(0, 3) if restless else 0.0,
        burst_mv_max=2.5 * scale,
    )


def disturb(signal: Array, electrodes: Electrodes, breaths_hz: float, rng: Rng) -> Array:
    """Add noise to the signal; gives how high the bursts of movement are at each sample, in mV."""
    count = len(signal)
    times_s = np.arange(count) / RATE_HZ
    effort = np.interp(times_s, np.arange(0, times_s[-1] + 20, 10), rng.uniform(0.5, 1.5, int(times_s[-1] / 10) + 3))
    signal += electrodes.noise_mv * effort * rng.normal(size=count)
    signal += electrodes.mains_mv * np.sin(2 * np.pi * rng.choice([50.0, 60.0]) * times_s)
    for hz in (breaths_hz, rng.uniform(0.03, 0.12)):
        signal += electrodes.wander_mv * rng.uniform(0.3, 1) * np.sin(2 * np.pi * hz * times_s + rng.uniform(0, 6))
    height = np.zeros(count)
    for _ in range(rng.poisson(electrodes.bursts_a_minute * times_s[-1] / 60)):
        length = int(rng.uniform(0.2, 1.5) * RATE_HZ)
        first = int(rng.integers(0, max(1, count - length)))
        shape = np.hanning(length) * electrodes.burst_mv_max * rng.uniform(0.08, 1.0)
        coarse = np.convolve(rng.normal(size=length), np.hanning(int(rng.integers(6, 30))), "same")[:length]
        signal[first : first + length] += shape * coarse / max(float(np.abs(coarse).max()), 1e-9)
        height[first : first + length] = np.maximum(height[first : first + length], shape)
    return height


def covered(positions: Array, height_mv: Array, scale: float) -> Array:
    """Say which beats a burst covers so much that nobody could tell their kind, bool ``[beats]``."""
    at = np.clip(np.rint(positions).astype(int), 0, len(height_mv) - 1)
    hidden: Array = height_mv[at] > COVERED * scale
    return hidden


def electrode_off(duration_s: float, rng: Rng) -> Array:
    """Give what an open input picks up: mains, hum and drift, float32 ``[n]``, mV."""
    count = round(duration_s * RATE_HZ)
    drift = np.cumsum(rng.normal(0, 0.05, count))
    picked_up: Array = (0.4 * rng.normal(size=count) + drift - drift.mean()).astype(np.float32)
    return picked_up
