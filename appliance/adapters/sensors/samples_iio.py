"""Samples from Linux Industrial I/O, polled through sysfs: accelerometers, ADCs, whatever has a kernel driver.

A sample is ``(raw + offset) * scale``, in the unit that the kernel's ABI gives for the channel's type (volts are
millivolts, acceleration is m/s^2; Documentation/ABI/testing/sysfs-bus-iio). Polling suits some hundred hertz.
"""

import os
import re
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from threading import Event

import numpy as np

from appliance.adapters.sensors.device_reader import Device
from appliance.adapters.sensors.samples_source import Block, LiveSource, read_number
from appliance.config import SamplesConfig, SamplesIioConfig
from appliance.errors import SensorError
from appliance.ports import SensorContext

VALUE_BYTES_MAX = 64
"""One number of sysfs."""


def make_iio_source(config: SamplesConfig, context: SensorContext) -> LiveSource:
    """Make the source; nothing is opened yet."""
    iio = config.source
    assert isinstance(iio, SamplesIioConfig), "the registry chose by kind"
    name = f"{iio.sysfs}/{iio.device}"
    advice = f"does `cat {name}/in_{iio.channels[0]}_raw` answer?"
    return LiveSource(partial(_connect, iio, config.rate_hz, context), context, name=name, advice=advice)


def _connect(iio: SamplesIioConfig, rate_hz: float, context: SensorContext, stop: Event) -> Device[Block]:
    """Open every channel. Raises SensorError."""
    folder = _find(iio)
    with ExitStack() as opened:
        channels = []
        for channel in iio.channels:
            try:
                descriptor = os.open(folder / f"in_{channel}_raw", os.O_RDONLY | os.O_CLOEXEC)
            except OSError as error:
                there = ", ".join(sorted(file.name[3:-4] for file in folder.glob("in_*_raw"))) or "none"
                msg = f"{folder}: channel {channel!r} cannot be opened: {error.strerror}; there are: {there}"
                raise SensorError(msg) from error
            opened.callback(_close, descriptor)
            channels.append((descriptor, _attribute(folder, channel, "offset", 0.0)))
        scales = [_attribute(folder, channel, "scale", 1.0) for channel in iio.channels]
        return _Polled(folder, channels, scales, 1.0 / rate_hz, context, stop, opened.pop_all())


def _close(descriptor: int) -> None:
    with suppress(OSError):  # a device that is gone cannot be let go
        os.close(descriptor)


def _find(iio: SamplesIioConfig) -> Path:
    """Return the device's folder, by its directory or by its ``name``. Raises SensorError."""
    folder = iio.sysfs / iio.device
    if "/" not in iio.device and folder.is_dir():
        return folder
    names = {}
    for candidate in sorted(iio.sysfs.glob("iio:device*")):
        with suppress(OSError):  # vanished between listing and reading
            names[(candidate / "name").read_text("ascii", "replace").strip()] = candidate
    if iio.device in names:
        return names[iio.device]
    known = ", ".join(f"{path.name} ({name})" for name, path in names.items()) or "none"
    msg = f"{iio.sysfs}: no device {iio.device!r}; there are: {known}"
    raise SensorError(msg)


def _attribute(folder: Path, channel: str, attribute: str, default: float) -> float:
    """Return a channel's own scale or offset, or the one all channels of its type share. Raises SensorError."""
    shared = re.match("[a-z]*", channel)
    assert shared is not None, "matches even nothing"
    for owner in dict.fromkeys((channel, shared[0])):
        file = folder / f"in_{owner}_{attribute}"
        try:
            text = file.read_bytes()[:VALUE_BYTES_MAX]
        except FileNotFoundError:
            continue
        except OSError as error:
            msg = f"{file}: cannot be read: {error.strerror}"
            raise SensorError(msg) from error
        value = read_number(text)
        if value is None:
            msg = f"{file}: {text!r} is no number"
            raise SensorError(msg)
        return value
    return default


class _Polled:
    """Open channels, one sample a period."""

    def __init__(  # noqa: PLR0917 - positional, in the order they are found
        self,
        folder: Path,
        channels: list[tuple[int, float]],
        scales: list[float],
        period_s: float,
        context: SensorContext,
        stop: Event,
        opened: ExitStack,
    ) -> None:
        self._folder = folder
        self._channels = channels
        self._scales = scales
        self._period_s = period_s
        self._context = context
        self._stop = stop
        self._opened = opened
        self._due_s = context.clock.monotonic_s()

    def grab(self) -> Block | None:
        """Wait for the next period and read every channel; None when one did not give a number."""
        clock = self._context.clock
        early_s = self._due_s - clock.monotonic_s()
        if early_s > 0:
            clock.wait(self._stop, early_s)
        now_s = clock.monotonic_s()
        missed = int((now_s - self._due_s) / self._period_s)  # whole periods late
        if missed > 0:
            self._bad("overrun", missed)
        self._due_s += (missed + 1) * self._period_s
        values = [self._read(*channel) for channel in self._channels]
        if None in values:
            self._bad("bad_value")
            return None
        sample = np.array([values], np.float64) * self._scales
        return Block(sample.astype(np.float32), np.array([now_s]))

    def release(self) -> None:
        self._opened.close()

    def _read(self, descriptor: int, offset: float) -> float | None:
        """Return raw plus offset. Raises SensorError when the device is gone (the kernel says ENODEV)."""
        try:
            text = os.pread(descriptor, VALUE_BYTES_MAX, 0)
        except OSError as error:
            msg = f"{self._folder}: lost: {error.strerror}; is the device still bound to its driver?"
            raise SensorError(msg) from error
        raw = read_number(text)
        return None if raw is None else raw + offset

    def _bad(self, reason: str, samples: int = 1) -> None:
        self._context.meter.count(
            "edge_samples_bad_total", float(samples), channel=self._context.channel, reason=reason
        )
