"""The camera: newest picture only, the pace of files, what happens when a device stalls, hangs or goes away."""

import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from threading import Event

import cv2
import numpy as np
import pytest

from appliance.adapters.sensors.camera import Camera
from appliance.adapters.sensors.device_reader import ABANDONED_MAX, Device
from appliance.adapters.sensors.newest import NewestFrames, Picture
from appliance.config import CameraConfig
from appliance.core.types import FrameKind
from appliance.errors import EndOfRecording, SensorError
from appliance.ports import Clock, SensorContext
from appliance.sim.clock import ManualClock
from tests.contract.sensor_rigs import picture, write_pictures, write_video
from tests.contract.sensor_streams import MjpegCamera, NetworkCamera, RtspCamera
from tests.contract.sensor_suite import dropped, make_context, make_model, recorded
from tests.waiting import eventually

PATIENCE_S = 10.0
LEFT_S = 15.0
"""For a sensor to be back though its device hangs; what hangs does so for much longer."""
HANGS_S = 120.0
"""How long a device hangs, or FFmpeg waits for a stream, if nobody ends it."""


def context(clock: Clock | None = None) -> SensorContext:
    return make_context(make_model(FrameKind.IMAGE), clock=clock)


def camera(source: Path | str, where: SensorContext | None = None, **settings: object) -> Camera:
    config = CameraConfig.model_validate({"kind": "camera", "source": str(source), **settings})
    return Camera(config, where or context())


def play(sensor: Camera, clock: ManualClock, period_s: float) -> list[tuple[int, float, float]]:
    """Capture to the end: ``(seq, captured_s, mean grey)`` of each frame. A period passes when one is taken."""
    frames: list[tuple[int, float, float]] = []
    while True:
        try:
            frame = sensor.capture(PATIENCE_S)
        except EndOfRecording:
            return frames
        frames.append((frame.seq, frame.captured_s, float(frame.data.mean())))
        clock.advance(period_s)


def test_a_file_is_played_at_its_own_rate_to_its_end(tmp_path: Path) -> None:
    clock = ManualClock()
    sensor = camera(write_video(tmp_path / "v.avi", 20, fps=32.0), context(clock))
    sensor.open()
    frames = play(sensor, clock, 1 / 32)
    for _ in range(2):  # an end is no state that wears off
        with pytest.raises(EndOfRecording, match="played to its end"):
            sensor.capture(PATIENCE_S)
    sensor.close()
    assert [seq for seq, _, _ in frames] == list(range(20))
    assert [grey for _, _, grey in frames] == pytest.approx([5.0 * n for n in range(20)], abs=2.0)
    assert [captured_s - frames[0][1] for _, captured_s, _ in frames] == [n / 32 for n in range(20)]


def test_the_configured_rate_takes_the_place_of_the_files_own(tmp_path: Path) -> None:
    clock = ManualClock()
    sensor = camera(write_video(tmp_path / "v.avi", 11, fps=5.0), context(clock), fps=64.0)
    sensor.open()
    frames = play(sensor, clock, 1 / 64)
    sensor.close()
    assert [captured_s - frames[0][1] for _, captured_s, _ in frames] == [n / 64 for n in range(11)]


def test_a_loop_that_is_slower_than_the_file_sees_the_newest_picture_and_a_jump_of_seq(tmp_path: Path) -> None:
    clock = ManualClock()
    where = context(clock)
    sensor = camera(write_video(tmp_path / "v.avi", 30, fps=32.0), where)
    sensor.open()
    first = sensor.capture(PATIENCE_S)

    def superseded() -> bool:
        clock.advance(1 / 32)
        return dropped(where, "superseded") >= 28

    eventually(superseded)
    last = sensor.capture(PATIENCE_S)
    with pytest.raises(EndOfRecording):
        sensor.capture(PATIENCE_S)
    sensor.close()
    assert (first.seq, last.seq) == (0, 29)
    assert float(last.data.mean()) == pytest.approx(145.0, abs=2.0)
    assert dropped(where, "superseded") == 28


def test_a_repeated_file_starts_again_and_counts_on(tmp_path: Path) -> None:
    sensor = camera(write_video(tmp_path / "v.avi", 3, fps=100.0), repeat=True)
    sensor.open()
    frames = [sensor.capture(PATIENCE_S) for _ in range(8)]
    sensor.close()
    greys = {frame.seq: float(frame.data.mean()) for frame in frames}
    assert max(greys) >= 7
    assert all(grey == pytest.approx(5.0 * (seq % 3), abs=2.0) for seq, grey in greys.items())


