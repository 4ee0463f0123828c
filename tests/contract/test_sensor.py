"""Every sensor, real and simulated, keeps the promises of ``ports.Sensor``."""

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from appliance.adapters.clock import SystemClock
from appliance.adapters.sensors import SENSORS, make_sensor
from appliance.adapters.sensors.replay import write_recording
from appliance.config import (
    CameraConfig,
    MqttConfig,
    PicameraConfig,
    ReplayConfig,
    SamplesConfig,
    SamplesFileConfig,
    SamplesIioConfig,
    SamplesSerialConfig,
    TransactionsConfig,
)
from appliance.core.types import FrameKind
from appliance.errors import SensorError
from appliance.ports import Responder, Sensor
from appliance.sim.sensor import ScriptedSensor, ScriptedTerminal, Show
from tests.broker import Mosquitto
from tests.contract.sensor_rigs import CardTerminal, SerialLine, picture, write_iio, write_pictures, write_video
from tests.contract.sensor_suite import Rig, SelfRunning, SensorContract, make_context, make_model

RATE_HZ = 200.0


class TestVideoFile(SensorContract):
    @pytest.fixture
    def rig(self, tmp_path: Path) -> Rig:
        source = write_video(tmp_path / "video.avi", 20)
        config = CameraConfig(kind="camera", source=str(source), repeat=True)
        return SelfRunning(make_sensor(config, make_context(make_model(FrameKind.IMAGE))), FrameKind.IMAGE)


class TestPictureFolder(SensorContract):
    @pytest.fixture
    def rig(self, tmp_path: Path) -> Rig:
        source = write_pictures(tmp_path / "pictures", 5)
        config = CameraConfig(kind="camera", source=str(source), fps=100.0, repeat=True)
        return SelfRunning(make_sensor(config, make_context(make_model(FrameKind.IMAGE))), FrameKind.IMAGE)


class ReplayContract(SensorContract):
    kind: FrameKind
    shape: tuple[int, ...]
    speed = "real"

    @pytest.fixture
    def rig(self, tmp_path: Path) -> Rig:
        dtype = np.uint8 if self.kind is FrameKind.IMAGE else np.float32
        frames = np.arange(40 * np.prod(self.shape)).reshape(40, *self.shape).astype(dtype)
        write_recording(tmp_path / "recording.npz", self.kind, frames, np.arange(40) / RATE_HZ)
        config = ReplayConfig.model_validate(
            {"kind": "replay", "file": tmp_path / "recording.npz", "speed": self.speed, "repeat": True}
        )
        return SelfRunning(make_sensor(config, make_context(make_model(self.kind))), self.kind)


class TestReplayOfImages(ReplayContract):
    kind = FrameKind.IMAGE
    shape = (8, 10, 3)


class TestReplayOfWindows(ReplayContract):
    kind = FrameKind.WINDOW
    shape = (16, 2)


class TestReplayOfRecords(ReplayContract):
    kind = FrameKind.RECORD
    shape = (5,)


class TestReplayAsFastAsPossible(ReplayContract):
    kind = FrameKind.IMAGE
    shape = (8, 10, 3)
    speed = "fast"


class SamplesFileContract(SensorContract):
    name: str
    speed = "real"

    @pytest.fixture
    def rig(self, tmp_path: Path) -> Rig:
        samples = np.random.default_rng(1).normal(size=(50, 2))
        if self.name.endswith(".npz"):
            np.savez(tmp_path / self.name, samples=samples)
        else:
            np.savetxt(tmp_path / self.name, samples, delimiter=",")
        source = SamplesFileConfig.model_validate(
            {"kind": "file", "file": tmp_path / self.name, "speed": self.speed, "repeat": True}
        )
        config = SamplesConfig(kind="samples", source=source, rate_hz=RATE_HZ, length=8, stride=4)
        model = make_model(FrameKind.WINDOW, channels=2)
        return SelfRunning(make_sensor(config, make_context(model)), FrameKind.WINDOW)


class TestSamplesOfCsv(SamplesFileContract):
    name = "samples.csv"


