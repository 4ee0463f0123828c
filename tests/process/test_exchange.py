"""What passes between the loop's process and the worker's, seen from both sides: packets, and memory with marks.

No process is started: two views of one memory are what two processes have of it.
"""

import os
import socket
import struct
from collections.abc import Callable
from dataclasses import replace
from itertools import combinations
from math import prod

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.adapters.backends import exchange
from appliance.adapters.backends.exchange import ALIGNMENT_BYTES, Area, Kind, Marks, Packet, Signature
from appliance.adapters.model_folder import read_model
from appliance.core.model import Dtype, Model, TensorSpec
from appliance.core.types import Array, Outputs
from tests.model_folders import FOLDERS
from tests.workers import TWINS_SIGNATURE, memory, open_files, own_answer, own_files, same, signature_of, tensor

MODELS = [read_model(folder) for folder in FOLDERS]
U32, U64 = st.integers(0, 2**32 - 1), st.integers(0, 2**64 - 1)
PACKETS = st.builds(Packet, st.sampled_from(Kind), U32, U64, U64, st.binary(max_size=100))


class TestPackets:
    @given(packet=PACKETS)
    def test_one_is_read_as_it_was_written(self, packet: Packet) -> None:
        assert exchange.unpack(exchange.pack(packet)) == packet

    @given(raw=st.binary(max_size=60))
    def test_any_bytes_are_a_packet_or_are_refused(self, raw: bytes) -> None:
        try:
            packet = exchange.unpack(raw)
        except ValueError:
            return
        assert exchange.pack(packet) == raw

    def test_they_keep_their_bounds_and_bring_their_files(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with ours, theirs:
            file = exchange.make_memory("model", 3)
            os.pwrite(file, b"abc", 0)
            exchange.send_files(ours, Packet(Kind.LOAD, body=b"x" * 10_000), [file])
            exchange.send_files(ours, Packet(Kind.QUIT), [])
            os.close(file)
            first, second = exchange.receive(theirs), exchange.receive(theirs)
            assert first is not None
            packet, [theirs_of_it] = first
            assert packet == Packet(Kind.LOAD, body=b"x" * 10_000)
            assert os.pread(theirs_of_it, 10, 0) == b"abc"
            os.close(theirs_of_it)
            assert second == (Packet(Kind.QUIT), [])
            ours.close()
            assert exchange.receive(theirs) is None

    def test_the_longest_reason_fits_whatever_it_is_written_in(self) -> None:
        for words in ("x" * 10_000, "\U0001f525" * 10_000, "\ud800 no character at all", ValueError("odd")):
            body = exchange.text(words)
            assert len(exchange.pack(Packet(Kind.FAILED, body=body))) <= exchange.PACKET_BYTES_MAX
            assert body.decode("utf-8")


class TestSignature:
    @pytest.mark.parametrize("model", MODELS, ids=lambda model: model.name)
    def test_of_every_bundled_model_is_read_as_it_was_written(self, model: Model) -> None:
        signature = signature_of(model)
        raw = signature.encode()
        assert Signature.decode(raw) == replace(signature, outputs=dict(signature.outputs))
        assert len(exchange.pack(Packet(Kind.LOAD, body=raw))) <= exchange.PACKET_BYTES_MAX


class Sides:
    """One model's memory, as both sides see it."""

    def __init__(self, signature: Signature = TWINS_SIGNATURE, parent: type[Area] = Area) -> None:
        file = exchange.make_memory("tensors", exchange.area_bytes(signature))
        self.parent, self.worker = parent(file, signature), Area(file, signature)
        os.close(file)

    def ask(self, number: float, request: int) -> int:
        """Ask as the parent does; returns the sequence number."""
        return self.parent.ask(tensor(number), request)

    def mark(self, marks: Marks) -> None:
        """Write marks as nobody does who keeps the rules."""
        struct.pack_into("=QQQQ", self.parent._memory, 0, *marks)


class TestMemory:
    def test_it_has_no_name_that_could_be_left_behind(self) -> None:
        before = memory("self")
        sides = Sides()
        assert memory("self") - before <= {"/memfd:tensors (deleted)"}
        assert sides.parent.marks == Marks(0, 0, 0, 0)
        file = exchange.make_memory("tensors", 10)
        assert not os.get_inheritable(file)
        assert os.fstat(file).st_nlink == 0
        os.close(file)

    def test_that_there_is_not_leaves_no_file_open(self) -> None:
        before = own_files()
        with pytest.raises(OSError, match="Invalid argument"):
            exchange.make_memory("tensors", -1)
        assert open_files() == before

    def test_is_let_go_with_the_area(self) -> None:
        before = own_files()
        sides = Sides()
        sides.ask(1, 1)
        sides.worker.answer(own_answer(tensor(1)), 1, 1)
        outputs = sides.parent.outputs_of(1, 1)
        del sides
        assert open_files() == before
        assert outputs is not None
        assert same(outputs, own_answer(tensor(1))), "what was copied is there still"

    @pytest.mark.parametrize("model", MODELS, ids=lambda model: model.name)
    def test_no_tensor_lies_on_another_or_on_the_marks(self, model: Model) -> None:
        signature = signature_of(model)
        sides = Sides(signature)
        tensors = [sides.parent.input, *sides.parent._outputs.values()]
        assert not any(np.shares_memory(one, other) for one, other in combinations(tensors, 2))
        assert all(each.ctypes.data % ALIGNMENT_BYTES == 0 for each in tensors)
        for each in tensors:
            each.view(np.uint8).fill(255)
        assert sides.worker.marks == Marks(0, 0, 0, 0)

    @pytest.mark.parametrize("model", MODELS, ids=lambda model: model.name)
    def test_input_and_outputs_are_seen_on_the_other_side_as_they_are(self, model: Model) -> None:
        signature = signature_of(model)
        sides = Sides(signature)
        chance = np.random.default_rng(1)
        asked = _some(signature.input, chance)
        given = {role: _some(spec, chance) for role, spec in signature.outputs.items()}
        sequence = sides.parent.ask(asked, 7)
        assert sides.worker.is_asked(7, sequence)
        assert np.array_equal(sides.worker.input, asked)
        sides.worker.answer(given, 7, sequence)
        outputs = sides.parent.outputs_of(7, sequence)
        assert outputs is not None
        assert same(outputs, given)
        assert np.array_equal(sides.parent.input, asked)


def _some(spec: TensorSpec, chance: np.random.Generator) -> Array:
    if spec.dtype is Dtype.FLOAT32:
        return chance.standard_normal(spec.shape).astype(np.float32)
    raw = chance.bytes(prod(spec.shape) * spec.dtype.numpy.itemsize)
    return np.frombuffer(raw, spec.dtype.numpy).reshape(spec.shape)


class TestMarks:
    """Outputs are taken for a request's only while every mark says so, before they are copied and after."""

    @pytest.mark.parametrize(
        "wrong",
        [
            Marks(1, 5, 1, 4),
            Marks(1, 5, 1, 6),
            Marks(1, 5, 2, 5),
            Marks(1, 5, 0, 5),
            Marks(1, 5, 1, 0),
            Marks(1, 5, 0, 0),
        ],
        ids=["earlier", "later", "of another tensor", "half marked", "half marked too", "being written"],
    )
    def test_outputs_with_any_other_mark_are_nobodys(self, wrong: Marks) -> None:
        sides = Sides()
        sides.worker.answer(own_answer(tensor(1)), 5, sides.ask(1, 5))
        assert sides.parent.outputs_of(5, 1) is not None
        sides.mark(wrong)
        assert sides.parent.outputs_of(5, 1) is None

    @pytest.mark.parametrize("wrong", [Marks(0, 0, 0, 0), Marks(1, 4, 0, 0), Marks(2, 5, 0, 0), Marks(0, 5, 0, 0)])
    def test_an_input_with_any_other_mark_is_not_run(self, wrong: Marks) -> None:
        sides = Sides()
        assert sides.ask(1, 5) == 1
        assert sides.worker.is_asked(5, 1)
        sides.mark(wrong)
        assert not sides.worker.is_asked(5, 1)

    def test_an_input_that_a_bug_leaves_half_written_is_nobodys(self) -> None:
        sides = Sides()
        sides.ask(1, 5)
        with pytest.raises(ValueError, match="broadcast"):
            sides.parent.ask(np.zeros((1, 3), np.float32), 6)
        assert not sides.worker.is_asked(5, 1)
        assert not sides.worker.is_asked(6, 2)

    def test_outputs_that_a_bug_leaves_half_written_are_nobodys(self) -> None:
        sides = Sides()
        sequence = sides.ask(1, 5)
        sides.worker.answer(own_answer(tensor(1)), 5, sequence)
        with pytest.raises(KeyError):
            sides.worker.answer({"minus": tensor(2)}, 6, sequence)
        assert sides.parent.outputs_of(5, sequence) is None
        assert sides.parent.outputs_of(6, sequence) is None

    @pytest.mark.parametrize("at", range(1, 5))
    def test_outputs_that_change_while_they_are_looked_at_are_nobodys_or_were_copied_before(self, at: int) -> None:
        sides = Sides(parent=_Meddled)
        sequence = sides.ask(1, 5)
        sides.worker.answer(own_answer(tensor(1)), 5, sequence)
        assert isinstance(sides.parent, _Meddled)
        sides.parent.reads, sides.parent.at = 0, at
        sides.parent.act = lambda: sides.worker.answer(own_answer(tensor(2)), 6, sequence)
        outputs = sides.parent.outputs_of(5, sequence)
        assert outputs is None or same(outputs, own_answer(tensor(1)))
        assert sides.worker.marks.answered_request == 6 or outputs is None, "the worker did meddle"

    def test_each_side_leaves_the_marks_of_the_other_alone(self) -> None:
        sides = Sides()
        sides.mark(Marks(1, 2, 3, 4))
        assert sides.ask(1, 9) == 1
        assert sides.parent.marks == Marks(1, 9, 3, 4)
        sides.worker.answer(own_answer(tensor(1)), 8, 7)
        assert sides.parent.marks == Marks(1, 9, 7, 8)


class _Meddled(Area):
    """The parent's view, while the worker answers another request just before the marks are read for the nth time."""

    reads = 0
    at = 0
    act: Callable[[], None] | None = None

    @property
    def marks(self) -> Marks:
        """Act, and read them."""
        self.reads += 1
        if self.reads == self.at and self.act is not None:
            self.act()
        return super().marks


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["ask", "answer", "answer late", "answer foreign", "tear", "take", "take", "take earlier"]),
        st.integers(1, 3),
    ),
    max_size=25,
)


