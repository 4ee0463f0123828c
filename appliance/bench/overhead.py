"""Frames per second of the whole loop fed from memory, over bare ``invoke()`` of the same model and runtime."""

from statistics import median

from appliance.adapters.backends.cpu import CpuBackend
from appliance.adapters.clock import SystemClock
from appliance.bench import scene
from appliance.bench.figure import Figure, Progress, at_least

ROUNDS = 30
FRAMES = 20
"""Frames of one side in each round; the two sides take turns, so that load falls on both."""
RATIO_MIN = 0.90
NO_BROKER_PORT = 9
"""Nothing answers there: the loop must not care."""


def measure(progress: Progress) -> list[Figure]:
    """Return ``loop_overhead`` and the two rates behind it."""
    clock = SystemClock()
    backend = CpuBackend(threads=1)
    frames = scene.pictures(40)
    loop_s: list[float] = []
    bare_s: list[float] = []
    with scene.built(
        lambda folder: scene.camera_config(folder, port=NO_BROKER_PORT), scene.Memory(frames), backend
    ) as appliance:
        channel = appliance.channels[0]
        for _ in range(FRAMES):
            channel.step()
            backend.invoke_bare()
        for number in range(ROUNDS):
            progress(f"round {number + 1} of {ROUNDS}")
            started_s = clock.monotonic_s()
            for _ in range(FRAMES):
                backend.invoke_bare()
            between_s = clock.monotonic_s()
            for _ in range(FRAMES):
                channel.step()
            bare_s.append((between_s - started_s) / FRAMES)
            loop_s.append((clock.monotonic_s() - between_s) / FRAMES)
        appliance.close()
    ratio = median(bare_each / loop_each for bare_each, loop_each in zip(bare_s, loop_s, strict=True))
    return [
        at_least("loop_overhead", ratio, "", RATIO_MIN, "loop frames/s over bare invoke/s, median of rounds"),
        Figure("loop_frames_per_s", 1 / median(loop_s), "frames/s", note="person model, 1 thread, 768 x 576 frames"),
        Figure("bare_invoke_per_s", 1 / median(bare_s), "invokes/s"),
    ]
