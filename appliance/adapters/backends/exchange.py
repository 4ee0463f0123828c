"""What passes between the loop's process and the worker's: packets for orders, shared memory for tensors.

Packets go over a pair of Unix sockets that keep their bounds (SOCK_SEQPACKET). Each starts with the same head: what it
is, which model it is about, the id of the request and the sequence number of its tensor. Tensors lie in one anonymous
piece of memory for each model (memfd_create(2)): it has no name, so nothing can be left behind in ``/dev/shm``, however
either process ends (decision 0014).

A late answer can never be taken for the next frame's: the id is checked in the packet, and in the memory before the
outputs are read and after.
"""

import json
import mmap
import os
import socket
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from math import prod
from typing import NamedTuple, Self

import numpy as np

from appliance.core.model import Dtype, TensorSpec
from appliance.core.types import Array, Outputs

PACKET_BYTES_MAX = 64 * 1024
"""Longest packet: a description of a model's tensors, or the reason of an error."""
TEXT_CHARACTERS_MAX = 2000
"""Longest reason that is sent."""
ALIGNMENT_BYTES = 64
"""Of each tensor in the memory: a cache line."""
FDS_MAX = 2

_HEAD = struct.Struct("<cIQQ")
_MARKS = struct.Struct("=QQQQ")
_HALF = struct.Struct("=QQ")
_ASKED_AT, _ANSWERED_AT = 0, 16
"""Where each side's half of the marks begins, which it alone writes."""


class Kind(Enum):
    """What a packet says."""

    START = b"S"
    """To the worker: make the engine ready. Body: JSON of its options."""
    FACTS = b"F"
    """From the worker: what it found out about itself, told before what may kill it. Body: JSON of words."""
    LOAD = b"L"
    """To the worker: load a model, at the number given. Body: its description; two files: its bytes, its memory."""
    INVOKE = b"I"
    """To the worker: run the model at the number given on what lies in its memory."""
    DONE = b"D"
    """From the worker: the order with this id is carried out, its outputs lie in the memory."""
    REFUSED = b"R"
    """From the worker: the file contradicts its description. Body: how."""
    FAILED = b"E"
    """From the worker: the order with this id could not be carried out. Body: why."""
    QUIT = b"Q"
    """To the worker: let the hardware go, and end."""


class Packet(NamedTuple):
    """One message."""

    kind: Kind
    number: int = 0
    """Which model: in the order they were loaded, from 0."""
    request: int = 0
    """Id of the request: never used twice while a worker lives."""
    sequence: int = 0
    """Of the tensor in the memory: rises by one with each that is written."""
    body: bytes = b""


def pack(packet: Packet) -> bytes:
    """Return a packet's bytes."""
    return _HEAD.pack(packet.kind.value, packet.number, packet.request, packet.sequence) + packet.body


def unpack(raw: bytes) -> Packet:
    """Read a packet. Raises ValueError for what is none."""
    if len(raw) < _HEAD.size:
        msg = f"a packet of {len(raw)} bytes"
        raise ValueError(msg)
    kind, number, request, sequence = _HEAD.unpack_from(raw)
    return Packet(Kind(kind), number, request, sequence, raw[_HEAD.size :])


def text(words: object) -> bytes:
    """Return the body that tells a reason."""
    return str(words)[:TEXT_CHARACTERS_MAX].encode("utf-8", errors="replace")


def send_files(control: socket.socket, packet: Packet, files: list[int]) -> None:
    """Send a packet with open files. Raises OSError."""
    socket.send_fds(control, [pack(packet)], files)


def receive(control: socket.socket) -> tuple[Packet, list[int]] | None:
    """Wait for a packet, and the files that came with it; None when the other side is gone. Raises OSError."""
    raw, files, _, _ = socket.recv_fds(control, PACKET_BYTES_MAX, FDS_MAX)
    return (unpack(raw), files) if raw else None


@dataclass(frozen=True, slots=True)
class Signature:
    """What the worker needs to know of a model."""

    name: str
    version: str
    file: str
    """What messages call the file."""
    input: TensorSpec
    outputs: Mapping[str, TensorSpec]

    def encode(self) -> bytes:
        """Return it as JSON."""
        outputs = {role: _spec(spec) for role, spec in self.outputs.items()}
        known = {"name": self.name, "version": self.version, "file": self.file}
        return json.dumps({**known, "input": _spec(self.input), "outputs": outputs}).encode()

    @classmethod
    def decode(cls, raw: bytes) -> Self:
        """Read what ``encode`` wrote; both sides are of one program, so a mistake is a bug."""
        tree = json.loads(raw)
        outputs = {role: _tensor(spec) for role, spec in tree["outputs"].items()}
        return cls(tree["name"], tree["version"], tree["file"], _tensor(tree["input"]), outputs)


