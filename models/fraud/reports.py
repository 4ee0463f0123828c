"""What reports of fraud would add: `python models/fraud/reports.py` (three minutes; needs lightgbm, no tensorflow).

A device could be told which earlier purchases were fraud, and know terminals by it. Reports come days late, may never
come, and whoever may send them can blacken a terminal. This measures what is given up by doing without: gradient
boosting with the device's features, and with two more, the reports of the last 35 days at the purchase's terminal and
their share of what was bought there.
"""

from __future__ import annotations

import sys
from collections import defaultdict, deque
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from appliance.forge.progress import shown
from models.fraud import learning, measure
from models.fraud.build import SEED, show
from models.fraud.learning import Part
from models.fraud.simulator import score_features, simulate

if TYPE_CHECKING:
    from models.fraud.world import Array, Purchases

WINDOW_DAYS = 35.0
PRIOR = 8.0
"""Purchases added to the denominator."""


def told_of_terminals(purchases: Purchases, reported_day: Array) -> Array:
    """Give log(1 + reports) and share of reported purchases at each purchase's terminal: float32 ``[n, 2]``."""
    told = np.flatnonzero(np.isfinite(reported_day))
    waiting = deque(told[np.argsort(reported_day[told])].tolist())
    reports: defaultdict[int, list[float]] = defaultdict(list)
    bought: defaultdict[int, deque[float]] = defaultdict(deque)
    features = np.zeros((len(purchases), 2), np.float32)
    for number, (day, terminal) in enumerate(zip(purchases.day.tolist(), purchases.terminal.tolist(), strict=True)):
        while waiting and reported_day[waiting[0]] <= day:
            first = waiting.popleft()
            reports[int(purchases.terminal[first])].append(float(purchases.day[first]))
        recent = sum(day - WINDOW_DAYS < reported for reported in reports[terminal])
        there = bought[terminal]
        while there and there[0] <= day - WINDOW_DAYS:
            there.popleft()
        features[number] = np.log1p(recent), recent / (len(there) + PRIOR)
        there.append(day)
    return features


def main() -> int:
    """Simulate, fit twice, print both."""
    world, purchases, reported_day = simulate(SEED)
    with shown() as progress:
        scored = score_features(world, purchases, progress)
    training, _, test = learning.split(purchases, reported_day, scored)
    further = told_of_terminals(purchases, reported_day)[scored.row]
    day = purchases.day[scored.row]
    while_training = further[day < learning.TRAINING_DAY]
    while_testing = further[day >= learning.VALIDATION_DAY]
    for name, columns in (("without reports", 0), ("with reports", 2)):
        seen = np.concatenate([training.features, while_training[:, :columns]], axis=1)
        later = np.concatenate([test.features, while_testing[:, :columns]], axis=1)
        model = learning.forest(Part(seen, training.reported, training.pattern), SEED)
        scores = model.predict(later, raw_score=True)
        show(name, learning.figures(scores, test.fraud))
        both = {"boosting": scores.astype(np.float32)}
        judged = measure.Judged(test.fraud.astype(np.int8), test.pattern, np.zeros(2), both)
        print("  ".join(measure.by_pattern(judged, "boosting")), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
