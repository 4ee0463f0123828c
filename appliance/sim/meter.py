"""A meter that remembers everything, for tests to ask."""

import math
from collections import defaultdict
from threading import Lock

from appliance.core.catalogue import METRICS, SERIES_MAX, Metric, MetricKind, check
from appliance.core.summary import Series, Summary
from appliance.ports import Clock
from appliance.sim.clock import ManualClock

Labels = tuple[tuple[str, str], ...]
OBSERVATIONS_MAX = 100_000
"""Observations a series may have; more are a mistake in the test."""


class RecordingMeter:
    """Keeps all measurements in memory, and fails at once on a name, label or value that is wrong."""

    def __init__(self, clock: Clock | None = None) -> None:
        """``clock`` is what rates are taken over; without one, time stands still and there are no rates."""
        self._clock = clock or ManualClock()
        self._lock = Lock()
        self._values: defaultdict[str, dict[Labels, float]] = defaultdict(dict)
        self._observations: defaultdict[str, dict[Labels, list[float]]] = defaultdict(dict)
        self._summary = Summary(self._clock.monotonic_s())

    def count(self, name: str, amount: float = 1.0, **labels: str) -> None:
        """Add ``amount`` (not negative) to a counter."""
        check(name, MetricKind.COUNTER, labels)
        assert 0.0 <= amount < math.inf, f"{name}: a counter cannot grow by {amount}"
        with self._lock:
            series = self._values[name]
            key = _key(labels)
            series[key] = series.get(key, 0.0) + amount
            assert len(series) <= SERIES_MAX, f"{name}: its labels take too many values"

    def observe(self, name: str, value: float, **labels: str) -> None:
        """Add one observation to a histogram."""
        check(name, MetricKind.HISTOGRAM, labels)
        assert math.isfinite(value), f"{name}: {value} is no observation"
        with self._lock:
            observations = self._observations[name].setdefault(_key(labels), [])
            assert len(observations) < OBSERVATIONS_MAX, name
            assert len(self._observations[name]) <= SERIES_MAX, f"{name}: its labels take too many values"
            observations.append(value)

    def set(self, name: str, value: float, **labels: str) -> None:
        """Set a gauge."""
        check(name, MetricKind.GAUGE, labels)
        assert math.isfinite(value), f"{name}: {value} is no value"
        with self._lock:
            self._values[name][_key(labels)] = value
            assert len(self._values[name]) <= SERIES_MAX, f"{name}: its labels take too many values"

    def forget(self, name: str, **labels: str) -> None:
        """Take a gauge back."""
        check(name, MetricKind.GAUGE, labels)
        with self._lock:
            self._values[name].pop(_key(labels), None)

    def flat(self) -> dict[str, float]:
        """The numbers of the ``metrics`` topic."""
        with self._lock:
            series = [
                Series(name, dict(key), value=value)
                for name, found in self._values.items()
                for key, value in found.items()
            ]
            series += [
                Series(name, dict(key), recent=tuple(recent))
                for name, found in self._observations.items()
                for key, recent in found.items()
            ]
            return self._summary.flat(series, self._clock.monotonic_s())

    def value(self, name: str, **labels: str) -> float:
        """A counter's total, a gauge's value, or how many observations a histogram has.

        With fewer labels than the metric has, all series that match are added up. What was never fed is 0, but
        NaN (equal to nothing) for a gauge.
        """
        metric = _known(name, labels)
        if metric.kind is MetricKind.HISTOGRAM:
            return float(len(self.observations(name, **labels)))
        with self._lock:
            found = [value for key, value in self._values[name].items() if labels.items() <= dict(key).items()]
        return math.nan if not found and metric.kind is MetricKind.GAUGE else math.fsum(found)

    def observations(self, name: str, **labels: str) -> list[float]:
        """All observations of a histogram's series that match ``labels``, series by series, oldest first."""
        assert _known(name, labels).kind is MetricKind.HISTOGRAM, f"{name} is not a histogram"
        with self._lock:
            series = self._observations[name].items()
            return [value for key, values in series if labels.items() <= dict(key).items() for value in values]


def _key(labels: dict[str, str]) -> Labels:
    return tuple(sorted(labels.items()))


def _known(name: str, labels: dict[str, str]) -> Metric:
    assert name in METRICS, f"{name} is not in appliance.core.catalogue"
    strange = sorted(set(labels) - set(METRICS[name].labels))
    assert not strange, f"{name} has no labels {strange}"
    return METRICS[name]
