"""From the state of a meter to the flat numbers of the ``metrics`` topic."""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from appliance.core.catalogue import FLAT, Flat, FlatKind
from appliance.core.window import quantiles

QUANTILES = {"p50": 0.50, "p95": 0.95, "p99": 0.99}


@dataclass(frozen=True, slots=True)
class Series:
    """One metric with one set of label values, as it stands."""

    name: str
    labels: Mapping[str, str]
    value: float = 0.0
    """Of a counter or gauge."""
    recent: Sequence[float] = ()
    """Of a histogram: the newest observations."""


class Summary:
    """Remembers the counters it saw last, to tell rates. One thread at a time."""

    def __init__(self, began_s: float) -> None:
        """Counters are taken to have been 0 at ``began_s`` (monotonic seconds)."""
        self._asked_s = began_s
        self._counted: dict[str, float] = {}

    def flat(self, all_series: Iterable[Series], now_s: float) -> dict[str, float]:
        """The numbers of ``FLAT`` that something is known of; finite, ready for JSON.

        Args:
            all_series: The state of the meter.
            now_s: Monotonic seconds; rates are taken over the time since the call before.
        """
        by_metric: defaultdict[str, list[Series]] = defaultdict(list)
        for series in all_series:
            by_metric[series.name].append(series)
        flat: dict[str, float] = {}
        totals: dict[str, float] = {}
        for row in FLAT:
            chosen = [series for series in by_metric[row.metric] if _matches(row, series)]
            if row.kind is FlatKind.QUANTILES_MS:
                flat |= _quantiles_ms(row.key, chosen)
            else:
                (totals if row.kind is FlatKind.RATE else flat).update(_sums(row.key, chosen))
        flat |= self._rates(totals, now_s)
        return {key: value for key, value in flat.items() if math.isfinite(value)}

    def _rates(self, totals: Mapping[str, float], now_s: float) -> dict[str, float]:
        elapsed_s = now_s - self._asked_s
        if elapsed_s <= 0.0:
            return {}
        rates = {key: (total - self._counted.get(key, 0.0)) / elapsed_s for key, total in totals.items()}
        self._asked_s = now_s
        self._counted = dict(totals)
        return rates


def _matches(row: Flat, series: Series) -> bool:
    return all(series.labels[label] == value for label, value in row.where.items())


def _quantiles_ms(key: str, chosen: Sequence[Series]) -> dict[str, float]:
    together = (value for series in chosen for value in series.recent)
    found = quantiles(together, tuple(QUANTILES.values()))
    return {f"{key}_{name}_ms": value * 1000.0 for name, value in zip(QUANTILES, found, strict=False)}


def _sums(key: str, chosen: Sequence[Series]) -> dict[str, float]:
    sums: defaultdict[str, float] = defaultdict(float)
    for series in chosen:
        sums[key.format_map(series.labels)] += series.value
    return dict(sums)
