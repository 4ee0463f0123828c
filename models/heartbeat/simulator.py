"""A seeded simulator of one ECG lead: wearers who differ, beats of several kinds, rhythms, and what disturbs them.

A beat is a sum of Gaussian waves (as in McSharry et al., A dynamical model for generating synthetic
electrocardiogram signals, 2003), at times that a rhythm gives. It knows nothing that a textbook does not: what was
learned from it has to be tested on real records.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from models.heartbeat.disturbance import RATE_HZ, Electrodes, covered, disturb, make_electrodes

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]
    Rng = np.random.Generator

LABELS = ("normal", "supraventricular", "ventricular", "irregular", "artefact")
NORMAL, SUPRAVENTRICULAR, VENTRICULAR, IRREGULAR, ARTEFACT = range(5)
FUSION = 5
"""Half normal, half ventricular: neither trained on nor counted as either."""
LATE = 0.9
"""A ventricular beat after this fraction of the usual interval may meet the normal one."""
RUN_BEATS_MAX = 8
STEP_MV = 0.005
"""One step of the converter: 200 a millivolt, as in the MIT-BIH database."""

Wave = tuple[float, float, float]
"""Height in mV, centre in s from the beat, standard deviation in s."""


@dataclass(frozen=True)
class Wearer:
    """A person and how the lead lies on them."""

    p: Wave
    qrs: tuple[Wave, ...]
    t: Wave
    foci: tuple[tuple[Wave, ...], ...]
    """Shapes of their ventricular beats."""
    rr_s: float
    breathing: float
    """By what fraction breathing changes the interval between beats."""
    breaths_hz: float
    restless: float
    """Standard deviation of the slow changes of the interval, as a fraction."""
    scale: float
    """Height of the largest wave in mV."""
    electrodes: Electrodes


@dataclass(frozen=True)
class Rhythm:
    """What the heart does for a while."""

    duration_s: float
    fibrillates: bool = False
    ventricular: float = 0.0
    """Chance that a normal beat is followed by an early one from a ventricle."""
    supraventricular: float = 0.0
    every: int = 0
    """2: every second beat is ventricular (bigeminy), 3: every third; 0: as chance has it."""
    run: float = 0.1
    """Chance that an early beat is followed by another of its kind."""


@dataclass(frozen=True, eq=False)
class Recording:
    """What a sensor would have recorded, and the truth about it."""

    signal: Array
    """float32 ``[n]``, mV."""
    positions: Array
    """float64 ``[beats]``, samples."""
    kinds: Array
    """int ``[beats]``: an index of LABELS, or FUSION."""


def make_wearer(rng: Rng) -> Wearer:
    """Draw a person."""
    qrs = _qrs(rng)
    scale = max(abs(height) for height, _, _ in qrs)
    sign = -1.0 if _happens(rng, 0.1) else 1.0  # electrodes swapped
    t_height = rng.uniform(0.08, 0.5) if _happens(rng, 0.85) else -rng.uniform(0.05, 0.25)
    return Wearer(
        p=(sign * rng.uniform(0.03, 0.2) * max(scale, 0.5), -0.16 + rng.normal(0, 0.02), rng.uniform(0.016, 0.03)),
        qrs=tuple((sign * height, at_s, width_s) for height, at_s, width_s in qrs),
        t=(sign * scale * t_height, rng.uniform(0.24, 0.32), rng.uniform(0.035, 0.065)),
        foci=tuple(_focus(rng, scale) for _ in range(rng.integers(1, 4))),
        rr_s=60 / rng.uniform(50, 105),
        breathing=rng.choice([rng.uniform(0, 0.04), rng.uniform(0.04, 0.14)], p=[0.7, 0.3]),
        breaths_hz=rng.uniform(0.15, 0.35),
        restless=rng.uniform(0.005, 0.03),
        scale=scale,
        electrodes=make_electrodes(rng, scale),
    )


def _qrs(rng: Rng) -> list[Wave]:
    """Draw the waves of a normal QRS complex: mostly upright, mostly downward, or wide and notched."""
    scale, width = rng.uniform(0.35, 1.9), rng.uniform(0.0085, 0.014)
    form = rng.choice(["qRs", "rS", "wide"], p=[0.6, 0.25, 0.15])
    if form == "qRs":  # what a lead along the heart's axis sees
        high, low, q = 1.0, -rng.uniform(0.02, 0.4), -rng.uniform(0.0, 0.2)
    elif form == "rS":
        high, low, q = rng.uniform(0.1, 0.6), -1.0, 0.0
    else:  # a conduction block: wide, with a second hump
        width *= rng.uniform(1.3, 1.9)
        high, low, q = 1.0, rng.choice([-1, 1]) * rng.uniform(0.2, 0.7), -rng.uniform(0, 0.1)
    return [
        (scale * q, -2.8 * width, 0.8 * width),
        (scale * high, 0.0, width),
        (scale * low, 2.9 * width, 1.1 * width),
    ]


def _focus(rng: Rng, scale: float) -> tuple[Wave, ...]:
    """Draw a ventricular beat: wide, of any direction, its T wave against it, no P wave."""
    main = rng.choice([-1, 1]) * scale * rng.uniform(0.6, 2.2)
    width_s = rng.uniform(0.02, 0.048)
    return (
        (main, 0.0, width_s),
        (main * rng.uniform(-0.3, 0.5), -rng.uniform(1.2, 2.2) * width_s, width_s * rng.uniform(0.5, 0.9)),
        (-main * rng.uniform(0.05, 0.9), rng.uniform(1.8, 3.0) * width_s, width_s * rng.uniform(0.7, 1.3)),
        (-main * rng.uniform(0.1, 0.6), rng.uniform(0.24, 0.38), rng.uniform(0.05, 0.09)),
    )


def random_plan(rng: Rng, duration_s: float) -> list[Rhythm]:
    """Draw what one wearer's heart does after a mostly quiet beginning of two minutes."""
    plan = [Rhythm(120.0, ventricular=rng.choice([0.0, 0.03]), supraventricular=rng.choice([0.0, 0.03]))]
    if _happens(rng, 0.06):  # some fibrillate for years
        plan = [Rhythm(120.0, fibrillates=True)]
    while sum(part.duration_s for part in plan) < duration_s:
        length_s = rng.uniform(20, 60)
        choices = (
            Rhythm(length_s),
            Rhythm(length_s, ventricular=rng.uniform(0.03, 0.3), supraventricular=rng.uniform(0, 0.05)),
            Rhythm(length_s, every=int(rng.integers(2, 5))),
            Rhythm(length_s, supraventricular=rng.uniform(0.03, 0.25), ventricular=rng.uniform(0, 0.03)),
            Rhythm(length_s, fibrillates=True, ventricular=rng.choice([0.0, 0.08])),
        )
        plan.append(choices[int(rng.choice(5, p=[0.25, 0.3, 0.1, 0.2, 0.15]))])
    return plan


