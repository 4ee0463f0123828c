"""``[extract]``: what each kind of it refuses, and that whatever is accepted makes an extractor that works."""

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.core.features import make_extractor, names_of
from appliance.core.features.spectrum import Spectrum
from appliance.core.model import BeatsExtract, CardHistoryExtract, Extract, SpectrumExtract
from appliance.core.types import Array, Frame, FrameKind
from appliance.errors import ModelError, NoScoreError, NoSignalError
from appliance.trust.extract import extract_of
from appliance.trust.model import parse_description
from tests.trust.making import REMOVE, Tree, digests, npz, sound, spoil, toml, vectors, verified

CARD: Tree = {"kind": "card_history"}
BEATS: Tree = {"kind": "beats", "rate_hz": 125.0, "length": 1250, "stride": 250}
SPECTRUM: Tree = {
    "kind": "spectrum",
    "rate_hz": 3200.0,
    "length": 4096,
    "shaft_hz": [12.0, 60.0],
    "envelope_hz": [600.0, 1500.0],
}
SECTIONS = {"card_history": CARD, "beats": BEATS, "spectrum": SPECTRUM}
VALUES: dict[str, Extract] = {
    "card_history": CardHistoryExtract(),
    "beats": BeatsExtract(125.0, 1250, 250),
    "spectrum": SpectrumExtract(3200.0, 4096, (12.0, 60.0), (600.0, 1500.0)),
}
DECODERS = {"card_history": "score", "beats": "classify", "spectrum": "anomaly"}
NAMES = {kind: list(names_of(extract)) for kind, extract in VALUES.items()}


def extracting(kind: str) -> Tree:
    """A consistent description of a model whose features this extractor makes."""
    tree, files = sound(DECODERS[kind])
    names = NAMES[kind]
    numbers = {"features": list(names), "mean": [0.0] * len(names), "std": [1.0] * len(names)}
    tree["preprocess"] = {"kind": "record" if kind == "card_history" else "window", **numbers}
    tree["extract"] = dict(SECTIONS[kind])
    tree["input"]["shape"] = [1, len(names)]
    if kind == "spectrum":
        tree["outputs"][0]["shape"] = [1, len(names)]
    return {**tree, "files": digests(files)}


