"""A lost sensor is opened again: once a turn, later each time, never in a hurry and never for longer than bounded."""

from collections.abc import Iterable
from itertools import pairwise
from threading import Event, Thread

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.core.backoff import Backoff
from appliance.core.types import Frame
from appliance.errors import EndOfRecording, Idle, SensorError
from appliance.sensing import Sensing
from appliance.sim.clock import ManualClock
from appliance.sim.meter import RecordingMeter
from appliance.sim.sensor import End, Lose, Rest, ScriptedSensor, Show, Stall, Step
from tests.channels import RED
from tests.waiting import eventually

TIMEOUT_S = 2.0
BACKOFF = Backoff(0.5, 8.0)
JITTER = 0.75


class Timed:
    """A sensor that notes when it was opened."""

    newest_only = False

    def __init__(self, script: Iterable[Step], clock: ManualClock) -> None:
        self.inner = ScriptedSensor(script, clock)
        self.opened_s: list[float] = []
        self.closes = 0
        self._clock = clock

    def open(self) -> None:
        self.opened_s.append(self._clock.monotonic_s())
        self.inner.open()

    def capture(self, timeout_s: float) -> Frame:
        return self.inner.capture(timeout_s)

    def close(self) -> None:
        self.closes += 1
        self.inner.close()


class Bench:
    def __init__(
        self, *script: Step, jitter: float = JITTER, timeout_s: float = TIMEOUT_S, auto_advance: bool = True
    ) -> None:
        self.clock = ManualClock(auto_advance=auto_advance)
        self.meter = RecordingMeter(self.clock)
        self.sensor = Timed(script, self.clock)
        self.stop = Event()
        self.sensing = Sensing(
            self.sensor,
            channel="gate",
            timeout_s=timeout_s,
            backoff=BACKOFF,
            jitter=lambda: jitter,
            clock=self.clock,
            meter=self.meter,
            stop=self.stop,
        )

    def outcomes(self, calls: int) -> list[str]:
        """What so many captures came to, in a letter each: frame, error, idle."""
        return [self._outcome() for _ in range(calls)]

    def until_the_end(self) -> None:
        """Capture until the script is over."""
        with pytest.raises(EndOfRecording):
            self.outcomes(500)

    def between_opens_s(self) -> list[float]:
        return [later - earlier for earlier, later in pairwise(self.sensor.opened_s)]

    def _outcome(self) -> str:
        try:
            self.sensing.capture()
        except SensorError:
            return "e"
        except Idle:
            return "i"
        return "f"


def test_nothing_is_opened_before_the_first_capture() -> None:
    bench = Bench(Show(RED))
    assert bench.sensor.opened_s == []
    assert bench.outcomes(1) == ["f"]
    assert len(bench.sensor.opened_s) == 1


def test_a_sensor_that_is_not_there_is_tried_ever_more_rarely_and_no_more_often() -> None:
    bench = Bench(Lose(opens_failing=6), Show(RED))
    bench.until_the_end()
    between_s = bench.between_opens_s()
    assert between_s == pytest.approx([BACKOFF.delay_s(attempt, JITTER) for attempt in range(7)])
    assert between_s == sorted(between_s)
    assert between_s[-1] < BACKOFF.max_s
    assert bench.meter.value("edge_sensor_reopens_total", channel="gate") == 7


@pytest.mark.parametrize("success", [Show(RED), Rest()], ids=["frame", "idle"])
def test_the_backoff_begins_anew_after_the_sensor_worked(success: Step) -> None:
    bench = Bench(Lose(opens_failing=4), success, Lose(), Show(RED))
    bench.until_the_end()
    waited_s = TIMEOUT_S if isinstance(success, Rest) else 0.0
    assert bench.between_opens_s()[-1] - waited_s == pytest.approx(BACKOFF.delay_s(0, JITTER))


def test_opening_alone_is_no_success() -> None:
    """A camera that opens at once and never shows a picture must not be reopened in a loop."""
    bench = Bench(*[Stall()] * 5)
    bench.until_the_end()
    waited_s = [between_s - TIMEOUT_S for between_s in bench.between_opens_s()]
    assert waited_s == pytest.approx([BACKOFF.delay_s(attempt, JITTER) for attempt in range(5)])


@settings(deadline=None)
@given(
    script=st.lists(
        st.one_of(
            st.just(Show(RED)),
            st.builds(Show, st.just(RED), after_s=st.floats(0.0, 4.0)),
            st.just(Stall()),
            st.builds(Lose, st.integers(0, 4)),
            st.just(Rest()),
        ),
        min_size=1,
        max_size=12,
    ),
    jitter=st.floats(0.0, 1.0, exclude_max=True),
    timeout_s=st.sampled_from([0.1, 1.0, 3.0]),
)
def test_every_capture_ends_in_time_and_every_open_is_closed(
    script: list[Step], jitter: float, timeout_s: float
) -> None:
    bench = Bench(*script, jitter=jitter, timeout_s=timeout_s)
    opens, turns = 0, 0
    while turns < 500:
        turns += 1
        before_s = bench.clock.monotonic_s()
        try:
            bench._outcome()
        except EndOfRecording:
            break
        assert bench.clock.monotonic_s() - before_s <= timeout_s * (1 + 1e-9)
        assert len(bench.sensor.opened_s) - opens <= 1, "one open a turn"
        opens = len(bench.sensor.opened_s)
    bench.sensing.close()
    assert not bench.sensor.inner.is_open
    assert bench.sensor.closes >= len(bench.sensor.opened_s)


def test_while_it_waits_it_says_why_there_is_no_frame() -> None:
    bench = Bench(Stall())
    for _ in range(2):
        with pytest.raises(SensorError, match="no frame for 2 s"):
            bench.sensing.capture()
        assert bench.sensing.fault == "the script says no frame for 2 s"


def test_a_reason_of_the_past_is_not_told_of_a_sensor_that_works() -> None:
    bench = Bench(Stall(), Show(RED))
    assert bench.outcomes(3) == ["e", "e", "f"]
    assert "script" not in bench.sensing.fault


def test_a_stop_ends_the_wait_at_once_and_opens_nothing() -> None:
    bench = Bench(Lose(opens_failing=9), auto_advance=False)
    bench.outcomes(1)
    waiting = Thread(target=bench._outcome, daemon=True)
    waiting.start()
    eventually(lambda: bench.clock.waiting == 1)
    bench.stop.set()
    waiting.join(10.0)
    assert not waiting.is_alive()
    assert len(bench.sensor.opened_s) == 1


def test_the_end_of_a_recording_is_neither_a_fault_nor_reopened() -> None:
    bench = Bench(Show(RED), End())
    bench.outcomes(1)
    for _ in range(2):
        with pytest.raises(EndOfRecording):
            bench.sensing.capture()
    assert len(bench.sensor.opened_s) == 1
    assert bench.meter.value("edge_sensor_reopens_total") == 0


def test_closing_twice_is_closing_once_and_a_closed_sensor_opens_again() -> None:
    bench = Bench(Show(RED), Show(RED))
    bench.sensing.close()
    bench.outcomes(1)
    bench.sensing.close()
    bench.sensing.close()
    assert not bench.sensor.inner.is_open
    assert bench.outcomes(1) == ["f"]
