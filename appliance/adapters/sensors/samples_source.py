"""What a source of samples is, and how a live one runs on a thread of its own."""

from collections.abc import Callable
from dataclasses import dataclass
from threading import Event
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from appliance.adapters.sensors.device_reader import Device, DeviceReader
from appliance.core.types import Array
from appliance.ports import SensorContext

OPEN_TIMEOUT_S = 5.0
BLOCKS_MAX = 1000
"""Blocks that may wait for the loop; beyond this the oldest is dropped, counted, and leaves a hole in the times."""
FLOAT32_MAX = float(np.finfo(np.float32).max)


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """At least one sample: float32 ``[n, channels]``, and the monotonic time of each, never falling."""

    values: Array
    times_s: NDArray[np.float64]


class Source(Protocol):
    """Gives samples in order."""

    @property
    def name(self) -> str:
        """What begins every message about this source."""
        ...

    @property
    def advice(self) -> str:
        """What to look at when no samples come."""
        ...

    @property
    def fast(self) -> bool:
        """Samples come faster than they were taken: they count as captured when they are read."""
        ...

    def open(self) -> None:
        """Get ready. Raises SensorError."""
        ...

    def read(self, timeout_s: float) -> Block | None:
        """Return samples not yet returned, None when none came in time. Raises SensorError, EndOfRecording."""
        ...

    def close(self) -> None:
        """Let the device go. Idempotent; never raises."""
        ...


def read_number(text: str | bytes) -> float | None:
    """Return a finite number that float32 can hold; None for anything else (``nan``, ``1_000``, nothing)."""
    try:
        value = float(text)
    except ValueError:
        return None
    plain = abs(value) <= FLOAT32_MAX and (b"_" not in text if isinstance(text, bytes) else "_" not in text)
    return value if plain else None


class LiveSource:
    """A source that runs by itself: a thread reads it, so that no sample waits for a busy loop."""

    fast = False

    def __init__(
        self, connect: Callable[[Event], Device[Block]], context: SensorContext, *, name: str, advice: str
    ) -> None:
        """``connect`` opens the device (see ``DeviceReader``)."""
        self.name = name
        self.advice = advice
        self._context = context
        self._reader: DeviceReader[Block] = DeviceReader(
            connect, context, name=name, items_max=BLOCKS_MAX, on_drop=self._overrun, open_timeout_s=OPEN_TIMEOUT_S
        )

    def open(self) -> None:
        """Start the thread. Raises SensorError."""
        self._reader.open()

    def read(self, timeout_s: float) -> Block | None:
        """Return everything that waits, as one block: a loop that is late catches up at once."""
        first = self._reader.take(timeout_s)
        if first is None:
            return None
        blocks = [first]
        while len(blocks) < BLOCKS_MAX and (block := self._reader.take_waiting()) is not None:
            blocks.append(block)
        return Block(np.concatenate([b.values for b in blocks]), np.concatenate([b.times_s for b in blocks]))

    def close(self) -> None:
        """Stop the thread. Idempotent; never raises."""
        self._reader.close()

    def _overrun(self) -> None:
        self._context.meter.count("edge_samples_bad_total", channel=self._context.channel, reason="overrun")
