"""A seeded simulator of rotating machines: healthy ones in all their variety, and six faults of any severity.

What is simulated is the acceleration that one accelerometer axis on a bearing housing sees, in g. Forces act inside
the machine (rotating mass, misalignment, flow, impacts) and reach the sensor through the machine's own resonances;
machines differ in these, in their balance, flow and bearings, and in the sensor they carry. Speed, load and temperature
vary. Orders of magnitude are those of ISO 10816 (about 1 mm/s for a healthy 15 kW machine, 5 to 7 mm/s when it must be
looked at) and of the data sheets of ADXL345 and ADXL355.

It is a caricature: no gears, no belts, no neighbours' vibration but mains hum, faults one at a time. A detector that
works here has passed an examination its maker wrote.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]

RATE_HZ = 3200.0
"""The most an ADXL345 gives; its noise (290 ug/sqrt(Hz)) is 12 mg at this rate."""
LENGTH = 4096
"""Samples in a window: 1.28 s, 19 turns at 15 turns a second."""
HUM_HZ = 100.0
"""Twice the mains' 50 Hz: the pull of a motor's stator."""
ORDERS = 6
"""Multiples of the shaft's speed that a healthy machine shows."""
REFERENCE_HZ = 25.0
"""Speed at which levels are stated: a four-pole motor on 50 Hz mains."""
SENSORS = ((0.0116, 0.0039), (0.0011, 0.0000039), (0.0042, 0.00049))
"""Noise (rms) and step in g: ADXL345, ADXL355, and something between, each over 1600 Hz."""
FULL_SCALE_G = 16.0
FAULTS = ("imbalance", "misalignment", "outer race", "inner race", "looseness", "cavitation")
HEALTHY = "healthy"


@dataclass(frozen=True, slots=True)
class Machine:
    """What stays the same in one machine for years. Drawn by `draw_machine`."""

    modes_hz: tuple[float, ...]
    damping: tuple[float, ...]
    gains: tuple[float, ...]
    orders_g: tuple[float, ...]
    """Amplitude at 1, 2, ... times the shaft's speed, at the reference speed and full load."""
    phases: tuple[float, ...]
    vanes: int
    vane_g: float
    hum_g: float
    noise_g: float
    noise_exponent: float
    """Flow noise grows with speed to this power."""
    noise_slope: float
    """Flow noise falls with frequency to this power (amplitude)."""
    outer_order: float
    """Balls that pass a point of the outer race in one turn; the inner race: balls - outer_order."""
    balls: int
    sensor: tuple[float, float]


@dataclass(frozen=True, slots=True)
class Operation:
    """How a machine runs just now."""

    speed_hz: float
    load: float = 1.0
    """0.3 to 1."""
    warmth: float = 0.0
    """-1 to 1: cold to hot. Shifts resonances by 1.5 %."""


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong: one of FAULTS and how bad, from 0.1 (just beginning) over 1.0 (stop it now) to anything."""

    kind: str = HEALTHY
    severity: float = 0.0


def draw_machine(rng: np.random.Generator) -> Machine:
    """Draw one machine; every machine has a resonance that a bearing's impacts excite, from 650 to 1300 Hz."""
    modes = [*np.exp(rng.uniform(np.log(70), np.log(600), 3)), rng.uniform(650, 1300)]
    balls = int(rng.integers(7, 13))
    first = 0.02 * np.exp(rng.normal(0, 0.35))
    others = first * np.array([0.5, 0.25, 0.15, 0.1, 0.07]) * np.exp(rng.normal(0, 0.5, ORDERS - 1))
    return Machine(
        modes_hz=tuple(float(mode) for mode in modes),
        damping=tuple(float(ratio) for ratio in rng.uniform(0.02, 0.06, len(modes))),
        gains=tuple(float(gain) for gain in rng.uniform(0.1, 0.4, len(modes))),
        orders_g=(float(first), *(float(other) for other in others)),
        phases=tuple(float(phase) for phase in rng.uniform(0, 2 * np.pi, ORDERS + 2)),
        vanes=int(rng.integers(5, 8)),
        vane_g=float(0.015 * np.exp(rng.normal(0, 0.4))),
        hum_g=float(0.004 * np.exp(rng.normal(0, 0.6))),
        noise_g=float(0.03 * np.exp(rng.normal(0, 0.3))),
        noise_exponent=float(rng.uniform(1.2, 2.2)),
        noise_slope=float(rng.uniform(0.0, 0.5)),
        outer_order=float(balls * rng.uniform(0.38, 0.43)),
        balls=balls,
        sensor=SENSORS[int(rng.integers(len(SENSORS)))],
    )


