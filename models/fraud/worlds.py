"""What the shipped model is worth in other worlds: `python models/fraud/worlds.py` (six minutes, no tensorflow).

The test has other days than the training, but the same cards and terminals, and a few hundred episodes of fraud. Other
seeds of the simulator draw all of them anew. Nothing is trained here.
"""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from appliance.forge.progress import shown
from models.fraud import learning, measure
from models.fraud.build import show
from models.fraud.simulator import score_features, simulate

SEEDS = (101, 102, 103)


def main() -> int:
    """Simulate each, score the days of the test, print."""
    int8 = (measure.FOLDER / "model.tflite").read_bytes()
    toml = tomllib.loads((measure.FOLDER / "model.toml").read_text("utf-8"))["preprocess"]
    scale = learning.Scale(np.array(toml["mean"]), np.array(toml["std"]))
    with np.load(measure.EVALUATION / "test.npz") as held:
        thresholds = held["thresholds"]
    for seed in SEEDS:
        world, purchases, reported_day = simulate(seed)
        with shown() as progress:
            scored = score_features(world, purchases, progress)
        _, _, test = learning.split(purchases, reported_day, scored)
        scores = measure.scores(int8, scale(test.features))
        show(f"world {seed}", learning.figures(scores, test.fraud))
        flagged = measure.Flagged(scores, test.fraud.astype(np.int8), thresholds)
        print(f"the thresholds flag {flagged(np.full(len(scores), fill_value=True))}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
