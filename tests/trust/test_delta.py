"""Every kind of delta gives back exactly what was encoded, and refuses what is none of it."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.errors import BundleError
from appliance.hub.delta import box
from appliance.hub.delta import copyadd as encoder
from appliance.hub.delta.packing import pack, varint
from appliance.trust import delta
from appliance.trust.delta import MEMORY_BYTES, SIZE_BYTES_MAX, Kind, apply
from appliance.trust.delta.blobs import CHUNK_BYTES, STORED
from appliance.trust.delta.copyadd import COLUMNS, CONTROL_BYTES_MAX, IN_PLACE, JOINED, decode
from appliance.trust.model import FILE_BYTES_MAX

GENERIC = (Kind.FULL_XZ, Kind.SUB_XZ, Kind.COPY_ADD)
BASE = bytes(np.random.default_rng(5).integers(0, 256, 3000, np.uint8))


def made(kind: Kind, payload: bytes, base: bytes, size_bytes: int) -> bytes:
    """Apply into memory; each byte must be given once."""
    result, given = bytearray(size_bytes), bytearray(size_bytes)

    def sink(offset: int, content: bytes | memoryview) -> None:
        result[offset : offset + len(content)] = content
        given[offset : offset + len(content)] = bytes(each + 1 for each in given[offset : offset + len(content)])

    apply(kind, payload, base, size_bytes, sink)
    assert set(given) <= {1}
    return bytes(result)


@st.composite
def pairs(draw: st.DrawFn) -> tuple[bytes, bytes]:
    """A base, and a result made of pieces of it: kept, changed here and there, moved, left out, put in, repeated."""
    base = draw(st.binary(max_size=300))
    pieces = []
    for _ in range(draw(st.integers(0, 6))):
        start = draw(st.integers(0, len(base)))
        piece = bytearray(base[start : start + draw(st.integers(0, 200))])
        for place in draw(st.lists(st.integers(0, 199), max_size=5)):
            if place < len(piece):
                piece[place] = draw(st.integers(0, 255))
        pieces += [bytes(piece), draw(st.binary(max_size=20))]
    return base, b"".join(pieces)


class TestEveryKind:
    @pytest.mark.parametrize("kind", [Kind.FULL_XZ, Kind.SUB_XZ])
    @given(pair=pairs())
    def test_gives_back_what_was_encoded(self, kind: Kind, pair: tuple[bytes, bytes]) -> None:
        base, result = pair
        payload = box.ENCODERS[kind](base, result)
        assert payload is not None
        assert made(kind, payload, base, len(result)) == result

    @pytest.mark.parametrize("kind", GENERIC)
    @pytest.mark.parametrize(
        ("base", "result"),
        [
            (b"", b""),
            (b"", b"a"),
            (b"a", b""),
            (BASE, BASE),
            (BASE, BASE[:-1]),
            (BASE, BASE + b"label\n"),
            (bytes(CHUNK_BYTES), bytes(CHUNK_BYTES + 1)),
            (bytes(3 * CHUNK_BYTES), bytes(CHUNK_BYTES) + b"\1" + bytes(CHUNK_BYTES)),
        ],
        ids=["nothing", "from nothing", "to nothing", "same", "shorter", "longer", "a chunk and one", "several chunks"],
    )
    def test_masters_the_edges(self, kind: Kind, base: bytes, result: bytes) -> None:
        payload = box.ENCODERS[kind](base, result)
        assert payload is not None
        assert made(kind, payload, base, len(result)) == result

    @pytest.mark.parametrize("kind", GENERIC)
    def test_does_not_make_more_or_less_than_was_asked_for(self, kind: Kind) -> None:
        payload = box.ENCODERS[kind](b"", BASE)
        assert payload is not None
        for size_bytes in (0, len(BASE) - 1, len(BASE) + 1, 2 * len(BASE)):
            with pytest.raises(BundleError):
                made(kind, payload, b"", size_bytes)

    @pytest.mark.parametrize("kind", [*GENERIC, Kind.TAD1])
    def test_refuses_a_payload_that_is_none(self, kind: Kind) -> None:
        for payload in (b"", b"\xff", b"\xff" * 100, BASE):
            with pytest.raises(BundleError):
                apply(kind, payload, BASE, 1000, lambda _offset, _content: None)

    def test_takes_a_base_that_is_a_view(self) -> None:
        payload = box.ENCODERS[Kind.SUB_XZ](BASE, BASE[::-1])
        assert payload is not None
        result = bytearray()
        apply(Kind.SUB_XZ, memoryview(payload), memoryview(BASE), len(BASE), lambda _, piece: result.extend(piece))
        assert result == BASE[::-1]

    def test_has_a_bound_of_its_memory_that_does_not_hang_on_the_payload(self) -> None:
        assert MEMORY_BYTES.keys() == set(Kind)
        for kind in GENERIC:
            assert MEMORY_BYTES[kind](3_000_000, 3_000_000) < 24 * 1024 * 1024
            assert MEMORY_BYTES[kind](SIZE_BYTES_MAX, 0) == MEMORY_BYTES[kind](SIZE_BYTES_MAX // 2, 0)


class TestApply:
    def test_refuses_a_result_that_no_folder_may_have_before_it_begins(self) -> None:
        assert SIZE_BYTES_MAX == FILE_BYTES_MAX
        for size_bytes in (-1, SIZE_BYTES_MAX + 1):
            with pytest.raises(BundleError, match="at most"):
                apply(Kind.FULL_XZ, b"", b"", size_bytes, lambda _offset, _content: pytest.fail("given"))

    @pytest.mark.parametrize(
        "pieces",
        [[(0, b"abc")], [(0, b"abcde")], [(1, b"abcd")], [(-1, b"abcd")], [(0, b"abcd"), (0, b"a")], []],
        ids=["too little", "too much", "beyond the end", "before the start", "twice", "nothing"],
    )
    def test_holds_a_decoder_to_the_size(
        self, pieces: list[tuple[int, bytes]], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def wrong(_payload: bytes, _base: bytes, _size_bytes: int, sink: delta.Sink) -> None:
            for offset, piece in pieces:
                sink(offset, piece)

        monkeypatch.setattr(delta, "_DECODERS", {Kind.TAD1: wrong})
        with pytest.raises(BundleError, match=r"^tad1 makes "):
            apply(Kind.TAD1, b"", b"", 4, lambda _offset, _content: None)

    def test_copies_a_file_that_stays_as_it_is(self) -> None:
        assert made(Kind.COPY, b"", BASE, len(BASE)) == BASE
        for payload, base in ((b"x", BASE), (b"", BASE[1:])):
            with pytest.raises(BundleError, match="copy"):
                made(Kind.COPY, payload, base, len(BASE))


def steps(flags: int, *columns: list[int], changes: bytes = b"", insertions: bytes = b"") -> bytes:
    """Write a copy-add by hand."""
    control = b"".join(varint(number) for column in columns for number in column)
    if flags & JOINED:
        literals = changes + insertions
        return bytes([flags]) + varint(len(control)) + varint(len(literals)) + pack(control + literals)
    return bytes([flags]) + varint(len(control)) + pack(control) + pack(changes) + pack(insertions)


COPIED, CHANGED, INSERTED, JUMPS = COLUMNS


class TestCopyAdd:
    @given(pair=pairs())
    def test_gives_back_what_was_encoded_by_whatever_plan(self, pair: tuple[bytes, bytes]) -> None:
        base, result = pair
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(encoder, "pack", lambda content: bytes([STORED]) * bool(content) + content)  # packing is slow
            plans = list(encoder._plans(base, result))
            payloads = [payload for plan in plans for payload in encoder._payloads(plan)]
        assert all(made(Kind.COPY_ADD, payload, base, len(result)) == result for payload in payloads)

    @pytest.mark.parametrize("joined", [0, JOINED])
    @pytest.mark.parametrize(
        ("payload", "result"),
        [
            (steps, b"abcdefgh"),
            (lambda joined: steps(joined | COPIED | CHANGED, [2], [1], changes=b"\1"), b"abddefgh"),
            (lambda joined: steps(joined | COPIED | INSERTED, [2], [1], insertions=b"-"), b"ab-cdefg"),
            (lambda joined: steps(joined | COPIED | INSERTED | IN_PLACE, [2], [1], insertions=b"-"), b"ab-defgh"),
            (lambda joined: steps(joined | COPIED | JUMPS, [2, 2], [4, 11]), b"abefabcd"),
        ],
        ids=["nothing", "changed", "inserted", "in place", "there and back"],
    )
    def test_does_what_its_page_says(self, joined: int, payload: Callable[[int], bytes], result: bytes) -> None:
        assert made(Kind.COPY_ADD, payload(joined), b"abcdefgh", 8) == result

    @pytest.mark.parametrize(
        "payload",
        [
            steps(64),
            steps(COPIED, [9]),
            steps(COPIED | JUMPS, [1, 1], [15, 0]),
            steps(COPIED | JUMPS, [1, 1], [1, 0]) + b"x",
            steps(COPIED | JUMPS, [1, 1], [3, 0]),
            steps(CHANGED, [2], changes=b"\1"),
            steps(CHANGED, [9], changes=bytes(9)),
            steps(JOINED | INSERTED, [2], insertions=b"abc"),
            steps(COPIED | CHANGED, [1, 1], [1], changes=b"\1"),
            steps(INSERTED, [2**70], insertions=b""),
            steps(COPIED, [5, 5]),
            bytes([COPIED]) + varint(CONTROL_BYTES_MAX + 1) + pack(bytes(CONTROL_BYTES_MAX + 1)),
            steps(0, [1]),
        ],
        ids=[
            "unknown flags",
            "more than the base has",
            "from behind the base",
            "something behind it",
            "from before the base",
            "fewer changes than said",
            "more than the result has",
            "another size joined",
            "a column too short",
            "a number without end",
            "two steps too much",
            "columns too long",
            "numbers for no column",
        ],
    )
    def test_refuses_what_cannot_be(self, payload: bytes) -> None:
        with pytest.raises(BundleError):
            made(Kind.COPY_ADD, payload, b"abcdefgh", 8)

    def test_does_not_go_on_making_what_nobody_asked_for(self) -> None:
        again = 15  # 8 back
        bomb = steps(COPIED | JUMPS, [8] * 20_000, [again] * 20_000)
        with pytest.raises(BundleError, match="more than 8 bytes"):
            decode(bomb, b"abcdefgh", 8, lambda _offset, _content: pytest.fail("given"))
