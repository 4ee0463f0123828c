"""The contract of ``ports.Meter``, on the device's meter and on the recording one; then what each promises beyond."""

import json
import math
import socket
import sys
import urllib.request
from abc import ABC, abstractmethod
from collections.abc import Iterator
from threading import Thread
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from appliance.adapters.metrics import OTHER, RECENT_MAX, PrometheusMeter
from appliance.core.catalogue import METRICS, SERIES_MAX, Metric, MetricKind
from appliance.errors import ConfigError
from appliance.ports import Meter
from appliance.sim.clock import ManualClock
from appliance.sim.meter import RecordingMeter
from tests.waiting import eventually

FRAMES, AGE, SPOOL = "edge_capture_frames_total", "edge_frame_age_seconds", "edge_spool_messages"
THREADS, EACH = 4, 2000


def feed(meter: Meter, metric: Metric) -> None:
    """One measurement of any kind of metric."""
    labels = {label: f"a-{label}" for label in metric.labels}
    if metric.kind is MetricKind.COUNTER:
        meter.count(metric.name, 1.0, **labels)
    elif metric.kind is MetricKind.GAUGE:
        meter.set(metric.name, 1.0, **labels)
    else:
        meter.observe(metric.name, 1.0, **labels)


@pytest.fixture
def eager_threads() -> Iterator[None]:
    """Let threads interrupt one another as often as the interpreter can, so that a missing lock shows."""
    usual_s = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(usual_s)


class MeterContract(ABC):
    @abstractmethod
    def make(self, clock: ManualClock) -> Meter: ...

    def test_every_metric_of_the_catalogue_can_be_fed(self) -> None:
        meter = self.make(ManualClock())
        for metric in METRICS.values():
            feed(meter, metric)

    @pytest.mark.parametrize("metric", METRICS.values(), ids=METRICS)
    def test_a_wrong_label_is_a_bug(self, metric: Metric) -> None:
        meter = self.make(ManualClock())
        wrong = Metric(metric.name, metric.kind, metric.help, (*metric.labels, "colour"))
        feed(meter, metric)
        with pytest.raises(AssertionError):
            feed(meter, wrong)

    def test_a_wrong_kind_or_name_is_a_bug_also_when_the_series_is_known(self) -> None:
        meter = self.make(ManualClock())
        meter.count(FRAMES, channel="gate")
        with pytest.raises(AssertionError):
            meter.set(FRAMES, 1.0, channel="gate")
        with pytest.raises(AssertionError):
            meter.count("edge_unheard_of_total")

    def test_what_nobody_measured_is_missing_and_not_zero(self) -> None:
        clock = ManualClock()
        meter = self.make(clock)
        clock.advance(60.0)
        assert meter.flat() == {}

    def test_the_flat_numbers_follow_the_measurements(self) -> None:
        clock = ManualClock()
        meter = self.make(clock)
        for millisecond in range(1, 101):
            meter.observe(AGE, millisecond / 1000.0, channel="gate")
            meter.count(FRAMES, channel="gate")
        meter.set(SPOOL, 7.0)
        meter.set(SPOOL, 3.0)
        clock.advance(10.0)
        flat = meter.flat()
        expected = {"decision_p50_ms": 50.0, "decision_p95_ms": 95.0, "decision_p99_ms": 99.0}
        assert flat == pytest.approx({**expected, "gate_frames_per_s": 10.0, "spool_messages": 3.0})
        assert json.loads(json.dumps(flat, allow_nan=False)) == flat

    def test_a_gauge_that_was_taken_back_is_missing_until_it_is_set_again(self) -> None:
        meter = self.make(ManualClock())
        warm = "edge_tpu_temperature_celsius"
        meter.forget(warm, tpu="tpu")
        meter.set(warm, 61.5, tpu="tpu")
        meter.set(warm, 40.0, tpu="other")
        meter.forget(warm, tpu="tpu")
        assert meter.flat() == {"other_temp_c": 40.0}
        meter.set(warm, 62.0, tpu="tpu")
        assert meter.flat() == {"other_temp_c": 40.0, "tpu_temp_c": 62.0}
        with pytest.raises(AssertionError):
            meter.forget(FRAMES, channel="gate")

    def test_the_order_of_labels_does_not_matter(self) -> None:
        clock = ManualClock()
        meter = self.make(clock)
        meter.count("edge_decisions_total", channel="gate", outcome_state="result")
        meter.count("edge_decisions_total", outcome_state="result", channel="gate")
        clock.advance(1.0)
        assert meter.flat() == {"gate_decisions_per_s": 2.0}

    def test_a_label_may_be_named_like_a_keyword_of_python(self) -> None:
        self.make(ManualClock()).count("edge_failover_total", 1.0, **{"from": "tpu", "to": "cpu", "reason": "died"})

    @pytest.mark.usefixtures("eager_threads")
    def test_no_measurement_is_lost_between_threads(self) -> None:
        clock = ManualClock()
        meter = self.make(clock)

        def run() -> None:
            for _ in range(EACH):
                meter.count(FRAMES, channel="gate")

        threads = [Thread(target=run) for _ in range(THREADS)]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            meter.flat()  # no time passes, so asking changes nothing
        clock.advance(1.0)
        assert meter.flat()["gate_frames_per_s"] == THREADS * EACH


