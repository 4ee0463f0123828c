"""The recovery ladder of an Edge TPU: what is tried to bring it back, in which order, and when to give up. Pure.

Everything that decides stands in ``TABLE``. What is not in it changes nothing. A round is one climb from the lowest
rung to the top; ``Ladder`` counts them, and the counts survive a reboot, because a stick that has died for good must
not be power-cycled for years. A round is counted before its power cycle, which may take the whole device down: whoever
keeps the counts keeps them first and acts then.

Hardware is reset for what hardware does. Software that is missing or does not fit (MISFIT) climbs no rung, and a
model that gives other numbers than its twin is no event here at all.

Sources: google-coral/edgetpu#766 (a restart of the process is not enough, the USB id changes), #914 (some never leave
the bootloader), roflcoopter/viseron#599 (neither reset nor unbind helped, power did).
"""

from dataclasses import dataclass, replace
from enum import StrEnum

from appliance.core.backoff import Backoff

STABLE_S = 600.0
"""Served for this long without a loss, the trouble is over: the next loss starts at the lowest rung again."""
ROUNDS_MAX = 6
"""Rounds without a stable return before the hardware is given up, and so power cycles: some hours, as ``ROUND_WAIT``
has it, because a hot device or a weak supply at noon is well again in the evening and needs no technician."""
DFU_ROUNDS_MAX = 2
"""Rounds in a row that ended in the bootloader before the hardware is given up (edgetpu#914: it never left it)."""
RUNG_WAIT = Backoff(min_s=1.0, max_s=30.0)
"""Between two rungs: a device needs about a second on the bus before it can be opened."""
ABSENT_LOOKS = 3
"""Looks in vain, ``RUNG_WAIT`` apart, before a device that is not on the bus counts as gone: one that resets itself, or
changes its USB id as it loads its firmware, is away for a second or two, and needs no power cut."""
ROUND_WAIT = Backoff(min_s=300.0, max_s=7200.0)
"""Between two rounds, up to two hours: a warm device may have to cool. Between two tries of software, too."""


class State(StrEnum):
    """Where an Edge TPU stands. The rungs are named by what is tried next."""

    OPENING = "opening"
    SERVING = "serving"
    RESPAWN = "respawn"
    AFTER_RESPAWN = "after_respawn"
    RESET = "reset"
    AFTER_RESET = "after_reset"
    REBIND = "rebind"
    AFTER_REBIND = "after_rebind"
    POWER_CYCLE = "power_cycle"
    AFTER_POWER_CYCLE = "after_power_cycle"
    CPU_ONLY = "cpu_only"
    REPLACE = "replace"
    LAST_TRY = "last_try"
    UNFIT = "unfit"


class Event(StrEnum):
    """What can happen to it."""

    RETURNED = "returned"
    """It opened and gave the numbers it must give."""
    FAILED = "failed"
    """It was tried, and it did not."""
    UNAVAILABLE = "unavailable"
    """What the state wants cannot be tried here: nothing is plugged in, no permission, no such hardware."""
    LOST = "lost"
    """It served, and its worker died, did not answer in time, could not be loaded anew, or the device left the bus."""
    STABLE = "stable"
    """It has served for ``STABLE_S``."""
    PLUGGED = "plugged"
    """A device has appeared on the bus that no rung of ours has put there, or is there when a process starts that was
    restored to REPLACE: it may have been replaced while the power was off."""
    WAITED = "waited"
    """The time between two rounds, or two tries of software that does not fit, is over."""
    STUCK = "stuck"
    """``DFU_ROUNDS_MAX`` rounds have ended in the bootloader."""
    SPENT = "spent"
    """``ROUNDS_MAX`` rounds have ended without a stable return."""
    GONE = "gone"
    """``ABSENT_LOOKS`` looks have found nothing plugged in."""
    MISFIT = "misfit"
    """Its software is missing, or does not fit together: no rung helps, and no hardware is to blame."""


ACTIONS = {
    State.OPENING: "start a worker, open the device, prove it by the golden vectors",
    State.SERVING: "serve",
    State.RESPAWN: "look for the device a few times where it is not there; start a new worker",
    State.AFTER_RESPAWN: f"serve, and watch for {STABLE_S:g} s",
    State.RESET: "reset the device (USBDEVFS_RESET), then start a new worker",
    State.AFTER_RESET: f"serve, and watch for {STABLE_S:g} s",
    State.REBIND: "unbind its port's driver and bind it again, then start a new worker",
    State.AFTER_REBIND: f"serve, and watch for {STABLE_S:g} s",
    State.POWER_CYCLE: "cut the port's power (uhubctl) where that is allowed, then start a new worker",
    State.AFTER_POWER_CYCLE: f"serve, and watch for {STABLE_S:g} s",
    State.CPU_ONLY: "raise an alarm, stay on the CPU, wait for the next round",
    State.REPLACE: "raise the alarm *replace hardware*, stay on the CPU, try nothing",
    State.LAST_TRY: "start a worker once: somebody has plugged in a device, or switched this one on again",
    State.UNFIT: "raise an alarm, stay on the CPU, wait: somebody may install what fits",
}
"""What is done in a state, once on entering it."""

