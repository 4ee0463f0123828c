"""From capture to the broker's socket, with every frame an alert and the real broker on loopback."""

import numpy as np

from appliance.adapters.broker import local_broker
from appliance.bench import scene
from appliance.bench.figure import Figure, Progress, at_most, quantile
from appliance.bench.observe import recent

FRAMES = 400
PERIOD_S = 0.04
"""25 frames a second: a busy camera, not a saturated one."""
ADDED_MS_MAX = 5.0
WAIT_S = 60.0


def measure(progress: Progress) -> list[Figure]:
    """Return ``capture_to_publish_ms`` p50 and p99, and what lies between it and invoke at p99."""
    frames = scene.pictures(40)
    dark = np.zeros_like(frames[0])
    alternating = [picture for each in frames for picture in (each, dark)]
    sensor = scene.Memory(alternating, period_s=PERIOD_S)
    with (
        local_broker() as broker,
        scene.built(
            lambda folder: scene.camera_config(folder, port=broker.port, protocol=broker.protocol), sensor
        ) as appliance,
    ):
        with scene.running(appliance):
            progress(f"{FRAMES} alerts at {1 / PERIOD_S:g} frames/s")
            published_s = recent(appliance, "edge_capture_to_publish_seconds", count=FRAMES, within_s=WAIT_S)
        invoke_s = recent(appliance, "edge_stage_duration_seconds", stage="invoke")
    p50_ms, p99_ms = (quantile(published_s, fraction) * 1e3 for fraction in (0.5, 0.99))
    invoke_ms = quantile(invoke_s, 0.99) * 1e3
    return [
        Figure("capture_to_publish_ms_p50", p50_ms, "ms", note=f"with {broker.name}"),
        Figure("capture_to_publish_ms_p99", p99_ms, "ms", note=f"{len(published_s)} alerts"),
        Figure("invoke_ms_p99", invoke_ms, "ms"),
        at_most(
            "publish_adds_ms_p99", p99_ms - invoke_ms, "ms", ADDED_MS_MAX, "capture to publish less invoke, both p99"
        ),
    ]
