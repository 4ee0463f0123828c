"""One channel on scripts: what its sensor shows and how its backends fail; the rest of it is real."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from threading import Event

import numpy as np

from appliance.adapters.backends.cpu import CpuBackend
from appliance.adapters.model_folder import read_model
from appliance.board import Board
from appliance.config import OutboxConfig
from appliance.core.backoff import Backoff
from appliance.core.fallback import Fallback
from appliance.core.features import Extractor
from appliance.core.model import Model
from appliance.core.policy import Policy, Rule
from appliance.core.preprocess import Preprocessor
from appliance.core.types import Array, Decision, Frame, Message, OutcomeState
from appliance.frames import InTurn, measured
from appliance.inference import Inference, Judge
from appliance.log import FaultLog, get
from appliance.loop import Channel, Edges, Limits
from appliance.outbox import Outbox
from appliance.ports import Sensor
from appliance.reasons import Reasons
from appliance.sensing import Sensing
from appliance.sim.backend import ScriptedBackend
from appliance.sim.clock import ManualClock
from appliance.sim.meter import RecordingMeter
from appliance.sim.sensor import ScriptedTerminal, Show, Step
from tests.core.making import IDENTITY, make_rule
from tests.model_folders import TINY

MODEL = read_model(TINY)
TIMEOUT_S = 2.0
AGE_MAX_S = 1.0
STATE_INTERVAL_S = 10.0
DEADLINE_S = 3.0
SLOW_S = 1.5
"""What a SLOW backend takes: too long for the frame, within its deadline."""
PERIOD_S = 0.125
REOPEN_MIN_S, REOPEN_MAX_S = 0.5, 4.0
RED_RULE = make_rule("red", labels=("red",), threshold=0.6)


def picture(blue: int, green: int, red: int) -> Array:
    """A picture of one colour, which is what the model names."""
    data = np.zeros((16, 16, 3), np.uint8)
    data[:] = blue, green, red
    return data


RED, GREEN = picture(0, 0, 255), picture(0, 255, 0)


def show(data: Array = RED, **more: object) -> Show:
    """A frame that comes one period after the one before."""
    return Show(data, **{"after_s": PERIOD_S, **more})  # type: ignore[arg-type]  # a test's own spelling


def every_message(outbox: Outbox) -> list[Mapping[str, object]]:
    """The payloads of all that waits."""
    return [waiting.payload for waiting in outbox.next_batch(0, 1000)]


class ChannelBench:
    """A channel that judges colours, with a terminal that gets each decision. Time passes when something waits."""

    def __init__(
        self,
        folder: Path,
        script: Iterable[Step] = (),
        *,
        name: str = "gate",
        rules: tuple[Rule, ...] = (RED_RULE,),
        sensor: Sensor | None = None,
        clock: ManualClock | None = None,
        stop: Event | None = None,
        model: Model = MODEL,
        extractor: Extractor | None = None,
        fallback: Fallback | None = None,
        reasons: int = 0,
    ) -> None:
        self.clock = clock or ManualClock(auto_advance=True)
        self.meter = RecordingMeter(self.clock)
        self.stop = stop or Event()
        self.terminal = ScriptedTerminal(script, self.clock)
        self.tpu = ScriptedBackend(CpuBackend(), self.clock, name="tpu", slow_s=SLOW_S)
        self.cpu = ScriptedBackend(CpuBackend(), self.clock, name="cpu", slow_s=SLOW_S)
        self.inference = Inference(
            model, (self.tpu, self.cpu), self.clock, self.meter, deadline_s=DEADLINE_S, probe_interval_s=30.0
        )
        self.happened: list[str] = []
        """What the channel did to its edges, in order."""
        limits = OutboxConfig(size_bytes_max=100_000)
        self.outbox = Outbox(
            folder / f"{name}.db", limits, self.clock, self.meter, on_add=lambda: self.happened.append("stored")
        )
        self.shown: dict[str, list[Message]] = {}
        """Every message put on the board, by the last level of its topic."""
        self.board = Board(on_put=self._put)
        self.faults = FaultLog(get("channel"), self.clock.monotonic_s)
        self.edges = Edges(self.outbox, self.board, self.clock, self.meter, self.faults, IDENTITY)
        self.sensing = self._sensing(sensor or self, name)
        self._extractor = extractor
        self.channel = Channel(
            name,
            frames=InTurn(self.sensing),
            responder=self,
            judge=self.judge(model, self.inference, reasons=reasons),
            policy=Policy(name, rules, fallback),
            limits=Limits(AGE_MAX_S, STATE_INTERVAL_S),
            edges=self.edges,
            event_prefix="b1",
        )

    def judge(self, model: Model, inference: Inference, *, reasons: int = 0) -> Judge:
        """A model as this channel would use it."""
        preprocessor = Preprocessor(model, self._extractor)
        prepare = measured(preprocessor, model=model.name, clock=self.clock, meter=self.meter)
        explain = Reasons(model, inference, {}, self.clock, self.meter, count=reasons) if reasons else None
        return Judge(model, inference, prepare, preprocessor.again, explain)

    def _sensing(self, sensor: Sensor, name: str) -> Sensing:
        return Sensing(
            sensor,
            channel=name,
            timeout_s=TIMEOUT_S,
            backoff=Backoff(REOPEN_MIN_S, REOPEN_MAX_S),
            jitter=lambda: 0.0,
            clock=self.clock,
            meter=self.meter,
            stop=self.stop,
        )

    def _put(self) -> None:
        for message in self.board.take_pending():
            leaf = message.topic.rpartition("/")[2]
            self.happened.append(leaf)
            self.shown.setdefault(leaf, []).append(message)

    newest_only = False

    def open(self) -> None:
        """Be the sensor: the terminal, whose steps are noted."""
        self.terminal.open()

    def capture(self, timeout_s: float) -> Frame:
        self.happened.append("capture")
        return self.terminal.capture(timeout_s)

    def close(self) -> None:
        self.terminal.close()

    def respond(self, frame: Frame, decision: Decision) -> None:
        self.happened.append("answered")
        self.terminal.respond(frame, decision)

    def step(self) -> Decision:
        """Let the channel decide once."""
        decision = self.channel.step()
        assert decision is not None
        return decision

    def steps(self, count: int) -> list[Decision]:
        return [self.step() for _ in range(count)]

    def steps_until_judged(self) -> list[Decision]:
        """All decisions up to the next that is a result."""
        found = [self.step()]
        while found[-1].outcome_state is not OutcomeState.RESULT:
            found.append(self.step())
        return found

    def states(self) -> list[Mapping[str, object]]:
        """The payloads of the state topic, oldest first."""
        return [message.payload for message in self.shown.get("state", ()) if isinstance(message.payload, Mapping)]

    def availability(self) -> list[object]:
        return [message.payload for message in self.shown.get("availability", ())]

    def alerts(self) -> list[Mapping[str, object]]:
        """The alerts that wait in the outbox."""
        return every_message(self.outbox)

    def start(self) -> None:
        """Open what the channel needs; both backends serve, the first is asked first."""
        self.outbox.open()
        self.inference.open()
        self.inference.probe()

    def end(self) -> None:
        self.inference.close()
        self.outbox.close()


@contextmanager
def bench(folder: Path, *script: Step, rules: tuple[Rule, ...] = (RED_RULE,)) -> Iterator[ChannelBench]:
    """A channel ready to step through ``script``."""
    made = ChannelBench(folder, script, rules=rules)
    made.start()
    try:
        yield made
    finally:
        made.end()
