"""Tiles through the whole appliance: the real detector, real footage, and what a configuration may ask for."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from appliance import config as configuration
from appliance.adapters.sensors.replay import write_recording
from appliance.compose import build
from appliance.core.types import Array, FrameKind, OutcomeState, Prediction
from appliance.errors import ConfigError
from tests.model_folders import PERSON

FOOTAGE = Path(__file__).resolve().parents[2] / "examples" / "footage" / "people-walking.avi"


def street(recording: Path, **keys: object) -> configuration.Config:
    rule = {"name": "person", "labels": ["person"], "threshold": 0.5}
    sensor = {"kind": "replay", "file": str(recording)}
    channel = {"model": "person", "sensor": sensor, "rules": [rule], "frame_age_max_s": 60.0, **keys}
    tree = {
        "node": {"state_dir": str(recording.parent / "state")},
        "models": {"person": {"folder": str(PERSON)}},
        "channels": {"street": channel},
    }
    return configuration.parse(tree, text="", file=recording.with_suffix(".toml"))


def picture(number: int) -> Array:
    """One frame of the footage."""
    video = cv2.VideoCapture(str(FOOTAGE))
    for _ in range(number):
        assert video.grab()
    read, bgr = video.read()
    assert read
    return bgr


def seen(config: configuration.Config) -> tuple[Prediction, ...]:
    appliance = build(config)
    try:
        decision = appliance.channels[0].step()
    finally:
        appliance.close()
    assert decision is not None
    assert decision.outcome_state is OutcomeState.RESULT
    return decision.predictions


@pytest.mark.parametrize("number", [140, 250])
def test_tiles_find_people_that_the_whole_picture_is_too_small_for(tmp_path: Path, number: int) -> None:
    recording = tmp_path / "people.npz"
    write_recording(recording, FrameKind.IMAGE, picture(number)[np.newaxis], np.zeros(1))
    few = seen(street(recording))
    many = seen(street(recording, tiling={"columns": 3, "rows": 2}))
    sure = [sum(each.score >= 0.5 for each in predictions) for predictions in (few, many)]
    assert sure[1] >= sure[0] + 2
    assert [each.score for each in many] == sorted((each.score for each in many), reverse=True)
    assert all(each.box and 0 <= each.box.ymin < each.box.ymax <= 1 for each in many)


@pytest.mark.parametrize(
    ("tiling", "told"),
    [
        (
            {"columns": 1, "rows": 1},
            "channels.street.tiling: 1 column and 1 row are the whole picture, which is judged",
        ),
        ({"columns": 5, "rows": 1}, "channels.street.tiling.columns: input should be less than or equal to 4"),
        ({"columns": 2, "rows": 0}, "channels.street.tiling.rows: input should be greater than or equal to 1"),
        ({"columns": 2, "rows": 2, "overlap": 0.6}, "channels.street.tiling.overlap: input should be less than or equ"),
    ],
)
def test_a_tiling_that_cannot_be_is_refused(tmp_path: Path, tiling: dict[str, object], told: str) -> None:
    with pytest.raises(ConfigError) as caught:
        street(tmp_path / "people.npz", tiling=tiling)
    assert told in str(caught.value)
