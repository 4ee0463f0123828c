"""The camera that OpenCV reads: V4L2 device, stream (RTSP and whatever FFmpeg opens), video file, folder of pictures.

Files and folders stand in for a live camera: they are played at their own rate, and a loop that is slower sees the
newest picture, not every one. To judge every picture of a recording use ``replay`` with ``speed = "fast"``.
"""

import math
import os
from functools import partial
from pathlib import Path
from threading import Event

import cv2

from appliance.adapters.sensors.device_reader import Device
from appliance.adapters.sensors.newest import NewestFrames, Picture
from appliance.config import CameraConfig
from appliance.core.types import Array
from appliance.errors import EndOfRecording, SensorError
from appliance.ports import Clock, SensorContext
from appliance.schema import hide_credentials

STREAM_READ_TIMEOUT_S = 5.0
"""FFmpeg gives a silent stream up after this long, so that a reader left behind ends by itself."""
FFMPEG_LOG_LEVEL = "OPENCV_FFMPEG_LOGLEVEL"
"""Environment variable that OpenCV reads when it first uses FFmpeg; set it to 48 to see what FFmpeg has to say."""
FFMPEG_QUIET = "-8"
FILE_FPS = 25.0
"""Rate of a video file that does not say its own."""
FOLDER_FPS = 10.0
FPS_MAX = 240.0
"""A file that says a higher rate does not know it (AVI headers with 1000 or 90,000)."""
KERNEL_TIME_AGE_S_MAX = 1.0
"""A V4L2 buffer's timestamp further than this in the past is of another clock than CLOCK_MONOTONIC."""
PICTURES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".webp"})
FOLDER_FILES_MAX = 100_000


class Camera(NewestFrames):
    """Implements ``ports.Sensor``. ``width_px``, ``height_px`` and ``fps`` are asked of V4L2 devices."""

    def __init__(self, config: CameraConfig, context: SensorContext) -> None:
        """Touches nothing yet."""
        cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_ERROR)  # a reopened camera would warn for ever
        os.environ.setdefault(FFMPEG_LOG_LEVEL, FFMPEG_QUIET)  # so would FFmpeg, and name the URL with its password
        name = hide_credentials(config.source)
        connect = partial(_connect, config, name, context.clock)
        super().__init__(connect, context, name=name, open_timeout_s=config.open_timeout_s)


def _connect(config: CameraConfig, name: str, clock: Clock, stop: Event) -> Device[Picture]:
    """Open whatever ``config.source`` is. Raises SensorError."""
    path = Path(config.source)
    if "://" in config.source:
        return _Stream(config, name, clock)
    if not path.exists():
        what = "device; is the camera plugged in? `ls /dev/video*`" if path.is_relative_to("/dev") else "file or folder"
        msg = f"{name}: no such {what}"
        raise SensorError(msg)
    if path.is_char_device():
        return _Device(config, name, clock)
    pictures = _Folder(path) if path.is_dir() else _File(path)
    return _Paced(pictures, config, clock, stop)


def _opened(source: str, backend: int, name: str, settings: tuple[int, ...] = ()) -> cv2.VideoCapture:
    """Open a capture. ``settings`` are pairs of property and value that FFmpeg wants at opening."""
    capture = cv2.VideoCapture()
    try:
        is_open = capture.open(source, backend, settings) if settings else capture.open(source, backend)
    except cv2.error as error:
        msg = f"{name}: OpenCV cannot open it: {error.err}"
        raise SensorError(msg) from error
    if not is_open:
        msg = f"{name}: OpenCV cannot open it; is it in use, or not a video? `ffprobe` or `v4l2-ctl --all` tell more"
        raise SensorError(msg)
    return capture


def _picture(capture: cv2.VideoCapture, name: str) -> Array | None:
    """Read the next picture as BGR; None when there is none. Raises SensorError for what is not a picture."""
    try:
        is_read, data = capture.read()
    except cv2.error as error:
        msg = f"{name}: OpenCV cannot read it: {error.err}"
        raise SensorError(msg) from error
    if not is_read:
        return None
    if data.dtype != "uint8" or data.ndim != 3 or data.shape[2] != 3:  # noqa: PLR2004 - height, width, BGR
        msg = f"{name}: gives {data.dtype} {data.shape}; set it to a format that OpenCV makes colours of"
        raise SensorError(msg)
    return data


class _Live:
    """A capture that plays by itself."""

    def __init__(self, capture: cv2.VideoCapture, name: str, clock: Clock) -> None:
        self._capture = capture
        self._name = name
        self._clock = clock

    def grab(self) -> Picture:
        """Block until the next picture is there."""
        data = _picture(self._capture, self._name)
        if data is None:
            msg = f"{self._name}: lost; the device went away or the stream ended"
            raise SensorError(msg)
        return data, self._captured_s()

    def release(self) -> None:
        self._capture.release()

    def _captured_s(self) -> float:
        return self._clock.monotonic_s()


