"""The fraud example says what the model's evaluation says."""

import tomllib
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]


def test_the_example_takes_the_thresholds_that_were_chosen_on_the_validation() -> None:
    channel = tomllib.loads((ROOT / "examples" / "fraud.toml").read_text("utf-8"))["channels"]["till"]
    with np.load(ROOT / "models" / "fraud" / "evaluation" / "test.npz") as held:
        chosen = 1 / (1 + np.exp(-held["thresholds"]))
    assert [rule["threshold"] for rule in channel["rules"]] == np.round(chosen, 4).tolist()
