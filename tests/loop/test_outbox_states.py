"""The outbox against a list: whatever is done to it, in whatever order."""

import tempfile
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from appliance.config import OutboxConfig
from appliance.core.types import Priority
from appliance.outbox import Outbox, Waiting
from tests.outboxes import Bench, alert, numbers, telemetry, waiting

pytestmark = pytest.mark.timeout(900)  # some 2,000 fsyncs, on whatever disk there is

ROWS_MAX = 12
ATTEMPTS_MAX = 3


class OutboxMachine(RuleBasedStateMachine):
    """The model: what waits (number, priority, attempts), and what was acknowledged since the last sync."""

    @initialize()
    def begin(self) -> None:
        self.temporary = tempfile.TemporaryDirectory()
        self.bench = Bench(
            Path(self.temporary.name), OutboxConfig(rows_max=ROWS_MAX, attempts_max=ATTEMPTS_MAX, dead_letters_max=3)
        )
        self.outbox: Outbox = self.bench.open()
        self.model: list[tuple[int, Priority, int]] = []
        self.unsynced: list[tuple[int, Priority, int]] = []
        self.added = 0
        self.alerts = 0
        self.dead: list[int] = []
        self.kills = 0

    def teardown(self) -> None:
        if hasattr(self, "bench"):
            self.bench.close()
            self.temporary.cleanup()

    @rule(priorities=st.lists(st.sampled_from(Priority), min_size=1, max_size=6))
    def add(self, priorities: list[Priority]) -> None:
        for priority in priorities:
            message = alert(self.added) if priority is Priority.ALERT else telemetry(self.added)
            self.outbox.add([message], priority)
            self.model.append((self.added, priority, 0))
            self.added += 1
            self.alerts += priority is Priority.ALERT
            if len(self.model) + len(self.unsynced) > ROWS_MAX:
                self.unsynced = []  # they were in the way, and are written therefore
            while len(self.model) > ROWS_MAX:
                victims = [one for one in self.model if one[1] is Priority.TELEMETRY] or self.model
                self.model.remove(victims[0])

    def _pick(self, index: int) -> Waiting:
        return waiting(self.outbox)[index % len(self.model)]

    @precondition(lambda self: self.model)
    @rule(first=st.integers(0, ROWS_MAX), count=st.integers(1, 4))
    def acknowledge(self, first: int, count: int) -> None:
        chosen = waiting(self.outbox)[first % len(self.model) :][:count]
        self.outbox.acknowledge([message.id for message in chosen])
        gone = set(numbers(chosen))
        self.unsynced += [one for one in self.model if one[0] in gone]
        self.model = [one for one in self.model if one[0] not in gone]

    @precondition(lambda self: self.model)
    @rule(index=st.integers(0, ROWS_MAX))
    def fail(self, index: int) -> None:
        message = self._pick(index)
        position = numbers(waiting(self.outbox)).index(message.payload["number"])
        number, priority, attempts = self.model[position]
        given_up = self.outbox.failed_attempt(message.id, "session lost")
        assert given_up == (attempts + 1 == ATTEMPTS_MAX)
        self.model[position] = (number, priority, attempts + 1)
        if given_up:
            del self.model[position]
            self.dead = [*self.dead, number][-3:]

    @precondition(lambda self: self.model)
    @rule(index=st.integers(0, ROWS_MAX))
    def bury(self, index: int) -> None:
        message = self._pick(index)
        self.outbox.bury(message.id, "refused")
        self.model = [one for one in self.model if one[0] != message.payload["number"]]
        self.dead = [*self.dead, self.added][-3:]

    @rule(seconds=st.floats(0, 60))
    def sync(self, seconds: float) -> None:
        self.bench.clock.advance(seconds)
        self.outbox.sync()
        self.unsynced = []

    @rule()
    def reopen(self) -> None:
        self.outbox = self.bench.reopen(self.outbox)
        self.unsynced = []

    @rule()
    def kill(self) -> None:
        """The process ends without a word. What was acknowledged and not synced may come again, in its old place."""
        self.kills += 1
        self.bench = self.bench.killed(f"killed-{self.kills}")
        self.outbox = self.bench.open()
        self.model = sorted(self.model + self.unsynced)
        self.unsynced = []

    @invariant()
    def holds_what_the_model_holds(self) -> None:
        if not hasattr(self, "outbox"):
            return
        found = waiting(self.outbox)
        assert numbers(found) == [number for number, _, _ in self.model]
        assert [message.attempts for message in found] == [attempts for _, _, attempts in self.model]
        assert self.outbox.depth().rows == len(self.model)
        assert self.outbox.depth().dead_letters == len(self.dead) == len(self.outbox.dead_letters(10))

    @invariant()
    def numbers_alerts_in_order_without_using_one_twice(self) -> None:
        if not hasattr(self, "outbox"):
            return
        found = [(m.payload["seq"], m.payload["number"]) for m in waiting(self.outbox) if "seq" in m.payload]
        assert found == sorted(set(found))
        newest = self.model[-1] if self.model else None
        if newest is not None and newest[1] is Priority.ALERT and newest[0] == self.added - 1:
            assert found[-1][0] == self.alerts


TestOutboxStates = OutboxMachine.TestCase
TestOutboxStates.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)
