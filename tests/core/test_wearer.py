"""The wearer's own heartbeat is learned from beats that are alike, kept, and followed slowly."""

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from appliance.core.features.wearer import (
    ALIKE_MIN,
    CANDIDATES_PER_BEAT,
    HANDED_OUT_EVERY,
    WAVE_SAMPLES,
    Baseline,
    Candidate,
    Waves,
    Wearer,
    baseline_from,
    correlation,
    learn,
)

WANTED = 20
PLACE = np.arange(WAVE_SAMPLES)
OWN: Waves = np.exp(-0.5 * ((PLACE - 16) / 1.5) ** 2) + 0.2 * np.exp(-0.5 * ((PLACE - 34) / 4) ** 2)
OTHER: Waves = -np.exp(-0.5 * ((PLACE - 18) / 4) ** 2) + 0.6 * np.exp(-0.5 * ((PLACE - 26) / 3) ** 2)


def beats(shape: Waves, count: int, *, height: float = 1.0, rr_s: float = 0.8, seed: int = 0) -> list[Candidate]:
    rng = np.random.default_rng(seed)
    return [Candidate(height * (shape + 0.02 * rng.normal(size=WAVE_SAMPLES)), rr_s, 0.02, 30.0) for _ in range(count)]


def known() -> Wearer:
    wearer = Wearer(WANTED)
    wearer.add(beats(OWN, WANTED))
    return wearer


def baseline_of(wearer: Wearer) -> Baseline:
    assert wearer.baseline is not None
    return wearer.baseline


def test_nothing_is_known_until_so_many_alike_beats_came() -> None:
    wearer = Wearer(WANTED)
    wearer.add(beats(OWN, WANTED - 1))
    assert wearer.baseline is None
    wearer.add(beats(OTHER, WANTED - 1))
    assert wearer.baseline is None
    wearer.add(beats(OWN, 1))
    assert correlation(baseline_of(wearer).shape, OWN) > 0.99


def test_the_baseline_tells_height_interval_width_and_slope() -> None:
    wearer = Wearer(WANTED)
    wearer.add(beats(OWN, WANTED, height=1.7, rr_s=0.65))
    baseline = baseline_of(wearer)
    assert np.abs(baseline.shape).max() == pytest.approx(1.0)
    assert baseline.amplitude == pytest.approx(1.7 * OWN.max(), rel=0.03)
    assert (baseline.rr_s, baseline.width_s, baseline.slope) == (0.65, 0.02, 30.0)


@given(own=st.integers(WANTED, 2 * WANTED), seed=st.integers(0, 5))
def test_the_larger_group_is_learned_whatever_the_order(own: int, seed: int) -> None:
    mixed = [*beats(OWN, own), *beats(OTHER, WANTED - 1)]
    order = np.random.default_rng(seed).permutation(len(mixed))
    baseline = learn([mixed[index] for index in order], WANTED)
    assert baseline is not None
    assert correlation(baseline.shape, OWN) > 0.99


def test_who_has_mostly_ventricular_beats_while_learning_has_them_learned() -> None:
    wearer = Wearer(WANTED)
    wearer.add([*beats(OTHER, WANTED), *beats(OWN, WANTED - 1)])
    assert correlation(baseline_of(wearer).shape, OTHER) > 0.99  # a limit, told in the model's card


def test_one_torn_beat_does_not_change_what_is_learned() -> None:
    torn = [Candidate(OWN + 0.4 * np.sin(PLACE), 0.8, 0.02, 30.0) for _ in range(3)]
    assert correlation(torn[0].wave, OWN) < ALIKE_MIN
    baseline = learn([*beats(OWN, WANTED), *torn], WANTED)
    assert baseline is not None
    assert np.abs(baseline.shape - learned_of_own().shape).max() < 0.01


def learned_of_own() -> Baseline:
    baseline = learn(beats(OWN, WANTED), WANTED)
    assert baseline is not None
    return baseline


def test_beats_without_any_shape_are_never_learned() -> None:
    flat = [Candidate(np.zeros(WAVE_SAMPLES), 0.8, 0.02, 30.0) for _ in range(3 * WANTED)]
    assert learn(flat, WANTED) is None


