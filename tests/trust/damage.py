"""Damaged bundles: small sound ones, every way to damage them, and what may come of it: nothing, or the right thing."""

import resource
import signal
import struct
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np

from appliance.errors import BundleError
from appliance.hub.delta import box
from appliance.hub.delta.packing import varint
from appliance.trust import bundle
from appliance.trust.bundle import BLOCK_BITS, KINDS, Entry
from appliance.trust.delta import MEMORY_BYTES, SIZE_BYTES_MAX, Kind, Sink
from appliance.trust.delta.tad_plan import Kind as Typed
from appliance.trust.delta.tad_plan import plan
from tests.model_folders import TINY
from tests.trust.bundles import Part, written

WORK_CPU_S = 600
"""For all bundles of one process: what hangs is ended then, however slow the machine is."""
WORKER_S = 1200.0
BASE_ID = b"b" * 32
SLACK_BYTES = 16 * 1024 * 1024
Rng = np.random.Generator


@dataclass(frozen=True, slots=True)
class Subject:
    """A sound bundle of two files, the second by the kind under test."""

    kind: Kind
    base: bytes
    result: bytes
    payload: bytes

    def written(self, **changed: object) -> bytes:
        """Write the bundle, with something changed in its second entry."""
        part = Part(b"f.tflite", self.result, KINDS.index(self.kind), payload=self.payload)
        return written(Part(), replace(part, **changed), base_id=BASE_ID, block_bits=BLOCK_BITS[-1])  # type: ignore[arg-type]  # of Part


def _moved(base: bytes, rng: Rng) -> bytes:
    return base[400:] + rng.bytes(20) + base[:400]


def _edited(base: bytes, _rng: Rng) -> bytes:
    return base[:50] + b"new" + base[53:300] + bytes([base[300] + 1 & 255]) + base[301:] + b"x" * 70


def _shaken(base: bytes, rng: Rng) -> bytes:
    return (np.frombuffer(base, np.uint8) + (rng.random(len(base)) < 0.2).astype(np.uint8)).tobytes() + b"more"


def _tuned(network: bytes, rng: Rng) -> bytes:
    made = bytearray(network)
    for each in plan(network):
        if each.kind in {Typed.WEIGHT, Typed.BIAS, Typed.SCALE} and rng.integers(2):
            made[each.base[0]] ^= 1
    return bytes(made)


_PAIRS: Mapping[str, tuple[Kind, Callable[[bytes, Rng], bytes]]] = {
    "copy": (Kind.COPY, lambda base, _: base),
    "full-xz": (Kind.FULL_XZ, lambda _, rng: b"label one\nlabel two\n" * 9 + rng.bytes(60)),
    "sub-xz": (Kind.SUB_XZ, _shaken),
    "copy-add, moved": (Kind.COPY_ADD, _moved),
    "copy-add, edited": (Kind.COPY_ADD, _edited),
    "copy-add, shaken": (Kind.COPY_ADD, _shaken),
    "tad1": (Kind.TAD1, _tuned),
}
NAMES = tuple(_PAIRS)
"""Of the small sound bundles: one of each kind, copy-add in all its shapes."""


@cache
def subject(name: str) -> Subject:
    """Make a small sound bundle."""
    (kind, change), rng = _PAIRS[name], np.random.default_rng(7)
    base = (TINY / "model.tflite").read_bytes() if kind is Kind.TAD1 else rng.bytes(700) + bytes(100)
    result = change(base, rng)
    payload = b"" if kind is Kind.COPY else box.ENCODERS[kind](base, result)
    assert payload is not None
    return Subject(kind, base, result, payload)


def outcome(content: bytes, base: bytes, expected: bytes) -> str:
    """Apply and prove a damaged bundle: ``refused``, ``caught`` by a digest, ``right``, or what is wrong with it."""
    made: dict[str, bytearray] = {}

    def open_sink(entry: Entry) -> Sink:
        if entry.size_bytes > 2 * len(expected):  # the medium's trouble, not memory's
            return lambda _offset, _piece: None
        file = made[entry.path] = bytearray(entry.size_bytes)

        def write(offset: int, piece: bytes | memoryview) -> None:
            file[offset : offset + len(piece)] = piece

        return write

    try:
        bundle.apply(content, {"f.tflite": base}, open_sink)
    except BundleError:
        return "refused"
    try:
        for entry in bundle.read_header(content).entries:
            bundle.check(entry, [made.get(entry.path, b"")])
    except BundleError:
        return "caught"
    right = Part().content, expected
    return "right" if sorted(map(bytes, made.values())) == sorted(right) else "another result that passes for right"


