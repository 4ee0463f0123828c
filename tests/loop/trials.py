"""One channel with a model that is to be replaced: real models and channel, a store in memory, time by hand."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from appliance.adapters.backends.cpu import CpuBackend
from appliance.adapters.model_folder import read_model
from appliance.core.model import Model
from appliance.core.preprocess import Preprocessor
from appliance.core.types import Array, Decision, Outputs
from appliance.errors import BackendError, ModelError
from appliance.inference import Inference, Judge
from appliance.ports import Backend
from appliance.sim.backend import ScriptedBackend
from appliance.sim.sensor import Step
from appliance.sim.slots import VolatileSlots
from appliance.trial import Again, Attempts, Post, Reports, Sandbox, Site, Trials, Workshop, probation, selftest
from appliance.trust.manifest import Terms
from appliance.trust.state import ModelState, Stage
from appliance.updater.finish import Running, Teller
from tests.channels import DEADLINE_S, GREEN, RED, ChannelBench, picture, show
from tests.model_folders import TINY
from tests.updates import QUICK, laid_ready

NAME = TINY.parent.name
FACTORY_ID = "f" * 64
STEPS_MAX = 3000
BLUE = picture(255, 0, 0)


def colours() -> Iterator[Step]:
    """Red, green and blue without end."""
    while True:
        yield from (show(RED), show(GREEN), show(BLUE))


class InProcess:
    """A sandbox that is none: a backend in the test's process."""

    name = "candidate"
    grows_bytes = 1000

    def __init__(self, inner: Backend) -> None:
        self.resident_bytes = 1_000_000
        self.closed = False
        self._inner = inner

    def open(self, model: Model) -> None:
        self.resident_bytes += self.grows_bytes
        self._inner.open(model)

    def invoke(self, tensor: Array, deadline_s: float) -> Outputs:
        return self._inner.invoke(tensor, deadline_s)

    def close(self) -> None:
        self.closed = True
        self._inner.close()


class Trying:
    """A channel, what its model's updates are tried with, and the record."""

    def __init__(self, bench: ChannelBench, folder: Path) -> None:
        self.bench = bench
        self.slots = VolatileSlots(folder / "models")
        self.sandboxes: list[InProcess] = []
        self.no_room = False
        self.unfit = ""
        self.decides = ScriptedBackend(CpuBackend(), bench.clock, name="cpu", slow_s=1.5)
        """What a candidate decides on."""
        self.shadows = ScriptedBackend(CpuBackend(), bench.clock, name="sandbox")
        """What it is tried on before."""
        self.opened = [bench.inference]
        self.decisions: list[Decision] = []
        self.restart()

    def restart(self) -> None:
        """Begin anew, as another process would: all it knows is in the store."""
        bench = self.bench
        post = Post("tiny", (bench.channel,), bench.inference)
        workshop = Workshop(
            self.read,
            self.misfit,
            self.sandbox,
            self.inference,
            self.again,
            self.judge,
            self.let_go,
        )
        self.site = Site(NAME, (post,), FACTORY_ID, workshop, bench.clock, bench.meter)
        self.attempts = Attempts(self.site, Teller(self.slots, "n1", "1", self._running, https=False))
        reports = Reports(bench.edges.identity, self.slots, bench.outbox, bench.clock)
        self.trials = Trials([self.attempts], reports, self.slots, bench.edges)

    def _running(self, name: str) -> Running:
        assert name == NAME
        return Running(self.site.model_id, self.site.running.version)

    def lay(self, folder: Path, terms: Terms = QUICK, *, stage: Stage = Stage.SELFTEST) -> str:
        """Bring a candidate to the stage in which the updater leaves it."""
        return laid_ready(self.slots, folder, terms, stage=stage)

    @property
    def state(self) -> ModelState:
        return self.slots.load(NAME)

    @property
    def version(self) -> str:
        """Of the model that decides the next frame."""
        return self.bench.channel.judge.model.version

    def step(self) -> None:
        """A piece of the trial's work, and a frame of the loop."""
        self.attempts.step()
        self.decisions.append(self.bench.step())

    def until(self, reached: Callable[[], bool]) -> None:
        """Go on until it has come to that."""
        for _ in range(STEPS_MAX):
            if reached():
                return
            self.step()
        msg = f"still {self.state}, {self.attempts.progress}"
        raise AssertionError(msg)

    def until_ended(self) -> ModelState:
        """Go on until nothing is under way."""
        self.until(lambda: self.state.stage is Stage.IDLE)
        return self.state

    # What a workshop does.

    def read(self, model_id: str) -> Model:
        folder = self.slots.folder(model_id)
        if folder is None:
            raise ModelError("not in the store")
        return read_model(folder)

    def misfit(self, key: str, model: Model) -> str:
        assert (key, model.name) == ("tiny", NAME)
        return self.unfit

    def sandbox(self, key: str) -> Sandbox:
        if self.no_room:
            msg = f"{key}: cannot be started: no memory"
            raise BackendError(msg)
        made = InProcess(self.shadows)
        self.sandboxes.append(made)
        return made

    def inference(self, key: str, model: Model) -> Inference:
        bench = self.bench
        inference = Inference(
            model, (self.decides,), bench.clock, bench.meter, deadline_s=DEADLINE_S, probe_interval_s=30.0
        )
        inference.show(live=False)
        inference.open()
        self.opened.append(inference)
        assert key == "tiny"
        return inference

    def again(self, channel: str, model: Model) -> Again:
        assert channel == self.bench.channel.name
        return Preprocessor(model).again

    def judge(self, channel: str, inference: Inference) -> Judge:
        assert channel == self.bench.channel.name
        return self.bench.judge(inference.model, inference)

    def let_go(self, key: str, inference: Inference) -> None:
        assert key == "tiny"
        self.opened.remove(inference)
        inference.close()


@contextmanager
def trying(folder: Path, monkeypatch: pytest.MonkeyPatch, script: Iterator[Step] | None = None) -> Iterator[Trying]:
    """A channel that sees colours; a trial of its thread's pieces, one by one, that never waits."""
    monkeypatch.setattr(selftest, "LOOK_S", 0.0)
    monkeypatch.setattr(probation, "LOOK_S", 0.0)
    bench = ChannelBench(folder, colours() if script is None else script)
    bench.start()
    made = Trying(bench, folder)
    try:
        yield made
    finally:
        for inference in made.opened:
            inference.close()
        bench.outbox.close()
