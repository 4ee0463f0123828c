"""Every measurement the appliance takes: its name, kind, labels, buckets, and its place in the ``metrics`` topic.

The one table that all meters obey: a name or a label that is not here is a bug. To measure something new, add a row
to ``METRICS``, and one to ``FLAT`` if subscribers of the ``metrics`` topic should see it.

Names follow Prometheus: one prefix, base units, ``_total`` for counters, ``_info`` for constant facts.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class MetricKind(StrEnum):
    """How a metric is fed."""

    COUNTER = "counter"
    """Only grows, by ``Meter.count``."""
    GAUGE = "gauge"
    """The newest value, by ``Meter.set``."""
    HISTOGRAM = "histogram"
    """Observations sorted into buckets, by ``Meter.observe``."""


DURATION_BUCKETS_S = (
    0.000_25, 0.000_5, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0,
)  # fmt: skip
"""Upper bounds of the buckets of every duration, in seconds: 1 ms to 10 s, and two below for the small stages."""

SERIES_MAX = 500
"""Sets of label values one metric may have: labels name things of the configuration and reasons, never free text."""


@dataclass(frozen=True, slots=True)
class Metric:
    """One row of the table."""

    name: str
    kind: MetricKind
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()
    """Upper bounds, ascending; empty but for histograms."""


def _counter(name: str, text: str, *labels: str) -> Metric:
    return Metric(name, MetricKind.COUNTER, text, labels)


def _gauge(name: str, text: str, *labels: str) -> Metric:
    return Metric(name, MetricKind.GAUGE, text, labels)


def _duration(name: str, text: str, *labels: str) -> Metric:
    return Metric(name, MetricKind.HISTOGRAM, text, labels, DURATION_BUCKETS_S)


_ROWS = (
    # What channels remember, and why they decided.
    _counter("edge_memory_saved_total", "Entries of extractors' memory written to disk.", "channel"),
    _counter("edge_memory_dropped_total", "Entries of memory given up: the disk did not take them.", "channel"),
    _counter("edge_reasons_missing_total", "Decisions without reasons: asking again took too long.", "model"),
    # One frame's journey.
    _counter("edge_capture_frames_total", "Frames captured.", "channel"),
    _counter("edge_frames_dropped_total", "Frames that were never judged.", "channel", "reason"),
    _duration("edge_frame_age_seconds", "From capture to decision.", "channel"),
    _duration("edge_stage_duration_seconds", "One stage of the loop.", "stage", "model", "backend"),
    _duration("edge_capture_to_publish_seconds", "From capture to the alert's first way out to the broker.", "channel"),
    _counter("edge_decisions_total", "Decisions by outcome.", "channel", "outcome_state"),
    _counter("edge_blind_seconds_total", "Time without a result.", "channel"),
    # Sensors.
    _counter("edge_sensor_reopens_total", "Times a sensor was opened again after a fault.", "channel"),
    _counter("edge_samples_bad_total", "Samples that could not be read or used.", "channel", "reason"),
    _counter("edge_requests_total", "Transactions by what became of them.", "channel", "outcome"),
    _counter("edge_abandoned_threads_total", "Threads that hung and were left behind.", "what"),
    # Inference.
    _counter("edge_inference_total", "Inferences by outcome.", "model", "backend", "outcome"),
    _gauge("edge_backend_active", "1 for the backend that serves a model, else 0.", "model", "backend"),
    _counter("edge_failover_total", "Changes from one backend to another.", "from", "to", "reason"),
    # Edge TPUs.
    _counter("edge_tpu_recovery_total", "Rungs of the recovery ladder that were tried.", "rung", "outcome"),
    _gauge("edge_tpu_state", "1 for the state an Edge TPU is in, else 0.", "tpu", "state"),
    _gauge("edge_tpu_events_last_hour", "Resets and aborts of an Edge TPU in the last hour.", "tpu", "kind"),
    _gauge("edge_tpu_temperature_celsius", "Its temperature; on PCIe only, USB cannot tell.", "tpu"),
    _counter("edge_tpu_answers_discarded_total", "Answers that no frame waited for any more.", "tpu", "reason"),
    _counter("edge_abandoned_workers_total", "Worker processes that could not be ended.", "tpu"),
    _gauge("edge_model_info", "Always 1; the labels say which model decides.", "model", "version", "sha"),
    # Updates of models.
    _gauge("edge_update_stage", "1 for the stage that a model's update is in, else 0.", "model", "stage"),
    _counter("edge_update_shadow_frames_total", "Frames judged by a candidate, too.", "model", "outcome"),
    _counter("edge_model_update_total", "Trials of candidates by what they came to.", "model", "outcome"),
    # Outbox ("spool" in the names that dashboards know).
    _gauge("edge_spool_messages", "Messages waiting in the outbox."),
    _gauge("edge_spool_bytes", "Bytes of the messages waiting in the outbox."),
    _gauge("edge_spool_oldest_age_seconds", "Age of the oldest waiting message."),
    _gauge("edge_spool_dead_letters", "Messages set aside after too many attempts."),
    _counter("edge_spool_dropped_total", "Messages dropped from the outbox.", "reason"),
    _counter("edge_disk_written_bytes_total", "Bytes the outbox wrote to disk."),
    # The broker.
    _gauge("edge_mqtt_connected", "1 while the broker has accepted our session, else 0."),
    _counter("edge_mqtt_sessions_total", "Attempts to connect, by outcome.", "outcome"),
    _counter("edge_commands_ignored_total", "Commands that were not obeyed.", "reason"),
    # The device.
    _gauge("edge_clock_state", "1 for the state the wall clock is in, else 0.", "state"),
    _gauge("edge_info", "Always 1; the label says which version runs.", "version"),
)
METRICS: Mapping[str, Metric] = {row.name: row for row in _ROWS}
"""All metrics by name."""


class FlatKind(StrEnum):
    """What the ``metrics`` topic tells of a metric."""

    QUANTILES_MS = "quantiles_ms"
    """``<key>_p50_ms``, ``_p95_ms`` and ``_p99_ms`` of the newest observations; series are taken together."""
    RATE = "rate"
    """Increase of a counter a second, since the numbers were last asked for."""
    VALUE = "value"
    """The value itself; series with the same key are added up."""


@dataclass(frozen=True, slots=True)
class Flat:
    """How a metric appears in the ``metrics`` topic, which is a flat JSON object of numbers."""

    metric: str
    key: str
    """A label's name in braces stands for its value."""
    kind: FlatKind
    where: Mapping[str, str] = field(default_factory=dict)
    """Only series with these label values."""


