"""Frames ahead of the loop: never an older picture than without, and every fault heard on the loop's thread."""

import contextlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from threading import Event, current_thread

import numpy as np
import pytest

from appliance.adapters.clock import SystemClock
from appliance.core.backoff import Backoff
from appliance.core.preprocess import Prepared
from appliance.core.types import Array, Frame
from appliance.errors import EndOfRecording, FrameError, Idle, SensorError
from appliance.frames import Ahead, InTurn
from appliance.ports import Clock, Sensor
from appliance.sensing import Sensing
from appliance.sim.clock import ManualClock
from appliance.sim.meter import RecordingMeter
from appliance.sim.sensor import End, Lose, Rest, ScriptedSensor, Show, Stall, Step
from tests.waiting import eventually

TIMEOUT_S = 0.05
"""A sensor's own bound for a capture, as short as a test of a silent one can have it."""
PATIENCE_S = 15.0
"""For a frame that must come; who waits for one that does not waits ``TIMEOUT_S``."""
STUCK_AFTER_S = 60.0
CLOCK = SystemClock()


def picture(number: int) -> Array:
    """A picture that knows its number."""
    return np.full((2, 2, 3), number, np.uint8)


def prepare(frame: Frame) -> tuple[Prepared, ...]:
    """The tensor is the picture; a picture of 255 does not fit."""
    if frame.data[0, 0, 0] == 255:
        raise FrameError("does not fit")
    return (Prepared(frame.data),)


class Newest(ScriptedSensor):
    """A scripted camera: a picture nobody took gives way to a newer one."""

    newest_only = True


def sensing_of(sensor: Sensor, meter: RecordingMeter) -> Sensing:
    return Sensing(
        sensor,
        channel="gate",
        timeout_s=TIMEOUT_S,
        backoff=Backoff(0.001, 0.002),
        jitter=lambda: 0.0,
        clock=CLOCK,
        meter=meter,
        stop=Event(),
    )


@contextmanager
def ahead(
    sensor: Sensor,
    meter: RecordingMeter | None = None,
    prepare: Callable[[Frame], tuple[Prepared, ...]] = prepare,
    timeout_s: float = PATIENCE_S,
    stuck_after_s: float = STUCK_AFTER_S,
    clock: Clock = CLOCK,
) -> Iterator[Ahead]:
    meter = meter or RecordingMeter()
    frames = Ahead(
        sensing_of(sensor, meter),
        prepare,
        channel="gate",
        timeout_s=timeout_s,
        newest_only=sensor.newest_only,
        stuck_after_s=stuck_after_s,
        clock=clock,
        meter=meter,
    )
    try:
        yield frames
    finally:
        frames.close()


def taken(frames: Ahead) -> int:
    """Take a frame; its number."""
    return int(frames.take().prepare(prepare)[0].tensor[0, 0, 0])


def test_every_frame_of_a_recording_is_taken_in_order() -> None:
    with ahead(ScriptedSensor([Show(picture(number)) for number in range(20)], CLOCK)) as frames:
        assert [taken(frames) for _ in range(20)] == list(range(20))
        with pytest.raises(EndOfRecording):
            frames.take()


def test_a_frame_is_prepared_on_a_thread_of_its_own_before_it_is_asked_for() -> None:
    prepared_by: list[str] = []

    def noting(frame: Frame) -> tuple[Prepared, ...]:
        prepared_by.append(current_thread().name)
        return prepare(frame)

    with ahead(ScriptedSensor([Show(picture(number)) for number in range(3)], CLOCK), prepare=noting) as frames:
        frames.take()
        eventually(lambda: len(prepared_by) >= 2)
    assert set(prepared_by) == {"frames-gate"}


def test_at_most_one_frame_waits_when_none_may_be_skipped() -> None:
    sensor = ScriptedSensor([Show(picture(number)) for number in range(10)], CLOCK)
    with ahead(sensor) as frames:
        assert taken(frames) == 0
        # One waits and one is in the thread's hands: the sensor is not asked for more.
        assert frames.take().frame.seq == 1
        assert frames.take().frame.seq == 2


def test_a_newer_picture_takes_the_place_of_one_that_waits() -> None:
    meter = RecordingMeter()
    shown = 30
    script: list[Step] = [Show(picture(number)) for number in range(shown)]
    go = Event()

    def scripted() -> Iterable[Step]:
        yield script[0]
        go.wait(PATIENCE_S)
        yield from script[1:]
        yield Rest()
        yield Stall()

    with ahead(Newest(scripted(), CLOCK), meter) as frames:
        assert taken(frames) == 0
        go.set()
        eventually(lambda: meter.value("edge_frames_dropped_total", channel="gate", reason="superseded") == shown - 2)
        assert taken(frames) == shown - 1


