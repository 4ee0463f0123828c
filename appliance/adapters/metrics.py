"""The meter of the appliance: cheap to feed, scraped by Prometheus, summed up for the ``metrics`` topic.

Both read the same numbers, which are kept here: an observation costs about 1 us, with the catalogue checked once for
each series and not each time (``labels().observe()`` of ``prometheus_client`` alone costs 2.5 us; the loop makes
eight a frame).
"""

import math
import socketserver
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from itertools import accumulate
from threading import Lock, Thread
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from prometheus_client import CollectorRegistry, make_wsgi_app
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.core import Metric as MetricFamily

from appliance.core.catalogue import FLAT, METRICS, SERIES_MAX, FlatKind, Metric, MetricKind, check
from appliance.core.summary import Series, Summary
from appliance.core.window import Window
from appliance.errors import ConfigError
from appliance.ports import Clock

ADDRESS = "127.0.0.1"
RECENT_MAX = 1024
"""Observations of a series that its quantiles in the ``metrics`` topic are taken over."""
REQUEST_TIMEOUT_S = 5.0
"""A scraper that falls silent for this long is left."""
CLOSE_TIMEOUT_S = 5.0
OTHER = "other"
"""Stands for every further label value once a metric has ``SERIES_MAX`` series."""


class _Tally:
    """One metric with one set of label values."""

    __slots__ = ("bounds", "counts", "labels", "lock", "metric", "recent", "value")

    def __init__(self, metric: Metric, labels: dict[str, str]) -> None:
        self.metric = metric
        self.labels = labels
        self.lock = Lock()
        self.value = 0.0
        """A counter's total, a gauge's value, the sum of a histogram's observations."""
        self.bounds = metric.buckets
        self.counts = [0] * (len(metric.buckets) + 1)
        """Observations in each bucket, not accumulated; the last is for those above all bounds."""
        self.recent = Window(RECENT_MAX) if _is_summed_up(metric, labels) else None

    def series(self) -> Series:
        with self.lock:
            return Series(self.metric.name, self.labels, self.value, self.recent.values() if self.recent else ())


class PrometheusMeter:
    """Implements ``ports.Meter``; for any thread. A name or label that is not in the catalogue is a bug: it asserts.

    What the *data* can bring about never raises: values that are not finite are left out, and a metric with too many
    label values counts the rest under ``other``.
    """

    def __init__(self, clock: Clock) -> None:
        """``clock`` is what rates are taken over. Nothing is served before ``serve``."""
        self._clock = clock
        self._lock = Lock()
        self._cache: dict[MetricKind, dict[tuple[str, ...], _Tally]] = {kind: {} for kind in MetricKind}
        """By name, label names and label values as the caller orders them."""
        self._counters = self._cache[MetricKind.COUNTER]
        self._gauges = self._cache[MetricKind.GAUGE]
        self._histograms = self._cache[MetricKind.HISTOGRAM]
        self._tallies: dict[str, dict[tuple[str, ...], _Tally]] = {name: {} for name in METRICS}
        self._summary = Summary(clock.monotonic_s())
        self._server: tuple[_Server, Thread] | None = None
        self.registry = CollectorRegistry()
        """For whoever wants to read the metrics in another way than over HTTP."""
        self.registry.register(_Collector(self))

    def count(self, name: str, amount: float = 1.0, **labels: str) -> None:
        """Add ``amount`` (not negative) to a counter."""
        tally = self._counters.get((name, *labels, *labels.values())) or self._find(name, MetricKind.COUNTER, labels)
        if 0.0 <= amount < math.inf:
            with tally.lock:
                tally.value += amount

    def observe(self, name: str, value: float, **labels: str) -> None:
        """Add one observation to a histogram."""
        tally = self._histograms.get((name, *labels, *labels.values())) or self._find(
            name, MetricKind.HISTOGRAM, labels
        )
        if math.isfinite(value):
            with tally.lock:
                tally.value += value
                tally.counts[bisect_left(tally.bounds, value)] += 1
                if tally.recent is not None:
                    tally.recent.add(value)

    def set(self, name: str, value: float, **labels: str) -> None:
        """Set a gauge."""
        tally = self._gauges.get((name, *labels, *labels.values())) or self._find(name, MetricKind.GAUGE, labels)
        if math.isfinite(value):
            with tally.lock:
                tally.value = value

    def forget(self, name: str, **labels: str) -> None:
        """Take a gauge back."""
        metric = check(name, MetricKind.GAUGE, labels)
        values = tuple(str(labels[label]) for label in metric.labels)
        with self._lock:
            gone = self._tallies[name].pop(values, None)
            for key in [key for key, tally in self._gauges.items() if tally is gone]:
                del self._gauges[key]

    def flat(self) -> dict[str, float]:
        """The numbers of the ``metrics`` topic; rates are taken since the call before, so one caller only."""
        series = [tally.series() for tally in self.tallies()]
        with self._lock:
            return self._summary.flat(series, self._clock.monotonic_s())

    def recent(self, name: str, **labels: str) -> list[float]:
        """The newest observations of a histogram, at most ``RECENT_MAX`` a series, over all series with ``labels``.

        Empty for histograms that the ``metrics`` topic does not sum up.
        """
        wanted = labels.items()
        chosen = [
            each.series() for each in self.tallies() if each.metric.name == name and wanted <= each.labels.items()
        ]
        return [value for series in chosen for value in series.recent]

    def tallies(self) -> list[_Tally]:
        """All series there are now, in the order of the catalogue."""
        with self._lock:
            return [tally for tallies in self._tallies.values() for tally in tallies.values()]

    def _find(self, name: str, kind: MetricKind, labels: dict[str, str]) -> _Tally:
        """The series for these labels, made when it is new. The slow path: once for each series."""
        metric = check(name, kind, labels)
        values = tuple(str(labels[label]) for label in metric.labels)
        with self._lock:
            tallies = self._tallies[name]
            crowded = values not in tallies and len(tallies) >= SERIES_MAX
            if crowded:
                values = (OTHER,) * len(values)
            if values not in tallies:
                tallies[values] = _Tally(metric, dict(zip(metric.labels, values, strict=True)))
            if not crowded:  # or the cache would grow without end
                self._cache[kind][name, *labels, *labels.values()] = tallies[values]
            return tallies[values]

    def serve(self, port: int) -> int:
        """Answer Prometheus on 127.0.0.1 only; return the port (``port``, or a free one for 0).

        Raises ConfigError when the port cannot be had.
        """
        assert self._server is None, "serves already"
        try:
            server = _Server(port, self.registry)
        except OSError as error:
            msg = f"health.metrics_port: {ADDRESS}:{port} cannot be had ({error.strerror}); give a free port, or none"
            raise ConfigError(msg) from error
        thread = Thread(target=server.serve_forever, name="metrics", daemon=True)
        thread.start()
        self._server = (server, thread)
        return int(server.server_address[1])

    def close(self) -> None:
        """Stop serving. Idempotent; never raises, and returns within ``CLOSE_TIMEOUT_S`` though a scraper hangs."""
        if self._server is None:
            return
        server, thread = self._server
        self._server = None
        # shutdown() waits for a request under way, so it must not be waited for without a bound.
        Thread(target=server.shutdown, name="metrics-close", daemon=True).start()
        thread.join(CLOSE_TIMEOUT_S)
        server.server_close()