def test_old_candidates_make_room_for_new_ones() -> None:
    wearer = Wearer(WANTED)
    rng = np.random.default_rng(3)
    for _ in range(10):  # beats of which none resembles another
        wearer.add([Candidate(rng.normal(size=WAVE_SAMPLES), 0.8, 0.02, 30.0) for _ in range(WANTED)])
    held = len(wearer._candidates)
    assert held == CANDIDATES_PER_BEAT * WANTED
    wearer.add(beats(OWN, WANTED))
    assert wearer.baseline is not None


def test_what_was_learned_is_not_learned_again() -> None:
    wearer = known()
    before = baseline_of(wearer)
    wearer.add(beats(OTHER, 3 * WANTED))
    assert baseline_of(wearer) is before


def test_a_slow_change_is_followed_and_another_shape_is_not() -> None:
    wearer = known()
    taller = beats(OWN, 1, height=1.5)[0]
    for _ in range(3000):
        wearer.follow(taller)
    assert baseline_of(wearer).amplitude == pytest.approx(1 + 0.5 * (1 - np.exp(-3000 / 2048)), rel=0.05)
    before = baseline_of(wearer)
    for other in beats(OTHER, 3000):
        wearer.follow(other)
    assert baseline_of(wearer) is before


def test_one_beat_changes_the_baseline_hardly() -> None:
    wearer = known()
    before = baseline_of(wearer)
    wearer.follow(beats(OWN, 1, height=3.0, rr_s=2.0)[0])
    after = baseline_of(wearer)
    assert np.abs(after.shape * after.amplitude - before.shape * before.amplitude).max() < 0.002
    assert abs(after.rr_s - before.rr_s) < 0.001


def test_the_baseline_is_handed_out_once_and_again_after_many_beats() -> None:
    wearer = known()
    assert wearer.handed_out() is not None
    assert wearer.handed_out() is None
    followed = beats(OWN, HANDED_OUT_EVERY)
    for beat in followed[:-1]:
        wearer.follow(beat)
    assert wearer.handed_out() is None
    wearer.follow(followed[-1])
    assert wearer.handed_out() is not None
    assert wearer.handed_out() is None


def test_while_learning_there_is_nothing_to_hand_out() -> None:
    assert Wearer(WANTED).handed_out() is None


def test_a_baseline_comes_back_as_it_was() -> None:
    wearer = known()
    data = wearer.handed_out()
    assert data is not None
    other = Wearer(WANTED)
    other.take_back(data)
    one, back = baseline_of(wearer), baseline_of(other)
    assert back.shape == pytest.approx(one.shape, abs=1e-6)
    assert (back.amplitude, back.rr_s, back.width_s, back.slope) == pytest.approx(
        (one.amplitude, one.rr_s, one.width_s, one.slope), rel=1e-6
    )
    assert other.handed_out() is None


@given(st.binary(max_size=300))
@example(b"")
@example(b"\x00" * 4 * (6 + WAVE_SAMPLES))
@example(b"\xff" * 4 * (6 + WAVE_SAMPLES))
def test_bytes_that_are_no_baseline_are_left_out(data: bytes) -> None:
    assert baseline_from(data) is None
    wearer = Wearer(WANTED)
    wearer.take_back(data)
    assert wearer.baseline is None


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (0, 2.0),  # another form
        (1, 128.0),  # another rate
        (2, 0.0),  # amplitude
        (2, -1.0),
        (3, 0.05),  # beats 50 ms apart
        (3, 4.0),
        (4, 0.0),  # width
        (5, -3.0),  # slope
        (6 + 16, 9.0),  # a shape that no longer is one
        (6 + 16, np.nan),
        (2, np.inf),
    ],
)
def test_a_baseline_with_one_wrong_number_is_left_out(place: int, value: float) -> None:
    data = known().handed_out()
    assert data is not None
    assert baseline_from(data) is not None
    numbers = np.frombuffer(data, "<f4").copy()
    numbers[place] = value
    assert baseline_from(numbers.tobytes()) is None


def test_a_baseline_without_a_shape_is_left_out() -> None:
    data = known().handed_out()
    assert data is not None
    numbers = np.frombuffer(data, "<f4").copy()
    numbers[6:] = 0
    assert baseline_from(numbers.tobytes()) is None


def test_a_wave_that_does_not_move_resembles_nothing() -> None:
    assert correlation(np.stack([np.zeros(WAVE_SAMPLES), OWN, -OWN]), OWN) == pytest.approx([0.0, 1.0, -1.0])
