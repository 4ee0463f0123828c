"""A switch between two frames: each is judged once, by the model that its decision names, whenever the switch falls."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import repeat
from pathlib import Path
from threading import Event, Thread
from typing import ParamSpec, TypeVar

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.adapters.backends.cpu import CpuBackend
from appliance.adapters.clock import SystemClock
from appliance.adapters.model_folder import read_model
from appliance.core.backoff import Backoff
from appliance.core.features import make_extractor
from appliance.core.preprocess import Prepared, Preprocessor
from appliance.core.types import Array, Decision, Frame, FrameKind
from appliance.errors import EndOfRecording, FrameError
from appliance.frames import Ahead, Taken
from appliance.inference import Inference, Judge
from appliance.sensing import Sensing
from appliance.sim.meter import RecordingMeter
from appliance.sim.sensor import ScriptedSensor, Show
from tests.channels import DEADLINE_S, MODEL, RED, TIMEOUT_S, ChannelBench, show
from tests.model_folders import MACHINE
from tests.waiting import eventually

P = ParamSpec("P")
T = TypeVar("T")
CLOCK = SystemClock()
FRAMES = 12
SWAPPED = replace(MODEL, version="2.0.0", preprocess=replace(MODEL.preprocess, colour="bgr"))
"""Takes red for blue: what it says of a red picture tells whether it was prepared for it."""
SAID = {"1.0.0": "red", "2.0.0": "blue"}
"""What each version says of a red picture that was prepared for it."""
places = st.lists(
    st.tuples(st.integers(0, FRAMES - 1), st.sampled_from(["capture", "count", "prepare", "infer"])),
    max_size=2 * FRAMES,
)
"""Moments at which a switch falls: of which frame, and before what."""


class Moments:
    """Switches a channel to and fro, at given moments of its loop."""

    def __init__(self, bench: ChannelBench) -> None:
        self._bench = bench
        self._switches: list[tuple[int, str]] = []
        self._step = 0
        self.asked: list[tuple[str, str]] = []
        """What was asked of which version in this step."""
        inference = Inference(
            SWAPPED, (CpuBackend(),), bench.clock, bench.meter, deadline_s=DEADLINE_S, probe_interval_s=30.0
        )
        inference.open()
        self._judges = [self._made(bench.channel.judge), self._made(bench.judge(SWAPPED, inference))]
        bench.channel.switch(self._judges[0])
        bench.sensing.capture = self._noting("capture", bench.sensing.capture)  # type: ignore[method-assign]  # a switch falls here
        bench.meter.count = self._noting("count", bench.meter.count)  # type: ignore[method-assign]  # as above

    def _made(self, judge: Judge) -> Judge:
        """The same judge, on whose way a switch may fall."""
        version = judge.model.version
        judge.inference.infer = self._noting("infer", judge.inference.infer, version)  # type: ignore[method-assign]  # as above
        return replace(judge, prepare=self._noting("prepare", judge.prepare, version))

    def _noting(self, what: str, call: Callable[P, T], version: str = "") -> Callable[P, T]:
        def called(*arguments: P.args, **more: P.kwargs) -> T:
            if version:
                self.asked.append((what, version))
            for _ in range(self._switches.count((self._step, what))):
                now = self._bench.channel.judge
                self._bench.channel.switch(self._judges[0 if now is self._judges[1] else 1])
            return call(*arguments, **more)

        return called

    def decisions(self, switches: list[tuple[int, str]]) -> Iterator[Decision]:
        """Judge some frames, with switches at these moments."""
        self._switches = switches
        for self._step in range(FRAMES):
            self.asked = []
            yield self._bench.step()


def test_whenever_a_switch_falls_each_frame_is_judged_once_by_the_model_that_is_named(tmp_path: Path) -> None:
    bench = ChannelBench(tmp_path, repeat(show(RED)))
    bench.start()
    moments, judged, named = Moments(bench), [], set()

    @given(places)
    def holds(switches: list[tuple[int, str]]) -> None:
        for each in moments.decisions(switches):
            judged.append(each.frame_seq)
            named.add(each.provenance.model_version)
            version = each.provenance.model_version
            assert moments.asked == [("prepare", version), ("infer", version)]
            assert each.top is not None
            assert each.top.label == SAID[version]

    try:
        holds()
    finally:
        bench.end()
    assert judged == list(range(len(judged)))
    assert named == SAID.keys(), "both have decided"


def prepared_by(name: float) -> Callable[[Frame], tuple[Prepared, ...]]:
    """A preparation that leaves its name in the tensor."""

    def prepare(frame: Frame) -> tuple[Prepared, ...]:
        if frame.data[0, 0, 0] == 255:
            raise FrameError("does not fit")
        return (Prepared(np.array([name, frame.seq])),)

    return prepare


@contextmanager
def ahead(pictures: list[Array]) -> Iterator[tuple[Ahead, Callable[[Frame], tuple[Prepared, ...]]]]:
    """Frames that are prepared ahead of whoever takes them."""
    first, meter = prepared_by(1), RecordingMeter()
    sensing = Sensing(
        ScriptedSensor([Show(each) for each in pictures], CLOCK),
        channel="gate",
        timeout_s=TIMEOUT_S,
        backoff=Backoff(0.001, 0.002),
        jitter=lambda: 0.0,
        clock=CLOCK,
        meter=meter,
        stop=Event(),
    )
    frames = Ahead(
        sensing,
        first,
        channel="gate",
        timeout_s=TIMEOUT_S,
        newest_only=False,
        stuck_after_s=60.0,
        clock=CLOCK,
        meter=meter,
    )
    try:
        yield frames, first
    finally:
        frames.close()


def by(taken: Taken, prepare: Callable[[Frame], tuple[Prepared, ...]]) -> list[float]:
    return [float(each) for each in taken.prepare(prepare)[0].tensor]


def test_a_frame_that_was_prepared_ahead_for_the_model_before_is_prepared_anew() -> None:
    second = prepared_by(2)
    with ahead([RED] * 3) as (frames, first):
        assert by(frames.take(), first) == [1, 0]
        eventually(lambda: frames._waiting is not None)
        frames.switch(second)
        waiting = frames.take()
        assert waiting.ready is not None
        assert waiting.ready.by is first
        assert by(waiting, second) == [2, 1]
        assert waiting.parts


def test_what_could_not_be_prepared_for_one_model_may_be_for_another() -> None:
    with ahead([np.full((2, 2, 3), 255, np.uint8)]) as (frames, first):
        taken = frames.take()
        with pytest.raises(FrameError):
            taken.prepare(first)
        assert taken.parts == ()
        assert taken.prepare(lambda frame: (Prepared(frame.data),)) == taken.parts


def test_while_two_threads_switch_and_take_every_frame_comes_once_as_its_taker_wants_it() -> None:
    count = 300
    prepares = [prepared_by(0), prepared_by(1)]
    seen: list[list[float]] = []
    with ahead([RED] * count) as (frames, _):
        stop = Event()

        def to_and_fro() -> None:
            turn = 0
            while not stop.is_set():
                turn = 1 - turn
                frames.switch(prepares[turn])

        thread = Thread(target=to_and_fro)
        thread.start()
        try:
            seen += [by(frames.take(), prepares[number % 2]) for number in range(count)]
            with pytest.raises(EndOfRecording):
                frames.take()
        finally:
            stop.set()
            thread.join(timeout=30.0)
    assert seen == [[number % 2, number] for number in range(count)]


def test_what_an_extractor_made_is_prepared_for_another_model_without_being_extracted_again() -> None:
    model = read_model(MACHINE)
    assert model.extract is not None
    calls = []
    inner = make_extractor(model.extract)

    class Counting:
        names, words, changes, restore = inner.names, inner.words, inner.changes, inner.restore

        def __call__(self, frame: Frame) -> tuple[Array, ...]:
            calls.append(frame.seq)
            return inner(frame)

    other = replace(model, input=replace(model.input, scale=model.input.scale * 2))
    extractor = Counting()
    turn = np.arange(4096) / 3200.0 * 2 * np.pi * 30.0
    noise = np.random.default_rng(1).normal(0.0, 0.05, 4096)
    window = np.stack([np.sin(turn) + noise], axis=1).astype(np.float32)
    frame = Frame(FrameKind.WINDOW, window, 0.0, 7)
    parts = Preprocessor(model, extractor)(frame)
    again = Preprocessor(other, extractor).again(frame, parts)
    assert calls == [7]
    assert len(again) == len(parts) > 0
    afresh = Preprocessor(other, make_extractor(model.extract))(frame)
    assert np.array_equal(again[0].tensor, afresh[0].tensor)
    assert not np.array_equal(again[0].tensor, parts[0].tensor)