FLAT = (
    Flat("edge_frame_age_seconds", "decision", FlatKind.QUANTILES_MS),
    Flat("edge_capture_to_publish_seconds", "capture_to_publish", FlatKind.QUANTILES_MS),
    Flat("edge_stage_duration_seconds", "invoke", FlatKind.QUANTILES_MS, {"stage": "invoke"}),
    Flat("edge_capture_frames_total", "{channel}_frames_per_s", FlatKind.RATE),
    Flat("edge_decisions_total", "{channel}_decisions_per_s", FlatKind.RATE),
    Flat("edge_blind_seconds_total", "{channel}_blind_s", FlatKind.VALUE),
    Flat("edge_tpu_events_last_hour", "tpu_resets_1h", FlatKind.VALUE, {"kind": "reset"}),
    Flat("edge_tpu_events_last_hour", "tpu_aborts_1h", FlatKind.VALUE, {"kind": "abort"}),
    Flat("edge_tpu_temperature_celsius", "{tpu}_temp_c", FlatKind.VALUE),
    Flat("edge_spool_messages", "spool_messages", FlatKind.VALUE),
    Flat("edge_spool_bytes", "spool_bytes", FlatKind.VALUE),
    Flat("edge_spool_oldest_age_seconds", "spool_oldest_age_s", FlatKind.VALUE),
    Flat("edge_spool_dead_letters", "spool_dead_letters", FlatKind.VALUE),
    Flat("edge_spool_dropped_total", "spool_dropped", FlatKind.VALUE),
    Flat("edge_disk_written_bytes_total", "disk_written_bytes", FlatKind.VALUE),
    Flat("edge_mqtt_connected", "mqtt_connected", FlatKind.VALUE),
)
"""The numbers of the ``metrics`` topic. A number nobody measured yet is left out: never a fake 0."""


def check(name: str, kind: MetricKind, labels: Mapping[str, str]) -> Metric:
    """Return the row of ``name``; assert that it has this kind and exactly these label names."""
    metric = METRICS.get(name)
    assert metric is not None, f"{name} is not in appliance.core.catalogue: add a row"
    assert metric.kind is kind, f"{name} is a {metric.kind}, not a {kind}"
    wanted = sorted(metric.labels)
    assert sorted(labels) == wanted, f"{name} takes the labels {wanted}, not {sorted(labels)}"
    return metric
