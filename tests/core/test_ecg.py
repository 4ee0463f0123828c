"""Heartbeats are found where they are, and what is no ECG is not taken for one."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from appliance.core.features.ecg import band, find_beats, measure_quality, moving_mean, quality_fault
from appliance.core.types import Array
from models.heartbeat.disturbance import electrode_off
from models.heartbeat.simulator import Rhythm
from tests.core.leads import LENGTH, RATE_HZ, STRIDE, beat_train, real, simulated, windows

TEN_S = np.arange(LENGTH) / RATE_HZ
NOISE = "heartbeats cannot be told from noise"
COVERED = "muscle or mains noise covers the heartbeats"
MOVES = "the baseline moves too much: the electrode or the wearer moves"
NOTHING = "no heartbeats can be found in the signal"


def fault_of(lead: Array) -> str:
    return quality_fault(measure_quality(lead, RATE_HZ, find_beats(lead, RATE_HZ)))


@pytest.mark.parametrize(("hz", "kept"), [(0.4, 0), (1.0, 0), (3, 1), (8, 1), (14.5, 1), (20.5, 0), (50, 0)])
def test_a_band_keeps_its_tones_in_place_and_leaves_out_the_others(hz: float, kept: int) -> None:
    tone = np.sin(2 * np.pi * hz * TEN_S)
    left = band(tone, RATE_HZ, 2.5, 15.0)[200:-200]
    assert np.abs(left - kept * tone[200:-200]).max() < 0.06


def test_a_drifting_baseline_makes_no_step_at_the_ends_of_a_window() -> None:
    assert np.abs(band(5.0 + 5.0 * TEN_S, RATE_HZ, 5.0, 15.0)).max() < 0.03


@given(width=st.integers(1, 40), values=st.lists(st.floats(-100, 100), min_size=1, max_size=60))
def test_a_moving_mean_averages_what_is_there_around_each_value(width: int, values: list[float]) -> None:
    half = width // 2
    wanted = [np.mean(values[max(0, place - half) : place + half + 1]) for place in range(len(values))]
    assert moving_mean(np.array(values), width) == pytest.approx(np.array(wanted), abs=1e-9)


@settings(max_examples=60)
@given(
    rr_s=st.floats(0.3, 1.9),
    first_s=st.floats(0.1, 0.3),
    polarity=st.sampled_from([-1, 1]),
    exponent=st.integers(-6, 6),
    rate_hz=st.sampled_from([100.0, 125.0, 250.0, 360.0]),
)
@example(rr_s=0.3, first_s=0.1, polarity=1, exponent=0, rate_hz=125.0)
@example(rr_s=1.9, first_s=0.3, polarity=-1, exponent=0, rate_hz=100.0)
def test_every_beat_is_found_at_its_place_at_any_rate_polarity_and_scale(
    rr_s: float, first_s: float, polarity: int, exponent: int, rate_hz: float
) -> None:
    at_s = np.arange(first_s, 9.9, rr_s)
    lead = polarity * 10.0**exponent * beat_train(list(at_s), 10.0, rate_hz=rate_hz, t_height=0.1)
    found_s = find_beats(lead, rate_hz) / rate_hz
    inner = at_s[(at_s > 0.25) & (at_s < 9.75)]  # of a beat at the very end the window holds a part only
    assert all(np.abs(found_s - beat_s).min() < 0.02 for beat_s in inner)
    assert all(np.abs(at_s - beat_s).min() < 0.06 for beat_s in found_s)


@pytest.mark.parametrize("seed", range(4))
def test_a_lead_turned_upside_down_has_its_beats_at_the_very_same_places(seed: int) -> None:
    lead = simulated([Rhythm(10.0)], seed).signal.astype(np.float64)
    assert np.array_equal(find_beats(lead, RATE_HZ), find_beats(-lead, RATE_HZ))


def test_a_tall_t_wave_is_no_beat() -> None:
    at_s = np.arange(0.5, 9.8, 1.0)
    assert len(find_beats(beat_train(list(at_s), 10.0, t_height=0.6), RATE_HZ)) == len(at_s)


def test_a_small_beat_among_tall_ones_is_found_where_one_is_missing() -> None:
    at_s = np.arange(0.5, 9.8, 0.9)
    lead = beat_train([each for each in at_s if abs(each - 5.0) > 0.1], 10.0)
    small = lead + 0.26 * beat_train([5.0], 10.0)
    assert len(find_beats(small, RATE_HZ)) == len(find_beats(lead, RATE_HZ)) + 1


def test_the_bump_between_two_beats_that_come_in_time_is_none() -> None:
    at_s = list(np.arange(0.5, 9.8, 0.9))
    lead = beat_train(at_s, 10.0) + 0.26 * beat_train([at_s[4] + 0.45], 10.0)
    assert len(find_beats(lead, RATE_HZ)) == len(at_s)


@pytest.mark.parametrize(("name", "missed_max", "false_max"), [("100", 0, 0), ("101", 1, 4), ("208", 9, 9)])
def test_beats_of_real_records_are_found(name: str, missed_max: int, false_max: int) -> None:
    record = real(name)
    lead = record.signal[: 300 * 125]
    annotated = record.positions[record.positions < len(lead) - 250]
    missed = false = 0
    for start, frame in windows(lead):
        found = start + find_beats(frame.data[:, 0].astype(float), RATE_HZ)
        judged = annotated[(annotated >= start + 750) & (annotated < start + 750 + STRIDE)]
        missed += sum(np.abs(found - beat).min() > 0.15 * RATE_HZ for beat in judged)
        inside = found[(found >= start + 750) & (found < start + 750 + STRIDE)]
        false += sum(np.abs(annotated - beat).min() > 0.15 * RATE_HZ for beat in inside)
    assert (missed <= missed_max, false <= false_max) == (True, True), (missed, false)


@pytest.mark.parametrize("name", ["100", "101", "208"])
def test_no_window_of_a_real_record_is_called_noise(name: str) -> None:
    leads = [frame.data[:, 0].astype(float) for _, frame in windows(real(name).signal)][::25]
    assert [fault_of(lead) for lead in leads] == [""] * len(leads)


def clean() -> Array:
    return beat_train(list(np.arange(0.4, 9.9, 0.8)), 10.0)


def swings(rng: np.random.Generator) -> Array:
    return clean() + 4.0 * np.sin(2 * np.pi * 0.3 * TEN_S) + 0.01 * rng.normal(size=LENGTH)


@pytest.mark.parametrize(
    ("make", "reasons"),
    [
        (lambda rng: electrode_off(10.0, rng), {NOISE, COVERED}),
        (lambda rng: rng.normal(size=LENGTH), {NOISE, COVERED}),
        (lambda rng: np.convolve(rng.normal(size=LENGTH), np.ones(8), "same"), {NOISE}),
        (lambda rng: clean() + 0.6 * rng.normal(size=LENGTH), {NOISE, COVERED}),
        (lambda _rng: clean() + 0.5 * np.sin(2 * np.pi * 36.0 * TEN_S), {COVERED, NOISE}),
        (swings, {MOVES}),
        (lambda _rng: beat_train([5.0], 10.0), {NOTHING, NOISE}),
        (lambda _rng: np.zeros(LENGTH), {NOTHING}),
    ],
    ids=["electrode off", "white noise", "slow noise", "muscles", "hum", "baseline", "one beat", "nothing"],
)
def test_what_is_no_ecg_is_refused_with_its_reason(
    make: Callable[[np.random.Generator], Array], reasons: set[str]
) -> None:
    told = {fault_of(np.asarray(make(np.random.default_rng(seed)), np.float64)) for seed in range(12)}
    assert told <= reasons


def test_noise_of_a_usual_electrode_is_not_refused() -> None:
    recording = simulated([Rhythm(60.0)], 3)
    rng = np.random.default_rng(0)
    noisy = recording.signal + 0.04 * np.abs(recording.signal).max() * rng.normal(size=len(recording.signal))
    assert {fault_of(frame.data[:, 0].astype(float)) for _, frame in windows(noisy)} == {""}


@settings(max_examples=20)
@given(exponent=st.integers(-6, 6), seed=st.integers(0, 20))
def test_quality_does_not_depend_on_the_unit(exponent: int, seed: int) -> None:
    lead = clean() + 0.3 * np.random.default_rng(seed).normal(size=LENGTH)
    scaled = 10.0**exponent * lead
    one, other = (measure_quality(each, RATE_HZ, find_beats(each, RATE_HZ)) for each in (lead, scaled))
    for field in ("beats", "agreement", "contrast", "qrs_power", "baseline_power"):
        assert getattr(one, field) == pytest.approx(getattr(other, field), rel=1e-6)
