"""The table of metrics keeps to the conventions, and the flat numbers made of it never lie."""

import math
import re
from string import Formatter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.core.catalogue import DURATION_BUCKETS_S, FLAT, METRICS, Flat, FlatKind, Metric, MetricKind, check
from appliance.core.summary import Series, Summary

UNITS = (
    "_seconds", "_bytes", "_celsius", "_total", "_info", "_messages", "_letters", "_active", "_state", "_connected",
    "_last_hour", "_stage",
)  # fmt: skip
BY_NAME = pytest.mark.parametrize("metric", METRICS.values(), ids=METRICS)
BY_KEY = pytest.mark.parametrize("row", FLAT, ids=lambda row: row.key)


@BY_NAME
def test_a_name_has_the_prefix_and_ends_in_what_it_counts(metric: Metric) -> None:
    assert re.fullmatch(r"edge_[a-z_]+", metric.name)
    assert metric.name == "edge_info" or metric.name.endswith(UNITS)
    assert metric.name.endswith("_total") == (metric.kind is MetricKind.COUNTER)
    assert metric.help.endswith((".", "0."))


@BY_NAME
def test_a_histogram_and_nothing_else_has_ascending_buckets(metric: Metric) -> None:
    assert bool(metric.buckets) == (metric.kind is MetricKind.HISTOGRAM)
    assert list(metric.buckets) == sorted(set(metric.buckets))


@BY_NAME
def test_no_label_could_take_more_values_than_the_configuration_has_names(metric: Metric) -> None:
    known = {
        "channel", "reason", "stage", "model", "backend", "outcome_state", "outcome", "what", "from", "to", "version",
        "sha", "state", "tpu", "rung", "kind",
    }  # fmt: skip
    assert set(metric.labels) <= known
    assert len(set(metric.labels)) == len(metric.labels)


def test_the_buckets_of_durations_span_one_millisecond_to_ten_seconds() -> None:
    assert {0.001, 10.0} <= set(DURATION_BUCKETS_S)
    assert DURATION_BUCKETS_S[-1] == 10.0


@BY_KEY
def test_a_flat_number_is_made_of_a_metric_that_can_give_it(row: Flat) -> None:
    metric = METRICS[row.metric]
    in_key = {label for _, label, _, _ in Formatter().parse(row.key) if label}
    assert in_key | set(row.where) <= set(metric.labels)
    assert (row.kind is FlatKind.QUANTILES_MS) == (metric.kind is MetricKind.HISTOGRAM)
    assert row.kind is not FlatKind.RATE or metric.kind is MetricKind.COUNTER


def test_no_two_rows_give_the_same_flat_number() -> None:
    assert len({row.key for row in FLAT}) == len(FLAT)


@pytest.mark.parametrize(
    ("name", "kind", "labels"),
    [
        ("edge_unheard_of_total", MetricKind.COUNTER, {}),
        ("edge_capture_frames_total", MetricKind.GAUGE, {"channel": "gate"}),
        ("edge_capture_frames_total", MetricKind.COUNTER, {}),
        ("edge_capture_frames_total", MetricKind.COUNTER, {"camera": "gate"}),
        ("edge_capture_frames_total", MetricKind.COUNTER, {"channel": "gate", "reason": "late"}),
    ],
)
def test_a_measurement_that_is_not_in_the_table_is_a_bug(name: str, kind: MetricKind, labels: dict[str, str]) -> None:
    with pytest.raises(AssertionError, match=name):
        check(name, kind, labels)


def test_nothing_measured_is_nothing_said() -> None:
    assert Summary(0.0).flat([], 60.0) == {}


def test_series_that_share_a_key_are_added_up() -> None:
    dropped = [Series("edge_spool_dropped_total", {"reason": reason}, 2.0) for reason in ("rows", "bytes")]
    blind = [Series("edge_blind_seconds_total", {"channel": channel}, 3.0) for channel in ("gate", "yard")]
    flat = Summary(0.0).flat([*dropped, *blind], 1.0)
    assert flat == {"spool_dropped": 4.0, "gate_blind_s": 3.0, "yard_blind_s": 3.0}


def test_what_happens_to_edge_tpus_is_added_up_and_how_warm_they_are_is_not() -> None:
    events = [
        Series("edge_tpu_events_last_hour", {"tpu": tpu, "kind": kind}, value)
        for tpu, kind, value in [("a", "reset", 1.0), ("b", "reset", 2.0), ("a", "abort", 4.0)]
    ]
    warm = [Series("edge_tpu_temperature_celsius", {"tpu": tpu}, 50.0) for tpu in ("a", "b")]
    flat = Summary(0.0).flat([*events, *warm], 1.0)
    assert flat == {"tpu_resets_1h": 3.0, "tpu_aborts_1h": 4.0, "a_temp_c": 50.0, "b_temp_c": 50.0}


def test_quantiles_are_in_milliseconds_and_over_all_series_of_the_row() -> None:
    def stage(stage: str, *recent: float) -> Series:
        labels = {"stage": stage, "model": "person", "backend": "cpu"}
        return Series("edge_stage_duration_seconds", labels, recent=recent)

    flat = Summary(0.0).flat([stage("invoke", 0.001, 0.002), stage("invoke", 0.003), stage("pre", 9.0)], 1.0)
    assert flat == pytest.approx({"invoke_p50_ms": 2.0, "invoke_p95_ms": 3.0, "invoke_p99_ms": 3.0})


def _frames(total: float, channel: str = "gate") -> list[Series]:
    return [Series("edge_capture_frames_total", {"channel": channel}, total)]


@given(st.lists(st.tuples(st.integers(0, 1000), st.floats(0.001, 1000.0)), max_size=10))
def test_a_rate_is_the_increase_over_the_time_between_two_calls(steps: list[tuple[int, float]]) -> None:
    summary, total, now_s = Summary(0.0), 0, 0.0
    for frames, elapsed_s in steps:
        total, now_s = total + frames, now_s + elapsed_s
        flat = summary.flat(_frames(total), now_s)
        assert flat["gate_frames_per_s"] == pytest.approx(frames / elapsed_s, rel=1e-3)


def test_a_channel_that_stopped_has_a_rate_of_zero_and_one_that_never_counted_has_none() -> None:
    summary = Summary(0.0)
    summary.flat(_frames(10.0), 1.0)
    assert summary.flat(_frames(10.0), 2.0) == {"gate_frames_per_s": 0.0}


def test_no_time_passed_is_no_rate_and_loses_no_count() -> None:
    summary = Summary(5.0)
    assert summary.flat(_frames(10.0), 5.0) == {}
    assert summary.flat(_frames(10.0), 7.0) == {"gate_frames_per_s": 5.0}


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_what_json_cannot_say_is_left_out(value: float) -> None:
    assert Summary(0.0).flat([Series("edge_spool_bytes", {}, value)], 1.0) == {}
