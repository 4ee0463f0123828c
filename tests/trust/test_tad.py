"""``tad1``: every version of a model comes back from its base, and nothing else comes of a damaged delta."""

import lzma
import struct
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.errors import BundleError
from appliance.hub.delta import tad as encoder
from appliance.hub.delta.packing import pack
from appliance.trust.delta import flatbuffer, tad_stream
from appliance.trust.delta.flatbuffer import walk
from appliance.trust.delta.streams import Reader
from appliance.trust.delta.tad import Section, decode
from appliance.trust.delta.tad_plan import Kind, checked, holes, plan
from appliance.trust.delta.tad_weights import RANK_MAX
from tests.trust.tflites import COMPILED_BYTES, Dense, Network, grown, network, pruned, recalibrated, tuned, written

Pair = tuple[bytes, bytes]
EXAMPLES = 6
"""Few, for time; test_tad_slow.py tries more."""


def made(delta: bytes, base: bytes, size_bytes: int) -> bytes:
    """Decode into memory; every byte must be given exactly once."""
    result, times = bytearray(size_bytes), np.zeros(size_bytes, int)

    def sink(offset: int, content: bytes | memoryview) -> None:
        assert 0 <= offset <= offset + len(content) <= size_bytes
        result[offset : offset + len(content)] = content
        times[offset : offset + len(content)] += 1

    decode(delta, base, size_bytes, sink)
    assert (times == 1).all()
    return bytes(result)


def encoded(pair: Pair) -> bytes:
    """Encode, and see that it decodes."""
    base, result = pair
    delta = encoder.encode(base, result)
    assert delta is not None
    assert made(delta, base, len(result)) == result
    return delta


def files(old: Network, new: Network) -> Pair:
    return written(old), written(new)


@st.composite
def networks(draw: st.DrawFn) -> Network:
    """Networks of one layer or more; scales by tensor or channel; int8 or uint8; with a compiled part or without."""
    made = network(
        draw(st.integers(0, 9)),
        layers=draw(st.integers(1, 3)),
        size=draw(st.sampled_from([1, 3, 24])),
        per_channel=draw(st.booleans()),
        unsigned=draw(st.booleans()),
    )
    return replace(made, compiled=compiled(draw(st.integers(0, 9))) if draw(st.booleans()) else b"")


def compiled(seed: int, size: int = COMPILED_BYTES) -> bytes:
    return np.random.default_rng(seed).integers(0, 256, size, np.uint8).tobytes()


def each_layer(change: Callable[[Dense], Dense]) -> Callable[[Network, int], Network]:
    return lambda old, _: replace(old, layers=tuple(map(change, old.layers)))


def with_layers(change: Callable[[tuple[Dense, ...]], tuple[Dense, ...]]) -> Callable[[Network, int], Network]:
    return lambda old, _: replace(old, layers=change(old.layers))


def shrunk(layer: Dense) -> Dense:
    kept = max(len(layer.biases) - 1, 1)
    return replace(layer, weights=layer.weights[:kept], biases=layer.biases[:kept])


def reprogrammed(old: Network, seed: int) -> Network:
    """Put new code into the compiled part."""
    at = 900 * seed
    return replace(old, compiled=old.compiled[:at] + compiled(seed, 400) + old.compiled[at:])


EDITS: dict[str, Callable[[Network, int], Network]] = {
    "tuned a little": lambda old, seed: tuned(old, seed, 0.004),
    "tuned much": lambda old, seed: tuned(old, seed, 0.3),
    "tuned in one direction": lambda old, seed: tuned(old, seed, 0.05, rank=1),
    "recalibrated": lambda old, seed: recalibrated(old, 1 + seed / 50),
    "pruned": lambda old, seed: pruned(old, 0.1 * seed),
    "a class more": lambda old, seed: grown(old, 1, seed),
    "a class less": with_layers(lambda layers: (*layers[:-1], shrunk(layers[-1]))),
    "another text": lambda old, seed: replace(old, text=b"so many words that all behind them moves" * seed),
    "renamed": each_layer(lambda layer: replace(layer, name=f"{layer.name}!")),
    "other order": with_layers(lambda layers: layers[::-1]),
    "a layer less": with_layers(lambda layers: layers[:1]),
    "a layer more": with_layers(lambda layers: (*layers, replace(layers[0], name="new"))),
    "another zero point": each_layer(lambda layer: replace(layer, zero_point=layer.zero_point - 7)),
    "another type": each_layer(lambda layer: replace(layer, unsigned=not layer.unsigned)),
    "scales by tensor": each_layer(lambda layer: replace(layer, per_channel=False)),
    "another program": reprogrammed,
    "from scratch": lambda old, seed: network(seed + 20, layers=len(old.layers)),
}