def record(wearer: Wearer, plan: list[Rhythm], rng: Rng) -> Recording:
    """Record a wearer whose heart does what the plan says."""
    duration_s = sum(part.duration_s for part in plan)
    beats = list(_beat_times(wearer, plan, rng))
    signal = np.zeros(round(duration_s * RATE_HZ))
    usual_s = wearer.rr_s
    for number, (at_s, kind) in enumerate(beats):
        if number:
            usual_s = 0.8 * usual_s + 0.2 * min(at_s - beats[number - 1][0], 1.5)
        _add(signal, at_s, _waves(wearer, kind, at_s, usual_s, rng))
    _add_fibrillation(signal, wearer, plan, rng)
    height_mv = disturb(signal, wearer.electrodes, wearer.breaths_hz, rng)
    positions = np.array([at_s * RATE_HZ for at_s, _ in beats])
    kinds = np.array([kind for _, kind in beats])
    kinds[covered(positions, height_mv, wearer.scale)] = ARTEFACT
    return Recording((np.rint(signal / STEP_MV) * STEP_MV).astype(np.float32), positions, kinds)


def _beat_times(wearer: Wearer, plan: list[Rhythm], rng: Rng) -> list[tuple[float, int]]:
    """Give time in s and kind of each beat, in order."""
    beats: list[tuple[float, int]] = []
    at_s, begins_s, slow, phase = 0.3, 0.0, 0.0, rng.uniform(0, 6)
    for part in plan:
        since, mean_s, spread = 0, wearer.rr_s * rng.uniform(0.75, 1.05), rng.uniform(0.12, 0.3)
        while at_s < begins_s + part.duration_s:
            slow = 0.95 * slow + wearer.restless * rng.normal()
            breath = wearer.breathing * np.sin(2 * np.pi * wearer.breaths_hz * at_s + phase)
            rr_s = wearer.rr_s * (1 + slow + breath + 0.006 * rng.normal())
            if part.fibrillates:
                rr_s = max(0.3, mean_s * float(np.exp(spread * rng.normal())))
            beats.append((at_s, IRREGULAR if part.fibrillates else NORMAL))
            since += 1
            early = _early_beats(part, since, at_s, rr_s, rng)
            since = 0 if early else since
            beats += early
            at_s = _resume(beats[-1], at_s, rr_s, rng) if early else at_s + rr_s
        begins_s += part.duration_s
    return [(time_s, kind) for time_s, kind in beats if time_s < begins_s - 0.1]


