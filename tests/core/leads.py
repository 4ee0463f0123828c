"""ECG leads for tests: clean trains of beats, simulated wearers, and the real records."""

from collections.abc import Iterator, Sequence

import numpy as np

from appliance.core.types import Array, Frame, FrameKind
from models.heartbeat.measure import Real, read_record
from models.heartbeat.simulator import Recording, Rhythm, make_wearer, quiet, record

RATE_HZ = 125.0
LENGTH, STRIDE = 1250, 250


def beat_train(at_s: Sequence[float], duration_s: float, *, rate_hz: float = RATE_HZ, t_height: float = 0.2) -> Array:
    """A lead in mV whose only waves are a narrow upright QRS complex at each time and a T wave after it."""
    times_s = np.arange(round(duration_s * rate_hz)) / rate_hz
    lead = np.zeros(len(times_s))
    for beat_s in at_s:
        lead += np.exp(-0.5 * ((times_s - beat_s) / 0.011) ** 2)
        lead += t_height * np.exp(-0.5 * ((times_s - beat_s - 0.28) / 0.05) ** 2)
    return lead


def simulated(plan: Sequence[Rhythm], seed: int = 1, *, noisy: bool = False) -> Recording:
    """What a simulated wearer's lead records, by default at rest and with good electrodes."""
    rng = np.random.default_rng(seed)
    wearer = make_wearer(rng)
    return record(wearer if noisy else quiet(wearer), list(plan), rng)


def windows(lead: Array) -> Iterator[tuple[int, Frame]]:
    """The frames that a sensor makes of a lead, each with the sample it begins at."""
    for number, start in enumerate(range(0, len(lead) - LENGTH + 1, STRIDE)):
        yield start, window(lead[start : start + LENGTH], number)


def window(samples: Array, seq: int = 0) -> Frame:
    """One frame of one lead."""
    return Frame(FrameKind.WINDOW, np.asarray(samples, np.float32)[:, np.newaxis], 0.0, seq)


def real(name: str) -> Real:
    """A record of the MIT-BIH database (see models/heartbeat/records/README.md)."""
    return read_record(name)
