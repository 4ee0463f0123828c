"""Samples from a serial line: one sample a line, channels separated by commas, ASCII.

Lines that are no sample are counted and leave a hole in the times. The first line after opening is passed over: we
join in its middle.
"""

from contextlib import suppress
from functools import partial
from threading import Event
from typing import TYPE_CHECKING

import numpy as np

from appliance.adapters.sensors.device_reader import Device
from appliance.adapters.sensors.samples_source import Block, LiveSource, read_number
from appliance.config import SamplesConfig, SamplesSerialConfig
from appliance.errors import SensorError
from appliance.ports import SensorContext

if TYPE_CHECKING:
    import serial

READ_TIMEOUT_S = 0.2
"""Longest single read, so that the thread notices that it should stop."""
READ_BYTES_MAX = 65_536
LINE_BYTES_MAX = 1024
"""A longer line is garbage (the wrong baud rate has no line ends)."""
JITTER_S = 0.05
"""By how much a line's arrival may be late without a sample being missing: USB adapters deliver every 16 ms."""
FOLLOW = 0.05
"""Fraction of the difference between expected and real arrival that each sample's time follows."""


def make_serial_source(config: SamplesConfig, context: SensorContext) -> LiveSource:
    """Make the source; nothing is opened yet. The model says how many channels a line must have."""
    line = config.source
    assert isinstance(line, SamplesSerialConfig), "the registry chose by kind"
    advice = f"is the sender running, and is the baud rate {line.baud}?"
    return LiveSource(partial(_connect, line, config.rate_hz, context), context, name=line.device, advice=advice)


def _connect(line: SamplesSerialConfig, rate_hz: float, context: SensorContext, _stop: Event) -> Device[Block]:
    """Open the line for us alone. Raises SensorError."""
    try:
        import serial  # noqa: PLC0415 - an extra, needed by those who have such a line
    except ImportError as error:
        msg = f"{line.device}: pyserial is not installed: pip install 'edge-appliance[serial]'"
        raise SensorError(msg) from error
    try:
        port = serial.Serial(line.device, line.baud, timeout=READ_TIMEOUT_S, exclusive=True)
    except (OSError, ValueError) as error:  # a SerialException is an OSError
        msg = f"{line.device}: cannot be opened: {error}; is it plugged in? `ls /dev/serial/by-id`"
        raise SensorError(msg) from error
    return _Line(port, line.device, rate_hz, context)


class _Line:
    """An open serial line."""

    def __init__(self, port: "serial.Serial", name: str, rate_hz: float, context: SensorContext) -> None:
        self._port = port
        self._name = name
        self._context = context
        self._channels = context.model.channels
        self._timing = SampleTiming(1.0 / rate_hz)
        self._rest = b""
        self._joined = False
        """A line's end has been seen, so that the next line is a whole one."""

    def grab(self) -> Block | None:
        """Return the samples that have come; None after ``READ_TIMEOUT_S`` without."""
        try:
            raw = self._port.read(1)
            if raw:
                raw += self._port.read(min(self._port.in_waiting, READ_BYTES_MAX))
        except OSError as error:  # a SerialException is one
            msg = f"{self._name}: lost: {error}; is it plugged in?"
            raise SensorError(msg) from error
        return self._block(raw, self._context.clock.monotonic_s())

    def release(self) -> None:
        with suppress(OSError):  # a line that is gone cannot be let go
            self._port.close()

    def _block(self, raw: bytes, arrived_s: float) -> Block | None:
        """Return the samples of the lines that ``raw`` completes, None when there are none."""
        samples: list[list[float]] = []
        times_s: list[float] = []
        for line in self._lines(raw):
            sample = self._sample(line)
            if sample is None:
                self._context.meter.count("edge_samples_bad_total", channel=self._context.channel, reason="bad_line")
                self._timing.lost(arrived_s)
            else:
                samples.append(sample)
                times_s.append(self._timing.arrived(arrived_s))
        return Block(np.array(samples, np.float32), np.array(times_s)) if samples else None

    def _lines(self, raw: bytes) -> list[bytes]:
        """Return the lines that ``raw`` completes; keeps the rest, at most ``LINE_BYTES_MAX``."""
        *lines, rest = (self._rest + raw).split(b"\n")
        self._rest = rest[: LINE_BYTES_MAX + 1]
        whole = lines if self._joined else lines[1:]
        self._joined = self._joined or bool(lines)
        return whole

    def _sample(self, line: bytes) -> list[float] | None:
        """Return one number a channel, or None for a line that is no sample."""
        if len(line) > LINE_BYTES_MAX:
            return None
        numbers = [read_number(part) for part in line.strip().split(b",")]
        sample = [number for number in numbers if number is not None]
        return sample if len(sample) == len(numbers) == self._channels else None


class SampleTiming:
    """When each sample was taken, told from when its line arrived. Pure.

    Lines arrive in bunches; samples are taken at an even pace. A sample is expected one period after the one before,
    and that expectation follows the arrivals slowly (a loop filter of first order), because the sender's clock is not
    ours. Only an arrival more than ``JITTER_S`` late is a hole: on such a link shorter ones cannot be told.
    """

    def __init__(self, period_s: float) -> None:
        """Nothing has arrived yet."""
        self._period_s = period_s
        self._ahead_s_max = period_s / FOLLOW
        self._last_s = float("-inf")
        self._expected_s: float | None = None

    def lost(self, now_s: float) -> None:
        """Take note that a sample came and could not be read: the next one is expected a period later."""
        if self._expected_s is not None:
            self._expected_s = min(self._expected_s + self._period_s, max(self._last_s, now_s) + self._ahead_s_max)

    def arrived(self, now_s: float) -> float:
        """Return when the sample that arrived at ``now_s`` was taken: never falling.

        A bunch may run ahead of ``now_s``, by ``1 / FOLLOW`` periods at most: its samples keep their distance.
        """
        expected_s = now_s if self._expected_s is None else self._expected_s
        late_s = now_s - expected_s
        taken_s = now_s if late_s > JITTER_S else expected_s + FOLLOW * late_s
        self._last_s = max(self._last_s, taken_s)
        self._expected_s = self._last_s + self._period_s
        return self._last_s