SPOILT = [
    # extractor, key path, value, what the message says
    ("card_history", "extract.kind", "cards", r"extract: .*'card_history', 'beats', 'spectrum'"),
    ("card_history", "extract.kind", REMOVE, r"extract.*kind"),
    ("card_history", "extract.cards", 5, r"extract\.cards: unknown key"),
    ("card_history", "extract.cards_max", 0, r"extract\.cards_max: input should be greater than or equal to 1"),
    ("card_history", "extract.cards_max", 1_000_001, r"cards_max: input should be less than or equal to 1000000"),
    ("card_history", "extract.cards_max", 2.5, r"cards_max: input should be a valid integer"),
    ("card_history", "extract.terminals_max", 0, r"terminals_max: input should be greater than or equal to 1"),
    ("card_history", "extract.terminals_max", 1_000_001, r"terminals_max: input should be less than or equal to"),
    ("card_history", "extract.history_min", 0, r"history_min: input should be greater than or equal to 1"),
    ("card_history", "extract.history_min", 1001, r"history_min: input should be less than or equal to 1000"),
    ("card_history", "extract.history_min", True, r"history_min: input should be a valid integer"),
    ("card_history", "preprocess.kind", "window", r"preprocess\.kind: card_history takes record, not window"),
    ("card_history", "preprocess.features", NAMES["card_history"][::-1], r"card_history .* gives exactly \["),
    ("card_history", "preprocess.features", NAMES["card_history"][1:], r"in this order"),
    ("card_history", "preprocess.mean", [0.0], r"preprocess\.mean: has 1 entries; the input's last dimension is \d+"),
    ("card_history", "input.shape", [1, len(NAMES["card_history"]), 1], r"input\.shape: is .*; record needs \[1, F\]"),
    ("beats", "extract.rate_hz", REMOVE, r"extract\.rate_hz: missing"),
    ("beats", "extract.rate_hz", 49.9, r"extract\.rate_hz: input should be greater than or equal to 50"),
    ("beats", "extract.rate_hz", 2000.1, r"extract\.rate_hz: input should be less than or equal to 2000"),
    ("beats", "extract.rate_hz", float("nan"), r"extract\.rate_hz: input should be"),
    ("beats", "extract.length", 99, r"extract\.length: input should be greater than or equal to 100"),
    ("beats", "extract.length", 100_001, r"extract\.length: input should be less than or equal to 100000"),
    ("beats", "extract.length", 499, r"extract: length must be 500 or more: a stride, and 2 s after the last beat"),
    ("beats", "extract.stride", 0, r"extract\.stride: input should be greater than or equal to 1"),
    ("beats", "extract.stride", 100_001, r"extract\.stride: input should be less than or equal to 100000"),
    ("beats", "extract.stride", 1001, r"extract: length must be 1251 or more"),
    ("beats", "extract.calibration_beats", 7, r"calibration_beats: input should be greater than or equal to 8"),
    ("beats", "extract.calibration_beats", 10_001, r"calibration_beats: input should be less than or equal to 10000"),
    ("beats", "extract.cards_max", 5, r"extract\.cards_max: unknown key"),
    ("beats", "preprocess.kind", "record", r"preprocess\.kind: beats takes window, not record"),
    ("beats", "preprocess.features", REMOVE, r"preprocess\.features: beats with these settings gives exactly"),
    ("beats", "input.shape", [1, 1250, 1], r"input\.shape: is \[1, 1250, 1\]; window needs \[1, F\]"),
    ("beats", "extract", REMOVE, r"features: a window has no named features unless \[extract\] makes some of it"),
    ("spectrum", "extract.rate_hz", 9.9, r"extract\.rate_hz: input should be greater than or equal to 10"),
    ("spectrum", "extract.rate_hz", 100_001.0, r"extract\.rate_hz: input should be less than or equal to 100000"),
    ("spectrum", "extract.length", 255, r"extract\.length: input should be greater than or equal to 256"),
    ("spectrum", "extract.length", 65_537, r"extract\.length: input should be less than or equal to 65536"),
    ("spectrum", "extract.length", 2048, r"a window holds 7\.7 turns at the slowest speed; 8 are needed"),
    ("spectrum", "extract.shaft_hz", [0.0, 60.0], r"extract\.shaft_hz\.0: input should be greater than 0"),
    ("spectrum", "extract.shaft_hz", [25.0], r"extract\.shaft_hz\.1: missing"),
    ("spectrum", "extract.shaft_hz", [25.0, 25.0], r"shaft_hz must be slowest, fastest, not the same"),
    ("spectrum", "extract.shaft_hz", [60.0, 12.0], r"shaft_hz must be slowest, fastest"),
    ("spectrum", "extract.shaft_hz", [6.2, 60.0], r"a window holds 7\.9 turns at the slowest speed"),
    ("spectrum", "extract.shaft_hz", [12.0, 178.0], r"shaft_hz must end at 177\.778 or less, so that half of rate_hz"),
    ("spectrum", "extract.envelope_hz", [0.0, 1500.0], r"extract\.envelope_hz\.0: input should be greater than 0"),
    ("spectrum", "extract.envelope_hz", [1500.0, 600.0], r"envelope_hz must be low, high, both within half"),
    ("spectrum", "extract.envelope_hz", [600.0, 1600.1], r"envelope_hz must be low, high, .* rate_hz \(1600\)"),
    ("spectrum", "extract.bands", 3, r"extract\.bands: input should be greater than or equal to 4"),
    ("spectrum", "extract.bands", 65, r"extract\.bands: input should be less than or equal to 64"),
    ("spectrum", "extract.bands", 13, r"preprocess\.features: spectrum with these settings gives exactly"),
    ("spectrum", "extract.floor", 0.0, r"extract\.floor: input should be greater than 0"),
    ("spectrum", "extract.floor", 1.1e6, r"extract\.floor: input should be less than or equal to 1000000"),
    ("spectrum", "extract.rms_min", -0.1, r"extract\.rms_min: input should be greater than or equal to 0"),
    ("spectrum", "extract.rms_min", 1.1e6, r"extract\.rms_min: input should be less than or equal to 1000000"),
    ("spectrum", "extract.speed_exponent", -0.1, r"speed_exponent: input should be greater than or equal to 0"),
    ("spectrum", "extract.speed_exponent", 4.1, r"speed_exponent: input should be less than or equal to 4"),
    ("spectrum", "extract.stride", 5, r"extract\.stride: unknown key"),
    ("spectrum", "preprocess.kind", "record", r"preprocess\.kind: spectrum takes window, not record"),
]


@pytest.mark.parametrize(("kind", "key", "value", "message"), SPOILT)
def test_an_extract_section_with_one_thing_wrong_is_refused_by_name(
    kind: str, key: str, value: object, message: str
) -> None:
    tree = extracting(kind)
    spoil(tree, key, value)
    with pytest.raises(ModelError) as caught:
        parse_description(toml(tree))
    assert re.search(message, str(caught.value)), caught.value


@pytest.mark.parametrize("key", ["extract.length", "extract.rate_hz"])
@pytest.mark.parametrize("kind", ["beats", "spectrum"])
def test_what_the_sensor_must_give_has_no_default(kind: str, key: str) -> None:
    tree = extracting(kind)
    spoil(tree, key, REMOVE)
    with pytest.raises(ModelError, match=f"{key}: missing"):
        parse_description(toml(tree))