TABLE: dict[tuple[State, Event], State] = {
    (State.OPENING, Event.RETURNED): State.SERVING,
    (State.OPENING, Event.FAILED): State.RESPAWN,
    (State.OPENING, Event.UNAVAILABLE): State.RESPAWN,
    (State.SERVING, Event.LOST): State.RESPAWN,
    (State.SERVING, Event.STABLE): State.SERVING,
    (State.RESPAWN, Event.RETURNED): State.AFTER_RESPAWN,
    (State.RESPAWN, Event.FAILED): State.RESET,
    (State.RESPAWN, Event.UNAVAILABLE): State.RESPAWN,
    (State.RESPAWN, Event.GONE): State.POWER_CYCLE,
    (State.AFTER_RESPAWN, Event.STABLE): State.SERVING,
    (State.AFTER_RESPAWN, Event.LOST): State.RESET,
    (State.RESET, Event.RETURNED): State.AFTER_RESET,
    (State.RESET, Event.FAILED): State.REBIND,
    (State.RESET, Event.UNAVAILABLE): State.REBIND,
    (State.AFTER_RESET, Event.STABLE): State.SERVING,
    (State.AFTER_RESET, Event.LOST): State.REBIND,
    (State.REBIND, Event.RETURNED): State.AFTER_REBIND,
    (State.REBIND, Event.FAILED): State.POWER_CYCLE,
    (State.REBIND, Event.UNAVAILABLE): State.POWER_CYCLE,
    (State.AFTER_REBIND, Event.STABLE): State.SERVING,
    (State.AFTER_REBIND, Event.LOST): State.POWER_CYCLE,
    (State.POWER_CYCLE, Event.RETURNED): State.AFTER_POWER_CYCLE,
    (State.POWER_CYCLE, Event.FAILED): State.CPU_ONLY,
    (State.POWER_CYCLE, Event.UNAVAILABLE): State.CPU_ONLY,
    (State.POWER_CYCLE, Event.SPENT): State.REPLACE,
    (State.AFTER_POWER_CYCLE, Event.STABLE): State.SERVING,
    (State.AFTER_POWER_CYCLE, Event.LOST): State.CPU_ONLY,
    (State.CPU_ONLY, Event.WAITED): State.RESPAWN,
    (State.CPU_ONLY, Event.PLUGGED): State.RESPAWN,
    (State.CPU_ONLY, Event.STUCK): State.REPLACE,
    (State.CPU_ONLY, Event.SPENT): State.REPLACE,
    (State.REPLACE, Event.PLUGGED): State.LAST_TRY,
    (State.LAST_TRY, Event.RETURNED): State.AFTER_RESPAWN,
    (State.LAST_TRY, Event.FAILED): State.REPLACE,
    (State.LAST_TRY, Event.UNAVAILABLE): State.REPLACE,
    (State.UNFIT, Event.WAITED): State.RESPAWN,
    (State.UNFIT, Event.PLUGGED): State.RESPAWN,
    **{
        (state, Event.MISFIT): State.UNFIT
        for state in State
        if state not in {State.CPU_ONLY, State.REPLACE, State.UNFIT}
    },
}
"""State and event to the next state."""

SERVES = frozenset({State.SERVING, State.AFTER_RESPAWN, State.AFTER_RESET, State.AFTER_REBIND, State.AFTER_POWER_CYCLE})
"""States in which it answers."""
RUNGS = frozenset({State.OPENING, State.RESPAWN, State.RESET, State.REBIND, State.POWER_CYCLE, State.LAST_TRY})
"""States in which something is tried. What neither serves nor tries waits, and the CPU answers."""
_IN_VAIN = frozenset({Event.FAILED, Event.UNAVAILABLE, Event.MISFIT})
"""What comes of a try that is no return."""
_PATIENT = frozenset({(State.REPLACE, Event.PLUGGED), (State.UNFIT, Event.WAITED), (State.RESPAWN, Event.GONE)})
"""Where the count of tries goes on: what comes and goes after it was given up, and what cannot fit, is tried ever more
slowly."""


