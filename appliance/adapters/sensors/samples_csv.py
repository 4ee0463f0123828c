"""Samples of a CSV file, line by line."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from appliance.adapters.sensors.samples_source import Block, read_number
from appliance.errors import SensorError
from appliance.ports import SensorContext

LINE_BYTES_MAX = 65_536
TIME = "time_s"


class CsvSamples:
    """Implements ``samples_file.Recorded``. One line is in memory at a time, and the samples asked for."""

    def __init__(self, file: Path, columns: Sequence[str], period_s: float, context: SensorContext) -> None:
        """Open it and read the header, if there is one. Raises SensorError."""
        self._file = file
        self._period_s = period_s
        self._context = context
        self._lines_read = 0
        self._newest_s = float("-inf")
        self._time_column: int | None = None
        try:
            self._stream = file.open("rb")
        except OSError as error:
            msg = f"{file}: cannot be read: {error.strerror}"
            raise SensorError(msg) from error
        try:
            self._choose(self._line() or [""], columns)
        except SensorError:
            self.close()
            raise

    def read(self, samples: int) -> Block | None:
        """Return the next samples; None at the end. Lines that are no sample are counted and passed over."""
        values: list[list[float]] = []
        times_s: list[float] = []
        while len(values) < samples and (parts := self._line()) is not None:
            numbers = [read_number(part) for part in parts]
            row = self._row(numbers)
            time_s = self._time_s(numbers)
            self._lines_read += 1
            if row is None or time_s is None:
                self._context.meter.count("edge_samples_bad_total", channel=self._context.channel, reason="bad_line")
                continue
            values.append(row)
            times_s.append(time_s)
            self._newest_s = time_s
        return Block(np.array(values, np.float32), np.array(times_s)) if values else None

    def close(self) -> None:
        """Let the file go."""
        self._stream.close()

    def _choose(self, first: list[str], columns: Sequence[str]) -> None:
        """Decide by the first line which columns are channels and which is the time."""
        self._width = len(first)
        if all(read_number(part) is not None for part in first):
            if columns:
                msg = f"{self._file}: its first line is no header, so columns cannot be chosen by name"
                raise SensorError(msg)
            self._channels = list(range(self._width))
            self._stream.seek(0)
            return
        self._time_column = first.index(TIME) if TIME in first else None
        wanted = columns or [name for name in first if name != TIME]
        missing = [name for name in wanted if name not in first]
        if missing or not wanted:
            msg = f"{self._file}: has no column {', '.join(missing) or 'of samples'}; there are: {', '.join(first)}"
            raise SensorError(msg)
        self._channels = [first.index(name) for name in wanted]

    def _line(self) -> list[str] | None:
        """Return the parts of the next line, None at the end. Raises SensorError for a line without an end."""
        try:
            raw = self._stream.readline(LINE_BYTES_MAX + 1)
        except OSError as error:
            msg = f"{self._file}: cannot be read: {error.strerror}"
            raise SensorError(msg) from error
        if len(raw) > LINE_BYTES_MAX:
            msg = f"{self._file}: a line is longer than {LINE_BYTES_MAX} bytes; this is not a CSV file"
            raise SensorError(msg)
        text = raw.decode("utf-8-sig", "replace").strip()
        return [part.strip().strip('"') for part in text.split(",")] if raw else None

    def _row(self, numbers: list[float | None]) -> list[float] | None:
        """Return the channels of a line, None when one is missing."""
        if len(numbers) != self._width:
            return None
        row = [number for place in self._channels if (number := numbers[place]) is not None]
        return row if len(row) == len(self._channels) else None

    def _time_s(self, numbers: list[float | None]) -> float | None:
        """Return the time of a line, None when it has none or one before the last."""
        if self._time_column is None:
            return self._lines_read * self._period_s
        time_s = numbers[self._time_column] if self._time_column < len(numbers) else None
        return None if time_s is None or time_s < self._newest_s else time_s
