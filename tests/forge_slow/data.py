"""A small problem with a known answer: two features that multiply, a third that adds, nine that do nothing."""

from dataclasses import replace

import numpy as np

from appliance.forge.training import Examples


def examples(count: int, *, seed: int, flipped: float = 0.0) -> Examples:
    """Give inputs [count, 12], 0/1 targets of which a share is wrong, and the true logits as what a teacher says."""
    rng = np.random.default_rng(seed)
    inputs = rng.normal(size=(count, 12)).astype(np.float32)
    logits = 3 * (2 * inputs[:, 0] * inputs[:, 1] + inputs[:, 2] - 1)
    targets = rng.random(count) < 1 / (1 + np.exp(-logits))
    wrong = rng.random(count) < flipped
    made = Examples(inputs, np.where(wrong, ~targets, targets).astype(np.int64), inputs)
    return replace(made, logits=logits.astype(np.float32))