def test_the_end_of_a_recording_does_not_take_the_place_of_its_last_picture() -> None:
    ended = Event()

    def scripted() -> Iterable[Step]:
        yield Show(picture(1))
        yield Show(picture(2))
        ended.set()

    with ahead(Newest(scripted(), CLOCK)) as frames:
        seen = taken(frames)
        eventually(ended.is_set)
        assert seen == 2 or taken(frames) == 2
        with pytest.raises(EndOfRecording):
            frames.take()


def test_a_fault_waits_until_the_picture_before_it_is_taken() -> None:
    with ahead(Newest([Show(picture(1)), Show(picture(2)), Lose()], CLOCK)) as frames:
        seen = taken(frames)
        while seen != 2:
            seen = taken(frames)
        with pytest.raises(SensorError):
            frames.take()


@pytest.mark.parametrize(
    ("steps", "error"), [([Stall()], SensorError), ([Lose()], SensorError), ([Rest()], Idle), ([End()], EndOfRecording)]
)
def test_what_the_sensor_raises_is_raised_where_the_frame_is_taken(steps: list[Step], error: type[Exception]) -> None:
    with ahead(ScriptedSensor(steps, CLOCK)) as frames, pytest.raises(error, match="the script"):
        frames.take()


def test_the_next_frame_comes_after_a_fault() -> None:
    with ahead(ScriptedSensor([Stall(), Show(picture(7))], CLOCK)) as frames:
        with pytest.raises(SensorError):
            frames.take()
        with contextlib.suppress(
            SensorError
        ):  # the turn that waits to open again; threads of other tests move the clock
            assert taken(frames) == 7
            return
        assert taken(frames) == 7


def test_a_frame_that_does_not_fit_is_taken_and_says_so_when_it_is_prepared() -> None:
    with ahead(ScriptedSensor([Show(picture(255)), Show(picture(1))], CLOCK)) as frames:
        first = frames.take()
        assert first.frame.data[0, 0, 0] == 255
        with pytest.raises(FrameError):
            first.prepare(prepare)
        assert taken(frames) == 1


def test_a_bug_in_the_thread_ends_the_loop_and_not_only_the_thread() -> None:
    def broken(_frame: Frame) -> tuple[Prepared, ...]:
        raise ZeroDivisionError

    with (
        ahead(ScriptedSensor([Show(picture(1))], CLOCK), prepare=broken) as frames,
        pytest.raises(ZeroDivisionError),
    ):
        frames.take()


class Stuck(ScriptedSensor):
    """Ignores its timeout, as a driver in the kernel can."""

    def __init__(self) -> None:
        super().__init__([], CLOCK)
        self.release = Event()

    def capture(self, timeout_s: float) -> Frame:  # noqa: ARG002 - that is the fault
        self.release.wait(STUCK_AFTER_S)
        raise EndOfRecording("released")


def test_a_sensor_that_is_stuck_is_told_in_time_and_left_behind() -> None:
    sensor, meter = Stuck(), RecordingMeter()
    with ahead(sensor, meter, timeout_s=TIMEOUT_S) as frames, pytest.raises(SensorError, match="no frame within"):
        frames.take()
    assert meter.value("edge_abandoned_threads_total", what="frames") == 1
    sensor.release.set()


def test_a_sensor_that_is_stuck_for_good_ends_the_process_because_nothing_else_helps() -> None:
    sensor, clock = Stuck(), ManualClock()
    with ahead(sensor, timeout_s=TIMEOUT_S, clock=clock) as frames:
        with pytest.raises(SensorError, match="no frame within"):
            frames.take()
        clock.advance(STUCK_AFTER_S)
        with pytest.raises(AssertionError, match="stuck"):
            frames.take()
        sensor.release.set()


def test_a_slow_loop_is_not_a_stuck_sensor() -> None:
    with ahead(ScriptedSensor([Show(picture(number)) for number in range(3)], CLOCK), stuck_after_s=0.01) as frames:
        for number in range(3):
            CLOCK.wait(Event(), 0.02)
            assert taken(frames) == number


def test_closing_lets_the_sensor_go_whether_a_frame_waits_or_none_was_ever_taken() -> None:
    used = ScriptedSensor([Show(picture(number)) for number in range(10)], CLOCK)
    with ahead(used) as frames:
        frames.take()
    assert not used.is_open
    with ahead(ScriptedSensor([], CLOCK)):
        pass


def test_in_turn_nothing_is_captured_before_it_is_asked_for() -> None:
    sensor = ScriptedSensor([Show(picture(number)) for number in range(3)], CLOCK)
    frames = InTurn(sensing_of(sensor, RecordingMeter()))
    assert sensor.opens == 0
    assert [frames.take().prepare(prepare)[0].tensor[0, 0, 0] for _ in range(3)] == [0, 1, 2]
    frames.close()
    assert not sensor.is_open