@settings(max_examples=EXAMPLES, deadline=None)
@given(networks(), st.lists(st.tuples(st.sampled_from(sorted(EDITS)), st.integers(0, 5)), max_size=3))
def test_every_version_comes_back_from_its_base(old: Network, edits: list[tuple[str, int]]) -> None:
    new = old
    for edit, seed in edits:
        new = EDITS[edit](new, seed)
    encoded(files(old, new))


@settings(max_examples=EXAMPLES, deadline=None)
@given(networks(), st.data())
def test_any_bytes_may_change_and_come_back(old: Network, data: st.DataObject) -> None:
    """Scales that are not finite, references to nowhere: what a base's plan says of them is only a guess."""
    base = written(old)
    result = bytearray(base)
    for _ in range(data.draw(st.integers(1, 30))):
        result[data.draw(st.integers(8, len(base) - 1))] = data.draw(st.integers(0, 255))
    result += data.draw(st.binary(max_size=20))
    delta = encoder.encode(base, bytes(result))
    if delta is not None:
        assert made(delta, base, len(result)) == bytes(result)


def test_the_same_file_is_one_byte() -> None:
    old = network(1)
    assert encoded(files(old, old)) == b"\0"


def test_other_scales_of_the_same_weights_cost_the_scales_alone() -> None:
    """What a batch normalisation's statistics do: rescaling the weights would change nearly all of them."""
    old = network(1, layers=1, size=60)
    new = replace(old, layers=(replace(old.layers[0], weights=old.layers[0].weights * 1.3),))
    base, result = files(old, new)
    assert len(encoded((base, result))) < 4 * 60 + 60


def test_a_recalibrated_model_costs_a_few_bytes() -> None:
    pair = files(network(1, size=60), recalibrated(network(1, size=60), 1.07))
    assert len(encoded(pair)) < 80


def test_a_pruned_model_costs_what_rounding_hides() -> None:
    old = network(1, size=60)
    assert len(encoded(files(old, pruned(old, 0.5)))) < 300


def test_weights_that_change_in_one_direction_cost_that_direction() -> None:
    """The same change in random directions costs three times as much."""
    old = network(1, layers=1, size=80)
    one, all_of_them = (len(encoded(files(old, tuned(old, 3, 0.05, rank=rank)))) for rank in (1, 0))
    assert one < all_of_them / 2


def test_a_class_more_leaves_the_others_alone() -> None:
    old = network(1, size=60)
    delta = encoded(files(old, grown(old, 1, 5)))
    assert delta[0] & Section.TABLE
    assert len(delta) < 220


def test_tensors_are_found_by_name_when_their_order_changes() -> None:
    old = network(1, layers=3, size=60)
    assert len(encoded(files(old, replace(old, layers=old.layers[::-1])))) < 600


def test_a_compiled_network_is_compared_where_it_stands() -> None:
    old = replace(network(1), compiled=compiled(1))
    change = np.random.default_rng(5).integers(-1, 2, COMPILED_BYTES)
    program = ((np.frombuffer(old.compiled, np.uint8) + change) % 256).astype(np.uint8).tobytes()
    delta = encoded(files(old, replace(old, compiled=program)))
    assert len(delta) < COMPILED_BYTES / 4 < len(lzma.compress(program))


@pytest.mark.parametrize("other", [b"", b"no model at all", written(network(1))[:60]], ids=["empty", "text", "cut"])
def test_what_is_no_model_has_no_such_delta(other: bytes) -> None:
    model = written(network(1))
    assert encoder.encode(model, other) is None
    assert encoder.encode(other, model) is None


def test_a_plan_covers_each_byte_once() -> None:
    base = written(replace(network(1, layers=3), compiled=compiled(1)))
    segments = checked(plan(base), len(base))
    covered = sum(each.end - each.result[0] for each in segments) + sum(size for _, size in holes(segments, len(base)))
    assert covered == len(base)
    assert {each.kind for each in segments} == set(Kind)