class TestSamplesOfNpz(SamplesFileContract):
    name = "samples.npz"


class TestSamplesOfCsvAsFastAsPossible(SamplesFileContract):
    name = "samples.csv"
    speed = "fast"


class TestSamplesOfSerialLine(SensorContract):
    @pytest.fixture
    def rig(self) -> Iterator[Rig]:
        line = SerialLine()
        line.stream(1 / RATE_HZ)
        source = SamplesSerialConfig(kind="serial", device=line.device)
        config = SamplesConfig(kind="samples", source=source, rate_hz=RATE_HZ, length=8, stride=4)
        model = make_model(FrameKind.WINDOW, channels=2)
        yield SelfRunning(make_sensor(config, make_context(model)), FrameKind.WINDOW)
        line.unplug()


class TestSamplesOfIio(SensorContract):
    @pytest.fixture
    def rig(self, tmp_path: Path) -> Rig:
        write_iio(tmp_path, {"in_accel_x_raw": "12", "in_accel_y_raw": "-7", "in_accel_scale": "0.5"})
        source = SamplesIioConfig(kind="iio", device="adxl345", channels=("accel_x", "accel_y"), sysfs=tmp_path)
        config = SamplesConfig(kind="samples", source=source, rate_hz=RATE_HZ, length=8, stride=4)
        model = make_model(FrameKind.WINDOW, channels=2)
        return SelfRunning(make_sensor(config, make_context(model)), FrameKind.WINDOW)


@dataclass
class TerminalRig:
    """A terminal that asks once for each feeding."""

    sensor: Sensor
    terminal: CardTerminal
    kind: FrameKind = FrameKind.RECORD

    def feed(self) -> None:
        self.terminal.ask("edge/node/suite/request", json.dumps({"amount": 3.5}).encode())


@pytest.mark.broker
class TestTransactions(SensorContract):
    @pytest.fixture
    def rig(self, mosquitto: Mosquitto) -> Iterator[Rig]:
        model = make_model(FrameKind.RECORD, features=("amount",))
        context = make_context(model, mqtt=MqttConfig(port=mosquitto.port))
        terminal = CardTerminal(mosquitto.port)
        yield TerminalRig(make_sensor(TransactionsConfig(kind="transactions"), context), terminal)
        terminal.close()


class TestScripted(SensorContract):
    @pytest.fixture
    def rig(self) -> Rig:
        sensor = ScriptedSensor((Show(picture(number)) for number in range(100)), SystemClock())
        return SelfRunning(sensor, FrameKind.IMAGE)


def test_only_the_terminals_are_responders() -> None:
    context = make_context(make_model(FrameKind.RECORD, features=("amount",)))
    terminal: Responder = ScriptedTerminal([], SystemClock())
    assert terminal is not None
    assert hasattr(make_sensor(TransactionsConfig(kind="transactions"), context), "respond")
    for config in (CameraConfig(kind="camera", source="/x"), PicameraConfig(kind="picamera")):
        assert not hasattr(make_sensor(config, context), "respond")


def test_every_kind_of_sensor_in_the_configuration_is_in_the_registry() -> None:
    kinds = {
        section.model_fields["kind"].annotation.__args__[0]  # type: ignore[union-attr]  # Literal["camera"] and so on
        for section in (CameraConfig, PicameraConfig, ReplayConfig, TransactionsConfig, SamplesConfig)
    }
    assert kinds == SENSORS.keys()


def test_where_picamera2_is_not_installed_the_message_says_how_to_get_it() -> None:
    pytest.importorskip("cv2")
    try:
        import picamera2  # noqa: F401, PLC0415 - present on a Raspberry Pi only
    except ImportError:
        sensor = make_sensor(PicameraConfig(kind="picamera"), make_context(make_model(FrameKind.IMAGE)))
        started_s = time.monotonic()
        with pytest.raises(SensorError, match="apt-get install python3-picamera2"):
            sensor.open()
        assert time.monotonic() - started_s < 5.0
    else:
        pytest.skip("picamera2 is installed: hw_tests/ exercises it")
