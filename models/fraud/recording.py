"""The recording of the example: forty days of sixty cards of a small town, some of them struck by fraud."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from appliance.adapters.sensors.replay import write_recording
from appliance.core.types import FrameKind
from models.fraud.simulator import frames, simulate
from models.fraud.world import PATTERNS, Size

if TYPE_CHECKING:
    from models.fraud.world import Array, Purchases, World

FILE = Path(__file__).resolve().parents[2] / "examples" / "recordings" / "fraud.npz"
SEED = 31
TOWN = Size(cards=400, shops=120, online=15, days=60)
CARDS = 60
REQUESTS_MAX = 2000
INTERVAL_S = 0.02
"""From request to request when it is played: days pass in seconds, and each tells its own time."""


def town() -> tuple[World, Purchases]:
    """Give what some cards buy, the struck ones among them, in order of time."""
    world, purchases, _ = simulate(SEED, TOWN)
    purchases = purchases.take(world.issued_day[purchases.card] == 0)  # all are in use when it begins
    struck = np.unique(purchases.card[purchases.pattern > PATTERNS.index("terminal")])
    others = np.setdiff1d(purchases.card, struck)
    chosen: Array = np.concatenate([struck[: CARDS // 2], others[: CARDS - min(len(struck), CARDS // 2)]])
    few = purchases.take(np.isin(purchases.card, chosen))
    return world, few.take(np.arange(len(few)) < REQUESTS_MAX)


def write_example(file: Path = FILE) -> None:
    """Write the recording."""
    requests = list(frames(*town()))
    file.parent.mkdir(parents=True, exist_ok=True)
    write_recording(
        file,
        FrameKind.RECORD,
        np.stack([request.data for request in requests]),
        np.arange(len(requests)) * INTERVAL_S,
        context={key: [str(request.context[key]) for request in requests] for key in ("card", "terminal")},
    )
