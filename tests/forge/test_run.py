"""Running, sizing and timing a ``.tflite``: real files on the real runtime."""

from pathlib import Path

import numpy as np
import pytest

from appliance.core.types import Array
from appliance.errors import ForgeError
from appliance.forge import latency
from appliance.forge.run import Runner
from appliance.forge.sizes import compressed_bytes, delta_bytes

ROOT = Path(__file__).parents[2]
MODELS = ROOT / "models"
TINY = (ROOT / "tests" / "data" / "models" / "card-example" / "1.0.0" / "model.tflite").read_bytes()
INPUTS = np.random.default_rng(0).normal(size=(5, 12)).astype(np.float32)
NOISE = np.random.default_rng(1).integers(0, 256, 20_000, dtype=np.uint8)


def test_a_model_gives_by_role_what_its_own_tensors_say() -> None:
    runner = Runner(TINY, {"score": (1, 1)})
    raw = runner.run(runner.input.quantise(INPUTS[:1]))["score"]
    spec = runner.outputs["score"].spec
    assert raw.dtype == np.int8
    assert runner.values(INPUTS[:1])["score"] == pytest.approx((raw.astype(float) - spec.zero_point) * spec.scale)
    assert runner.each(INPUTS)["score"].shape == (5, 1)


def test_running_many_is_running_each() -> None:
    runner = Runner(TINY)
    (role,) = runner.outputs
    assert (runner.each(INPUTS)[role] == np.concatenate([runner.values(one[None])[role] for one in INPUTS])).all()


@pytest.mark.parametrize(
    ("shapes", "complaint"),
    [
        ({"score": (1, 2)}, r"0 outputs have the shape \[1, 2\]"),
        ({}, "1 outputs, 0 are named"),
    ],
)
def test_an_output_that_is_not_there_or_not_named_is_refused(
    shapes: dict[str, tuple[int, ...]], complaint: str
) -> None:
    with pytest.raises(ForgeError, match=complaint):
        Runner(TINY, shapes)


@pytest.mark.parametrize("content", [b"", b"TFL3", b"PK\x03\x04TFL2", bytes(100), TINY[:40]])
def test_what_is_no_model_is_refused_in_words(content: bytes) -> None:
    with pytest.raises(ForgeError, match="tflite"):
        Runner(content)


def test_a_name_that_is_no_text_is_damage() -> None:
    assert b"record" in TINY
    with pytest.raises(ForgeError, match="damaged"):
        Runner(TINY.replace(b"record", b"\xb4ecord"))


def test_a_damaged_model_either_loads_or_is_refused_and_raises_nothing_else() -> None:
    rng = np.random.default_rng(1)
    refused = 0
    for _ in range(150):
        damaged = np.frombuffer(TINY, np.uint8).copy()
        places = rng.integers(0, len(damaged), rng.choice((1, 3, 20)))
        damaged[places] = rng.integers(0, 256, len(places))
        try:
            Runner(damaged.tobytes())
        except ForgeError:
            refused += 1
    assert 20 < refused < 150, "the damage reaches what is read, and not every byte is read"


def test_a_large_model_takes_longer_than_a_tiny_one_and_the_ratio_says_which() -> None:
    """A thousandfold in truth, so that no load of the machine turns it round."""
    (large,) = [each.read_bytes() for each in sorted((MODELS / "person").glob("*/model.tflite"))[:1]]
    assert latency.ratio(large, TINY, rounds=2) > 2
    assert latency.ratio(TINY, large, rounds=2) < 0.5


def changed(places: int) -> Array:
    copy = NOISE.copy()
    copy[np.random.default_rng(2).choice(len(copy), places, replace=False)] += 1
    return copy


@pytest.mark.parametrize(("places", "most"), [(0, 200), (20, 400), (1_000, 4_000)])
def test_an_update_costs_about_what_changed(places: int, most: int) -> None:
    assert delta_bytes(changed(places).tobytes(), NOISE.tobytes()) < most


def test_an_update_never_costs_more_than_the_whole_nor_needs_a_parent_of_its_length() -> None:
    other = np.random.default_rng(5).integers(0, 256, 30_000, dtype=np.uint8).tobytes()
    zeros = bytes(30_000)
    assert delta_bytes(zeros, other) < 300, "the difference from noise is noise; the file itself is nothing"
    assert delta_bytes(NOISE.tobytes() + b"tail", NOISE.tobytes()) < 300
    assert delta_bytes(NOISE[:9_000].tobytes(), NOISE.tobytes()) < 300


def test_zeros_shrink_when_compressed_and_noise_does_not() -> None:
    assert compressed_bytes(bytes(20_000)) < 200
    assert compressed_bytes(NOISE.tobytes()) > 19_900
    assert compressed_bytes(NOISE.tobytes()) == compressed_bytes(NOISE.tobytes()), "no time of day is in it"
