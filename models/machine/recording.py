"""Make examples/recordings/machine.npz: `python models/machine/recording.py`.

A pump that took part in no training, heard by an ADXL345: well for 6 s; the outer race of its bearing gets worse for
15 s (hours or weeks on a real one) and stays so for 25 s; then the sensor's cable is off for 8 s. The alert comes after
14 s, so that a demo of 20 s shows it.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from models.machine.simulator import RATE_HZ, SENSORS, Fault, Operation, vibration
from models.machine.vectors import SEED, machine_number

OUT = Path(__file__).resolve().parents[2] / "examples" / "recordings" / "machine.npz"
MACHINE = 5000
WELL_S, WORSE_S, BAD_S, OFF_S = 6.4, 15.0, 25.0, 8.0


def main() -> int:
    """Simulate and write."""
    machine = next(
        machine
        for machine in (machine_number(number) for number in range(MACHINE, MACHINE + 100))
        if machine.sensor == SENSORS[0]
    )
    well, worse, bad, off = (round(seconds * RATE_HZ) for seconds in (WELL_S, WORSE_S, BAD_S, OFF_S))
    growth = np.concatenate([np.zeros(well), np.linspace(0.0, 1.0, worse), np.ones(bad)])
    rng = np.random.default_rng((SEED, MACHINE))
    operation, fault = Operation(speed_hz=24.6, load=0.8), Fault("outer race", 1.0)
    heard = vibration(machine, operation, fault, rng, length=len(growth), growth=growth)
    samples = np.concatenate([heard, np.zeros((off, 1))]).astype(np.float16)  # a step of the sensor is 0.004 g
    OUT.parent.mkdir(exist_ok=True)
    with OUT.open("wb") as stream:
        np.savez_compressed(stream, samples=samples)
    print(f"{OUT.name}: {len(samples) / RATE_HZ:g} s, {OUT.stat().st_size:,} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
