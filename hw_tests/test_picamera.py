"""The Raspberry Pi's CSI camera through picamera2: the suite of all sensors, size and rate."""

from typing import Any

import pytest

from appliance.adapters.sensors import make_sensor
from appliance.config import PicameraConfig
from appliance.core.types import FrameKind
from tests.contract.sensor_suite import Rig, SelfRunning, SensorContract, make_context, make_model, next_frame


class TestPicamera(SensorContract):
    device = "picamera"

    @pytest.fixture
    def config(self, section: dict[str, Any]) -> PicameraConfig:
        return PicameraConfig.model_validate({"kind": "picamera", **section})

    @pytest.fixture
    def rig(self, config: PicameraConfig) -> Rig:
        return SelfRunning(make_sensor(config, make_context(make_model(FrameKind.IMAGE))), FrameKind.IMAGE)

    def test_pictures_have_the_configured_size_without_padding(self, opened: Rig, config: PicameraConfig) -> None:
        assert next_frame(opened).data.shape == (config.height_px, config.width_px, 3)

    def test_pictures_come_at_the_configured_rate(self, opened: Rig, config: PicameraConfig) -> None:
        frames = [next_frame(opened) for _ in range(30)]
        seconds = frames[-1].captured_s - frames[0].captured_s
        assert (frames[-1].seq - frames[0].seq) / seconds == pytest.approx(config.fps, rel=0.2)
