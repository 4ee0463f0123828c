"""Applying takes the memory that is signed, and no more, for a real network of 3.8 MB."""

import ctypes
import resource
from collections.abc import Callable
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import pytest

from appliance.hub.bundle import SLACK_BYTES
from appliance.hub.delta import box
from appliance.trust.delta import MEMORY_BYTES, Kind, apply
from appliance.trust.delta.tad_plan import Kind as Typed
from appliance.trust.delta.tad_plan import plan
from tests.model_folders import PERSON

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

RESIDENT_BYTES_MAX = 16 * 1024 * 1024
"""What applying may take on a device for a model of 3 MB, over the interpreter's own memory."""
WORKER_S = 200.0


def _shaken(network: bytes) -> bytes:
    """Change a quarter of all weights by a step: the hardest that is still a fine-tune."""
    rng = np.random.default_rng(3)
    made = np.frombuffer(network, np.uint8).copy()
    for each in plan(network):
        if each.kind is Typed.WEIGHT:
            made[each.base[0] : each.base_end] += rng.choice(np.array([0, 0, 1, 255], np.uint8), each.base[1])
    return made.tobytes()


def _moved(network: bytes) -> bytes:
    return network[1_000_000:] + b"labels" + network[:1_000_000]


CASES: tuple[tuple[Kind, Callable[[bytes], bytes]], ...] = (
    (Kind.FULL_XZ, _moved),
    (Kind.SUB_XZ, _shaken),
    (Kind.COPY_ADD, _shaken),
    (Kind.TAD1, _shaken),
    (Kind.COPY, lambda network: network),
)


@pytest.mark.parametrize(("kind", "change"), CASES, ids=[f"{kind}, {change.__name__}" for kind, change in CASES])
def test_applying_keeps_within_what_is_signed(kind: Kind, change: Callable[[bytes], bytes]) -> None:
    base = (PERSON / "model.tflite").read_bytes()
    result = change(base)
    payload = b"" if kind is Kind.COPY else box.ENCODERS[kind](base, result)
    assert payload is not None
    receiver, sender = get_context("fork").Pipe(duplex=False)
    process = get_context("fork").Process(target=_apply, args=(kind, payload, base, result, sender))
    process.start()
    sender.close()
    try:
        assert receiver.poll(WORKER_S)
        took_bytes = receiver.recv()  # EOFError: it died, most likely of the bound
    finally:
        process.kill()
        process.join(WORKER_S)
    print(kind, len(payload), "bytes;", took_bytes // 1024, "KiB resident;", MEMORY_BYTES[kind](len(result), len(base)))
    assert took_bytes <= RESIDENT_BYTES_MAX


def _apply(kind: Kind, payload: bytes, base: bytes, result: bytes, sender: Connection) -> None:
    """Apply under the limit of a device's child, compare, and send the peak of the resident memory over the start's."""
    ctypes.CDLL(None).malloc_trim(0)  # what the parent has freed is not there for this process to use
    there_bytes = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    limit_bytes = there_bytes + MEMORY_BYTES[kind](len(result), len(base)) + SLACK_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (limit_bytes, limit_bytes))
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts from here (proc(5))
    before_bytes = _resident()
    same = True

    def compare(offset: int, content: bytes | memoryview) -> None:
        nonlocal same
        same = same and content == memoryview(result)[offset : offset + len(content)]

    apply(kind, payload, base, len(result), compare)
    assert same
    sender.send(_resident() - before_bytes)


def _resident() -> int:
    """Return the peak of the resident memory."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))