class TestRecordingMeter(MeterContract):
    def make(self, clock: ManualClock) -> RecordingMeter:
        return RecordingMeter(clock)


class TestPrometheusMeter(MeterContract):
    def make(self, clock: ManualClock) -> PrometheusMeter:
        return PrometheusMeter(clock)


def test_the_recording_meter_tells_what_it_was_fed() -> None:
    meter = RecordingMeter()
    meter.count("edge_frames_dropped_total", channel="gate", reason="late")
    meter.count("edge_frames_dropped_total", 2.0, channel="gate", reason="old")
    meter.observe(AGE, 0.5, channel="gate")
    assert meter.value("edge_frames_dropped_total", channel="gate", reason="old") == 2.0
    assert meter.value("edge_frames_dropped_total", channel="gate") == 3.0
    assert meter.value("edge_frames_dropped_total", channel="yard") == 0.0
    assert meter.value(AGE) == 1.0
    assert meter.observations(AGE, channel="gate") == [0.5]
    assert math.isnan(meter.value(SPOOL))
    meter.set("edge_backend_active", 1.0, model="person", backend="cpu")
    meter.set("edge_backend_active", 0.0, backend="cpu", model="person")
    assert meter.value("edge_backend_active", model="person") == 0.0


@pytest.mark.parametrize("value", [math.nan, math.inf, -1.0])
def test_the_recording_meter_refuses_values_that_are_mistakes(value: float) -> None:
    with pytest.raises(AssertionError):
        RecordingMeter().count(FRAMES, value, channel="gate")


@pytest.mark.parametrize("value", [math.nan, -math.inf])
def test_the_recording_meter_refuses_what_is_no_number(value: float) -> None:
    with pytest.raises(AssertionError):
        RecordingMeter().set(SPOOL, value)
    with pytest.raises(AssertionError):
        RecordingMeter().observe(AGE, value, channel="gate")


def test_the_recording_meter_refuses_questions_about_labels_that_are_not() -> None:
    with pytest.raises(AssertionError):
        RecordingMeter().value(FRAMES, camera="gate")


@pytest.fixture
def served() -> Iterator[tuple[PrometheusMeter, int]]:
    meter = PrometheusMeter(ManualClock())
    port = meter.serve(0)
    yield meter, port
    meter.close()


