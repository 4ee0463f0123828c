"""The contract of ``ports.Clock``, on the device's clock and on the manual one; then what each promises beyond it."""

import os
from abc import ABC, abstractmethod
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Event, Thread

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.adapters.clock import (
    FLOOR_FILE,
    LOOK_INTERVAL_S,
    RELEASED_UTC,
    SystemClock,
    judge,
    kernel_synced,
)
from appliance.core.types import ClockState
from appliance.ports import Clock
from appliance.sim.clock import ManualClock
from tests.waiting import eventually

SYNCED, FLOOR, UNSYNCED = ClockState.SYNCED, ClockState.FLOOR, ClockState.UNSYNCED
DAY = timedelta(days=1)
LATER_UTC = RELEASED_UTC + 100 * DAY


class ClockContract(ABC):
    """Promises of the port. A subclass says how a clock is made and how its time passes."""

    @abstractmethod
    def make(self) -> Clock: ...

    @abstractmethod
    def pass_time(self, clock: Clock, seconds: float) -> None: ...

    def test_monotonic_time_grows_by_what_passes(self) -> None:
        clock = self.make()
        before_s = clock.monotonic_s()
        self.pass_time(clock, 0.0625)
        assert 0.0625 <= clock.monotonic_s() - before_s < 10.0

    def test_the_boot_id_stays(self) -> None:
        clock = self.make()
        assert clock.boot_id
        assert clock.boot_id == clock.boot_id

    def test_the_wall_clock_is_unknown_exactly_while_it_is_known_to_be_wrong(self) -> None:
        clock = self.make()
        now_utc = clock.now_utc()
        assert (now_utc is None) == (clock.state() is UNSYNCED)
        assert now_utc is None or now_utc.utcoffset() == timedelta(0)

    def test_a_wait_for_an_event_that_is_set_returns_at_once(self) -> None:
        clock, event = self.make(), Event()
        event.set()
        before_s = clock.monotonic_s()
        assert clock.wait(event, 60.0)
        assert clock.monotonic_s() - before_s < 10.0

    def test_a_wait_ends_when_another_thread_sets_the_event(self) -> None:
        clock, event, seen = self.make(), Event(), list[bool]()
        waiter = Thread(target=lambda: seen.append(clock.wait(event, 60.0)), daemon=True)
        waiter.start()
        event.set()
        waiter.join(10.0)
        assert seen == [True]

    def test_a_wait_ends_unset_only_when_its_time_has_passed(self) -> None:
        clock, event, ended_s = self.make(), Event(), list[float]()

        def wait() -> None:
            assert not clock.wait(event, 0.0625)
            ended_s.append(clock.monotonic_s())

        began_s = clock.monotonic_s()
        waiter = Thread(target=wait, daemon=True)
        waiter.start()
        eventually(lambda: bool(ended_s) or self.pass_time(clock, 0.015625))
        assert ended_s[0] - began_s >= 0.0625

    @pytest.mark.parametrize("timeout_s", [0.0, -1.0])
    def test_a_wait_without_time_only_looks(self, timeout_s: float) -> None:
        assert not self.make().wait(Event(), timeout_s)


class TestSystemClock(ClockContract):
    def make(self) -> SystemClock:
        return SystemClock()

    def pass_time(self, clock: Clock, seconds: float) -> None:
        clock.wait(Event(), seconds)


class TestManualClock(ClockContract):
    def make(self) -> ManualClock:
        return ManualClock()

    def pass_time(self, clock: Clock, seconds: float) -> None:
        assert isinstance(clock, ManualClock)
        clock.advance(seconds)


class TestManualClockThatAdvancesItself(ClockContract):
    def make(self) -> ManualClock:
        return ManualClock(auto_advance=True)

    def pass_time(self, clock: Clock, seconds: float) -> None:
        clock.wait(Event(), seconds)

    def test_a_wait_ends_when_another_thread_sets_the_event(self) -> None:
        clock, event = self.make(), Event()  # for one thread: nobody else could set it, so its time passes at once
        began_s = clock.monotonic_s()
        assert not clock.wait(event, 60.0)
        assert clock.monotonic_s() - began_s == 60.0


def test_manual_time_stands_still_until_it_is_advanced() -> None:
    clock, done = ManualClock(monotonic_s=5.0), Event()

    def wait() -> None:
        clock.wait(Event(), 10.0)
        done.set()

    waiters = [Thread(target=wait, daemon=True) for _ in range(3)]
    for waiter in waiters:
        waiter.start()
    eventually(lambda: clock.waiting == 3)
    clock.advance(9.9)
    assert not done.wait(0.05)
    assert clock.waiting == 3
    clock.advance(0.2)
    for waiter in waiters:
        waiter.join(10.0)
    assert clock.waiting == 0
    assert clock.monotonic_s() == pytest.approx(15.1)


def test_a_manual_wall_clock_jumps_without_the_monotonic_one() -> None:
    clock = ManualClock(utc=datetime(2026, 1, 1, tzinfo=UTC))
    clock.advance(60.0)
    assert clock.now_utc() == datetime(2026, 1, 1, 0, 1, tzinfo=UTC)
    before_s = clock.monotonic_s()
    clock.set_utc(datetime(2076, 1, 1, tzinfo=UTC))
    assert clock.now_utc() == datetime(2076, 1, 1, tzinfo=UTC)
    assert clock.monotonic_s() == before_s
    clock.set_state(UNSYNCED)
    assert clock.now_utc() is None


def test_a_manual_reboot_is_another_boot() -> None:
    clock = ManualClock()
    clock.reboot("second")
    assert (clock.boot_id, clock.monotonic_s()) == ("second", 0.0)