def small_pairs() -> dict[str, Pair]:
    old = network(2, size=10)
    moved = replace(tuned(old, 1, 0.05, rank=1), text=b"longer than before")
    return {
        "tuned": files(old, tuned(old, 1, 0.03)),
        "pruned": files(network(2, size=30), pruned(network(2, size=30), 0.5)),
        "moved": files(old, moved),
        "grown": files(old, grown(old, 1, 5)),
    }


PAIRS = small_pairs()


@cache
def delta_of(name: str) -> bytes:
    return encoded(PAIRS[name])


def survives(delta: bytes, base: bytes, size_bytes: int) -> None:
    """Decode what may be damaged: it is refused, or gives every byte once."""
    with suppress(BundleError):
        made(delta, base, size_bytes)


@pytest.mark.parametrize("name", PAIRS)
def test_every_truncation_is_refused(name: str) -> None:
    (base, result), delta = PAIRS[name], delta_of(name)
    for size in range(0, len(delta), 23):
        with pytest.raises(BundleError):
            made(delta[:size], base, len(result))
    with pytest.raises(BundleError, match="too many"):
        made(delta + b"\0", base, len(result))


@settings(max_examples=3 * EXAMPLES, deadline=None)
@given(st.sampled_from(sorted(PAIRS)), st.data())
def test_a_damaged_delta_is_refused_or_gives_every_byte_once(name: str, data: st.DataObject) -> None:
    base, result = PAIRS[name]
    delta = bytearray(delta_of(name))
    for _ in range(data.draw(st.integers(1, 3))):
        delta[data.draw(st.integers(0, len(delta) - 1))] = data.draw(st.integers(0, 255))
    survives(bytes(delta), base, data.draw(st.sampled_from([len(result), len(base), 0, 1, 5000])))


@settings(max_examples=3 * EXAMPLES, deadline=None)
@given(st.binary(max_size=60))
def test_bytes_that_are_no_delta_are_refused_or_give_every_byte_once(delta: bytes) -> None:
    base, result = PAIRS["tuned"]
    survives(delta, base, len(result))


@settings(max_examples=3 * EXAMPLES, deadline=None)
@given(st.sampled_from(sorted(PAIRS)), st.data())
def test_a_damaged_base_is_refused_or_gives_every_byte_once(name: str, data: st.DataObject) -> None:
    base, result = PAIRS[name]
    delta, damaged = delta_of(name), bytearray(base)
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, 1500))] = data.draw(st.integers(0, 255))
    survives(delta, bytes(damaged), len(result))


def test_segments_that_overlap_are_refused() -> None:
    base = written(network(1))
    segments = plan(base)
    with pytest.raises(BundleError, match="overlap"):
        checked([segments[0], segments[0]], len(base))
    with pytest.raises(BundleError, match="outside"):
        checked(segments, len(base) - 1)


def test_an_update_of_no_rank_is_refused() -> None:
    (segment,) = (each for each in plan(written(network(1, layers=1))) if each.kind is Kind.WEIGHT)
    for ranks in (b"\0", bytes([RANK_MAX + 1]), b"\xff"):
        with pytest.raises(BundleError, match="rank"):
            tad_stream._updates(Reader(pack(ranks)), [segment])


def test_a_file_that_names_one_table_many_times_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Walking it would take hours: subgraphs times tensors."""
    graphs = 60
    monkeypatch.setattr(flatbuffer, "VISITS_MAX", 1_000)
    header = struct.pack("<I4s", 16, b"TFL3") + bytes(8)
    model = struct.pack("<iIHHHHHxx", -8, 0, 10, 8, 0, 0, 4)
    reference = len(header) + 4
    content = bytearray(header + model)
    struct.pack_into("<I", content, reference, len(content) - reference)
    content += struct.pack("<I", graphs)
    end = len(content) + 4 * graphs
    content += b"".join(struct.pack("<I", end - at) for at in range(len(content), end, 4))
    content += struct.pack("<iIHHHxx", -8, 12, 6, 8, 4) + struct.pack("<I", 0)
    struct.pack_into("<I", content, end + 4, len(content) - 4 - end - 4)
    struct.pack_into("<I", content, len(content) - 4, graphs)
    content += b"".join(struct.pack("<I", 4 * (graphs - each)) for each in range(graphs))
    content += struct.pack("<iHH", -4, 4, 4)
    with pytest.raises(BundleError, match="more than"):
        walk(bytes(content))