def scrape(port: int) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """What Prometheus would store, read by its own parser."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        text = answer.read().decode()
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def at(name: str, **labels: str) -> tuple[str, frozenset[tuple[str, str]]]:
    return name, frozenset(labels.items())


def test_prometheus_reads_every_metric_under_its_name(served: tuple[PrometheusMeter, int]) -> None:
    meter, port = served
    assert scrape(port) == {}
    for metric in METRICS.values():
        feed(meter, metric)
    names = {name for name, _ in scrape(port)}
    for metric in METRICS.values():
        assert {metric.name, f"{metric.name}_bucket"} & names, metric.name


def test_a_histogram_is_cumulative_and_sums_up(served: tuple[PrometheusMeter, int]) -> None:
    meter, port = served
    for value in (0.001, 0.0011, 3.0, 60.0):
        meter.observe(AGE, value, channel="gate")
    found = scrape(port)
    expected = {"0.0005": 0.0, "0.001": 1.0, "0.002": 2.0, "2.0": 2.0, "5.0": 3.0, "10.0": 3.0, "+Inf": 4.0}
    assert {le: found[at(f"{AGE}_bucket", channel="gate", le=le)] for le in expected} == expected
    assert found[at(f"{AGE}_count", channel="gate")] == 4.0
    assert found[at(f"{AGE}_sum", channel="gate")] == pytest.approx(63.0021)


@given(st.lists(st.floats(0.0, 20.0) | st.sampled_from([0.001, 0.01, 10.0]), max_size=50))
def test_a_bucket_counts_what_is_not_above_its_bound(values: list[float]) -> None:
    meter = PrometheusMeter(ManualClock())
    for value in values:
        meter.observe(AGE, value, channel="gate")
    for bound in METRICS[AGE].buckets:
        counted = meter.registry.get_sample_value(f"{AGE}_bucket", {"channel": "gate", "le": str(bound)}) or 0.0
        assert counted == sum(value <= bound for value in values)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_value_that_is_no_number_does_not_spoil_the_others(value: float) -> None:
    meter = PrometheusMeter(ManualClock())
    meter.observe(AGE, 0.5, channel="gate")
    meter.observe(AGE, value, channel="gate")
    meter.count(FRAMES, 1.0, channel="gate")
    meter.count(FRAMES, value, channel="gate")
    meter.set(SPOOL, 3.0)
    meter.set(SPOOL, value)
    assert meter.registry.get_sample_value(f"{AGE}_sum", {"channel": "gate"}) == 0.5
    assert meter.registry.get_sample_value(FRAMES, {"channel": "gate"}) == 1.0
    assert meter.registry.get_sample_value(SPOOL) == 3.0


def test_labels_without_end_do_not_take_memory_without_end() -> None:
    meter = PrometheusMeter(ManualClock())
    for number in range(SERIES_MAX * 3):
        meter.count("edge_commands_ignored_total", reason=f"reason {number}")
    known = meter.registry.get_sample_value("edge_commands_ignored_total", {"reason": "reason 0"})
    rest = meter.registry.get_sample_value("edge_commands_ignored_total", {"reason": OTHER})
    assert (known, rest) == (1.0, SERIES_MAX * 2.0)
    assert len(meter._counters) <= SERIES_MAX


def test_quantiles_are_those_of_the_newest_observations() -> None:
    meter = PrometheusMeter(ManualClock())
    for value in [9.0] * RECENT_MAX + [0.5] * RECENT_MAX:
        meter.observe(AGE, value, channel="gate")
    assert meter.flat()["decision_p99_ms"] == 500.0


def test_metrics_are_served_on_loopback_only(served: tuple[PrometheusMeter, int]) -> None:
    _, port = served
    with socket.socket() as elsewhere:  # another address of this device, where no one may answer
        assert elsewhere.connect_ex(("127.0.0.2", port)) != 0


def test_a_port_that_is_taken_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=rf"metrics_port: 127\.0\.0\.1:{port}"):
            PrometheusMeter(ManualClock()).serve(port)


def test_closing_frees_the_port_and_may_be_repeated(served: tuple[PrometheusMeter, int]) -> None:
    meter, port = served
    scrape(port)
    meter.close()
    meter.close()
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) != 0
    assert meter.serve(port) == port


def test_a_scraper_that_hangs_up_leaves_no_trace(served: tuple[PrometheusMeter, int], capfd: Any) -> None:  # noqa: ANN401 - pytest's fixture is generic
    _, port = served
    with socket.create_connection(("127.0.0.1", port)) as scraper:
        scraper.sendall(b"GET /metrics HTTP/1.0\r\n")
        scraper.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # close with a reset
    assert eventually(lambda: scrape(port) == {})
    assert capfd.readouterr() == ("", "")
