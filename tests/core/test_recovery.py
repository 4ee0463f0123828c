"""The recovery ladder: its table row by row, then what holds for whatever may happen to an Edge TPU."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import pairwise, product

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from appliance.core.recovery import (
    ABSENT_LOOKS,
    ACTIONS,
    DFU_ROUNDS_MAX,
    ROUND_WAIT,
    ROUNDS_MAX,
    RUNG_WAIT,
    RUNGS,
    SERVES,
    TABLE,
    Event,
    Ladder,
    State,
    restored,
    rows,
    step,
)

CLIMB = [State.RESPAWN, State.RESET, State.REBIND, State.POWER_CYCLE]
"""The rungs, lowest first."""
AFTER = {
    State.OPENING: State.SERVING,
    State.RESPAWN: State.AFTER_RESPAWN,
    State.RESET: State.AFTER_RESET,
    State.REBIND: State.AFTER_REBIND,
    State.POWER_CYCLE: State.AFTER_POWER_CYCLE,
    State.LAST_TRY: State.AFTER_RESPAWN,
}
"""What serves after a rung."""
ALL = list(product(State, Event))
FINAL = {
    (State.OPENING, Event.UNAVAILABLE): Event.GONE,
    (State.RESPAWN, Event.UNAVAILABLE): Event.GONE,
    (State.POWER_CYCLE, Event.FAILED): Event.STUCK,
}
"""What counts lead on from at once, when one more fills them: looks in vain, and rounds that end in the bootloader."""
STEPS_MAX = (2 * len(CLIMB) + 1 + ABSENT_LOOKS) * (ROUNDS_MAX + 1)
"""Events until REPLACE at most: in a round, it is looked for in vain, each rung returns and is lost, and the round's
wait ends; and one round more, which may begin anywhere."""
FRACTIONS = st.floats(0.0, 1.0, exclude_max=True)
ALMOST_ONE = 1.0 - 2**-53

ladders = st.builds(
    Ladder,
    st.sampled_from(State),
    st.integers(0, ROUNDS_MAX),
    st.integers(0, DFU_ROUNDS_MAX),
    st.integers(0, 20),
    st.booleans(),
)
stories = st.binary(max_size=100)
"""For ``wander``."""
FAILS, RETURNS, ABSENT = b"\x02", b"\x00", b"\x04"
"""For ``wander`` among UNSTABLE: every try fails; every one succeeds, and what it gave is lost; nothing is there."""
UNSTABLE = [
    Event.RETURNED,
    Event.FAILED,
    Event.UNAVAILABLE,
    Event.LOST,
    Event.PLUGGED,
    Event.WAITED,
    Event.MISFIT,
]
"""What a device and its keeper tell, but for its being stable; the ladder tells itself the rest."""


def walk(ladder: Ladder, events: Iterable[Event | tuple[Event, bool]]) -> list[Ladder]:
    """Every ladder from ``ladder`` on."""
    passed = [ladder]
    for each in events:
        event, dfu = each if isinstance(each, tuple) else (each, False)
        passed.append(step(passed[-1], event, dfu=dfu))
    return passed


def states(ladder: Ladder, *events: Event | tuple[Event, bool]) -> list[State]:
    """The states that ``events`` lead to, one after the other."""
    return [each.state for each in walk(ladder, events)[1:]]


def wander(ladder: Ladder, told: bytes, among: Sequence[Event]) -> list[Ladder]:
    """Every ladder from ``ladder`` on.

    A byte of ``told`` chooses one of those ``among`` the events that matter in the state; its lowest bit says whether
    the device is in its bootloader then.
    """
    passed = [ladder]
    for byte in told:
        events = [event for event in among if (passed[-1].state, event) in TABLE]
        if not events:
            break
        passed.append(step(passed[-1], events[(byte >> 1) % len(events)], dfu=bool(byte & 1)))
    return passed


def fail(ladder: Ladder, *, dfu: bool = False) -> Ladder:
    """One whole round in which every rung fails, from the wait before it to the end."""
    return walk(ladder, [Event.WAITED, *[(Event.FAILED, dfu)] * len(CLIMB)])[-1]


def entered(passed: Sequence[Ladder], state: State) -> int:
    """How often ``state`` was come to."""
    return sum(before.state is not state and after.state is state for before, after in pairwise(passed))


@pytest.mark.parametrize(("state", "event"), ALL)
def test_what_stands_in_the_table_leads_to_its_state_and_anything_else_changes_nothing(
    state: State, event: Event
) -> None:
    ladder = Ladder(state, rounds=1, dfu_rounds=1, tries=3)
    after = step(ladder, event, dfu=True)
    if (state, event) not in TABLE:
        assert after is ladder
        return
    expected = TABLE[state, event]
    if (state, event) in FINAL:
        expected = TABLE[expected, FINAL[state, event]]
    assert after.state is expected


def test_a_first_opening_that_succeeds_serves_and_a_loss_is_answered_by_a_new_worker() -> None:
    assert states(Ladder(), Event.RETURNED, Event.LOST) == [State.SERVING, State.RESPAWN]


def test_a_bootloader_proves_nothing_while_no_power_cycle_could_be_tried() -> None:
    """Nobody may open it, or an option is wrong: it stays in its bootloader, and is no broken hardware for that."""
    ladder = Ladder(State.POWER_CYCLE, rounds=1, dfu_rounds=1)
    assert step(ladder, Event.UNAVAILABLE, dfu=True).state is State.CPU_ONLY
    assert step(ladder, Event.FAILED, dfu=True).state is State.REPLACE


def test_a_socket_that_was_always_empty_is_looked_at_for_ever_and_never_given_up() -> None:
    ladder = Ladder()
    for _ in range(100 * ROUNDS_MAX):
        event = Event.WAITED if ladder.state is State.CPU_ONLY else Event.UNAVAILABLE
        ladder = step(ladder, event, seen=False)
    assert (ladder.rounds, ladder.given_up) == (0, False)


def test_every_rung_is_tried_before_the_next_higher_one() -> None:
    assert states(Ladder(), *[Event.FAILED] * 5) == [*CLIMB, State.CPU_ONLY]


def test_a_device_that_returns_and_is_lost_again_has_spent_the_rung_that_brought_it_back() -> None:
    """Were it to begin at the lowest rung each time, one that dies every minute would be respawned for ever."""
    ladder = Ladder(State.SERVING)
    for rung in CLIMB:
        ladder = step(ladder, Event.LOST)
        assert ladder.state is rung
        ladder = step(ladder, Event.RETURNED)
        assert ladder.state is AFTER[rung]
    assert step(ladder, Event.LOST).state is State.CPU_ONLY


@pytest.mark.parametrize(
    ("state", "next_tried"),
    [
        (State.RESET, State.REBIND),
        (State.REBIND, State.POWER_CYCLE),
        (State.POWER_CYCLE, State.CPU_ONLY),
    ],
)
def test_what_cannot_be_tried_here_is_passed_over(state: State, next_tried: State) -> None:
    assert step(Ladder(state), Event.UNAVAILABLE).state is next_tried


def test_a_rung_is_skipped_only_where_it_could_not_be_tried() -> None:
    for (state, event), after in TABLE.items():
        if state in CLIMB and after in CLIMB and event not in {Event.UNAVAILABLE, Event.GONE}:
            assert CLIMB.index(after) == CLIMB.index(state) + 1, (state, event)


def test_a_device_that_is_away_for_a_moment_keeps_the_power_of_its_port() -> None:
    """It leaves the bus when it resets, or loads its firmware and gets its other USB id (edgetpu#766, #754)."""
    looks = [Event.UNAVAILABLE] * (ABSENT_LOOKS - 1)
    passed = walk(Ladder(State.SERVING), [Event.LOST, *looks, Event.RETURNED])
    assert [each.state for each in passed[1:]] == [State.RESPAWN] * ABSENT_LOOKS + [State.AFTER_RESPAWN]
    assert sum(each.wait_s(0.0) for each in passed) >= 2.0, "seconds that it may be away at least"
    assert passed[-1].rounds == 0


@pytest.mark.parametrize("state", [State.OPENING, State.RESPAWN])
def test_a_device_that_is_gone_has_nothing_that_could_be_reset_but_a_port_to_power(state: State) -> None:
    passed = walk(Ladder(state), [Event.UNAVAILABLE] * ABSENT_LOOKS)
    assert [each.state for each in passed[-2:]] == [State.RESPAWN, State.POWER_CYCLE]
    assert passed[-1].wait_s(0.0) > 0.0, "one more moment to come back in"


@pytest.mark.parametrize("state", sorted(SERVES | RUNGS))
def test_software_that_does_not_fit_climbs_no_rung_and_spends_no_round(state: State) -> None:
    after = step(Ladder(state, rounds=2, dfu_rounds=1), Event.MISFIT, dfu=True)
    assert (after.state, after.rounds, after.dfu_rounds) == (State.UNFIT, 2, 1)


def test_software_that_never_fits_is_tried_ever_more_seldom_and_is_no_reason_to_replace_hardware() -> None:
    ladder, waits_s = Ladder(), []
    for _ in range(100):
        ladder = step(ladder, Event.MISFIT)
        waits_s.append(ladder.wait_s(0.5))
        ladder = step(ladder, Event.WAITED)
        assert ladder.state is State.RESPAWN
    assert waits_s == sorted(waits_s)
    assert waits_s[0] < 600.0
    assert waits_s[-1] > 3600.0
    assert step(ladder, Event.RETURNED).serves


def test_a_device_plugged_in_between_two_rounds_is_tried_at_once() -> None:
    ladder = step(Ladder(State.CPU_ONLY, rounds=2), Event.PLUGGED)
    assert (ladder.state, ladder.wait_s(ALMOST_ONE)) == (State.RESPAWN, 0.0)


def test_the_budget_of_rounds_ends_in_replace_hardware() -> None:
    ladder = walk(Ladder(), [Event.FAILED] * 5)[-1]
    for rounds in range(1, ROUNDS_MAX):
        assert (ladder.state, ladder.rounds) == (State.CPU_ONLY, rounds)
        ladder = fail(ladder)
    assert (ladder.state, ladder.rounds, ladder.given_up) == (State.REPLACE, ROUNDS_MAX, True)


def test_a_new_round_begins_after_its_wait_as_the_first_one_did() -> None:
    """What was in vain in the round before makes no wait longer but that between the rounds."""
    ended = walk(Ladder(), [Event.FAILED] * 5)[-1]
    assert ended.wait_s(ALMOST_ONE) == pytest.approx(2 * ROUND_WAIT.min_s)
    assert step(ended, Event.WAITED) == Ladder(State.RESPAWN, rounds=1)


def test_a_device_that_stays_in_its_bootloader_is_given_up_sooner() -> None:
    ladder = Ladder(State.CPU_ONLY)
    for _ in range(DFU_ROUNDS_MAX - 1):
        ladder = fail(ladder, dfu=True)
        assert ladder.state is State.CPU_ONLY
    assert fail(ladder, dfu=True).state is State.REPLACE
    assert DFU_ROUNDS_MAX < ROUNDS_MAX


def test_only_rounds_in_a_row_that_ended_in_the_bootloader_count() -> None:
    ladder = fail(fail(Ladder(State.CPU_ONLY), dfu=True))
    assert (ladder.rounds, ladder.dfu_rounds) == (2, 0)
    assert fail(ladder, dfu=True).state is State.CPU_ONLY


def test_a_device_that_served_in_between_is_not_stuck_in_its_bootloader() -> None:
    """A brown-out leaves it there, too; what it needs is a better supply, not a technician with a new one."""
    browned_out = Ladder(State.AFTER_POWER_CYCLE, rounds=1, dfu_rounds=DFU_ROUNDS_MAX - 1)
    after = step(browned_out, Event.LOST, dfu=True)
    assert (after.state, after.dfu_rounds) == (State.CPU_ONLY, 0)
    returned = step(Ladder(State.RESPAWN, rounds=1, dfu_rounds=DFU_ROUNDS_MAX - 1), Event.RETURNED)
    assert returned.dfu_rounds == 0


@pytest.mark.parametrize("state", sorted(SERVES))
def test_a_device_that_was_stable_is_forgiven_everything(state: State) -> None:
    assert step(Ladder(state, 2, 1, 3, given_up=True), Event.STABLE) == Ladder(State.SERVING)


@pytest.mark.parametrize("event", [event for event in Event if event is not Event.PLUGGED])
def test_nothing_but_a_device_that_is_plugged_in_leads_out_of_replace_hardware(event: Event) -> None:
    ladder = Ladder(State.REPLACE, ROUNDS_MAX, given_up=True)
    assert step(ladder, event) is ladder
    assert TABLE[State.REPLACE, Event.PLUGGED] is State.LAST_TRY


@pytest.mark.parametrize("event", [Event.FAILED, Event.UNAVAILABLE])
def test_a_last_try_that_fails_is_not_followed_by_another_round(event: Event) -> None:
    assert states(Ladder(State.REPLACE, ROUNDS_MAX), Event.PLUGGED, event) == [State.LAST_TRY, State.REPLACE]


def test_a_new_device_in_the_place_of_one_given_up_serves_and_is_forgiven() -> None:
    ladder = Ladder(State.REPLACE, ROUNDS_MAX, DFU_ROUNDS_MAX, given_up=True)
    passed = walk(ladder, [Event.PLUGGED, Event.RETURNED, Event.STABLE])
    assert [each.state for each in passed[1:]] == [State.LAST_TRY, State.AFTER_RESPAWN, State.SERVING]
    assert passed[-1] == Ladder(State.SERVING)


def test_a_device_given_up_that_returned_and_was_lost_is_not_power_cycled_again() -> None:
    ladder = Ladder(State.REPLACE, ROUNDS_MAX, given_up=True)
    lost = walk(ladder, [Event.PLUGGED, Event.RETURNED, *[Event.LOST, Event.FAILED] * 2])
    assert State.POWER_CYCLE not in {each.state for each in lost}
    assert lost[-1].state is State.REPLACE


@given(ladders, stories)
def test_counts_stay_within_their_bounds_whatever_happens(ladder: Ladder, told: bytes) -> None:
    for each in wander(ladder, told, list(Event)):
        assert 0 <= each.rounds <= ROUNDS_MAX
        assert 0 <= each.dfu_rounds <= DFU_ROUNDS_MAX
        assert each.tries >= 0


@given(ladders, stories)
@example(Ladder(), FAILS * 100)
@example(Ladder(), ABSENT * 100)
@example(Ladder(), RETURNS * 100)
def test_without_a_stable_return_power_is_cycled_no_more_often_than_there_are_rounds(
    ladder: Ladder, told: bytes
) -> None:
    passed = wander(ladder, told, UNSTABLE)
    assert entered(passed, State.POWER_CYCLE) <= ROUNDS_MAX - ladder.rounds


@given(ladders, st.binary(min_size=STEPS_MAX, max_size=STEPS_MAX))
@example(Ladder(), FAILS * STEPS_MAX)
@example(Ladder(), ABSENT * STEPS_MAX)
@example(Ladder(), RETURNS * STEPS_MAX)
def test_trouble_without_end_comes_to_replace_hardware_in_a_bounded_number_of_steps(
    ladder: Ladder, told: bytes
) -> None:
    """Returns that do not last are trouble, too."""
    passed = wander(ladder, told, [each for each in UNSTABLE if each not in {Event.PLUGGED, Event.MISFIT}])
    assert passed[-1].state is State.REPLACE


@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("event", [Event.FAILED, Event.UNAVAILABLE])
def test_from_every_state_trouble_of_one_kind_comes_to_replace_hardware(state: State, event: Event) -> None:
    ladder = Ladder(state)
    for _ in range(STEPS_MAX):  # more often than needed: a trouble of another state changes nothing
        ladder = step(step(step(ladder, Event.LOST), event), Event.WAITED)
    assert ladder.state is State.REPLACE


@pytest.mark.parametrize("state", sorted(RUNGS))
def test_a_return_serves_whichever_rung_it_was_and_the_next_rung_begins_without_a_wait(state: State) -> None:
    after = step(Ladder(state, tries=5), Event.RETURNED)
    assert after.state is AFTER[state]
    assert after.serves
    assert after.tries == 0


def test_every_state_either_serves_tries_something_or_waits_on_the_cpu() -> None:
    assert {State.CPU_ONLY, State.REPLACE, State.UNFIT} == set(State) - SERVES - RUNGS
    assert set() == SERVES & RUNGS
    assert {state for state in State if Ladder(state).serves} == SERVES


@pytest.mark.parametrize("state", State)
def test_every_state_can_be_come_to_and_left(state: State) -> None:
    assert state is State.OPENING or state in TABLE.values()
    assert {after for (before, _), after in TABLE.items() if before is state} - {state}


@pytest.mark.parametrize("state", sorted(RUNGS))
def test_every_rung_knows_what_follows_each_of_its_outcomes(state: State) -> None:
    assert {Event.RETURNED, Event.FAILED, Event.UNAVAILABLE} <= {event for before, event in TABLE if before is state}


@pytest.mark.parametrize("state", sorted(SERVES))
def test_whatever_serves_can_be_lost_and_can_become_stable(state: State) -> None:
    assert {event for before, event in TABLE if before is state} == {Event.LOST, Event.STABLE, Event.MISFIT}


def test_a_loss_is_answered_at_once() -> None:
    assert step(Ladder(State.SERVING), Event.LOST).wait_s(ALMOST_ONE) == 0.0


@given(FRACTIONS)
def test_waits_between_rungs_grow_and_are_capped(fraction: float) -> None:
    for state in (State.RESPAWN, State.RESET, State.REBIND, State.LAST_TRY):
        waits_s = [Ladder(state, tries=tries).wait_s(fraction) for tries in range(100)]
        assert waits_s == sorted(waits_s)
        assert (waits_s[0], waits_s[1] >= RUNG_WAIT.min_s, waits_s[-1] <= RUNG_WAIT.max_s) == (0.0, True, True)


@given(FRACTIONS)
def test_waits_between_rounds_grow_up_to_their_cap_before_the_rounds_are_spent(fraction: float) -> None:
    waits_s = [Ladder(State.CPU_ONLY, rounds=rounds).wait_s(fraction) for rounds in range(ROUNDS_MAX)]
    assert waits_s == sorted(waits_s)
    assert ROUND_WAIT.min_s <= waits_s[0]
    assert Ladder(State.CPU_ONLY, ROUNDS_MAX - 1).wait_s(ALMOST_ONE) == pytest.approx(ROUND_WAIT.max_s)


def test_a_device_given_up_that_comes_and_goes_is_tried_ever_more_slowly() -> None:
    ladder, waits_s = Ladder(State.REPLACE, ROUNDS_MAX, given_up=True), []
    for _ in range(10):
        ladder = step(ladder, Event.PLUGGED)
        waits_s.append(ladder.wait_s(0.5))
        ladder = step(ladder, Event.FAILED)
    assert waits_s[0] == 0.0, "somebody stands beside it"
    assert all(earlier < later for earlier, later in pairwise(waits_s[:6]))
    assert waits_s[-1] <= RUNG_WAIT.max_s


@given(stories, stories)
@example(FAILS * 14, FAILS * 100)
@example(RETURNS * 20, RETURNS * 100)
def test_a_reboot_at_any_moment_gives_no_new_budget(before: bytes, after: bytes) -> None:
    """The counts are kept before a state's action: a power cycle that takes the whole device down is spent."""
    first = wander(Ladder(), before, UNSTABLE)
    kept = first[-1]
    again = restored(replace_hardware=kept.given_up, rounds=kept.rounds, dfu_rounds=kept.dfu_rounds)
    assert again == replace(kept, state=again.state, tries=0)
    assert again.state is (State.REPLACE if kept.given_up else State.OPENING)
    second = wander(again, after, UNSTABLE)
    assert entered(first, State.POWER_CYCLE) + entered(second, State.POWER_CYCLE) <= ROUNDS_MAX


def test_a_device_whose_power_cycle_reboots_the_whole_appliance_is_given_up_all_the_same() -> None:
    ladder = Ladder()
    for _ in range(ROUNDS_MAX):
        ladder = walk(ladder, [Event.FAILED] * len(CLIMB))[-1]
        assert ladder.state is State.POWER_CYCLE
        ladder = restored(replace_hardware=ladder.given_up, rounds=ladder.rounds, dfu_rounds=ladder.dfu_rounds)
        assert ladder.state is State.OPENING
    assert walk(ladder, [Event.FAILED] * len(CLIMB))[-1].state is State.REPLACE


def test_what_was_given_up_stays_so_over_a_reboot_until_it_was_stable() -> None:
    ladder = Ladder(State.REPLACE, ROUNDS_MAX, given_up=True)
    for event in (Event.PLUGGED, Event.RETURNED, Event.LOST):
        ladder = step(ladder, event)
        assert ladder.given_up
    assert not walk(ladder, [Event.RETURNED, Event.STABLE])[-1].given_up


def test_a_device_replaced_while_the_power_was_off_serves_after_the_start() -> None:
    ladder = restored(replace_hardware=True, rounds=ROUNDS_MAX, dfu_rounds=0)
    assert states(ladder, Event.PLUGGED, Event.RETURNED) == [State.LAST_TRY, State.AFTER_RESPAWN]


@pytest.mark.parametrize(
    ("rounds", "dfu_rounds", "expected"),
    [(-1, -5, (0, 0)), (10**9, 10**9, (ROUNDS_MAX, DFU_ROUNDS_MAX)), (2, 1, (2, 1))],
)
def test_counts_that_cannot_be_are_taken_as_their_bounds(
    rounds: int, dfu_rounds: int, expected: tuple[int, int]
) -> None:
    ladder = restored(replace_hardware=False, rounds=rounds, dfu_rounds=dfu_rounds)
    assert (ladder.rounds, ladder.dfu_rounds) == expected


def test_the_printed_table_is_the_whole_table_and_names_what_is_done_in_every_state() -> None:
    assert [(state, event, after) for state, event, after, _ in rows()] == [
        (state.value, event.value, after.value) for (state, event), after in TABLE.items()
    ]
    assert all(action == ACTIONS[State(after)] for _, _, after, action in rows())
    assert ACTIONS.keys() == set(State)
    assert all(ACTIONS.values())


def test_every_event_is_used() -> None:
    assert {event for _, event in TABLE} == set(Event)