def test_a_folder_shows_its_pictures_in_the_order_of_their_names_and_leaves_out_what_is_none(tmp_path: Path) -> None:
    folder = write_pictures(tmp_path / "p", 4)
    (folder / "0001b.jpg").write_bytes(b"no picture")
    (folder / "notes.txt").write_text("hello")
    clock = ManualClock()
    sensor = camera(folder, context(clock), fps=64.0)
    sensor.open()
    greys = [grey for _, _, grey in play(sensor, clock, 1 / 64)]
    sensor.close()
    assert greys == [0.0, 5.0, 10.0, 15.0]


def test_a_grey_picture_comes_in_three_channels(tmp_path: Path) -> None:
    (tmp_path / "p").mkdir()
    cv2.imwrite(str(tmp_path / "p" / "grey.png"), np.full((10, 12), 99, np.uint8))
    sensor = camera(tmp_path / "p")
    sensor.open()
    frame = sensor.capture(PATIENCE_S)
    sensor.close()
    assert frame.data.shape == (10, 12, 3)


def broken_video(folder: Path) -> Path:
    (folder / "v.avi").write_bytes(b"this is no video")
    return folder / "v.avi"


def empty_folder(folder: Path) -> Path:
    return write_pictures(folder / "p", 0)


def broken_folder(folder: Path) -> Path:
    write_pictures(folder / "p", 0)
    (folder / "p" / "a.png").write_bytes(b"this is no picture")
    return folder / "p"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda folder: folder / "absent.avi", "absent.avi: no such file or folder"),
        (lambda _: Path("/dev/video-absent"), r"no such device; is the camera plugged in\? `ls /dev/video"),
        (lambda _: Path("/dev/null"), "OpenCV cannot open it"),
        (broken_video, "OpenCV cannot open it"),
        (empty_folder, "has 0 pictures"),
        (broken_folder, "no picture in it can be read"),
    ],
)
def test_what_cannot_be_shown_says_why(tmp_path: Path, make: Callable[[Path], Path], message: str) -> None:
    sensor = camera(make(tmp_path))
    with pytest.raises(SensorError, match=message):  # noqa: PT012 - some are seen at the first picture only
        sensor.open()
        sensor.capture(PATIENCE_S)
    sensor.close()


