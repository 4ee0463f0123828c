"""What may happen to an update at each of its stages, and what must come of it: one row for each stage and fault.

The table is Mender's idea (their acceptance tests cut the power in every state); its stages are those of the plan.
The loop's half is a small driver here: it counts a try down, gives a verdict, and ends the attempt as the trial does.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from itertools import count
from pathlib import Path

from appliance.core.types import ClockState
from appliance.errors import BundleError, RepositoryError, StoreError
from appliance.sim.slots import VolatileSlots
from appliance.trust import plan
from appliance.trust.plan import Event
from appliance.trust.state import ModelState, Stage
from appliance.updater.finish import finish
from tests.loop.updater_bench import V1, V2, Offer, UpdaterBench
from tests.slots import MODEL

UNSYNCED_BYTES = 50_000
"""What a power cut takes from the end of a partial bundle; less than is synced at a time."""
ROUNDS_MAX = 30
"""Runs of the updater and looks of the loop until an update has ended, whatever happened once."""


class Fault(StrEnum):
    """What happens at a stage."""

    ERROR = "error"
    """What the stage works with fails, once."""
    KILL = "kill -9"
    POWER = "power cut"
    HANG = "hang"
    """What it waits for never comes: the wait is bounded, or systemd ends the run."""
    FULL = "disk full"
    EARLY = "clock of 1970"
    LATE = "clock of 2106"


class Killed(BaseException):
    """What nobody catches."""


class FaultySlots(VolatileSlots):
    """A store that writes down each record's stage, and dies at a write when it is told to."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.chain: list[Stage] = []
        """Until the update serves, or is condemned, and everybody is told."""
        self.over = False
        self.dies: Callable[[], bool] = lambda: False
        """Asked before each write."""
        self.refusals = 0
        """How often the list of the condemned cannot be read."""

    def write(self, path: Path | str) -> None:
        if self.dies():
            raise Killed
        super().write(path)

    def condemned(self) -> Mapping[str, str]:
        if self.refusals:
            self.refusals -= 1
            raise StoreError("bad: Input/output error")
        return super().condemned()

    def save(self, state: ModelState) -> ModelState:
        saved = super().save(state)
        if not self.over and saved.stage not in self.chain[-1:]:
            self.chain.append(saved.stage)
        self.over |= saved.stage is Stage.IDLE and saved.outcome in {"committed", "rolled_back"}
        return saved

    def shorten(self) -> None:
        """Lose the end of what was received."""
        for file in self._inbox.iterdir():
            with file.open("r+b") as stream:
                stream.truncate(max(0, file.stat().st_size - UNSYNCED_BYTES))


class Story:
    """One update of one device, with a loop that tries what is laid ready, until it has ended."""

    def __init__(self, folder: Path, offer: Offer) -> None:
        self.slots = FaultySlots(folder)
        self.bench = UpdaterBench(folder, offer, slots=self.slots)
        self.bench.volatile = self.slots
        self.good = True
        """The verdict on the candidate."""
        self.tries: list[int] = []
        """Tries that were left at each start of a stage of the loop."""

    def until(self, stage: Stage) -> None:
        """Bring the update to where a stage begins: its record is written, nothing of it is done."""
        self.good = stage is not Stage.ROLLBACK
        self.dying(lambda: stage in self.slots.chain)
        self.slots.chain[:] = [stage]
        self.good = True

    def dying(self, dies: Callable[[], bool]) -> bool:
        """Live until ``dies`` says so; say whether it did."""
        self.slots.dies = dies
        try:
            self.live()
        except Killed:
            return True
        finally:
            self.slots.dies = lambda: False
        return False

    def live(self) -> None:
        """Let updater and loop work in turn until it is over."""
        for _ in range(ROUNDS_MAX):
            if self.slots.over:
                return
            self.round()
        raise AssertionError("it never ended")

    def round(self) -> None:
        """One run of the updater and one look of the loop."""
        self.bench.run()
        self._serves_well()
        self.loop()
        self._serves_well()

    def loop(self) -> None:
        """One look of the loop at the record: as the trial does it."""
        try:
            self._loop()
        except StoreError:
            return  # at the next look

    def _loop(self) -> None:
        for _ in plan.LOOP_STAGES:
            with self.slots.locked(MODEL):
                state = self.slots.load(MODEL)
                if state.stage in plan.LOOP_STAGES:
                    if state.tries_left:
                        self.tries.append(state.tries_left)
                        state = self.slots.save(plan.started(state))
                        event = Event.DONE if self.good else Event.BAD
                    else:
                        event = Event.EXHAUSTED
                    self.slots.save(plan.advance(state, event))
        finish(self.bench.teller, MODEL)

    def _serves_well(self) -> None:
        """A good model serves: it is whole on the disk, it is the factory's or it has passed its trial."""
        serving, state = self.bench.serving(), self.bench.state
        assert serving.model_id == (state.committed or serving.model_id)
        assert state.committed is None or state.committed not in self.slots.condemned()
        assert self.tries == sorted(self.tries, reverse=True) or state.attempt > 1, "tries never come back"