def flipped(content: bytes) -> Iterator[bytes]:
    """Flip every bit, one after the other."""
    for place in range(8 * len(content)):
        damaged = bytearray(content)
        damaged[place // 8] ^= 1 << place % 8
        yield bytes(damaged)


def cut(content: bytes) -> Iterator[bytes]:
    """Cut at every length."""
    yield from (content[:size_bytes] for size_bytes in range(len(content)))


def mutated(subject: Subject, rng: Rng) -> tuple[bytes, bytes]:
    """Return a bundle and a base: damaged in the payload, all sound around it; in the entry; anywhere; in the base."""
    way = rng.integers(10)
    if way < 6:
        return subject.written(payload=_damaged(subject.payload, rng)), subject.base
    if way == 6:
        size_bytes = int(rng.choice([0, 1, len(subject.result) ^ 1, 2**16, 2**20, SIZE_BYTES_MAX, 2**40]))
        return subject.written(size_bytes=size_bytes), subject.base
    if way == 7:
        return subject.written(kind=int(rng.integers(7))), subject.base
    if way == 8:
        return _damaged(subject.written(), rng), subject.base
    return subject.written(), _damaged(subject.base, rng)


def _damaged(content: bytes, rng: Rng) -> bytes:
    """Flip, overwrite, put in, leave out, repeat, or put a number there that is huge; once or several times."""
    made = bytearray(content)
    for _ in range(rng.integers(1, 4)):
        start = int(rng.integers(len(made) + 1))
        end = start + int(rng.integers(1, 9))
        way = rng.integers(6)
        if way == 0 and start < len(made):
            made[start] ^= 1 << rng.integers(8)
        elif way == 1:
            made[start:end] = rng.bytes(end - start)
        elif way == 2:
            made[start:start] = rng.bytes(end - start)
        elif way == 3:
            del made[start : end if rng.integers(4) else len(made)]
        elif way == 4:
            made[start:start] = made[start:end]
        else:
            made[start:end] = rng.choice(
                [varint(2**31), varint(2**63), varint(SIZE_BYTES_MAX), struct.pack("<i", -1), bytes(4)]
            )
    return bytes(made)


def storm(subject: Subject, seeds: range) -> Counter[str]:
    """Apply one damaged bundle after the other; count what came of them. Whatever is raised has its seed as a note."""
    found: Counter[str] = Counter()
    for seed in seeds:
        content, base = mutated(subject, np.random.default_rng(seed))
        try:
            found[outcome(content, base, subject.result)] += 1
        except BaseException as error:
            error.add_note(f"a damaged {subject.kind}, seed {seed}")
            raise
    return found


def every(subject: Subject) -> Counter[str]:
    """Flip every bit and cut at every length; count what came of it."""
    whole = subject.written()
    return Counter(outcome(each, subject.base, subject.result) for each in (*flipped(whole), *cut(whole)))


def confined(subject: Subject, work: Callable[[], Counter[str]]) -> Counter[str]:
    """Do work in a process that has the memory that applying ``subject`` may take, and ends where it hangs."""
    receiver, sender = get_context("fork").Pipe(duplex=False)
    process = get_context("fork").Process(target=_confined, args=(subject, work, sender))
    process.start()
    sender.close()
    try:
        assert receiver.poll(WORKER_S), "no answer"
        return receiver.recv()  # type: ignore[no-any-return]  # what _confined sends
    except EOFError:
        process.join(WORKER_S)
        msg = f"ended by {process.exitcode}; -{signal.SIGXCPU} would be a hang"
        raise AssertionError(msg) from None
    finally:
        process.kill()
        process.join(WORKER_S)


def _confined(subject: Subject, work: Callable[[], Counter[str]], sender: Connection) -> None:
    resource.setrlimit(resource.RLIMIT_CPU, (WORK_CPU_S,) * 2)
    memory_bytes = MEMORY_BYTES[subject.kind](SIZE_BYTES_MAX, len(subject.base)) + SLACK_BYTES
    there_bytes = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (there_bytes + memory_bytes,) * 2)
    sender.send(work())