def _early_beats(part: Rhythm, since: int, at_s: float, rr_s: float, rng: Rng) -> list[tuple[float, int]]:
    """Give the early beats that follow a normal one, mostly none."""
    patterned = bool(part.every) and since >= part.every - 1 and _happens(rng, 0.95)  # no pattern lasts
    chance = rng.random()
    if patterned or chance < part.ventricular:
        kind, coupling = VENTRICULAR, rng.uniform(0.45, 0.98)
        if coupling > LATE and _happens(rng, 0.4):  # as late as the normal beat: both at once
            kind = FUSION
    elif chance < part.ventricular + part.supraventricular and not part.fibrillates:
        kind, coupling = SUPRAVENTRICULAR, rng.uniform(0.5, 0.86)
    else:
        return []
    early = [(at_s + max(0.27, coupling * rr_s), kind)]
    while kind != FUSION and len(early) < RUN_BEATS_MAX and _happens(rng, part.run):
        early.append((early[-1][0] + max(0.27, rng.uniform(0.42, 0.7) * rr_s), kind))
    return early


def _resume(last: tuple[float, int], at_s: float, rr_s: float, rng: Rng) -> float:
    """Give the time of the normal beat after early ones: a ventricle leaves the sinus node's clock as it is."""
    since_s = last[0] - at_s
    if last[1] == SUPRAVENTRICULAR:
        return float(last[0] + rr_s * rng.uniform(0.95, 1.3))
    if since_s < 0.55 * rr_s and _happens(rng, 0.1):  # squeezed between two normal beats
        return float(at_s + rr_s * rng.uniform(1.0, 1.1))
    beats = np.ceil((since_s + 0.35 * rr_s) / rr_s)
    return float(at_s + beats * rr_s * rng.uniform(0.97, 1.06))


def _waves(wearer: Wearer, kind: int, at_s: float, usual_s: float, rng: Rng) -> list[Wave]:
    """Give the waves of one beat; breathing moves the heart, and a faster one recovers sooner (Bazett)."""
    gain = 1 + 0.06 * np.sin(2 * np.pi * wearer.breaths_hz * at_s) + 0.02 * rng.normal()
    stretch = float(np.clip(np.sqrt(usual_s), 0.65, 1.15))
    height, after_s, width_s = wearer.t
    t = (height * (1 + 0.06 * rng.normal()), after_s * stretch, width_s * stretch)
    if kind in {VENTRICULAR, FUSION}:
        focus = wearer.foci[int(rng.integers(len(wearer.foci)) ** 2 // len(wearer.foci))]  # the first is the usual one
        share = rng.uniform(0.3, 0.7) if kind == FUSION else 1.0
        waves = [(share * height, after_s, width_s) for height, after_s, width_s in focus]
        if kind == FUSION:
            waves += [((1 - share) * height, after_s, width_s) for height, after_s, width_s in (*wearer.qrs, t)]
        return [(gain * height, after_s, width_s) for height, after_s, width_s in waves]
    waves = [*wearer.qrs, t]
    if kind == NORMAL:
        waves.append(wearer.p)
    elif kind == SUPRAVENTRICULAR:  # from elsewhere in the atria: another P wave, now and then a QRS a little wider
        wide = rng.uniform(1.1, 1.5) if _happens(rng, 0.12) else 1.0  # aberrant conduction
        waves = [(height, wide * after_s, wide * width_s) for height, after_s, width_s in wearer.qrs] + [t]
        waves.append((wearer.p[0] * rng.uniform(-0.8, 1.1), wearer.p[1] + rng.normal(0, 0.02), wearer.p[2]))
    return [(gain * height, after_s, width_s) for height, after_s, width_s in waves]


def _add(signal: Array, at_s: float, waves: list[Wave]) -> None:
    """Add one beat's waves to the signal."""
    first = max(0, int((at_s - 0.35) * RATE_HZ))
    times_s = np.arange(first, min(len(signal), int((at_s + 0.75) * RATE_HZ))) / RATE_HZ - at_s
    for height, after_s, width_s in waves:
        signal[first : first + len(times_s)] += height * np.exp(-0.5 * ((times_s - after_s) / width_s) ** 2)


def _add_fibrillation(signal: Array, wearer: Wearer, plan: list[Rhythm], rng: Rng) -> None:
    """Add the atria's fine waves where they fibrillate."""
    first = 0
    for part in plan:
        count = min(round(part.duration_s * RATE_HZ), len(signal) - first)
        if part.fibrillates:
            times_s = np.arange(count) / RATE_HZ
            drift = np.cumsum(rng.normal(0, 0.05, count))
            height = wearer.scale * rng.uniform(0.01, 0.07)
            signal[first : first + count] += height * np.sin(2 * np.pi * rng.uniform(4.5, 8) * times_s + drift)
        first += count


def quiet(wearer: Wearer) -> Wearer:
    """The same wearer with good electrodes, at rest."""
    scale = wearer.scale
    return replace(wearer, electrodes=Electrodes(0.01 * scale, 0.05 * scale, 0.0, 0.0, 2.5 * scale))


def _happens(rng: Rng, chance: float) -> bool:
    return bool(rng.random() < chance)
