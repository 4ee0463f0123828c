"""What Prometheus finds at a device, and who else may look."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.conftest import Site
from tests.system.device import BASE, scrape
from tests.waiting import eventually

pytestmark = pytest.mark.broker

LISTENING = "0A"
LOOPBACK = "0100007F"
"""127.0.0.1 as /proc/net/tcp writes it on a little-endian machine."""


@pytest.mark.parametrize("stage", ["capture", "pre", "queue", "invoke", "post", "decide", "publish"])
def test_every_stage_of_the_loop_has_a_histogram(site: Site, stage: str) -> None:
    eventually(lambda: scrape(site.metrics_port, "edge_stage_duration_seconds_count", stage=stage))
    name = "edge_stage_duration_seconds_bucket"
    counted = scrape(site.metrics_port, name, stage=stage, model="tiny-uint8", le="+Inf")
    assert counted is not None
    assert counted > 0


@pytest.mark.parametrize(
    ("name", "labels"),
    [
        ("edge_capture_frames_total", {"channel": "lamp"}),
        ("edge_frame_age_seconds_count", {"channel": "lamp"}),
        ("edge_capture_to_publish_seconds_count", {"channel": "lamp"}),
        ("edge_decisions_total", {"channel": "lamp", "outcome_state": "result"}),
        ("edge_inference_total", {"model": "tiny-uint8", "backend": "cpu", "outcome": "ok"}),
        ("edge_backend_active", {"model": "tiny-uint8", "backend": "cpu"}),
        ("edge_mqtt_connected", {}),
        ("edge_mqtt_sessions_total", {"outcome": "accepted"}),
        ("edge_clock_state", {}),
        ("edge_model_info", {"model": "tiny-uint8", "version": "1.0.0"}),
        ("edge_info", {"version": "0.1.0"}),
    ],
)
def test_the_numbers_of_the_conventions_are_measured(site: Site, name: str, labels: dict[str, str]) -> None:
    eventually(lambda: scrape(site.metrics_port, name, **labels))


@pytest.mark.parametrize("name", ["edge_spool_messages", "edge_spool_bytes", "edge_spool_oldest_age_seconds"])
def test_an_outbox_that_is_empty_says_so(site: Site, name: str) -> None:
    eventually(lambda: scrape(site.metrics_port, name) == 0)


def test_the_metrics_topic_has_the_latency_that_home_assistant_was_promised(site: Site) -> None:
    eventually(lambda: "decision_p95_ms" in site.published.until(f"{BASE}/metrics")[-1].json)


def test_nobody_outside_this_device_can_read_them(site: Site) -> None:
    eventually(lambda: scrape(site.metrics_port, "edge_info"))
    with socket.socket() as probe:  # another address of the same machine
        assert probe.connect_ex(("127.0.0.2", site.metrics_port)) != 0
    assert list(listeners(site.device.pid)) == [f"{LOOPBACK}:{site.metrics_port:04X}"]


def listeners(pid: int) -> Iterator[str]:
    """The TCP addresses on which this process waits for connections."""
    own = {link.readlink().name for link in Path(f"/proc/{pid}/fd").iterdir() if link.is_symlink()}
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == LISTENING and f"socket:[{fields[9]}]" in own:
                yield fields[1]
