"""A camera that OpenCV reads: the suite of all sensors, and what only a real one can show."""

from typing import Any

import numpy as np
import pytest

from appliance.adapters.sensors import make_sensor
from appliance.config import CameraConfig
from appliance.core.types import FrameKind
from tests.contract.sensor_suite import Rig, SelfRunning, SensorContract, make_context, make_model, next_frame

RATE_TOLERANCE = 0.4
"""A webcam in a dark room halves its rate only below this."""


class TestCamera(SensorContract):
    device = "camera"

    @pytest.fixture
    def rig(self, section: dict[str, Any]) -> Rig:
        config = CameraConfig.model_validate({"kind": "camera", **section})
        return SelfRunning(make_sensor(config, make_context(make_model(FrameKind.IMAGE))), FrameKind.IMAGE)

    def test_pictures_have_the_size_that_was_asked_for(self, opened: Rig, section: dict[str, Any]) -> None:
        if "width_px" not in section or "height_px" not in section:
            pytest.skip("the bench file asks for no size")
        assert next_frame(opened).data.shape == (section["height_px"], section["width_px"], 3)

    def test_times_are_as_even_as_the_cameras_rate(self, opened: Rig, section: dict[str, Any]) -> None:
        if "fps" not in section:
            pytest.skip("the bench file asks for no rate")
        frames = [next_frame(opened) for _ in range(30)]
        seconds = frames[-1].captured_s - frames[0].captured_s
        rate = (frames[-1].seq - frames[0].seq) / seconds
        assert rate == pytest.approx(section["fps"], rel=RATE_TOLERANCE)

    def test_pictures_are_not_the_same_one_again(self, opened: Rig) -> None:
        first, second = next_frame(opened), next_frame(opened)
        assert not np.shares_memory(first.data, second.data)
        assert (first.data != second.data).any(), "a real sensor has noise"
