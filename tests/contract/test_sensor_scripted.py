"""The simulated sensor does what its script says, for tests of the loop."""

import pytest

from appliance.core.types import FrameKind, ReplyAddress
from appliance.errors import EndOfRecording, Idle, SensorError
from appliance.sim.clock import ManualClock
from appliance.sim.sensor import End, Lose, Rest, ScriptedSensor, Show, Stall, Step
from tests.contract.sensor_rigs import picture

START_S = 1000.0


def scripted(*script: Step) -> tuple[ScriptedSensor, ManualClock]:
    clock = ManualClock(monotonic_s=START_S, auto_advance=True)
    sensor = ScriptedSensor(script, clock)
    sensor.open()
    return sensor, clock


def test_a_frame_comes_late_old_and_after_a_jump_when_the_script_says_so() -> None:
    reply = ReplyAddress("a", b"1")
    step = Show(
        picture(7),
        FrameKind.RECORD,
        after_s=0.5,
        age_s=0.2,
        skipped=3,
        signal_fault="gap",
        reply=reply,
        context={"k": 1.0},
    )
    sensor, clock = scripted(step)
    frame = sensor.capture(1.0)
    assert clock.monotonic_s() == START_S + 0.5
    assert (frame.seq, frame.captured_s) == (3, START_S + 0.3)
    assert (frame.kind, frame.signal_fault, frame.reply, frame.context) == (
        FrameKind.RECORD,
        "gap",
        reply,
        {"k": 1.0},
    )


def test_a_frame_that_comes_later_than_the_timeout_is_a_stall() -> None:
    sensor, clock = scripted(Show(picture(0), after_s=5.0), Show(picture(1)))
    with pytest.raises(SensorError):
        sensor.capture(1.0)
    assert clock.monotonic_s() == START_S + 1.0
    assert sensor.capture(1.0).data[0, 0, 0] == 1


@pytest.mark.parametrize(("step", "error"), [(Stall(), SensorError), (Rest(), Idle)])
def test_a_stall_and_a_rest_take_the_whole_timeout_of_one_capture(step: Step, error: type[Exception]) -> None:
    sensor, clock = scripted(step, Show(picture(1)))
    with pytest.raises(error):
        sensor.capture(2.0)
    assert clock.monotonic_s() == START_S + 2.0
    assert sensor.capture(2.0).data[0, 0, 0] == 1


def test_a_lost_device_stays_lost_until_it_opens_again_which_may_fail() -> None:
    sensor, clock = scripted(Lose(opens_failing=2), Show(picture(1)))
    for _ in range(2):
        with pytest.raises(SensorError):
            sensor.capture(2.0)
    assert clock.monotonic_s() == START_S
    for _ in range(2):
        sensor.close()
        with pytest.raises(SensorError):
            sensor.open()
    sensor.close()
    sensor.open()
    assert sensor.opens == 4
    assert sensor.capture(2.0).data[0, 0, 0] == 1


def test_an_end_lasts_until_the_sensor_is_opened_again_and_so_does_the_end_of_the_script() -> None:
    sensor, _ = scripted(End(), Show(picture(1)))
    for _ in range(2):
        with pytest.raises(EndOfRecording):
            sensor.capture(1.0)
    sensor.close()
    sensor.open()
    sensor.capture(1.0)
    for _ in range(2):
        with pytest.raises(EndOfRecording):
            sensor.capture(1.0)