class _Server(WSGIServer):
    """One request after the other: a scraper cannot make us start threads."""

    def __init__(self, port: int, registry: CollectorRegistry) -> None:
        super().__init__((ADDRESS, port), _Handler)
        self.set_app(make_wsgi_app(registry))

    def server_bind(self) -> None:
        """As inherited, without asking the name service who 127.0.0.1 is: without a network that takes long."""
        socketserver.TCPServer.server_bind(self)
        self.server_name = ADDRESS
        self.server_port = int(self.server_address[1])
        self.setup_environ()

    def handle_error(self, request: object, client_address: object) -> None:
        """A scraper that hung up or fell silent is its own affair; inherited, this prints a traceback."""


class _Handler(WSGIRequestHandler):
    timeout = REQUEST_TIMEOUT_S

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - inherited name
        """No log line a scrape."""


class _Collector:
    """Gives ``prometheus_client`` what it asks for when somebody scrapes."""

    def __init__(self, meter: PrometheusMeter) -> None:
        self._meter = meter

    def describe(self) -> Iterable[MetricFamily]:
        return [_family(metric) for metric in METRICS.values()]

    def collect(self) -> Iterator[MetricFamily]:
        families = {name: _family(metric) for name, metric in METRICS.items()}
        for tally in self._meter.tallies():
            _add(families[tally.metric.name], tally)
        yield from (family for family in families.values() if family.samples)


_Family = CounterMetricFamily | GaugeMetricFamily | HistogramMetricFamily
_FAMILIES: dict[MetricKind, type[_Family]] = {
    MetricKind.COUNTER: CounterMetricFamily,
    MetricKind.GAUGE: GaugeMetricFamily,
    MetricKind.HISTOGRAM: HistogramMetricFamily,
}


def _family(metric: Metric) -> _Family:
    return _FAMILIES[metric.kind](metric.name, metric.help, labels=metric.labels)


def _add(family: _Family, tally: _Tally) -> None:
    values = list(tally.labels.values())
    with tally.lock:
        value, counts = tally.value, list(tally.counts)
    if isinstance(family, HistogramMetricFamily):
        bounds = [*map(str, tally.bounds), "+Inf"]
        family.add_metric(values, list(zip(bounds, map(float, accumulate(counts)), strict=True)), sum_value=value)
    else:
        family.add_metric(values, value)


def _is_summed_up(metric: Metric, labels: dict[str, str]) -> bool:
    """Do the newest observations of this series go to the ``metrics`` topic?"""
    return any(
        row.metric == metric.name and row.kind is FlatKind.QUANTILES_MS and row.where.items() <= labels.items()
        for row in FLAT
    )
