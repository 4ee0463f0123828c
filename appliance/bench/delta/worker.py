"""A process that applies one of our deltas as the device does: the base mapped, the result written to a file.

Started by path with ``python -I``; says on one line what it cost beyond an interpreter with NumPy and the decoder.
"""

import argparse
import json
import mmap
import os
import sys
import time
from pathlib import Path

import numpy as np

from appliance.trust.delta import Kind, apply

STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
RESET_PEAK = "5"
"""Written to ``clear_refs``, sets the peak of resident memory back to what is resident now (proc(5))."""
RESIDENT, PEAK = "VmRSS", "VmHWM"
KIB = 1024


def _memory_bytes(which: str) -> int:
    line = next(line for line in STATUS.read_text().splitlines() if line.startswith(which))
    return int(line.split()[1]) * KIB


def _mapped(file: Path) -> bytes | mmap.mmap:
    """Map a file; an empty one cannot be."""
    with file.open("rb") as stream:
        return mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) if file.stat().st_size else b""


def main() -> None:
    """Apply, measured."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", type=Kind)
    parser.add_argument("size_bytes", type=int)
    for name in ("base", "payload", "made"):
        parser.add_argument(name, type=Path)
    told = parser.parse_args()
    np.zeros(1).sum()  # what NumPy sets up at its first sum is the interpreter's own
    base, payload = _mapped(told.base), _mapped(told.payload)
    with told.made.open("wb") as made:
        file = made.fileno()
        CLEAR.write_text(RESET_PEAK)
        before_bytes, start_s = _memory_bytes(RESIDENT), time.process_time()
        apply(told.kind, payload, base, told.size_bytes, lambda offset, content: _write(file, offset, content))
        took_s = time.process_time() - start_s
        peak_bytes = _memory_bytes(PEAK) - before_bytes
    sys.stdout.write(json.dumps({"cpu_s": took_s, "peak_bytes": peak_bytes}) + "\n")


def _write(file: int, offset: int, content: bytes | memoryview) -> None:
    os.pwrite(file, content, offset)


if __name__ == "__main__":
    main()
