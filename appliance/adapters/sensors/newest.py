"""A sensor that keeps the newest frame only: what a camera is to the loop.

A frame that nobody took before the next one came is superseded: counted, and visible as a jump of ``seq``.
"""

from collections.abc import Callable
from itertools import count
from threading import Event

from appliance.adapters.sensors.device_reader import Device, DeviceReader
from appliance.core.types import Array, Frame, FrameKind
from appliance.errors import SensorError
from appliance.ports import SensorContext

Picture = tuple[Array, float]
"""uint8 ``[height, width, 3]``, BGR, and when it was captured, in monotonic seconds."""


class NewestFrames:
    """Implements ``ports.Sensor`` over a device that gives pictures."""

    newest_only = True

    def __init__(
        self, connect: Callable[[Event], Device[Picture]], context: SensorContext, *, name: str, open_timeout_s: float
    ) -> None:
        """``connect`` opens the device (see ``DeviceReader``); ``name`` begins every message about this sensor."""
        self._connect = connect
        self._context = context
        self._name = name
        self._seq = count()
        self._reader: DeviceReader[Frame] = DeviceReader(
            self._connect_numbered,
            context,
            name=name,
            items_max=1,
            on_drop=self._superseded,
            open_timeout_s=open_timeout_s,
        )

    def open(self) -> None:
        """Get the device ready. Raises SensorError after at most ``open_timeout_s``."""
        self._reader.open()

    def capture(self, timeout_s: float) -> Frame:
        """Return the newest frame not yet returned. Raises SensorError, EndOfRecording."""
        frame = self._reader.take(timeout_s)
        if frame is None:
            msg = f"{self._name}: no frame for {timeout_s:g} s; the camera has stalled"
            raise SensorError(msg)
        return frame

    def close(self) -> None:
        """Let the device go; one that hangs is left to its thread. Idempotent; never raises."""
        self._reader.close()

    def _connect_numbered(self, stop: Event) -> Device[Frame]:
        return _Numbered(self._connect(stop), self._seq, self._context)

    def _superseded(self) -> None:
        self._context.meter.count("edge_frames_dropped_total", channel=self._context.channel, reason="superseded")


class _Numbered:
    """Makes frames of pictures. Their times are held monotone and out of the future."""

    def __init__(self, device: Device[Picture], seq: "count[int]", context: SensorContext) -> None:
        self._device = device
        self._seq = seq
        self._clock = context.clock
        self._captured_s = float("-inf")

    def grab(self) -> Frame | None:
        picture = self._device.grab()
        if picture is None:
            return None
        data, captured_s = picture
        self._captured_s = max(self._captured_s, min(captured_s, self._clock.monotonic_s()))
        return Frame(FrameKind.IMAGE, data, self._captured_s, next(self._seq))

    def release(self) -> None:
        self._device.release()
