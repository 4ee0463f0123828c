"""Samples of a real serial line and of a real IIO device: the suite of all sensors, and the rate."""

from typing import Any

import pytest

from appliance.adapters.sensors import make_sensor
from appliance.config import SamplesConfig
from appliance.core.types import FrameKind
from tests.contract.sensor_suite import Rig, SelfRunning, SensorContract, make_context, make_model, next_frame


class SamplesContract(SensorContract):
    """A subclass says how many ``channels`` its section gives."""

    device: str

    @pytest.fixture
    def config(self, section: dict[str, Any]) -> SamplesConfig:
        source = {"kind": self.device, **section}
        rate_hz = source.pop("rate_hz")
        if self.device == "serial":
            source.pop("channels")
        return SamplesConfig.model_validate(
            {"kind": "samples", "source": source, "rate_hz": rate_hz, "length": 16, "stride": 8}
        )

    @pytest.fixture
    def rig(self, config: SamplesConfig, channels: int) -> Rig:
        model = make_model(FrameKind.WINDOW, channels=channels)
        return SelfRunning(make_sensor(config, make_context(model)), FrameKind.WINDOW)

    def test_windows_come_at_the_configured_rate(self, opened: Rig, config: SamplesConfig) -> None:
        frames = [next_frame(opened) for _ in range(20)]
        seconds = frames[-1].captured_s - frames[0].captured_s
        samples = (frames[-1].seq - frames[0].seq) * config.stride
        assert samples / seconds == pytest.approx(config.rate_hz, rel=0.1)

    def test_a_window_has_a_column_for_each_channel(self, opened: Rig, channels: int) -> None:
        assert next_frame(opened).data.shape == (16, channels)


class TestSerial(SamplesContract):
    device = "serial"

    @pytest.fixture
    def channels(self, section: dict[str, Any]) -> int:
        return int(section["channels"])


class TestIio(SamplesContract):
    device = "iio"

    @pytest.fixture
    def channels(self, section: dict[str, Any]) -> int:
        return len(section["channels"])
