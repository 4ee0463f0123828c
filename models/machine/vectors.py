"""Windows of simulated machines as the feature vectors that the device makes of them, by its own extractor."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import numpy as np

from appliance.core.features.spectrum import Spectrum
from appliance.core.model import SpectrumExtract
from appliance.core.types import Frame, FrameKind
from models.machine.simulator import FAULTS, LENGTH, RATE_HZ, Fault, Machine, Operation, draw_machine, vibration

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from models.machine.simulator import Array

EXTRACT = SpectrumExtract(
    rate_hz=RATE_HZ,
    length=LENGTH,
    shaft_hz=(12.0, 60.0),
    envelope_hz=(600.0, 1500.0),
    bands=12,
    floor=0.001,
    rms_min=0.003,
    speed_exponent=2.0,
)
SPEEDS_HZ: Mapping[str, tuple[tuple[float, float], ...]] = {
    "seen": ((20.0, 30.0), (36.0, 45.0)),
    "below": ((14.0, 18.0),),
    "between": ((31.0, 35.0),),
    "above": ((48.0, 55.0),),
}
"""Turns a second: those the model learns at, and those it meets first when it is tested."""
SEEN = "seen"
SEVERITIES = (0.25, 0.5, 1.0)
SEED = 20_261_122


@dataclass(frozen=True, slots=True, eq=False)
class Windows:
    """What is known of n windows; every array has n rows."""

    features: Array
    """float32 [n, features], not normalised."""
    fault: Array
    severity: Array
    speed_hz: Array
    speeds: Array
    """Key of SPEEDS_HZ."""
    machine: Array
    rms: Array
    kurtosis: Array

    def __len__(self) -> int:
        return len(self.features)

    def where(self, chosen: Array) -> Windows:
        """Give the windows for which `chosen`, bool [n], is true."""
        return Windows(**{each.name: getattr(self, each.name)[chosen] for each in fields(self)})


def machine_number(number: int) -> Machine:
    """Draw one of endlessly many machines; the same number is the same machine, in every run."""
    return draw_machine(np.random.default_rng((SEED, number)))


def healthy(numbers: Iterable[int], each: int, speeds: str = SEEN, draw: int = 0) -> Windows:
    """Simulate `each` windows of every machine when nothing is wrong; another `draw` gives other windows."""
    return _windows(((number, speeds, Fault(), each) for number in numbers), draw)


def faulty(numbers: Iterable[int], each: int, speeds: str = SEEN) -> Windows:
    """Simulate `each` windows of every machine with every fault in every severity."""
    faults = [Fault(kind, severity) for kind in FAULTS for severity in SEVERITIES]
    return _windows((number, speeds, fault, each) for number in numbers for fault in faults)


def join(parts: Iterable[Windows]) -> Windows:
    """Put windows one after another."""
    several = list(parts)
    return Windows(
        **{each.name: np.concatenate([getattr(part, each.name) for part in several]) for each in fields(Windows)}
    )


def vectors(windows: Iterable[Array]) -> Array:
    """Extract float32 [n, features] from windows float32 [LENGTH, 1], as the device would."""
    extractor = Spectrum(EXTRACT)
    rows = [extractor(Frame(FrameKind.WINDOW, window, 0.0, 0))[0] for window in windows]
    return np.stack(rows)


def _windows(wanted: Iterable[tuple[int, str, Fault, int]], draw: int = 0) -> Windows:
    """Simulate; each (machine, speeds, fault, how many) has random numbers of its own."""
    rows: dict[str, list[object]] = {each.name: [] for each in fields(Windows)}
    extractor = Spectrum(EXTRACT)
    for number, speeds, fault, count in wanted:
        machine = machine_number(number)
        kind = (*FAULTS, fault.kind).index(fault.kind)
        rng = np.random.default_rng(
            (SEED, number, list(SPEEDS_HZ).index(speeds), kind, int(100 * fault.severity), draw)
        )
        for _ in range(count):
            operation = draw_operation(rng, speeds)
            window = vibration(machine, operation, fault, rng)
            values = (extractor(Frame(FrameKind.WINDOW, window, 0.0, 0))[0], fault.kind, fault.severity)
            facts = (operation.speed_hz, speeds, number, float(window.std()), _kurtosis(window))
            for row, value in zip(rows.values(), (*values, *facts), strict=True):
                row.append(value)
    return Windows(**{name: np.array(row) for name, row in rows.items()})


def draw_operation(rng: np.random.Generator, speeds: str) -> Operation:
    """Draw a speed of this range with any load and temperature."""
    ranges = SPEEDS_HZ[speeds]
    low, high = ranges[int(rng.integers(len(ranges)))]
    return Operation(float(rng.uniform(low, high)), float(rng.uniform(0.3, 1.0)), float(rng.uniform(-1.0, 1.0)))


def _kurtosis(window: Array) -> float:
    centred = window.astype(np.float64) - window.mean()
    return float((centred**4).mean() / (centred**2).mean() ** 2)