@pytest.mark.parametrize("kind", SECTIONS)
def test_a_sound_section_becomes_the_extractors_settings(kind: str) -> None:
    tree = extracting(kind)
    section = parse_description(toml(tree)).extract
    assert section is not None
    assert extract_of(section) == VALUES[kind], "what is left out has the extractor's own default"


def test_settings_that_are_given_are_the_ones_that_are_used() -> None:
    given_by_kind: dict[str, tuple[Tree, Extract]] = {
        "card_history": ({"cards_max": 7, "terminals_max": 8, "history_min": 9}, CardHistoryExtract(7, 8, 9)),
        "beats": ({"calibration_beats": 8}, BeatsExtract(125.0, 1250, 250, 8)),
        "spectrum": (
            {"floor": 0.5, "rms_min": 0.25, "speed_exponent": 0.0},
            SpectrumExtract(3200.0, 4096, (12.0, 60.0), (600.0, 1500.0), 12, 0.5, 0.25, 0.0),
        ),
    }
    for kind, (settings_given, wanted) in given_by_kind.items():
        tree = extracting(kind)
        tree["extract"] |= settings_given
        section = parse_description(toml(tree)).extract
        assert section is not None
        assert extract_of(section) == wanted


def test_a_verified_model_carries_its_extractor_and_asks_for_the_requests_own_numbers() -> None:
    assert verified(*sound("score")).fields == ("a", "b", "c")
    tree = extracting("card_history")
    _, files = sound("score")
    model = verified(tree, {**files, "golden/golden.npz": npz(vectors(tree, 2))})
    assert model.extract == CardHistoryExtract()
    assert model.fields == CardHistoryExtract.FIELDS, "a request brings these, not the features made of them"
    assert model.tokens == CardHistoryExtract.TOKENS


def accepted(kind: str, section: Tree) -> Extract | None:
    """The settings, or None where the section is refused; features are what these settings give."""
    tree = extracting(kind)
    tree["extract"] = {"kind": kind, **section}
    try:
        parsed = parse_description(toml(tree)).extract
    except ModelError:
        return None
    assert parsed is not None
    return extract_of(parsed)


def window(samples: Array) -> Frame:
    return Frame(FrameKind.WINDOW, samples.astype(np.float32)[:, np.newaxis], 0.0, 0)


@settings(max_examples=60, deadline=None)
@given(
    rate_hz=st.sampled_from([10.0, 100.0, 3200.0, 26_667.0, 100_000.0]),
    length=st.sampled_from([256, 257, 1000, 4096]),
    shaft=st.tuples(st.floats(0.99, 1.3), st.floats(0.8, 1.01)),
    envelope=st.tuples(st.floats(0.001, 0.7), st.floats(0.6, 1.01)),
    seed=st.integers(0, 99),
)
def test_whatever_spectrum_settings_are_accepted_give_finite_features_and_a_speed_within_them(
    rate_hz: float, length: int, shaft: tuple[float, float], envelope: tuple[float, float], seed: int
) -> None:
    shaft_hz = [shaft[0] * 8 * rate_hz / length, shaft[1] * rate_hz / 18]
    envelope_hz = [edge * rate_hz / 2 for edge in envelope]
    extract = accepted(
        "spectrum", {"rate_hz": rate_hz, "length": length, "shaft_hz": shaft_hz, "envelope_hz": envelope_hz}
    )
    if extract is None:
        return
    assert isinstance(extract, SpectrumExtract)
    frame = window(np.random.default_rng(seed).normal(0, 1, length))
    (vector,) = make_extractor(extract)(frame)
    assert np.isfinite(vector).all()
    assert shaft_hz[0] <= Spectrum(extract).shaft_hz(frame.data) <= shaft_hz[1]


@settings(max_examples=40, deadline=None)
@given(
    rate_hz=st.sampled_from([50.0, 125.0, 333.3, 2000.0]),
    window_s=st.floats(1.9, 12.0),
    stride=st.floats(0.0, 1.2),
    seed=st.integers(0, 99),
)
def test_whatever_beats_settings_are_accepted_learn_or_say_why_not(
    rate_hz: float, window_s: float, stride: float, seed: int
) -> None:
    length = max(100, round(window_s * rate_hz))
    section = {"rate_hz": rate_hz, "length": length, "stride": max(1, round(stride * (length - 2 * rate_hz)))}
    extract = accepted("beats", section)
    if extract is None:
        return
    assert isinstance(extract, BeatsExtract)
    time_s = np.arange(length) / rate_hz
    lead = np.exp(-np.square((time_s % 0.8 - 0.4) / 0.015)) + np.random.default_rng(seed).normal(0, 0.01, length)
    with pytest.raises((NoScoreError, NoSignalError)):
        make_extractor(extract)(window(lead))