@given(steps=STEPS)
def test_whoever_writes_what_in_whatever_order_outputs_are_taken_only_by_the_request_they_are_of(
    steps: list[tuple[str, int]],
) -> None:
    sides = Sides()
    asked: list[tuple[int, int]] = [(0, 0)]
    written: dict[tuple[int, int], Outputs] = {}
    whole: tuple[int, int] | None = None
    for number, (step, back) in enumerate(steps):
        (newest_request, newest_sequence) = asked[-1]
        earlier = asked[max(0, len(asked) - 1 - back)]
        if step == "ask":
            asked.append((newest_request + 1, sides.ask(number, newest_request + 1)))
        elif step == "tear":
            sides.worker._mark(16, 0, 0)
            whole = None
        elif step.startswith("answer"):
            whole = {"late": earlier, "foreign": (newest_request + back, newest_sequence)}.get(
                step.partition(" ")[2], asked[-1]
            )
            written[whole] = own_answer(tensor(number))
            sides.worker.answer(written[whole], *whole)
        else:
            wanted = earlier if step == "take earlier" else asked[-1]
            outputs = sides.parent.outputs_of(*wanted)
            if wanted == (0, 0):
                continue
            assert (outputs is not None) == (whole == wanted)
            assert outputs is None or same(outputs, written[wanted])
