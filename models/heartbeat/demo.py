"""Make examples/recordings/heartbeat.npz: a wearer being learned, then what there is to be told, sixteen times as fast.

The samples are those of a lead at 125 Hz; their times say that they come sixteen times as fast, so that four minutes of
heartbeats play in fifteen seconds.
"""

from __future__ import annotations

import argparse
import io
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from appliance.forge.report import write_whole
from models.heartbeat import simulator
from models.heartbeat.disturbance import RATE_HZ, electrode_off
from models.heartbeat.simulator import Rhythm

OUT = Path(__file__).resolve().parents[2] / "examples" / "recordings" / "heartbeat.npz"
SEED = 20_260_203
FASTER = 16.0
PLAN = [Rhythm(115.0), Rhythm(20.0), Rhythm(30.0, every=4), Rhythm(30.0), Rhythm(45.0, fibrillates=True)]
OFF_S = (170.0, 182.0)
"""When the electrode is off."""


def samples() -> simulator.Array:
    """Simulate the lead, float32 ``[n]`` in mV."""
    rng = np.random.default_rng(SEED)
    wearer = simulator.quiet(simulator.make_wearer(rng))
    signal = simulator.record(wearer, PLAN, rng).signal
    first, last = (round(at_s * RATE_HZ) for at_s in OFF_S)
    signal[first:last] = electrode_off(OFF_S[1] - OFF_S[0], rng)
    return signal


def main() -> int:
    """Read the command line and write the recording."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=OUT, help="where to write it")
    out = parser.parse_args().out
    signal = samples()
    buffer = io.BytesIO()
    np.savez_compressed(buffer, samples=signal, times_s=np.arange(len(signal)) / (RATE_HZ * FASTER))
    write_whole(out, buffer.getvalue())
    lasts_s = len(signal) / RATE_HZ
    print(f"{out}: {lasts_s:g} s of a lead in {lasts_s / FASTER:g} s, {len(buffer.getvalue())} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