class Marks(NamedTuple):
    """Which request the tensors in the memory belong to."""

    sequence: int
    """Of the input; 0 before the first, and while it is being written."""
    request: int
    """That the input is of."""
    answered_sequence: int
    answered_request: int
    """That the outputs are of; 0 while they are being written."""


class Area:
    """One model's memory, seen from either side."""

    def __init__(self, file: int, signature: Signature) -> None:
        """Map ``file``, which was made by ``make_memory`` for the same signature; it may be closed afterwards."""
        places, size_bytes = _places(signature)
        self._memory = mmap.mmap(file, size_bytes)
        views = {
            name: np.frombuffer(self._memory, spec.dtype.numpy, prod(spec.shape), offset).reshape(spec.shape)
            for name, (spec, offset) in places.items()
        }
        self.input: Array = views.pop("")
        """A view of the input tensor."""
        self._outputs: Outputs = views
        self._sequence = 0

    @property
    def marks(self) -> Marks:
        """Which request the tensors belong to now."""
        return Marks(*_MARKS.unpack_from(self._memory))

    def ask(self, tensor: Array, request: int) -> int:
        """Write an input, marked as no request's while it is half there; returns its sequence number."""
        self._mark(_ASKED_AT, 0, 0)
        np.copyto(self.input, tensor)
        self._sequence += 1
        self._mark(_ASKED_AT, self._sequence, request)
        return self._sequence

    def answer(self, outputs: Outputs, request: int, sequence: int) -> None:
        """Write every output; marked as no request's while they are half there."""
        self._mark(_ANSWERED_AT, 0, 0)
        for role, place in self._outputs.items():
            np.copyto(place, outputs[role])
        self._mark(_ANSWERED_AT, sequence, request)

    def is_asked(self, request: int, sequence: int) -> bool:
        """Whether the input is that request's, whole."""
        marks = self.marks
        return (marks.request, marks.sequence) == (request, sequence)

    def outputs_of(self, request: int, sequence: int) -> Outputs | None:
        """Return copies of the outputs if they are that request's, whole, before and after copying; else None."""
        wanted = (request, sequence)
        if (self.marks.answered_request, self.marks.answered_sequence) != wanted:
            return None
        copies = {role: values.copy() for role, values in self._outputs.items()}
        return copies if (self.marks.answered_request, self.marks.answered_sequence) == wanted else None

    def _mark(self, offset: int, sequence: int, request: int) -> None:
        _HALF.pack_into(self._memory, offset, sequence, request)


def make_memory(name: str, size_bytes: int) -> int:
    """Return an open, anonymous file in memory. Raises OSError."""
    file = os.memfd_create(name, os.MFD_CLOEXEC)
    try:
        os.ftruncate(file, size_bytes)
    except OSError:
        os.close(file)
        raise
    return file


def area_bytes(signature: Signature) -> int:
    """How much memory a model's tensors take, marks included."""
    return _places(signature)[1]


def _places(signature: Signature) -> tuple[dict[str, tuple[TensorSpec, int]], int]:
    """Return each tensor's offset by role (the input's is empty), and the end."""
    places: dict[str, tuple[TensorSpec, int]] = {}
    offset = _aligned(_MARKS.size)
    for role, spec in {"": signature.input, **signature.outputs}.items():
        places[role] = (spec, offset)
        offset = _aligned(offset + prod(spec.shape) * spec.dtype.numpy.itemsize)
    return places, offset


def _aligned(offset: int) -> int:
    return -(-offset // ALIGNMENT_BYTES) * ALIGNMENT_BYTES


def _spec(spec: TensorSpec) -> list[object]:
    return [spec.name, list(spec.shape), spec.dtype.value, spec.scale, spec.zero_point]


def _tensor(fields: list[object]) -> TensorSpec:
    name, shape, dtype, scale, zero_point = fields
    assert isinstance(shape, list)
    return TensorSpec(str(name), tuple(shape), Dtype(str(dtype)), float(str(scale)), int(str(zero_point)))
