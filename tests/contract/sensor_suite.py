"""What every sensor promises (``ports.Sensor``), as one suite: simulated, real, and on the bench in ``hw_tests``."""

import gc
import itertools
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
import pytest

from appliance.adapters.clock import SystemClock
from appliance.config import MqttConfig
from appliance.core.model import Dtype, Golden, Model, Preprocess, ScoreDecode, Task, TensorSpec
from appliance.core.types import Frame, FrameKind
from appliance.core.wire import Identity
from appliance.errors import EndOfRecording, Idle, SensorError
from appliance.ports import Clock, Sensor, SensorContext
from appliance.sim.meter import RecordingMeter

PATIENCE_S = 10.0
"""Longest wait for a frame that must come."""
SLACK_S = 15.0
"""By how much a busy machine may be late; also above every bound that a sensor's close has on a healthy device."""


def make_model(kind: FrameKind, *, channels: int = 3, features: tuple[str, ...] = ()) -> Model:
    """A model as far as a sensor looks at it: ``channels`` of a signal, ``features`` of a record."""
    width = len(features) or channels
    return Model(
        name="suite",
        version="1.0.0",
        task=Task.SCORE,
        description="",
        licence="",
        source="",
        input=TensorSpec("input", (1, width), Dtype.FLOAT32),
        preprocess=Preprocess(kind, mean=(0.0,) * width, std=(1.0,) * width, features=features),
        outputs={},
        decode=ScoreDecode("none", "score"),
        labels=(),
        golden=Golden((), (), {}),
        tflite=b"",
        sha256="",
    )


def make_context(
    model: Model, *, clock: Clock | None = None, meter: RecordingMeter | None = None, mqtt: MqttConfig | None = None
) -> SensorContext:
    """A context on the system's clock unless told otherwise; the meter fails on names that are not in the catalogue."""
    clock = clock or SystemClock()
    return SensorContext(
        channel="suite",
        model=model,
        clock=clock,
        meter=meter or RecordingMeter(),
        mqtt=mqtt or MqttConfig(),
        identity=Identity("edge", "node", "node", clock.boot_id, "1", "bench", "homeassistant"),
    )


def dropped(context: SensorContext, reason: str) -> float:
    """Frames counted as dropped for ``reason``."""
    return recorded(context).value("edge_frames_dropped_total", channel="suite", reason=reason)


def bad_samples(context: SensorContext, reason: str) -> float:
    """Samples counted as bad for ``reason``."""
    return recorded(context).value("edge_samples_bad_total", channel="suite", reason=reason)


def requests(context: SensorContext, outcome: str) -> float:
    """Requests counted under ``outcome``."""
    return recorded(context).value("edge_requests_total", channel="suite", outcome=outcome)


def recorded(context: SensorContext) -> RecordingMeter:
    """The context's meter, as the one that remembers."""
    assert isinstance(context.meter, RecordingMeter)
    return context.meter


class Rig(Protocol):
    """A sensor and what it senses."""

    @property
    def sensor(self) -> Sensor:
        """Not open yet."""
        ...

    @property
    def kind(self) -> FrameKind:
        """What its frames hold."""
        ...

    def feed(self) -> None:
        """See to it that the open sensor has another frame soon."""
        ...


@dataclass
class SelfRunning:
    """A rig that needs no feeding."""

    sensor: Sensor
    kind: FrameKind
    fed: int = field(default=0)

    def feed(self) -> None:
        """It feeds itself."""
        self.fed += 1


def next_frame(rig: Rig) -> Frame:
    """Feed the rig and capture, patiently: a sensor may be idle a few times."""
    deadline_s = time.monotonic() + 2 * PATIENCE_S
    while True:
        rig.feed()
        try:
            return rig.sensor.capture(PATIENCE_S)
        except Idle:
            assert time.monotonic() < deadline_s, "idle for too long"


def open_files() -> int:
    """How many descriptors this process has."""
    return len(list(Path("/proc/self/fd").iterdir()))


class SensorContract:
    """Subclass it and give it a ``rig``."""

    @pytest.fixture
    def rig(self) -> Iterator[Rig]:
        raise AssertionError("each subclass has its own rig")

    @pytest.fixture
    def opened(self, rig: Rig) -> Iterator[Rig]:
        rig.sensor.open()
        yield rig
        rig.sensor.close()

    def test_frames_come_in_order_and_none_comes_twice(self, opened: Rig) -> None:
        frames = [next_frame(opened) for _ in range(5)]
        for before, after in itertools.pairwise(frames):
            assert after.seq > before.seq
            assert after.captured_s >= before.captured_s

    def test_a_frame_was_captured_after_opening_and_not_in_the_future(self, opened: Rig) -> None:
        before_s = time.monotonic()
        next_frame(opened)
        frame = next_frame(opened)
        assert before_s - SLACK_S <= frame.captured_s <= time.monotonic()

    def test_a_frame_has_the_form_of_its_kind(self, opened: Rig) -> None:
        frame = next_frame(opened)
        assert frame.kind is opened.kind
        dtype, dimensions = {
            FrameKind.IMAGE: (np.uint8, 3),
            FrameKind.WINDOW: (np.float32, 2),
            FrameKind.RECORD: (np.float64, 1),
        }[frame.kind]
        assert frame.data.dtype == dtype
        assert frame.data.ndim == dimensions
        assert frame.kind is not FrameKind.IMAGE or frame.data.shape[2] == 3

    def test_a_capture_keeps_to_its_timeout_and_raises_nothing_but_the_tree(self, opened: Rig) -> None:
        for timeout_s in (0.0, 0.05):
            started_s = time.monotonic()
            try:
                opened.sensor.capture(timeout_s)
            except (SensorError, Idle, EndOfRecording) as error:
                assert str(error), "an error says what is wrong"  # noqa: PT017 - a frame is as good an answer
            assert time.monotonic() - started_s < timeout_s + SLACK_S

    def test_close_is_bounded_and_may_be_called_again(self, rig: Rig) -> None:
        rig.sensor.close()
        rig.sensor.open()
        started_s = time.monotonic()
        rig.sensor.close()
        rig.sensor.close()
        assert time.monotonic() - started_s < SLACK_S

    def test_a_closed_sensor_opens_again_and_counts_on(self, rig: Rig) -> None:
        rig.sensor.open()
        first = next_frame(rig)
        rig.sensor.close()
        rig.sensor.open()
        second = next_frame(rig)
        rig.sensor.close()
        assert second.seq > first.seq
        assert second.captured_s >= first.captured_s

    def test_a_capture_before_open_is_a_bug_that_is_shown(self, rig: Rig) -> None:
        with pytest.raises(AssertionError):
            rig.sensor.capture(0.0)

    def test_nothing_is_left_open_after_close(self, rig: Rig) -> None:
        rig.sensor.open()  # what is loaded once stays open: a library's own files
        next_frame(rig)
        rig.sensor.close()
        gc.collect()  # what waits for it is not this sensor's
        before = open_files()
        for _ in range(3):
            rig.sensor.open()
            rig.sensor.close()
        assert open_files() <= before
