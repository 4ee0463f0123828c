"""The Raspberry Pi's CSI camera, through picamera2 (Debian package ``python3-picamera2``, imported when opened).

Exercised on a real camera in ``hw_tests/``: picamera2 cannot be imported without one.
"""

from contextlib import suppress
from functools import partial
from threading import Event
from typing import Any

from appliance.adapters.sensors.device_reader import Device
from appliance.adapters.sensors.newest import NewestFrames, Picture
from appliance.config import PicameraConfig
from appliance.core.types import Array
from appliance.errors import SensorError
from appliance.ports import Clock, SensorContext

OPEN_TIMEOUT_S = 10.0
"""libcamera needs 1 to 2 s on a Pi 4."""
READ_TIMEOUT_S = 2.0
"""Longest wait for one picture on the reader's thread, so that a stalled camera lets the thread end."""
SENSOR_TIME_AGE_S_MAX = 1.0
"""A sensor timestamp further than this in the past is of another clock than CLOCK_MONOTONIC."""
FORMAT = "RGB888"
"""libcamera names bytes from the end of the word: in memory this is blue, green, red, which is OpenCV's order
(The Picamera2 Library, appendix A; raspberrypi/picamera2#1325)."""
QUEUED_PICTURES = 4
"""Buffers of the camera; fewer drop pictures while one is copied."""


class Picamera(NewestFrames):
    """Implements ``ports.Sensor``."""

    def __init__(self, config: PicameraConfig, context: SensorContext) -> None:
        """Touches nothing yet."""
        name = f"CSI camera {config.camera}"
        connect = partial(_connect, config, name, context.clock)
        super().__init__(connect, context, name=name, open_timeout_s=OPEN_TIMEOUT_S)


def _connect(config: PicameraConfig, name: str, clock: Clock, _stop: Event) -> Device[Picture]:
    """Start the camera. Raises SensorError."""
    try:
        from picamera2 import Picamera2  # noqa: PLC0415 - needs the device's libcamera, absent elsewhere
    except ImportError as error:
        msg = f"{name}: picamera2 cannot be imported ({error}); apt-get install python3-picamera2"
        raise SensorError(msg) from error
    found = len(Picamera2.global_camera_info())
    if config.camera >= found:
        msg = f"{name}: libcamera sees {found} cameras; is the ribbon seated? `rpicam-hello --list-cameras`"
        raise SensorError(msg)
    try:
        camera = Picamera2(config.camera)
    except (RuntimeError, OSError) as error:
        msg = f"{name}: cannot be opened: {error}; does another program use it?"
        raise SensorError(msg) from error
    try:
        camera.configure(
            camera.create_video_configuration(
                main={"size": (config.width_px, config.height_px), "format": FORMAT},
                controls={"FrameRate": config.fps},
                buffer_count=QUEUED_PICTURES,
            )
        )
        camera.start()
    except (RuntimeError, OSError) as error:
        camera.close()
        msg = f"{name}: does not take {config.width_px} x {config.height_px} at {config.fps:g} frames/s: {error}"
        raise SensorError(msg) from error
    return _Csi(camera, name, clock)


class _Csi:
    """A camera that runs."""

    def __init__(self, camera: Any, name: str, clock: Clock) -> None:  # noqa: ANN401 - picamera2 has no types
        self._camera = camera
        self._name = name
        self._clock = clock

    def grab(self) -> Picture:
        """Copy the next picture out of the camera's buffers. Raises SensorError after ``READ_TIMEOUT_S``."""
        try:
            request = self._camera.capture_request(wait=False).get_result(timeout=READ_TIMEOUT_S)
        except (TimeoutError, RuntimeError, OSError) as error:
            msg = f"{self._name}: no picture for {READ_TIMEOUT_S:g} s; check the ribbon and the power supply"
            raise SensorError(msg) from error
        try:
            data: Array = request.make_array("main")
            sensor_ns = request.get_metadata().get("SensorTimestamp", 0)
        finally:
            request.release()
        return data, self._captured_s(sensor_ns / 1e9)

    def release(self) -> None:
        with suppress(RuntimeError, OSError):  # a camera that is gone cannot be let go
            self._camera.stop()
            self._camera.close()

    def _captured_s(self, sensor_s: float) -> float:
        """The start of exposure by the kernel's monotonic clock (picamera2#703), or now when that is not credible."""
        now_s = self._clock.monotonic_s()
        return sensor_s if 0.0 <= now_s - sensor_s <= SENSOR_TIME_AGE_S_MAX else now_s