@dataclass(frozen=True, slots=True)
class Ladder:
    """Where one Edge TPU stands. ``given_up``, ``rounds`` and ``dfu_rounds`` are kept over a reboot."""

    state: State = State.OPENING
    rounds: int = 0
    """Rounds that came to the power cycle since it was last stable, at most ``ROUNDS_MAX``."""
    dfu_rounds: int = 0
    """Of these, in a row, those that ended with the device in its bootloader."""
    tries: int = 0
    """Tries in vain since it last served, or since a round ended."""
    given_up: bool = False
    """It has come to REPLACE, and was not stable since: after a reboot it gets one try, not another budget."""

    @property
    def serves(self) -> bool:
        """Whether it answers."""
        return self.state in SERVES

    def wait_s(self, fraction: float) -> float:
        """Say how long to wait before this state's action, in seconds; 0 where there is nothing to wait for.

        In CPU_ONLY and UNFIT, which do nothing, it is the time until WAITED.

        Args:
            fraction: random, in [0, 1).
        """
        if self.state is State.CPU_ONLY:
            return ROUND_WAIT.delay_s(max(0, self.rounds - 1), fraction)
        if self.state is State.UNFIT:
            return ROUND_WAIT.delay_s(max(0, self.tries - 1), fraction)
        if self.state in RUNGS and self.tries:
            return RUNG_WAIT.delay_s(self.tries - 1, fraction)
        return 0.0


def step(ladder: Ladder, event: Event, *, dfu: bool = False, seen: bool = True) -> Ladder:
    """Return the ladder after ``event``; the very same one when the table has no row for it.

    Args:
        ladder: before.
        event: what happened.
        dfu: whether the device is in its bootloader now; counted when a power cycle has not helped. One that could not
            be tried proves nothing: a device that nobody may open stays in its bootloader, too.
        seen: whether a device is there, or ever was; a socket that is empty has nothing to be given up.
    """
    after = TABLE.get((ladder.state, event))
    if after is None:
        return ladder
    if event is Event.STABLE:
        return Ladder(after)
    moved = replace(
        ladder,
        state=after,
        tries=_tries(ladder, event),
        dfu_rounds=0 if event is Event.RETURNED else ladder.dfu_rounds,  # it has left its bootloader
        given_up=ladder.given_up or after is State.REPLACE,
    )
    if after is State.RESPAWN and event is Event.UNAVAILABLE:
        return step(moved, Event.GONE, seen=seen) if moved.tries >= ABSENT_LOOKS else moved
    if after is State.POWER_CYCLE:
        return _round_begun(moved) if seen else moved
    if after is State.CPU_ONLY:
        # A device that was lost had served: its bootloader is what a brown-out leaves it in, and it may well leave it.
        return _round_ended(moved, dfu=dfu and event is Event.FAILED)
    return moved


def restored(*, replace_hardware: bool, rounds: int, dfu_rounds: int) -> Ladder:
    """Return the ladder at the start of a process, from what was kept; counts beyond their bounds are taken as these.

    A device that was given up stays so; where one is there, the caller says PLUGGED, and it gets its last try.

    Args:
        replace_hardware: its ``given_up``.
        rounds: its ``rounds``.
        dfu_rounds: its ``dfu_rounds``.
    """
    return Ladder(
        State.REPLACE if replace_hardware else State.OPENING,
        rounds=min(max(0, rounds), ROUNDS_MAX),
        dfu_rounds=min(max(0, dfu_rounds), DFU_ROUNDS_MAX),
        given_up=replace_hardware,
    )


def rows() -> list[tuple[str, str, str, str]]:
    """Return the table as state, event, next state, action: for documentation."""
    return [(state.value, event.value, after.value, ACTIONS[after]) for (state, event), after in TABLE.items()]


def _tries(ladder: Ladder, event: Event) -> int:
    """Count on, keep, or begin anew."""
    if event in _IN_VAIN:
        return ladder.tries + 1
    return ladder.tries if (ladder.state, event) in _PATIENT else 0


def _round_begun(ladder: Ladder) -> Ladder:
    """Count the round, or give up where the budget is spent: after a reboot within its last round, or a last try."""
    if ladder.rounds >= ROUNDS_MAX:
        return step(ladder, Event.SPENT)
    return replace(ladder, rounds=ladder.rounds + 1)


def _round_ended(ladder: Ladder, *, dfu: bool) -> Ladder:
    """Feed the event that the counts of a round's end amount to."""
    ended = replace(ladder, dfu_rounds=min(ladder.dfu_rounds + 1, DFU_ROUNDS_MAX) if dfu else 0, tries=0)
    if ended.dfu_rounds >= DFU_ROUNDS_MAX:
        return step(ended, Event.STUCK)
    if ended.rounds >= ROUNDS_MAX:
        return step(ended, Event.SPENT)
    return ended
