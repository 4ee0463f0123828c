"""Samples from a recording: ``.csv`` or ``.npz``, at its own speed or as fast as they are read.

CSV: one row a sample, one column a channel, numbers with a point, separated by commas; an optional header line; a
column ``time_s`` holds seconds, never falling. A line that is no sample is counted and leaves a hole in the times.
NPZ: ``samples`` ``[n, channels]`` or ``[n]``, any numbers; optional ``times_s`` ``[n]``. Without times, ``rate_hz``
gives them. A recording closed in its middle goes on when it is opened again, as the world would.
"""

from pathlib import Path
from threading import Event
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from appliance.adapters.sensors.recording import Rows, has_array, read_times
from appliance.adapters.sensors.samples_csv import CsvSamples
from appliance.adapters.sensors.samples_source import Block
from appliance.config import SamplesConfig, SamplesFileConfig
from appliance.errors import EndOfRecording, SensorError
from appliance.ports import SensorContext

AHEAD_MAX = 4096
"""Samples read before they are due, and the most that are returned at once."""


class Recorded(Protocol):
    """A recording's samples in order; times are seconds from any start."""

    def read(self, samples: int) -> Block | None:
        """Return the next ``samples`` or fewer; None at the end. Raises SensorError."""
        ...

    def close(self) -> None:
        """Let the file go."""
        ...


def make_file_source(config: SamplesConfig, context: SensorContext) -> "FileSource":
    """Make the source; nothing is opened yet."""
    return FileSource(config, context)


class FileSource:
    """Implements ``Source``. ``fast`` returns at most one stride at a time, so that no window is superseded."""

    advice = "the recording has a hole here"

    def __init__(self, config: SamplesConfig, context: SensorContext) -> None:
        """Touches nothing yet."""
        assert isinstance(config.source, SamplesFileConfig), "the registry chose by kind"
        self._source = config.source
        self.name = str(config.source.file)
        self.fast = config.source.speed == "fast"
        self._period_s = 1.0 / config.rate_hz
        self._chunk = min(config.stride, AHEAD_MAX) if self.fast else AHEAD_MAX
        self._context = context
        self._recorded: Recorded | None = None
        self._ahead: Block | None = None
        self._returned = 0
        """Samples of this round already returned."""
        self._starts_s = 0.0
        """What a recorded time is added to."""
        self._newest_s = 0.0
        """Time of the newest sample returned."""

    def open(self) -> None:
        """Find the first sample not yet returned. Raises SensorError."""
        recorded = self._open_recording()
        try:
            left = self._returned
            while left and (passed := recorded.read(min(left, AHEAD_MAX))) is not None:
                left -= len(passed.values)
            self._ahead = self._first(recorded) if not self._returned else recorded.read(self._chunk)
        except SensorError:
            recorded.close()
            raise
        self._recorded = recorded
        if not self._returned and self._ahead is not None:
            self._starts_s = self._context.clock.monotonic_s() - float(self._ahead.times_s[0])

    def read(self, timeout_s: float) -> Block | None:
        """Return the samples that are due, waiting for the first. Raises SensorError, EndOfRecording."""
        assert self._recorded is not None, f"{self.name}: capture before open"
        if self._ahead is None:
            self._recorded = self._next_round(self._recorded)
        assert self._ahead is not None, "a round has samples"
        times_s = self._ahead.times_s + self._starts_s
        due = len(times_s) if self.fast else self._due(times_s, timeout_s)
        if due == 0:
            return None
        block = Block(self._ahead.values[:due], times_s[:due])
        self._newest_s = float(times_s[due - 1])
        self._returned += due
        rest = Block(self._ahead.values[due:], self._ahead.times_s[due:])
        self._ahead = rest if len(rest.values) else self._recorded.read(self._chunk)
        return block

    def close(self) -> None:
        """Let the file go. Idempotent; never raises."""
        if self._recorded is not None:
            self._recorded.close()
            self._recorded = None
            if self._ahead is None:
                self._returned = 0

    def _open_recording(self) -> Recorded:
        """Open the file as what its name says. Raises SensorError."""
        file = self._source.file
        if file.suffix.lower() == ".npz":
            return NpzSamples(file, self._period_s)
        return CsvSamples(file, self._source.columns, self._period_s, self._context)

    def _due(self, times_s: NDArray[np.float64], timeout_s: float) -> int:
        """Return how many of the samples ahead are due, after waiting for the first at most ``timeout_s``."""
        clock = self._context.clock
        early_s = float(times_s[0]) - clock.monotonic_s()
        if early_s > 0:
            clock.wait(Event(), min(early_s, timeout_s))
        return int(np.searchsorted(times_s, clock.monotonic_s(), side="right"))

    def _next_round(self, recorded: Recorded) -> Recorded:
        """Begin again, one period after the newest sample. Raises EndOfRecording when it is played once only."""
        if not self._source.repeat:
            msg = f"{self.name}: played to its end"
            raise EndOfRecording(msg)
        recorded.close()
        again = self._open_recording()
        try:
            first = self._first(again)
        except SensorError:
            again.close()
            raise
        self._ahead, self._returned = first, 0
        self._starts_s = self._newest_s + self._period_s - float(first.times_s[0])
        return again

    def _first(self, recorded: Recorded) -> Block:
        """Read the first samples of a round. Raises SensorError when there are none."""
        first = recorded.read(self._chunk)
        if first is None:
            msg = f"{self.name}: no sample in it can be read"
            raise SensorError(msg)
        return first


class NpzSamples:
    """Implements ``Recorded``: a chunk of samples in memory, and 8 bytes for each time."""

    def __init__(self, file: Path, period_s: float) -> None:
        """Open it. Raises SensorError."""
        self._rows = Rows(file, "samples")
        self._position = 0
        try:
            self._times_s = self._read_times(file, period_s)
        except SensorError:
            self._rows.close()
            raise

    def _read_times(self, file: Path, period_s: float) -> NDArray[np.float64]:
        """Check the samples' form and return their times. Raises SensorError."""
        if self._rows.dtype.kind not in "fiu" or len(self._rows.row_shape) > 1:
            msg = f"{file}: samples must be numbers [n, channels] or [n], not {self._rows.dtype}"
            raise SensorError(msg)
        if has_array(file, "times_s"):
            return read_times(file, "times_s", self._rows.count)
        return np.arange(self._rows.count, dtype=np.float64) * period_s

    def read(self, samples: int) -> Block | None:
        """Return the next samples; None at the end."""
        count = min(samples, self._rows.count - self._position)
        if count == 0:
            return None
        places = slice(self._position, self._position + count)
        self._position += count
        with np.errstate(over="ignore"):  # becomes infinite, which the quality gate calls not a number
            values = self._rows.read(count).astype(np.float32).reshape(count, -1)
        return Block(values, self._times_s[places])

    def close(self) -> None:
        """Let the file go."""
        self._rows.close()
