"""What learning one's own machine gives: `python models/machine/study.py` (needs tensorflow, two minutes).

Four simulated machines that took part in no training are learned anew, each from 600 windows of its own healthy
running (13 minutes), and judged on fresh windows, as `build.py --healthy` would; beside it the Mahalanobis distance
from the same windows.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from appliance.forge.progress import silent
from models.machine.baselines import mahalanobis
from models.machine.measure import Judged, by_fault, by_method, by_speed
from models.machine.network import learn
from models.machine.own import UPDATES
from models.machine.vectors import SEED, SPEEDS_HZ, Windows, faulty, healthy, join

if TYPE_CHECKING:
    from models.machine.simulator import Array

MACHINES = range(3000, 3004)
LEARNED, EACH, EACH_FAULT = 600, 50, 6


def judge(number: int) -> tuple[Windows, dict[str, Array]]:
    """Learn one machine; gives fresh windows of it and their scores by method."""
    test = join(
        part
        for speeds in SPEEDS_HZ
        for part in (healthy([number], EACH, speeds, draw=1), faulty([number], EACH_FAULT, speeds))
    )
    own = healthy([number], LEARNED).features
    trained = learn(own, SEED, silent, UPDATES)
    return test, {
        "int8": trained.scores(test.features),
        "float32": trained.scores(test.features, trained.quantised.float32),
        "mahalanobis": mahalanobis(trained.normalise(own), trained.normalise(test.features)),
    }


def main() -> int:
    """Judge every machine by itself, and print the tables of `measure.py`."""
    each = [judge(number) for number in MACHINES]
    test = join(windows for windows, _ in each)
    scores = {name: np.concatenate([by_name[name] for _, by_name in each]) for name in each[0][1]}
    judged = Judged(test.fault, test.severity, test.speeds, test.machine, scores)
    for lines in (by_fault(judged), by_speed(judged), by_method(judged)):
        for line in lines:
            print(line)
    return 0


if __name__ == "__main__":
    sys.exit(main())