@dataclass(frozen=True, slots=True)
class Row:
    """What comes of a fault."""

    chain: tuple[Stage, ...]
    """Stages that are written down after it, until the update has ended."""
    committed: bool = True
    """Whether the update serves in the end; else the model before it."""


def _from(stage: Stage, *before: Stage) -> tuple[Stage, ...]:
    """Return what was written before the update began its way again at ``stage``, and the rest of that way."""
    way = tuple(Stage)
    rest = way[way.index(stage) : way.index(Stage.COMMITTED) + 1]
    return (*before, *rest, Stage.REPORT, Stage.IDLE)


S = Stage
_WAY: dict[Stage, tuple[Stage, ...]] = {
    stage: _from(stage)[1:] for stage in Stage if stage is not S.ROLLBACK and stage is not S.REPORT
}
"""What follows each stage where nothing is amiss."""
_WAY |= {S.ROLLBACK: (S.REPORT, S.IDLE), S.REPORT: (S.IDLE,)}


def _rows(
    stage: Stage, *, error: Row | None = None, hang: Row | None = None, late: Row | None = None
) -> Mapping[Fault, Row]:
    """Return a stage's rows; what ends the process, or fills the disk for a while, only ever delays it."""
    straight = Row(_WAY[stage], committed=stage is not S.ROLLBACK)
    own = {Fault.ERROR: error, Fault.HANG: hang, Fault.LATE: late}
    return {fault: own.get(fault) or straight for fault in Fault}


def _anew(*before: Stage) -> Row:
    """The attempt ends, and a later one succeeds."""
    return Row(_from(S.METADATA, *before))


_AGAIN = _anew(S.REPORT, S.IDLE)
_CONDEMNED = Row((S.ROLLBACK, S.REPORT, S.IDLE), committed=False)

ROWS: Mapping[Stage, Mapping[Fault, Row]] = {
    # In 2106 all that is signed has expired: nothing new is begun until the clock is right again.
    S.METADATA: _rows(S.METADATA, error=_anew(S.IDLE), hang=_anew(S.IDLE), late=_anew(S.PLAN, S.IDLE)),
    S.PLAN: _rows(S.PLAN, error=_AGAIN, late=_anew(S.IDLE)),
    # What is accepted goes on, whatever the clock says.
    S.FETCH: _rows(S.FETCH, error=_AGAIN),
    S.VERIFY: _rows(S.VERIFY, error=_AGAIN),
    S.APPLY: _rows(S.APPLY, error=_AGAIN, hang=_AGAIN),
    S.SELFTEST: _rows(S.SELFTEST, error=_CONDEMNED),
    S.TRIAL: _rows(S.TRIAL, error=_CONDEMNED),
    S.COMMITTED: _rows(S.COMMITTED),
    S.ROLLBACK: _rows(S.ROLLBACK),
    S.REPORT: _rows(S.REPORT),
}

TO_V2 = Offer(V2, 2)
LATER, EARLIER = datetime(2106, 2, 7, tzinfo=UTC), datetime(1970, 1, 1, tzinfo=UTC)


def begun(folder: Path, stage: Stage) -> Story:
    """An update at the beginning of a stage."""
    story = Story(folder, TO_V2)
    story.until(stage)
    return story