def vibration(
    machine: Machine,
    operation: Operation,
    fault: Fault,
    rng: np.random.Generator,
    *,
    length: int = LENGTH,
    growth: Array | None = None,
) -> Array:
    """Simulate `length` consecutive samples: float32 [length, 1] in g, as the sensor gives them.

    Args:
        machine: which machine.
        operation: its speed, load and temperature, the same for all samples but for a wander of 0.2 % in speed.
        fault: what is wrong.
        rng: every other call with it gives other noise and phases.
        length: samples.
        growth: float [length], multiplies the fault's severity along the way.
    """
    severity = np.full(length, fault.severity) if growth is None else fault.severity * growth
    turns = _turns(operation.speed_hz, length, rng)
    force = _rotating(machine, operation, turns) + _flow(machine, operation, turns, rng)
    blows = np.zeros(length)
    if fault.kind != HEALTHY:
        more, blows = _FAULTS[fault.kind](machine, operation, turns, severity, rng)
        force = force + more
    seen = _through(machine, operation, force, blows)
    seen += machine.hum_g * np.sin(2 * np.pi * HUM_HZ * np.arange(length) / RATE_HZ + machine.phases[-1])
    if fault.kind == "looseness":
        seen = _rattle(seen, severity)
    noise_g, step_g = machine.sensor
    seen = np.clip(seen + rng.normal(0, noise_g, length), -FULL_SCALE_G, FULL_SCALE_G)
    return (np.round(seen / step_g) * step_g).astype(np.float32)[:, np.newaxis]


def _turns(speed_hz: float, length: int, rng: np.random.Generator) -> Array:
    """Turns of the shaft since the start, float [length]: constant speed with a slow wander of 0.2 %."""
    time_s = np.arange(length) / RATE_HZ
    wander_hz = rng.uniform(0.2, 1.0)
    wander = 0.002 * np.sin(2 * np.pi * (wander_hz * time_s + rng.uniform()))
    turns: Array = np.cumsum(speed_hz * (1 + wander)) / RATE_HZ + rng.uniform()
    return turns


def _lines(amplitudes: Array, orders: Array, phases: Array, turns: Array) -> Array:
    """Sum of sinusoids at multiples of the shaft's speed; amplitudes are [k] or [k, length]."""
    waves = np.sin(2 * np.pi * orders[:, np.newaxis] * turns + phases[:, np.newaxis])
    total: Array = (amplitudes.reshape(len(orders), -1) * waves).sum(axis=0)
    return total


def _squared(operation: Operation) -> float:
    """How much a rotating mass pulls, against the reference speed: speed squared."""
    return (operation.speed_hz / REFERENCE_HZ) ** 2


def _rotating(machine: Machine, operation: Operation, turns: Array) -> Array:
    orders = np.arange(1, ORDERS + 1, dtype=float)
    load = 0.85 + 0.15 * operation.load
    amplitudes = np.array(machine.orders_g) * _squared(operation) * load
    return _lines(amplitudes, orders, np.array(machine.phases[:ORDERS]), turns)


def _flow(machine: Machine, operation: Operation, turns: Array, rng: np.random.Generator) -> Array:
    """Noise of flow, and vanes that pass the outlet: both grow with load."""
    speed = operation.speed_hz / REFERENCE_HZ
    spectrum = np.fft.rfft(rng.normal(0, 1, len(turns)))
    frequencies_hz = np.fft.rfftfreq(len(turns), 1 / RATE_HZ)
    shaped = spectrum * (np.maximum(frequencies_hz, 20.0) / 400.0) ** -machine.noise_slope
    noise = np.fft.irfft(shaped, len(turns))
    noise_g = machine.noise_g * speed**machine.noise_exponent * (0.5 + 0.5 * operation.load)
    vanes = machine.vane_g * speed**2 * operation.load
    phase = np.array([machine.phases[ORDERS]])
    lines = _lines(np.array([vanes]), np.array([float(machine.vanes)]), phase, turns)
    flow: Array = noise_g * noise / max(float(noise.std()), 1e-12) + lines
    return flow


def _through(machine: Machine, operation: Operation, force: Array, blows: Array) -> Array:
    """Let forces act on the machine: it moves as a stiff body, and rings at its resonances.

    Blows between its own parts make it ring only: they do not move the whole.
    """
    frequencies_hz = np.fft.rfftfreq(len(force), 1 / RATE_HZ)
    ringing = np.zeros(len(frequencies_hz), dtype=complex)
    shift = 1 - 0.015 * operation.warmth
    for mode_hz, damping, gain in zip(machine.modes_hz, machine.damping, machine.gains, strict=True):
        ratio = frequencies_hz / (mode_hz * shift)
        ringing += gain * ratio**2 / (1 - ratio**2 + 2j * damping * ratio)
    spectrum = np.fft.rfft(force) * (1 + ringing) + np.fft.rfft(blows) * ringing
    moved: Array = np.fft.irfft(spectrum, len(force))
    return moved


_Forces = tuple["Array", "Array"]
"""Forces on the machine as a whole, and blows between its parts; both float [length], g."""


