"""How much faster one model is than another on this machine.

Only ratios are told: both take turns within one run, so that what else the machine does meets both, and of many rounds
the least counts, which is the one that was disturbed least.
"""

import time
from collections.abc import Sequence

import numpy as np

from appliance.core.types import Array
from appliance.forge.run import Runner

ROUNDS = 60
ROUND_S = 0.005
"""Each model runs about this long a round, so that a microsecond's model is not drowned by the clock."""
INFERENCES_MAX = 1000
TRIALS = 5
"""Inferences that decide how many make up a round; the first allocates."""


def ratio(after: bytes, before: bytes, *, rounds: int = ROUNDS) -> float:
    """Give the time of one inference of ``after`` over that of ``before``; below 1 is faster.

    On one thread of this machine's CPU, with random input of a fixed seed. An Edge TPU or another processor has
    another ratio.

    Raises:
        ForgeError: one of them does not run.
    """
    after_s, before_s = interleaved([after, before], rounds=rounds)
    return after_s / before_s


def interleaved(models: Sequence[bytes], *, rounds: int = ROUNDS) -> list[float]:
    """Give the time of one inference of each model in seconds, measured as ``ratio`` does: they take turns.

    Raises:
        ForgeError: one of them does not run.
    """
    runners = [Runner(tflite) for tflite in models]
    tensors = [_input(runner) for runner in runners]
    counts = [_count(runner, tensor) for runner, tensor in zip(runners, tensors, strict=True)]
    least_s = [float("inf")] * len(runners)
    for _ in range(rounds):
        for index, runner in enumerate(runners):
            took_s = _took_s(runner, tensors[index], counts[index])
            least_s[index] = min(least_s[index], took_s / counts[index])
    return least_s


def _input(runner: Runner) -> Array:
    """Give one input of the model's type: of any value, for time does not depend on it."""
    rng = np.random.default_rng(0)
    return runner.input.quantise(rng.normal(size=runner.input.spec.shape).astype(np.float32))


def _count(runner: Runner, tensor: Array) -> int:
    """Give how many inferences fill a round."""
    least_s = min(_took_s(runner, tensor, 1) for _ in range(TRIALS))
    return int(np.clip(ROUND_S / max(least_s, 1e-9), 1, INFERENCES_MAX))


def _took_s(runner: Runner, tensor: Array, count: int) -> float:
    begun_s = time.perf_counter()
    for _ in range(count):
        runner.run(tensor)
    return time.perf_counter() - begun_s
