"""Streams of symbols and packed strings: what was written is read, and what was cut or changed is refused."""

from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.errors import BundleError
from appliance.hub.delta.packing import pack, varint, zigzag
from appliance.hub.delta.tad_numbers import write_numbers
from appliance.hub.delta.tad_symbols import code_of, coded
from appliance.trust.delta.blobs import Blob, unpack
from appliance.trust.delta.rans import (
    LANES_MAX,
    STEPS_MAX,
    TOTAL,
    Decoder,
    count_of,
    frequencies,
    read_tables,
    tables_of,
)
from appliance.trust.delta.streams import Reader
from appliance.trust.delta.tad_numbers import read_map, read_numbers

CONTEXTS = 5
FEW = 6
"""Examples of what takes long; more in test_tad_slow.py."""


@st.composite
def streams(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Symbols and contexts: one symbol alone, few, or all; likely ones and rare ones; of one lane and of several."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    count = draw(st.one_of(st.integers(1, 40), st.sampled_from([2_499, 5_001])))
    spread = draw(st.sampled_from([0.0, 0.1, 3.0, 80.0]))
    contexts = rng.integers(0, draw(st.integers(1, CONTEXTS)), count)
    return np.rint(rng.normal(size=count) * spread * (1 + contexts)).astype(np.int64) % 256, contexts


def written(symbols: np.ndarray, contexts: np.ndarray) -> bytes:
    return coded(symbols, contexts, CONTEXTS)


def read(content: bytes, contexts: np.ndarray, block: int = 1_000) -> np.ndarray:
    reader = Reader(content)
    tables = read_tables(reader)
    used = read_map(reader, CONTEXTS, tables.count)
    stream = Decoder(reader, tables, len(contexts))
    block = max(block // stream.lanes, 1) * stream.lanes
    found = [stream.decode(used[contexts[at : at + block]]) for at in range(0, len(contexts), block)]
    stream.end()
    reader.end()
    return np.concatenate(found)


@settings(max_examples=FEW)
@given(streams(), st.integers(1, 20_000))
def test_a_stream_gives_back_its_symbols_in_blocks_of_any_size(
    stream: tuple[np.ndarray, np.ndarray], block: int
) -> None:
    symbols, contexts = stream
    assert (read(written(symbols, contexts), contexts, block) == symbols).all()


@settings(max_examples=FEW)
@given(streams(), st.data())
def test_a_cut_stream_is_refused(stream: tuple[np.ndarray, np.ndarray], data: st.DataObject) -> None:
    content = written(*stream)
    kept = data.draw(st.integers(0, len(content) - 1))
    with pytest.raises(BundleError):
        read(content[:kept], stream[1])


@settings(max_examples=FEW)
@given(streams(), st.data())
def test_a_changed_stream_is_refused_or_read(stream: tuple[np.ndarray, np.ndarray], data: st.DataObject) -> None:
    content = bytearray(written(*stream))
    content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    with suppress(BundleError):
        assert len(read(bytes(content), stream[1])) == len(stream[1])


def test_a_stream_of_too_few_lanes_is_refused_because_it_would_take_too_long() -> None:
    tables = tables_of(np.ones((1, 256), np.int64))
    content = varint(1) + varint(0) + bytes(4)
    Decoder(Reader(content), tables, STEPS_MAX)
    with pytest.raises(BundleError, match="in 1 lanes"):
        Decoder(Reader(content), tables, STEPS_MAX + 1)
    Decoder(Reader(varint(LANES_MAX) + varint(0) + bytes(4 * LANES_MAX)), tables, 2**40)


@settings(max_examples=FEW)
@given(st.lists(st.integers(0, 2**33), min_size=256, max_size=256))
def test_frequencies_sum_to_the_total_and_lose_no_symbol(counts: list[int]) -> None:
    scaled = frequencies(np.asarray(counts, np.int64))
    assert scaled.sum() == TOTAL
    assert ((scaled > 0) >= (np.asarray(counts) > 0)).all()


def test_frequencies_of_many_rare_symbols_leave_room_for_each() -> None:
    counts = np.ones(256, np.int64)
    counts[7] = 2**30
    scaled = frequencies(counts)
    assert (scaled.sum(), scaled.min(), scaled[7]) == (TOTAL, 1, TOTAL - 255)


@given(st.integers(0, 2**33))
def test_a_count_is_written_to_a_sixteenth(count: int) -> None:
    (found,) = count_of(code_of(np.asarray([count])))
    assert abs(int(found) - count) <= count / 16
    assert (found > 0) == (count > 0)


@settings(max_examples=FEW)
@given(
    st.lists(st.one_of(st.integers(-3, 3), st.integers(-(2**63), 2**63 - 1)), max_size=60),
    st.sampled_from([1, 100]),
)
def test_numbers_are_read_as_they_were_written(values: list[int], times: int) -> None:
    numbers = np.asarray(values * times, np.int64)
    contexts = np.arange(len(numbers)) % CONTEXTS
    reader = Reader(write_numbers(numbers, contexts, CONTEXTS))
    assert (read_numbers(reader, contexts, CONTEXTS) == numbers).all()
    reader.end()


contents = st.one_of(
    st.binary(max_size=200),
    st.builds(lambda piece, times: piece * times, st.binary(min_size=1, max_size=20), st.integers(0, 300)),
    st.builds(
        lambda piece, times: piece * times, st.text("abc ", min_size=1, max_size=90).map(str.encode), st.integers(0, 50)
    ),
)


@given(contents, st.integers(1, 500))
def test_a_packed_string_unpacks_whole_or_a_piece_at_a_time(content: bytes, size: int) -> None:
    packed = pack(content)
    assert len(packed) <= len(content) + 1
    reader = Reader(packed)
    assert unpack(reader, len(content)) == content
    reader.end()
    blob = Blob(Reader(packed), len(content))
    pieces = [blob.read(min(size, len(content) - at)) for at in range(0, len(content), size)]
    assert b"".join(pieces) == content
    with pytest.raises(BundleError):
        blob.read(1)


@given(contents, st.data())
def test_a_cut_or_changed_string_is_refused_or_gives_as_many_bytes(content: bytes, data: st.DataObject) -> None:
    packed = bytearray(pack(content))
    cut = packed[: data.draw(st.integers(0, max(len(packed) - 1, 0)))]
    if packed:
        packed[data.draw(st.integers(0, len(packed) - 1))] ^= data.draw(st.integers(1, 255))
    for damaged in (cut, packed):
        with suppress(BundleError):
            assert len(unpack(Reader(damaged), len(content))) == len(content)


@given(st.integers(0, 2**69), st.integers(-(2**60), 2**60))
def test_numbers_of_a_payload_are_read_up_to_their_bound(number: int, signed: int) -> None:
    assert Reader(varint(number)).number(number) == number
    assert Reader(zigzag(signed)).signed(abs(signed)) == signed
    with pytest.raises(BundleError):
        Reader(varint(number + 1)).number(number)
    with pytest.raises(BundleError):
        Reader(varint(number)[:-1]).number(number)


def test_a_number_without_end_is_refused() -> None:
    with pytest.raises(BundleError, match="longer than"):
        Reader(b"\xff" * 100).number(2**200)