def error(story: Story, stage: Stage) -> None:
    """Let what the stage works with fail, in one round."""
    bench = story.bench
    if stage is Stage.METADATA:
        bench.trouble = RepositoryError("no route")
    elif stage is Stage.PLAN:
        story.slots.refusals = 1
    elif stage is Stage.FETCH:
        bench.script.refuse = "404"
    elif stage is Stage.VERIFY:
        story.slots.shorten()
    elif stage is Stage.APPLY:
        bench.apply_trouble = _refuse
    elif stage in {Stage.SELFTEST, Stage.TRIAL}:
        story.good = False
    else:
        story.slots.script.refuse = "Read-only file system"
    _healed(story)


def hang(story: Story, stage: Stage) -> None:
    """Let what the stage waits for never come, in one round; where it waits for nothing, its process is ended."""
    bench = story.bench
    if stage is Stage.METADATA:
        bench.trouble = RepositoryError("no byte for 30 s")
    elif stage is Stage.FETCH:
        bench.script.absent = "no byte for 30 s"
    elif stage is Stage.APPLY:
        bench.apply_trouble = _refuse
    else:
        story.dying(lambda: True)
    _healed(story)


def _refuse(_bundle: object) -> None:
    raise BundleError("it was not applied within 600 s")


def _healed(story: Story) -> None:
    """One round, and what was wrong is right again."""
    story.round()
    bench, story.good = story.bench, True
    bench.trouble, bench.script.refuse, bench.script.absent = None, "", ""
    bench.apply_trouble = lambda _: None
    story.slots.script.refuse = ""


def kills(folder: Path, stage: Stage, writes: int, *, power: bool) -> Iterator[Story]:
    """End the process before each of a stage's first ``writes``; a power cut takes unsynced bytes, too."""
    for number in range(writes):
        story = begun(folder / str(number), stage)
        if not story.dying(before_write(story, number, stage)):
            assert number, "no write of the stage was met"
            return
        if power and stage is Stage.FETCH:  # whatever has returned is on the medium, but for a bundle's newest bytes
            story.slots.shorten()
        yield story


def before_write(story: Story, number: int, stage: Stage | None = None) -> Callable[[], bool]:
    """Say when to die: before the write of that number, of those in a stage."""
    left = count(-number)
    return lambda: (stage is None or story.slots.chain[-1] is stage) and next(left) == 0


def full(folder: Path, stage: Stage, writes: int) -> Iterator[Story]:
    """Let the disk be full for a round, after each number of writes."""
    for number in range(writes):
        story = begun(folder / str(number), stage)
        story.slots.script.writes_left = number
        story.round()
        story.slots.script.writes_left = None
        yield story


def clock(folder: Path, stage: Stage, utc: datetime, state: ClockState) -> Iterator[Story]:
    """Let the wall clock be wrong for a round."""
    story = begun(folder, stage)
    before = story.bench.clock.now_utc()
    assert before is not None
    story.bench.clock.set_utc(utc)
    story.bench.clock.set_state(state)
    story.round()
    story.bench.clock.set_utc(before)
    story.bench.clock.set_state(ClockState.SYNCED)
    yield story


def stories(folder: Path, stage: Stage, fault: Fault, writes: int) -> Iterator[Story]:
    """Every story of a fault at a stage, as far as it has come; at each of the first ``writes`` where they matter."""
    match fault:
        case Fault.ERROR | Fault.HANG:
            story = begun(folder, stage)
            (error if fault is Fault.ERROR else hang)(story, stage)
            yield story
        case Fault.KILL | Fault.POWER:
            yield from kills(folder, stage, writes, power=fault is Fault.POWER)
        case Fault.FULL:
            yield from full(folder, stage, writes)
        case Fault.EARLY:
            yield from clock(folder, stage, EARLIER, ClockState.UNSYNCED)
        case Fault.LATE:
            yield from clock(folder, stage, LATER, ClockState.SYNCED)


def tell(folder: Path, stage: Stage, fault: Fault, writes: int) -> int:
    """Tell the stories to their ends, and hold them against their row; returns how many there were."""
    row, told = ROWS[stage][fault], 0
    for story in stories(folder, stage, fault, writes):
        story.live()
        assert tuple(story.slots.chain[1:]) == row.chain
        assert story.bench.serving() is (V2 if row.committed else V1)
        told += 1
    return told