class _Stream(_Live):
    """A stream over the network, through FFmpeg (which plays RTSP over TCP unless OpenCV is told otherwise)."""

    def __init__(self, config: CameraConfig, name: str, clock: Clock) -> None:
        settings = (
            cv2.CAP_PROP_OPEN_TIMEOUT_MSEC,
            math.ceil(config.open_timeout_s * 1000),
            cv2.CAP_PROP_READ_TIMEOUT_MSEC,
            math.ceil(STREAM_READ_TIMEOUT_S * 1000),
        )
        super().__init__(_opened(config.source, cv2.CAP_FFMPEG, name, settings), name, clock)


class _Device(_Live):
    """A V4L2 device. OpenCV waits at most 10 s for its next buffer (OPENCV_VIDEOIO_V4L_SELECT_TIMEOUT)."""

    def __init__(self, config: CameraConfig, name: str, clock: Clock) -> None:
        capture = _opened(config.source, cv2.CAP_V4L2, name)
        for setting, value in (
            (cv2.CAP_PROP_FRAME_WIDTH, config.width_px),
            (cv2.CAP_PROP_FRAME_HEIGHT, config.height_px),
            (cv2.CAP_PROP_FPS, config.fps),
        ):
            if value is not None:
                capture.set(setting, value)
        super().__init__(capture, name, clock)

    def _captured_s(self) -> float:
        """The kernel's timestamp of the buffer where it has one: it does not wait for us to wake up."""
        now_s = self._clock.monotonic_s()
        kernel_s = self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
        return kernel_s if 0.0 <= now_s - kernel_s <= KERNEL_TIME_AGE_S_MAX else now_s


class _File:
    """The pictures of a video file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._capture = _opened(str(path), cv2.CAP_ANY, str(path))
        fps = self._capture.get(cv2.CAP_PROP_FPS)
        self.fps = fps if 0.0 < fps <= FPS_MAX else FILE_FPS

    def next(self) -> Array | None:
        """Return the next picture; None at the end."""
        return _picture(self._capture, str(self._path))

    def rewind(self) -> None:
        """Start again: opened anew, because not every container can seek."""
        self._capture.release()
        self._capture = _opened(str(self._path), cv2.CAP_ANY, str(self._path))

    def release(self) -> None:
        self._capture.release()


class _Folder:
    """The pictures of a folder, in the order of their names. A file that is no picture is left out."""

    fps = FOLDER_FPS

    def __init__(self, path: Path) -> None:
        try:
            files = sorted(file for file in path.iterdir() if file.suffix.lower() in PICTURES)
        except OSError as error:
            msg = f"{path}: cannot be listed: {error.strerror}"
            raise SensorError(msg) from error
        if not 0 < len(files) <= FOLDER_FILES_MAX:
            kinds = ", ".join(sorted(PICTURES))
            msg = f"{path}: has {len(files)} pictures ({kinds}); 1 to {FOLDER_FILES_MAX} can be shown"
            raise SensorError(msg)
        self._files = files
        self._position = 0

    def next(self) -> Array | None:
        """Return the next picture that can be read; None at the end."""
        for file in self._files[self._position :]:
            self._position += 1
            data = cv2.imread(str(file), cv2.IMREAD_COLOR)
            if data is not None:
                return data
        return None

    def rewind(self) -> None:
        self._position = 0

    def release(self) -> None:
        """Nothing is held open."""


class _Paced:
    """Plays a file or folder at its rate, in place of a live camera."""

    def __init__(self, pictures: "_File | _Folder", config: CameraConfig, clock: Clock, stop: Event) -> None:
        self._pictures = pictures
        self._source = config.source
        self._repeat = config.repeat
        self._period_s = 1.0 / (config.fps or pictures.fps)
        self._clock = clock
        self._stop = stop
        self._due_s = clock.monotonic_s()
        self._shown = 0

    def grab(self) -> Picture:
        """Return the next picture when its time has come; it counts as captured then."""
        data = self._pictures.next()
        if data is None:
            data = self._again()
        now_s = self._clock.monotonic_s()
        if now_s < self._due_s:
            self._clock.wait(self._stop, self._due_s - now_s)
        else:
            self._due_s = now_s  # decoding is slower than the rate: late, not bunched
        self._due_s += self._period_s
        self._shown += 1
        return data, self._clock.monotonic_s()

    def release(self) -> None:
        self._pictures.release()

    def _again(self) -> Array:
        """Return the first picture of the next round. Raises EndOfRecording, SensorError when nothing was readable."""
        if self._shown and not self._repeat:
            msg = f"{self._source}: played to its end"
            raise EndOfRecording(msg)
        if self._shown:
            self._pictures.rewind()
            data = self._pictures.next()
            if data is not None:
                return data
        msg = f"{self._source}: no picture in it can be read"
        raise SensorError(msg)
