"""Windows over a sampled signal, with the question asked first whether it is a signal at all.

A source gives blocks of samples with the time of each; where samples were lost, their times have a hole, and a hole
longer than ``quality.gap_s_max`` makes every window over it say ``gap``. From a live source the newest complete window
is returned, older ones are superseded; from a recording played ``fast`` every window is.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from appliance.adapters.sensors.samples_file import make_file_source
from appliance.adapters.sensors.samples_iio import make_iio_source
from appliance.adapters.sensors.samples_serial import make_serial_source
from appliance.adapters.sensors.samples_source import Block, Source
from appliance.config import SamplesConfig
from appliance.core.signal import SignalLimits, signal_fault
from appliance.core.types import Array, Frame, FrameKind
from appliance.errors import Idle, SensorError
from appliance.ports import SensorContext

GAP_PERIODS = 5.0
"""Sample periods that may lie between two samples where ``gap_s_max`` is not configured."""
SOURCES: dict[str, Callable[[SamplesConfig, SensorContext], Source]] = {
    "file": make_file_source,
    "serial": make_serial_source,
    "iio": make_iio_source,
}
"""``source.kind`` in the configuration to its maker."""


class Samples:
    """Implements ``ports.Sensor``."""

    newest_only = False

    def __init__(self, config: SamplesConfig, context: SensorContext) -> None:
        """Touches nothing yet."""
        self._context = context
        self._length = config.length
        self._stride = config.stride
        self._source = SOURCES[config.source.kind](config, context)
        quality = config.quality
        self._gap_s_max = quality.gap_s_max or GAP_PERIODS / config.rate_hz
        self._limits = SignalLimits(
            flat_range_min=quality.flat_range_min,
            value_min=quality.value_min,
            value_max=quality.value_max,
            out_of_range_max=quality.out_of_range_max,
            gap_s_max=self._gap_s_max,
        )
        self._is_open = False
        self._windows = Windows(self._length, self._stride)
        self._newest_s = 0.0
        self._seq = 0

    def open(self) -> None:
        """Get the source ready; the first window begins with its first sample. Raises SensorError."""
        assert not self._is_open, f"{self._source.name}: opened twice"
        self._source.open()
        self._windows = Windows(self._length, self._stride)
        self._newest_s = self._context.clock.monotonic_s()
        self._is_open = True

    def capture(self, timeout_s: float) -> Frame:
        """Return the newest complete window.

        Raises Idle when none was complete in time though samples come, SensorError when none come or the source
        is lost, EndOfRecording.
        """
        assert self._is_open, f"{self._source.name}: capture before open"
        clock = self._context.clock
        deadline_s = clock.monotonic_s() + timeout_s
        ready: list[Window] = []
        while not ready:
            block = self._source.read(max(0.0, deadline_s - clock.monotonic_s()))
            if block is not None:
                self._newest_s = clock.monotonic_s()
                ready = self._windows.add(block)
            if not ready and clock.monotonic_s() >= deadline_s:
                self._nothing(timeout_s)
        return self._frame(ready)

    def close(self) -> None:
        """Let the source go. Idempotent; never raises."""
        self._is_open = False
        self._source.close()

    def _nothing(self, timeout_s: float) -> None:
        """Say why there is no window: still filling, or no samples at all."""
        if self._context.clock.monotonic_s() - self._newest_s <= max(timeout_s, self._gap_s_max):
            raise Idle("the window is still filling")
        msg = f"{self._source.name}: no samples for {timeout_s:g} s; {self._source.advice}"
        raise SensorError(msg)

    def _frame(self, ready: list["Window"]) -> Frame:
        """Make a frame of the newest window; the others are superseded."""
        for _ in ready[:-1]:
            self._context.meter.count("edge_frames_dropped_total", channel=self._context.channel, reason="superseded")
        self._seq += len(ready)
        window = ready[-1]
        fault = signal_fault(window.values, window.times_s, self._limits)
        now_s = self._context.clock.monotonic_s()
        captured_s = now_s if self._source.fast else min(float(window.times_s[-1]), now_s)
        return Frame(FrameKind.WINDOW, window.values, captured_s, self._seq - 1, signal_fault=fault)


@dataclass(frozen=True, slots=True, eq=False)
class Window:
    """``length`` consecutive samples: float32 ``[length, channels]``, and the time of each."""

    values: Array
    times_s: NDArray[np.float64]


class Windows:
    """Cuts a stream of blocks into windows of ``length`` samples, one every ``stride``. Pure."""

    def __init__(self, length: int, stride: int) -> None:
        """The first window begins with the first sample."""
        self._length = length
        self._stride = stride
        self._skip = 0
        self._values: Array | None = None
        self._times_s: NDArray[np.float64] = np.empty(0)

    def add(self, block: Block) -> list[Window]:
        """Return the windows that ``block`` completes, oldest first.

        Holds less than ``length`` samples afterwards, whatever the size of the blocks.
        """
        values = block.values if self._values is None else np.concatenate((self._values, block.values))
        times_s = np.concatenate((self._times_s, block.times_s))
        windows, start = [], self._skip
        while start + self._length <= len(values):
            cut = slice(start, start + self._length)
            windows.append(Window(values[cut].copy(), times_s[cut].copy()))
            start += self._stride
        self._skip = max(0, start - len(values))  # a stride longer than the window leaves samples out
        self._values, self._times_s = values[start:].copy(), times_s[start:].copy()
        return windows
