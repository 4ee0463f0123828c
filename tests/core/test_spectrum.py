"""A machine heard in orders of its shaft's speed: what each number says, and what it does not mind."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from appliance.core.features import make_extractor
from appliance.core.features.spectrum import ENVELOPE_ORDERS, NOT_RUNNING, ORDERS, Spectrum
from appliance.core.model import SpectrumExtract
from appliance.core.types import Array, Frame, FrameKind
from appliance.errors import FrameError, NoScoreError

EXTRACT = SpectrumExtract(rate_hz=3200.0, length=4096, shaft_hz=(12.0, 60.0), envelope_hz=(600.0, 1500.0))
TIME_S = np.arange(EXTRACT.length) / EXTRACT.rate_hz
SPEEDS_HZ = st.floats(13.0, 55.0)
SEEDS = st.integers(0, 2**16)


def window_of(signal: Array) -> Array:
    return signal.astype(np.float32)[:, np.newaxis]


def turning(speed_hz: float, amplitudes: dict[float, float], noise: float = 0.003, seed: int = 0) -> Array:
    """Make a machine: sinusoids at these orders of its speed, and noise."""
    rng = np.random.default_rng(seed)
    phases = rng.uniform(0, 2 * np.pi, len(amplitudes))
    lines = sum(
        amplitude * np.sin(2 * np.pi * order * speed_hz * TIME_S + phase)
        for (order, amplitude), phase in zip(amplitudes.items(), phases, strict=True)
    )
    return np.asarray(lines + rng.normal(0, noise, len(TIME_S)))


HEALTHY = {1.0: 0.05, 2.0: 0.03, 3.0: 0.02, 4.0: 0.02, 5.0: 0.015, 6.0: 0.015}


def blows(speed_hz: float, order: float, strength: float) -> Array:
    """Ring at 1000 Hz, ``order`` times a turn."""
    since_s = TIME_S - np.arange(0.0, TIME_S[-1], 1 / (order * speed_hz))[:, np.newaxis]
    ringing = np.where(since_s >= 0, np.exp(-250.0 * np.maximum(since_s, 0.0)), 0.0)
    return strength * np.asarray((ringing * np.sin(2 * np.pi * 1000.0 * since_s)).sum(axis=0))


def features(signal: Array, extract: SpectrumExtract = EXTRACT) -> dict[str, float]:
    extractor = Spectrum(extract)
    (vector,) = extractor(Frame(FrameKind.WINDOW, window_of(signal), 0.0, 0))
    return dict(zip(extractor.names, vector.tolist(), strict=True))


@settings(max_examples=30)
@given(speed_hz=SPEEDS_HZ, seed=SEEDS)
def test_the_speed_is_read_to_half_a_percent(speed_hz: float, seed: int) -> None:
    read_hz = Spectrum(EXTRACT).shaft_hz(window_of(turning(speed_hz, HEALTHY, seed=seed)))
    assert read_hz == pytest.approx(speed_hz, rel=0.005)


@settings(max_examples=30)
@given(speed_hz=st.floats(13.0, 29.0), seed=SEEDS)
def test_a_line_stronger_than_all_others_does_not_decide_on_the_speed(speed_hz: float, seed: int) -> None:
    misaligned = {**HEALTHY, 2.0: 1.0}
    read_hz = Spectrum(EXTRACT).shaft_hz(window_of(turning(speed_hz, misaligned, seed=seed)))
    assert read_hz == pytest.approx(speed_hz, rel=0.005)


@settings(max_examples=30)
@given(speed_hz=st.floats(13.0, 29.0), seed=SEEDS)
def test_strong_even_orders_over_weak_odd_ones_are_not_taken_for_a_shaft_of_twice_the_speed(
    speed_hz: float, seed: int
) -> None:
    misaligned = {1.0: 0.03, 2.0: 1.0, 3.0: 0.03, 4.0: 0.7, 5.0: 0.03, 6.0: 0.5}
    read_hz = Spectrum(EXTRACT).shaft_hz(window_of(turning(speed_hz, misaligned, noise=0.1, seed=seed)))
    assert read_hz == pytest.approx(speed_hz, rel=0.005)


@settings(max_examples=30)
@given(speed_hz=st.floats(25.0, 55.0), seed=SEEDS)
def test_a_machine_of_three_lines_is_not_taken_for_one_of_half_the_speed(speed_hz: float, seed: int) -> None:
    read_hz = Spectrum(EXTRACT).shaft_hz(window_of(turning(speed_hz, {1.0: 0.05, 2.0: 0.05, 3.0: 0.05}, seed=seed)))
    assert read_hz == pytest.approx(speed_hz, rel=0.005), "orders without a line have no say in the reading"


@settings(max_examples=30)
@given(speed_hz=SPEEDS_HZ, slow_hz=SPEEDS_HZ, seed=SEEDS)
def test_the_speed_that_is_read_is_always_one_of_those_that_are_possible(
    speed_hz: float, slow_hz: float, seed: int
) -> None:
    narrow = replace(EXTRACT, shaft_hz=(slow_hz, slow_hz + 0.05))
    read_hz = Spectrum(narrow).shaft_hz(window_of(turning(speed_hz, HEALTHY, seed=seed)))
    assert slow_hz <= read_hz <= slow_hz + 0.05


def test_a_line_of_a_speed_that_wanders_is_measured_whole() -> None:
    turns = 50.0 * (TIME_S + 0.003 * np.sin(2 * np.pi * 1.5 * TIME_S) / (2 * np.pi * 1.5))
    extract = replace(EXTRACT, shaft_hz=(49.0, 51.0), speed_exponent=0.0)
    wandering = sum(0.1 * np.sin(2 * np.pi * order * turns) for order in (1, 2, 3, 4, 5, 6))
    said = features(np.asarray(wandering), extract)
    for order in (4, 5, 6):
        assert said[f"order_{order}"] == pytest.approx(20 * np.log10(0.1 / np.sqrt(2)), abs=0.5)


@pytest.mark.parametrize("order", ORDERS)
def test_a_line_is_measured_at_its_order_and_there_alone(order: float) -> None:
    speed_hz = 25.0
    extract = replace(EXTRACT, shaft_hz=(24.0, 26.0))
    before = features(turning(speed_hz, HEALTHY), extract)
    after = features(turning(speed_hz, {**HEALTHY, order: 0.5}), extract)
    assert after[f"order_{order:g}"] == pytest.approx(20 * np.log10(0.5 / np.sqrt(2)), abs=0.2)
    for other in ORDERS:
        if other != order:
            assert after[f"order_{other:g}"] == pytest.approx(before[f"order_{other:g}"], abs=3.0)


@settings(max_examples=30)
@given(slow_hz=st.floats(13.0, 25.0), ratio=st.floats(1.2, 2.0), seed=SEEDS)
def test_lines_that_grow_with_the_square_of_the_speed_read_alike_at_any_speed(
    slow_hz: float, ratio: float, seed: int
) -> None:
    extract = replace(EXTRACT, speed_exponent=2.0)
    fast = {order: amplitude * ratio**2 for order, amplitude in HEALTHY.items()}
    at_slow = features(turning(slow_hz, HEALTHY, noise=1e-5, seed=seed), extract)
    at_fast = features(turning(slow_hz * ratio, fast, noise=1e-5, seed=seed), extract)
    for order in HEALTHY:
        assert at_fast[f"order_{order:g}"] == pytest.approx(at_slow[f"order_{order:g}"], abs=0.5)


@settings(max_examples=40)
@given(
    speed_hz=st.floats(15.0, 50.0),
    half_orders=st.sampled_from([half for half in range(5, 16) if half % 2]),
    seed=SEEDS,
)
def test_a_bearings_blows_rise_in_the_envelope_at_their_order_of_any_speed(
    speed_hz: float, half_orders: int, seed: int
) -> None:
    order = half_orders / 2
    quiet = turning(speed_hz, HEALTHY, seed=seed)
    extract = replace(EXTRACT, shaft_hz=(speed_hz * 0.9, speed_hz * 1.1))
    before, after = features(quiet, extract), features(quiet + blows(speed_hz, order, 0.2), extract)
    rises = {each: after[f"envelope_{each:g}"] - before[f"envelope_{each:g}"] for each in ENVELOPE_ORDERS}
    assert max(rises, key=lambda each: rises[each]) % order == 0, "its order, or twice or three times it"
    assert after[f"envelope_{order:g}"] > 15.0
    assert after["envelope_level"] > before["envelope_level"] + 6.0


@given(seed=SEEDS, noise=st.floats(0.0003, 0.01))
@settings(max_examples=15)
def test_strong_slow_lines_that_do_not_fit_the_window_leave_the_high_band_alone(seed: int, noise: float) -> None:
    slow = turning(25.3, {1.0: 2.0, 2.0: 1.0}, noise=0.0, seed=seed)
    ringing = np.random.default_rng(seed).normal(0, noise, len(slow))
    extract = replace(EXTRACT, speed_exponent=0.0, floor=1e-6)
    assert features(slow + ringing, extract)["envelope_level"] == pytest.approx(
        features(ringing, extract)["envelope_level"], abs=1.0
    )


def test_the_envelope_of_a_steady_tone_is_its_amplitude_from_end_to_end() -> None:
    tone = 0.5 * np.sin(2 * np.pi * 1000.0 * TIME_S)
    said = features(tone + turning(25.0, HEALTHY, noise=0.0), replace(EXTRACT, speed_exponent=0.0))
    assert said["envelope_level"] == pytest.approx(20 * np.log10(0.5), abs=0.05)


@settings(max_examples=30)
@given(seed=SEEDS, gain_db=st.floats(6.0, 40.0))
def test_a_band_tells_the_power_within_it_and_no_other(seed: int, gain_db: float) -> None:
    edges_hz = np.geomspace(6.0, 1600.0, EXTRACT.bands + 1)
    number = 1 + seed % EXTRACT.bands
    middle_hz = float(np.sqrt(edges_hz[number - 1] * edges_hz[number]))
    amplitude = 0.05 * 10 ** (gain_db / 20)
    quiet = turning(25.0, HEALTHY, seed=seed)
    extract = replace(EXTRACT, speed_exponent=0.0)
    before = features(quiet, extract)
    after = features(quiet + amplitude * np.sin(2 * np.pi * middle_hz * TIME_S), extract)
    changed = {
        band for band in range(1, EXTRACT.bands + 1) if abs(after[f"band_{band}"] - before[f"band_{band}"]) > 3.0
    }
    assert number in changed
    assert after[f"band_{number}"] == max(after[f"band_{band}"] for band in range(1, EXTRACT.bands + 1))
    assert all(abs(band - number) <= 2 for band in changed)


def test_without_correction_the_level_is_the_windows_rms_in_decibels() -> None:
    signal = turning(25.0, HEALTHY, noise=0.05)
    extract = replace(EXTRACT, speed_exponent=0.0)
    assert features(signal, extract)["level"] == pytest.approx(20 * np.log10(signal.std()), abs=0.3)


def test_kurtosis_and_crest_are_those_of_their_definitions() -> None:
    signal = window_of(turning(25.0, HEALTHY, noise=0.05))[:, 0].astype(np.float64)
    centred = signal - signal.mean()
    said = features(signal)
    assert said["kurtosis"] == pytest.approx(10 * np.log10((centred**4).mean() / (centred**2).mean() ** 2), abs=1e-3)
    assert said["crest"] == pytest.approx(20 * np.log10(np.abs(centred).max() / centred.std()), abs=1e-3)


@settings(max_examples=15)
@given(offset=st.floats(-16.0, 16.0), seed=SEEDS)
def test_gravity_changes_nothing(offset: float, seed: int) -> None:
    signal = turning(25.0, HEALTHY, seed=seed)
    still, tilted = features(signal), features(signal + offset)
    for name in still:
        assert tilted[name] == pytest.approx(still[name], abs=0.1)


def test_what_lies_under_the_floor_reads_alike() -> None:
    loud_floor = replace(EXTRACT, floor=0.01, shaft_hz=(24.9, 25.1))
    silent = features(turning(25.0, {1.0: 0.5}, noise=1e-6), loud_floor)
    whispering = features(turning(25.0, {1.0: 0.5, 3.0: 1e-4}, noise=1e-6), loud_floor)
    assert whispering["order_3"] == pytest.approx(silent["order_3"], abs=0.1)


def test_a_machine_that_stands_still_gets_no_score_and_one_fixed_reason() -> None:
    extract = replace(EXTRACT, rms_min=0.01)
    with pytest.raises(NoScoreError, match=f"^{NOT_RUNNING}$"):
        features(9.81 + turning(25.0, {1.0: 0.001}), extract)
    assert features(turning(25.0, {1.0: 0.02}), extract)


@settings(max_examples=40)
@given(
    samples=hnp.arrays(
        np.float32,
        (256, 1),
        elements=st.sampled_from([0.0, 1.0, -1e30, 3e38, 1e-38])
        | st.floats(width=32, allow_nan=False, allow_infinity=False),
        fill=st.just(0.0) | st.floats(-16, 16, width=32),
    )
)
def test_whatever_finite_samples_come_the_features_are_finite(samples: Array) -> None:
    extract = SpectrumExtract(rate_hz=320.0, length=256, shaft_hz=(11.0, 17.0), envelope_hz=(60.0, 160.0), floor=1e-9)
    (vector,) = Spectrum(extract)(Frame(FrameKind.WINDOW, samples, 0.0, 0))
    assert vector.dtype == np.float32
    assert np.isfinite(vector).all()


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(np.zeros((4095, 1), np.float32), id="too short"),
        pytest.param(np.zeros((4096, 3), np.float32), id="three axes"),
        pytest.param(np.zeros(4096, np.float32), id="no axis"),
        pytest.param(np.zeros((4096, 1), np.float64), id="float64"),
        pytest.param(np.full((4096, 1), np.nan, np.float32), id="not a number"),
        pytest.param(np.full((4096, 1), np.inf, np.float32), id="infinite"),
    ],
)
def test_a_window_that_does_not_fit_is_refused(data: Array) -> None:
    with pytest.raises(FrameError):
        Spectrum(EXTRACT)(Frame(FrameKind.WINDOW, data, 0.0, 0))


@given(
    bands=st.integers(4, 64), rate_hz=st.sampled_from([1600.0, 3200.0, 26_667.0]), length=st.sampled_from([2048, 4096])
)
def test_there_are_as_many_features_as_names_each_named_once(bands: int, rate_hz: float, length: int) -> None:
    slow_hz = 9 * rate_hz / length
    extract = SpectrumExtract(rate_hz, length, (slow_hz, 2 * slow_hz), (rate_hz / 5, rate_hz / 2), bands=bands)
    extractor = make_extractor(extract)
    assert isinstance(extractor, Spectrum)
    window = np.random.default_rng(bands).normal(0, 1, (length, 1)).astype(np.float32)
    (vector,) = extractor(Frame(FrameKind.WINDOW, window, 0.0, 0))
    assert vector.shape == (len(extractor.names),)
    assert len(set(extractor.names)) == len(extractor.names)
    assert set(extractor.words) <= set(extractor.names)


def test_it_remembers_nothing() -> None:
    extractor = Spectrum(EXTRACT)
    frame = Frame(FrameKind.WINDOW, window_of(turning(30.0, HEALTHY)), 0.0, 0)
    (first,) = extractor(frame)
    extractor(Frame(FrameKind.WINDOW, window_of(turning(20.0, {1.0: 5.0})), 0.0, 1))
    extractor.restore({"anything": b"at all"})
    (again,) = extractor(frame)
    np.testing.assert_array_equal(again, first)
    assert extractor.changes(100) == {}