@pytest.mark.parametrize(
    ("wall", "floor", "synced", "expected"),
    [
        (LATER_UTC, RELEASED_UTC, True, SYNCED),
        (LATER_UTC, RELEASED_UTC, False, FLOOR),
        (LATER_UTC, LATER_UTC, False, FLOOR),
        (LATER_UTC, LATER_UTC + DAY, False, UNSYNCED),
        (LATER_UTC, LATER_UTC + DAY, True, SYNCED),  # a floor can be wrong; a synchronised clock outranks it
        (datetime(1970, 1, 1, tzinfo=UTC), RELEASED_UTC, False, UNSYNCED),
        (datetime(1970, 1, 1, tzinfo=UTC), RELEASED_UTC, True, UNSYNCED),  # a time server that lies
        (LATER_UTC + 50 * 365 * DAY, RELEASED_UTC, False, FLOOR),
    ],
)
def test_the_wall_clock_is_believed_as_far_as_there_is_proof(
    wall: datetime, floor: datetime, *, synced: bool, expected: ClockState
) -> None:
    assert judge(wall, floor, synced=synced) is expected


_ANY_UTC = st.timedeltas(-60 * 365 * DAY, 60 * 365 * DAY) | st.timedeltas(-DAY, DAY)


@given(
    wall=_ANY_UTC.map(lambda delta: RELEASED_UTC + delta),
    floor=_ANY_UTC.map(lambda delta: RELEASED_UTC + delta),
    synced=st.booleans(),
)
def test_a_time_before_the_release_is_never_believed(wall: datetime, floor: datetime, *, synced: bool) -> None:
    assert (wall < RELEASED_UTC) <= (judge(wall, floor, synced=synced) is UNSYNCED)


class Kernel:
    """A wall clock that jumps, where nobody may set the real one."""

    def __init__(self, wall: datetime, *, synced: bool) -> None:
        self.wall, self.synced, self.asked = wall, synced, 0

    def wall_utc(self) -> datetime:
        return self.wall

    def is_synced(self) -> bool:
        self.asked += 1
        return self.synced

    def clock(self, state_dir: Path | None = None) -> SystemClock:
        return SystemClock(state_dir, wall_utc=self.wall_utc, synced=self.is_synced)


def test_a_jump_of_the_wall_clock_leaves_monotonic_time_and_boot_alone() -> None:
    kernel = Kernel(LATER_UTC, synced=False)
    clock = kernel.clock()
    boot_id, times_s = clock.boot_id, [clock.monotonic_s()]
    for wall in (LATER_UTC + 50 * 365 * DAY, datetime(1970, 1, 1, tzinfo=UTC), LATER_UTC):
        kernel.wall = wall
        times_s.append(clock.monotonic_s())
        assert clock.boot_id == boot_id
    assert times_s == sorted(times_s)
    assert times_s[-1] - times_s[0] < 10.0


def test_a_jump_into_the_past_is_seen_at_once_though_the_kernel_was_just_asked() -> None:
    kernel = Kernel(LATER_UTC, synced=True)
    clock = kernel.clock()
    assert (clock.state(), clock.now_utc()) == (SYNCED, LATER_UTC)
    kernel.wall = datetime(1970, 1, 1, tzinfo=UTC)
    assert clock.now_utc() is None
    assert clock.state() is UNSYNCED


def test_the_kernel_is_asked_once_a_second_and_not_once_a_frame() -> None:
    kernel = Kernel(LATER_UTC, synced=False)
    clock = kernel.clock()
    for _ in range(1000):
        clock.state()
    assert kernel.asked <= 2
    kernel.synced = True
    eventually(lambda: clock.state() is SYNCED, within_s=LOOK_INTERVAL_S + 5.0)


def test_a_synchronised_time_is_the_floor_of_the_next_boot(tmp_path: Path) -> None:
    assert Kernel(LATER_UTC, synced=True).clock(tmp_path).record_floor()
    after_power_cut = Kernel(LATER_UTC - DAY, synced=False)
    assert after_power_cut.clock(tmp_path).state() is UNSYNCED
    after_power_cut.wall = LATER_UTC + timedelta(seconds=1)
    assert after_power_cut.clock(tmp_path).state() is FLOOR


def test_a_clock_that_is_not_synchronised_is_never_recorded(tmp_path: Path) -> None:
    kernel = Kernel(LATER_UTC + 50 * 365 * DAY, synced=False)
    assert not kernel.clock(tmp_path).record_floor()
    kernel.wall = LATER_UTC
    assert kernel.clock(tmp_path).state() is FLOOR


def test_a_floor_from_the_future_is_put_right_by_the_next_synchronised_time(tmp_path: Path) -> None:
    (tmp_path / FLOOR_FILE).touch()
    future_s = (LATER_UTC + 50 * 365 * DAY).timestamp()
    os.utime(tmp_path / FLOOR_FILE, (future_s, future_s))
    assert Kernel(LATER_UTC, synced=False).clock(tmp_path).state() is UNSYNCED
    assert Kernel(LATER_UTC, synced=True).clock(tmp_path).record_floor()
    assert Kernel(LATER_UTC, synced=False).clock(tmp_path).state() is FLOOR


def test_the_floor_is_written_at_most_once_an_hour(tmp_path: Path) -> None:
    clock = Kernel(LATER_UTC, synced=True).clock(tmp_path)
    assert [clock.record_floor() for _ in range(10)] == [True] + [False] * 9


def test_a_state_folder_that_refuses_costs_only_the_proof(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    clock = Kernel(LATER_UTC, synced=True).clock(tmp_path / "file")
    assert not clock.record_floor()
    assert clock.state() is SYNCED


def test_the_real_kernel_answers_and_names_its_boot() -> None:
    assert isinstance(kernel_synced(), bool)
    assert SystemClock().boot_id == SystemClock().boot_id
    assert SystemClock().state() in ClockState