def _imbalance(
    machine: Machine, operation: Operation, turns: Array, severity: Array, rng: np.random.Generator
) -> _Forces:
    amplitude = 4.0 * machine.orders_g[0] * _squared(operation) * severity
    phase = machine.phases[0] + rng.uniform(-0.8, 0.8)
    return _lines(amplitude, np.array([1.0]), np.array([phase]), turns), np.zeros(len(turns))


def _misalignment(
    machine: Machine, operation: Operation, turns: Array, severity: Array, rng: np.random.Generator
) -> _Forces:
    """Twice and three times the speed, with the load that the coupling carries."""
    base = machine.orders_g[0] * _squared(operation) * (0.5 + 0.5 * operation.load)
    amplitudes = base * severity * np.array([[0.8], [3.0], [1.5]])
    lines = _lines(amplitudes, np.array([1.0, 2.0, 3.0]), rng.uniform(0, 2 * np.pi, 3), turns)
    return lines, np.zeros(len(turns))


def _outer_race(
    machine: Machine, operation: Operation, turns: Array, severity: Array, rng: np.random.Generator
) -> _Forces:
    strength = 0.9 * severity * (operation.speed_hz / REFERENCE_HZ) * (0.6 + 0.4 * operation.load)
    return np.zeros(len(turns)), _impacts(turns, machine.outer_order, strength, 0.012, rng)


def _inner_race(
    machine: Machine, operation: Operation, turns: Array, severity: Array, rng: np.random.Generator
) -> _Forces:
    """Strongest when the damage turns through the load zone, once a turn."""
    zone = np.clip(0.2 + np.cos(2 * np.pi * turns + rng.uniform(0, 2 * np.pi)), 0.0, None)
    strength = 0.9 * severity * zone * (operation.speed_hz / REFERENCE_HZ) * (0.6 + 0.4 * operation.load)
    return np.zeros(len(turns)), _impacts(turns, machine.balls - machine.outer_order, strength, 0.012, rng)


def _looseness(
    machine: Machine, operation: Operation, turns: Array, severity: Array, rng: np.random.Generator
) -> _Forces:
    """Lines at odd halves of the speed, and a knock in each turn."""
    base = machine.orders_g[0] * _squared(operation)
    amplitudes = base * severity * np.array([[1.2], [0.8], [0.5], [0.3]])
    lines = _lines(amplitudes, np.array([0.5, 1.5, 2.5, 3.5]), rng.uniform(0, 2 * np.pi, 4), turns)
    return lines, _impacts(turns, 1.0, 0.8 * severity, 0.03, rng)


def _cavitation(
    machine: Machine, operation: Operation, turns: Array, severity: Array, rng: np.random.Generator
) -> _Forces:
    """Bubbles that collapse: bursts at random moments, some 150 a second."""
    hits = rng.random(len(turns)) < 150.0 / RATE_HZ
    speed = (operation.speed_hz / REFERENCE_HZ) ** machine.noise_exponent
    return np.zeros(len(turns)), hits * rng.normal(0, 0.7, len(turns)) * severity * speed


def _impacts(turns: Array, order: float, strength: Array, slip: float, rng: np.random.Generator) -> Array:
    """Blows `order` times a turn, each moved by a random slip (fraction of the interval) and up to 20 % uneven.

    Args:
        turns: float [length].
        order: blows a turn.
        strength: float [length], g.
        slip: standard deviation of the interval; it adds up, as a rolling cage's does (Randall and Antoni, 2011).
        rng: of the window.
    """
    count = int((turns[-1] - turns[0]) * order) + 2
    positions = turns[0] + (rng.uniform() + np.cumsum(1 + rng.normal(0, slip, count)) - 1) / order
    at = np.interp(positions, turns, np.arange(len(turns)), left=-1, right=-1)
    at = at[(at >= 0) & (at < len(turns) - 1)]
    whole = at.astype(int)
    size = strength[whole] * (1 + rng.uniform(-0.2, 0.2, len(at)))
    force = np.zeros(len(turns))
    np.add.at(force, whole, size * (1 - (at - whole)))  # a blow between two samples is shared by them
    np.add.at(force, whole + 1, size * (at - whole))
    return force


def _rattle(seen: Array, severity: Array) -> Array:
    """Cut what swings out to one side: a loose foot pushes, and cannot pull."""
    limit = float(seen.std()) * (2.5 - 1.5 * np.minimum(severity, 1.0))
    cut: Array = np.minimum(seen, limit)
    return cut


_FAULTS: dict[str, Callable[[Machine, Operation, Array, Array, np.random.Generator], _Forces]] = {
    "imbalance": _imbalance,
    "misalignment": _misalignment,
    "outer race": _outer_race,
    "inner race": _inner_race,
    "looseness": _looseness,
    "cavitation": _cavitation,
}
