"""What a model costs on this device, held against the limits its author set. It warns; it refuses nothing.

A device that is slower than the reference hardware may still be fast enough for its channel: that is for the person
who reads it to say.
"""

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from appliance.adapters.backends.cpu import load_runtime
from appliance.adapters.backends.registry import make_backend
from appliance.config import ModelConfig
from appliance.core.facts import Limits
from appliance.core.model import Model
from appliance.inference.proof import PROOF_DEADLINE_S

INVOKES = 30
MEASURE_S_MAX = 2.0
"""A large model is invoked less often, but once."""


@dataclass(frozen=True, slots=True)
class Cost:
    """What was measured on this device's CPU."""

    latency_ms: float
    """Median of an invoke, the first left out."""
    memory_bytes: int
    """What opening the model and the first invoke added to the resident memory; 0 where the system does not tell."""

    def __str__(self) -> str:
        return f"an invoke takes {self.latency_ms:.3g} ms, opening it adds {self.memory_bytes:,} bytes of memory"

    def beyond(self, limits: Limits) -> Iterator[str]:
        """Yield a sentence for each limit that is passed."""
        if limits.latency_ms_max is not None and self.latency_ms > limits.latency_ms_max:
            yield (
                f"an invoke takes {self.latency_ms:.3g} ms on this device, more than the {limits.latency_ms_max:g} ms "
                f"that its author allows on {limits.latency_on}"
            )
        if limits.memory_bytes_max is not None and self.memory_bytes > limits.memory_bytes_max:
            yield f"it adds {self.memory_bytes:,} bytes of memory, more than the {limits.memory_bytes_max:,} allowed"


def measure(model: Model, config: ModelConfig) -> Cost:
    """Invoke a model on this device's CPU, as its configuration has it, for ``MEASURE_S_MAX`` at most.

    Raises:
        ModelError: the file contradicts its description.
        BackendError: no runtime is installed, or it fails.
    """
    load_runtime()  # a library loaded for the first time is no part of the model
    backend = make_backend("cpu", config)
    before = resident_bytes()
    try:
        backend.open(model)
        tensors = model.golden.inputs
        backend.invoke(tensors[0], PROOF_DEADLINE_S)
        memory_bytes = resident_bytes() - before
        took_ms: list[float] = []
        until_s = time.perf_counter() + MEASURE_S_MAX
        while not took_ms or (len(took_ms) < INVOKES and time.perf_counter() < until_s):
            begun_s = time.perf_counter()
            backend.invoke(tensors[len(took_ms) % len(tensors)], PROOF_DEADLINE_S)
            took_ms.append((time.perf_counter() - begun_s) * 1e3)
        return Cost(median(took_ms), max(0, memory_bytes))
    finally:
        backend.close()


def resident_bytes() -> int:
    """Give this process's resident memory; 0 where the system does not tell (not Linux)."""
    statm = Path("/proc/self/statm")
    pages = int(statm.read_text(encoding="ascii").split()[1]) if statm.exists() else 0
    return pages * os.sysconf("SC_PAGE_SIZE")


def together(wanted_bytes: int, available_bytes: int) -> Iterator[str]:
    """Yield a sentence when the models' memory limits add up to more than there is; 0 available: it is not known."""
    if 0 < available_bytes < wanted_bytes:
        yield f"the models may take {wanted_bytes:,} bytes of memory together; {available_bytes:,} are available"


def available_bytes() -> int:
    """Give the memory that programs may still take (``MemAvailable``); 0 where the system does not tell."""
    meminfo = Path("/proc/meminfo")
    lines = meminfo.read_text(encoding="ascii").splitlines() if meminfo.exists() else []
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")), 0)
