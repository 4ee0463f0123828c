"""What the worker's process costs: a tensor there and its outputs back, beside the same invoke in this process."""

from collections.abc import Callable
from itertools import chain
from statistics import median

from appliance.adapters.backends.cpu import CpuBackend
from appliance.adapters.backends.exchange import Signature
from appliance.adapters.backends.worker import Worker
from appliance.adapters.clock import SystemClock
from appliance.adapters.model_folder import read_model
from appliance.bench import scene
from appliance.bench.figure import Figure, Progress, at_least, at_most, quantile
from appliance.core.model import Model

ROUNDS = 120
FRAMES = 5
"""Invokes of one side in each round; the two sides take turns every few milliseconds, so that load falls on both."""
OVERHEAD_MS_MAX = 0.3
RATIO_MIN = 0.95
DEADLINE_S = 20.0
"""For each answer: nothing is to fail here."""
ENGINE = "appliance.adapters.backends.engines:CpuEngine"


def measure(progress: Progress, *, rounds: int = ROUNDS) -> list[Figure]:
    """Return what the worker adds to an invoke of the person model (300 x 300 x 3), and the ratio of the rates."""
    model = read_model(scene.PERSON)
    bare = CpuBackend(threads=1)
    bare.open(model)
    bare_s: list[list[float]] = []
    worker_s: list[list[float]] = []
    worker = Worker(ENGINE, {"threads": "1"})
    try:
        invoke = _loaded(worker, model)
        _timed(invoke), _timed(bare.invoke_bare)
        for number in range(rounds):
            progress(f"round {number + 1} of {rounds}")
            bare_s.append(_timed(bare.invoke_bare))
            worker_s.append(_timed(invoke))
    finally:
        worker.quit(DEADLINE_S)
        worker.reap()
        bare.close()
    added_ms = [(median(with_it) - median(without)) * 1e3 for with_it, without in zip(worker_s, bare_s, strict=True)]
    ratio = median(sum(without) / sum(with_it) for with_it, without in zip(worker_s, bare_s, strict=True))
    p99_ms = (quantile(list(chain(*worker_s)), 0.99) - quantile(list(chain(*bare_s)), 0.99)) * 1e3
    size = " x ".join(str(side) for side in model.input.shape[1:])
    beside = f"{size} input, p50 less p50 of a bare invoke, {median(chain(*bare_s)) * 1e3:.3g} ms"
    return [
        at_most("worker_overhead_ms_p50", median(added_ms), "ms", OVERHEAD_MS_MAX, beside),
        Figure("worker_overhead_ms_p99", p99_ms, "ms", note="through the worker less bare invoke, both p99"),
        at_least("worker_throughput", ratio, "", RATIO_MIN, "invokes/s through the worker over bare, person model"),
    ]


def _loaded(worker: Worker, model: Model) -> Callable[[], object]:
    """Load a model on a worker; returns what runs it once."""
    worker.start(DEADLINE_S)
    signature = Signature(model.name, model.version, "model.tflite", model.input, model.outputs)
    number = worker.load(signature, model.tflite, DEADLINE_S)
    tensor = model.golden.inputs[0]
    return lambda: worker.invoke(number, tensor, DEADLINE_S)


def _timed(invoke: Callable[[], object]) -> list[float]:
    """Seconds that each of ``FRAMES`` invokes takes."""
    clock = SystemClock()
    took_s = []
    for _ in range(FRAMES):
        started_s = clock.monotonic_s()
        invoke()
        took_s.append(clock.monotonic_s() - started_s)
    return took_s
