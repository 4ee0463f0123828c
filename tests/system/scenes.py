"""What a device under test is given to look at, and the configurations that say so."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from appliance.adapters.sensors.replay import write_recording
from appliance.core.types import FrameKind
from tests.model_folders import CARD, TINY
from tests.system.device import NODE

SIDE_PX = 16
FEATURES = 12
PATIENT: dict[str, object] = {"frame_age_max_s": 30.0}
"""No frame is too old on a busy machine: every decision is a judgement, but where age is what a test is about."""
RED, BLUE = (0, 0, 255), (255, 0, 0)
"""As OpenCV orders colours: blue, green, red."""

Section = dict[str, object]


def picture(colour: tuple[int, int, int]) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """A picture of one colour."""
    return np.full((SIDE_PX, SIDE_PX, 3), colour, np.uint8)


def lamp(file: Path, *, rate_hz: float = 20.0) -> Section:
    """A channel that watches a lamp, red for 7 frames and blue for 3, for ever: an event begins, goes on and ends."""
    frames = np.stack([picture(RED)] * 7 + [picture(BLUE)] * 3)
    write_recording(file, FrameKind.IMAGE, frames, np.arange(10) / rate_hz)
    return {
        "model": "tiny",
        "sensor": {"kind": "replay", "file": str(file), "repeat": True},
        "rules": [{"name": "red", "labels": ["red"], "threshold": 0.5, "update_interval_s": 0.1}],
        **PATIENT,
    }


def cards(file: Path, count: int, *, rate_hz: float) -> Section:
    """A channel that judges ``count`` transactions; each one is an alert, and none is ever skipped."""
    records = np.zeros((count, FEATURES), np.float32)
    write_recording(file, FrameKind.RECORD, records, np.arange(count) / rate_hz)
    return {
        "model": "card",
        "sensor": {"kind": "replay", "file": str(file)},
        "rules": [{"name": "fraud", "labels": ["fraud"], "threshold": 1e-9}],
        **PATIENT,
    }


def config(folder: Path, port: int, channels: dict[str, Section], **sections: Mapping[str, object]) -> Section:
    """A whole configuration: quick to reconnect, and its state below ``folder``."""
    mqtt = {"port": port, "reconnect_min_s": 0.05, "reconnect_max_s": 0.2, "connect_timeout_s": 10.0}
    used = {str(channel["model"]) for channel in channels.values()}
    folders = {"tiny": TINY, "card": CARD}
    return {
        "node": {"id": NODE, "name": "Test bench", "state_dir": str(folder / "state")},
        "models": {name: {"folder": str(path)} for name, path in folders.items() if name in used},
        "channels": channels,
        "log": {"format": "json"},
        **sections,
        "mqtt": {**mqtt, **sections.get("mqtt", {})},
    }