@pytest.mark.parametrize("kind", [MjpegCamera, RtspCamera])
def test_a_stream_is_read_and_when_it_stalls_capture_says_so_in_time(
    kind: type, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("appliance.adapters.sensors.camera.STREAM_READ_TIMEOUT_S", HANGS_S)
    source: NetworkCamera = kind(tmp_path) if kind is RtspCamera else kind()
    with source:
        sensor = camera(source.url)
        sensor.open()
        frames = [sensor.capture(PATIENCE_S) for _ in range(3)]
        source.stalled.set()
        started_s = time.monotonic()
        with pytest.raises(SensorError, match=r"no frame for 0\.3 s; the camera has stalled"):  # noqa: PT012 - drains
            while True:
                started_s = time.monotonic()
                sensor.capture(0.3)
        assert time.monotonic() - started_s < LEFT_S
        started_s = time.monotonic()
        sensor.close()
        assert time.monotonic() - started_s < LEFT_S
        assert frames[0].seq < frames[1].seq < frames[2].seq
        source.hung_up.set()  # lets the thread that was left behind end
        no_reader_is_left()


def test_a_stream_that_ends_is_a_lost_camera_and_a_new_one_is_read_after_opening_again() -> None:
    with MjpegCamera() as source:
        sensor = camera(source.url)
        sensor.open()
        first = sensor.capture(PATIENCE_S)
        source.hung_up.set()
        for _ in range(2):  # it stays lost until it is opened again
            with pytest.raises(SensorError, match="lost; the device went away or the stream ended"):  # noqa: PT012
                while True:
                    sensor.capture(PATIENCE_S)
        sensor.close()
        with pytest.raises(SensorError, match="OpenCV cannot open it"):
            sensor.open()
        source.hung_up.clear()
        sensor.open()
        again = sensor.capture(PATIENCE_S)
        sensor.close()
        assert again.seq > first.seq


def test_the_password_of_a_url_is_neither_logged_nor_published() -> None:
    sensor = camera("rtsp://user:p/ss@word@127.0.0.1:9/stream", open_timeout_s=5.0)
    with pytest.raises(SensorError, match=r"rtsp://\*\*\*@127\.0\.0\.1:9/stream") as caught:
        sensor.open()
    assert "word" not in str(caught.value)


def test_a_camera_that_hangs_while_it_opens_is_left_behind_and_counted(tmp_path: Path) -> None:
    where = context()
    os.mkfifo(tmp_path / "hangs")  # opening a pipe that nobody writes to blocks, as a driver may
    sensor = camera(tmp_path / "hangs", where, open_timeout_s=0.1)
    started_s = time.monotonic()
    with pytest.raises(SensorError, match=r"did not open within 0\.1 s"):
        sensor.open()
    assert time.monotonic() - started_s < LEFT_S
    assert recorded(where).value("edge_abandoned_threads_total", what="sensor") == 1
    let_readers_of_pipe_end(tmp_path / "hangs")


class Hanging:
    """A device whose reads return when it is told to, and not before: a driver in uninterruptible sleep."""

    def __init__(self) -> None:
        self.pictures = 0
        self.wakes = Event()
        self.released = Event()

    def grab(self) -> Picture | None:
        self.pictures += 1
        if self.pictures > 1:
            assert self.wakes.wait(HANGS_S)
        return picture(self.pictures), time.monotonic()

    def release(self) -> None:
        self.released.set()


def test_a_new_open_works_beside_a_hanging_reader_and_its_late_picture_is_nobodys() -> None:
    where, devices = context(), [Hanging(), Hanging()]
    fresh = iter(devices)

    def connect(_stop: Event) -> Device[Picture]:
        return next(fresh)

    sensor = NewestFrames(connect, where, name="hanging", open_timeout_s=5.0)
    sensor.open()
    sensor.capture(PATIENCE_S)
    sensor.close()
    sensor.open()
    devices[0].wakes.set()
    assert devices[0].released.wait(PATIENCE_S)
    frame = sensor.capture(PATIENCE_S)
    with pytest.raises(SensorError, match="stalled"):
        sensor.capture(0.05)
    assert dropped(where, "superseded") == 0
    assert recorded(where).value("edge_abandoned_threads_total", what="sensor") == 1
    devices[1].wakes.set()
    sensor.close()
    assert float(frame.data.mean()) == 1.0


def test_readers_that_hang_are_bounded_and_room_is_made_when_one_ends() -> None:
    devices: list[Hanging] = []

    def connect(_stop: Event) -> Device[Picture]:
        devices.append(Hanging())
        devices[-1].pictures = 1  # hangs at its first picture
        return devices[-1]

    sensor = NewestFrames(connect, context(), name="hanging", open_timeout_s=5.0)
    for _ in range(ABANDONED_MAX):
        sensor.open()
        sensor.close()
    with pytest.raises(SensorError, match=f"{ABANDONED_MAX} readers hang in the driver; unplug the device"):
        sensor.open()
    devices[0].wakes.set()
    assert devices[0].released.wait(PATIENCE_S)
    eventually(lambda: sum(thread.name == "suite-sensor" for thread in threading.enumerate()) < ABANDONED_MAX)
    sensor.open()
    for device in devices:
        device.wakes.set()
    sensor.close()
    no_reader_is_left()


def test_times_are_held_monotone_and_out_of_the_future() -> None:
    now_s = time.monotonic()
    claimed = iter([now_s - 1.0, now_s - 2.0, now_s + 1000.0])

    class Odd(Hanging):
        def grab(self) -> Picture | None:
            if not self.wakes.wait(0.02):
                return None  # lets the reader look whether it should stop
            self.wakes.clear()
            return picture(0), next(claimed)

    device = Odd()
    sensor = NewestFrames(lambda _stop: device, context(), name="odd", open_timeout_s=5.0)
    sensor.open()
    times = []
    for _ in range(3):
        device.wakes.set()
        times.append(sensor.capture(PATIENCE_S).captured_s)
    assert times[0] == times[1] == now_s - 1.0
    assert now_s <= times[2] <= time.monotonic()
    sensor.close()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_bug_on_the_reading_thread_ends_the_process_and_is_not_taken_for_a_lost_camera() -> None:
    class Broken(Hanging):
        def grab(self) -> Picture:
            raise ZeroDivisionError

    sensor = NewestFrames(lambda _stop: Broken(), context(), name="broken", open_timeout_s=5.0)
    sensor.open()
    with pytest.raises(AssertionError, match="died of a bug"):
        sensor.capture(PATIENCE_S)
    sensor.close()


def no_reader_is_left() -> None:
    """Threads left behind end in the end; a test that leaves one would disturb the next."""
    eventually(lambda: not any(thread.name == "suite-sensor" for thread in threading.enumerate()))


def let_readers_of_pipe_end(pipe: Path) -> None:
    """Open the pipe for writing, and close it, until nobody reads it any more."""

    def ended() -> bool:
        with suppress(OSError):  # nobody reads just now
            os.close(os.open(pipe, os.O_WRONLY | os.O_NONBLOCK))
        return not any(thread.name == "suite-sensor" for thread in threading.enumerate())

    eventually(ended)
