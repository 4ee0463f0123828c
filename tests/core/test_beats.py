"""Each heartbeat of a stream is judged once, against the wearer's own, and only where there is a signal."""

from collections.abc import Iterable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.core.features import ENTRY_BYTES_MAX, make_extractor
from appliance.core.features.beat_features import NAMES, WORDS, BeatWindow
from appliance.core.features.beats import AFTER_S, KEY, LEARNING, Beats
from appliance.core.features.wearer import WAVE_SAMPLES, baseline_from, correlation
from appliance.core.model import BeatsExtract
from appliance.core.types import Array, Frame, FrameKind
from appliance.errors import FrameError, NoScoreError, NoSignalError
from models.heartbeat.disturbance import electrode_off
from models.heartbeat.simulator import NORMAL, SUPRAVENTRICULAR, VENTRICULAR, Rhythm
from models.heartbeat.vectors import Judged, judge
from tests.core.leads import LENGTH, RATE_HZ, STRIDE, beat_train, real, simulated, window, windows

EXTRACT = BeatsExtract(rate_hz=RATE_HZ, length=LENGTH, stride=STRIDE, calibration_beats=30)
NOTHING = 9
CALM = Rhythm(60.0)


def learned(lead: Array) -> bytes:
    """The baseline that 30 beats of this lead give."""
    beats = Beats(EXTRACT)
    for _, frame in windows(lead):
        with pytest.raises(NoScoreError, match=LEARNING):
            beats(frame)
        if entries := beats.changes(10):
            return entries[KEY]
    raise AssertionError("nothing was learned")


def knowing(lead: Array) -> Beats:
    """An extractor that knows this wearer."""
    beats = Beats(EXTRACT)
    beats.restore({KEY: learned(lead)})
    return beats


def values(judged: Judged, kind: int, name: str) -> Array:
    of_kind: Array = judged.vectors[judged.kinds == kind]
    return of_kind[:, NAMES.index(name)]


def played(plan: Iterable[Rhythm], seed: int) -> Judged:
    """What is said of a wearer whose heart does what the plan says after they were learned."""
    recording = simulated([CALM, *plan], seed)
    baseline = learned(recording.signal)
    return judge(
        recording.signal, recording.positions, recording.kinds, nothing=NOTHING, baseline=baseline, extract=EXTRACT
    )


def test_there_is_no_score_until_the_wearer_is_known() -> None:
    recording = simulated([CALM], 1)
    beats = Beats(EXTRACT)
    said = []
    for _, frame in windows(recording.signal):
        try:
            said.append(str(len(beats(frame))))
        except NoScoreError as error:
            said.append(str(error))
    learning = said.index(next(each for each in said if each != LEARNING))
    assert set(said[:learning]) == {LEARNING}
    assert "0" not in said
    assert LEARNING not in said[learning:]
    beats_seen = np.count_nonzero(recording.positions < LENGTH + (learning - 1) * STRIDE - AFTER_S * RATE_HZ)
    before_the_first_region = np.count_nonzero(recording.positions < LENGTH - AFTER_S * RATE_HZ - STRIDE)
    assert 30 <= beats_seen - before_the_first_region <= 36


@pytest.mark.parametrize("seed", [1, 4, 11])
def test_windows_that_follow_one_another_judge_every_beat_once(seed: int) -> None:
    recording = simulated([CALM, Rhythm(60.0, ventricular=0.1, supraventricular=0.1)], seed)
    beats = knowing(recording.signal)
    found = [start + beat.position for start, frame in windows(recording.signal) for beat in beats.judge(frame)]
    once = np.unique(np.round(found, 1))
    gaps = np.diff(once)
    assert gaps.min() > 0.2 * RATE_HZ, "the same beat at two places"
    first, last = 6.0 * RATE_HZ, len(recording.signal) - 2.5 * RATE_HZ
    true = recording.positions[(recording.positions > first) & (recording.positions < last)]
    missed = [position for position in true if np.abs(once - position).min() > 0.15 * RATE_HZ]
    assert missed == []


def test_in_a_pause_the_last_beat_before_it_is_judged_again() -> None:
    at_s = [*np.arange(0.3, 32.0, 0.8), *np.arange(34.3, 50.0, 0.8)]
    lead = beat_train(at_s, 50.0) + 0.005 * np.random.default_rng(0).normal(size=6250)
    beats = knowing(lead)
    last_s = max(each for each in at_s if each < 33)
    judged = {start: beats.judge(frame) for start, frame in windows(lead)}
    pause = judged[int(26 * RATE_HZ)]  # its judged region, 32 to 34 s, holds no beat
    assert [(26 * RATE_HZ + beat.position) / RATE_HZ for beat in pause] == pytest.approx([last_s], abs=0.03)
    assert pause[0].vector[NAMES.index("interval_after")] == pytest.approx((34.3 - last_s) / 0.8, abs=0.1)


def test_ventricular_beats_are_unlike_the_wearers_own_and_early_atrial_ones_are_only_early() -> None:
    for seed in (2, 5):
        judged = played([Rhythm(70.0, ventricular=0.12, supraventricular=0.12, run=0.0)], seed)
        normal, early, wide = (values(judged, k, "likeness") for k in (NORMAL, SUPRAVENTRICULAR, VENTRICULAR))
        assert min(len(early), len(wide)) >= 4
        assert np.median(normal) > 0.97
        assert np.median(early) > 0.9
        assert np.median(wide) < 0.8
        before = {kind: np.median(values(judged, kind, "interval_before")) for kind in (NORMAL, SUPRAVENTRICULAR)}
        assert before[NORMAL] > 0.95
        assert before[SUPRAVENTRICULAR] < 0.88


def test_an_irregular_rhythm_shows_in_the_intervals_between_the_wearers_own_beats() -> None:
    judged = played([Rhythm(60.0, fibrillates=True), Rhythm(20.0)], 8)
    irregular = values(judged, 3, "irregularity_own_beats")
    regular = values(judged, NORMAL, "irregularity_own_beats")
    assert np.median(irregular) > 3 * np.median(regular)


@pytest.mark.parametrize("seed", [1, 4])
def test_of_two_kinds_of_beats_that_alternate_the_early_one_is_not_learned(seed: int) -> None:
    alternating = simulated([Rhythm(180.0, every=2, run=0.0)], seed)  # every second beat is ventricular
    calm = simulated([CALM], seed)  # of the same wearer
    one, other = (baseline_from(learned(each.signal)) for each in (alternating, calm))
    assert one is not None
    assert other is not None
    assert correlation(one.shape, other.shape) > 0.98


def test_a_beat_run_into_by_the_next_one_or_cut_off_by_the_window_is_not_learned_from() -> None:
    at_s = [0.2, 1.0, 1.8, 2.6, 3.4, 4.2, 4.6, 5.8, 6.6, 7.4, 8.2, 9.0, 9.8]
    beats = BeatWindow(beat_train(at_s, 10.0), RATE_HZ * np.array(at_s), RATE_HZ)
    assert [at for index, at in enumerate(at_s) if beats.usable(index)] == [1.0, 1.8, 2.6, 3.4, 5.8, 6.6, 7.4, 8.2, 9.0]


@settings(max_examples=6)
@given(exponent=st.floats(-3, 3), seed=st.sampled_from([1, 2]))
def test_the_unit_of_the_lead_does_not_matter(exponent: float, seed: int) -> None:
    recording = simulated([Rhythm(50.0, ventricular=0.1)], seed)
    scaled = (10.0**exponent * recording.signal.astype(np.float64)).astype(np.float32)
    one, other = (knowing(lead)(list(windows(lead))[-1][1]) for lead in (recording.signal, scaled))
    assert np.stack(one) == pytest.approx(np.stack(other), abs=2e-3)


def test_what_is_no_signal_is_told_so_and_never_learned_from() -> None:
    rng = np.random.default_rng(0)
    beats = Beats(EXTRACT)
    for _ in range(30):
        with pytest.raises(NoSignalError) as told:
            beats(window(electrode_off(10.0, rng)))
        assert str(told.value) in {
            "heartbeats cannot be told from noise",
            "muscle or mains noise covers the heartbeats",
        }
    assert beats.changes(10) == {}
    assert beats._wearer._candidates == []


def test_noise_does_not_change_a_known_baseline() -> None:
    lead = simulated([CALM], 1).signal
    beats = knowing(lead)
    before = beats._wearer.baseline
    rng = np.random.default_rng(0)
    for _ in range(10):
        with pytest.raises(NoSignalError):
            beats(window(electrode_off(10.0, rng)))
    assert beats._wearer.baseline is before


GOOD = beat_train(list(np.arange(0.4, 9.9, 0.8)), 10.0).astype(np.float32)[:, np.newaxis]


@pytest.mark.parametrize(
    ("kind", "data", "told"),
    [
        (FrameKind.RECORD, GOOD[:, 0], r"record \[1250\]"),
        (FrameKind.WINDOW, GOOD[:-1], r"window \[1249, 1\]; beats are found in window \[1250, 1\]"),
        (FrameKind.WINDOW, np.repeat(GOOD, 2, axis=1), r"window \[1250, 2\]"),
        (FrameKind.WINDOW, np.where(np.arange(LENGTH)[:, np.newaxis] == 7, np.nan, GOOD), "NaN or infinite"),
        (FrameKind.WINDOW, np.where(np.arange(LENGTH)[:, np.newaxis] == 7, np.inf, GOOD), "NaN or infinite"),
    ],
    ids=["kind", "length", "leads", "nan", "infinite"],
)
def test_a_frame_that_does_not_fit_is_refused(kind: FrameKind, data: Array, told: str) -> None:
    with pytest.raises(FrameError, match=told):
        Beats(EXTRACT)(Frame(kind, data, 0.0, 0))


@settings(max_examples=40)
@given(
    seed=st.integers(0, 1000),
    noise=st.sampled_from([0.0, 0.05, 0.3, 3.0]),
    scale=st.sampled_from([1e-30, 1.0, 1e30]),
    spikes=st.integers(0, 5),
    flat=st.integers(0, LENGTH),
)
def test_whatever_a_window_holds_it_is_judged_with_finite_numbers_or_refused_with_a_reason(
    seed: int, noise: float, scale: float, spikes: int, flat: int
) -> None:
    rng = np.random.default_rng(seed)
    lead = beat_train(list(np.cumsum(rng.uniform(0.25, 1.6, 30))), 10.0) + noise * rng.normal(size=LENGTH)
    lead[rng.integers(LENGTH, size=spikes)] += rng.choice([-50.0, 50.0])
    lead[:flat] = lead[flat - 1] if flat else lead[:flat]
    beats = Beats(EXTRACT)
    beats.restore({KEY: BASELINE})
    try:
        vectors = beats(window(scale * lead))
    except NoSignalError:
        pass
    else:
        assert len(vectors) >= 1
        assert {(each.dtype, each.shape) for each in vectors} == {(np.dtype(np.float32), (len(NAMES),))}
        assert np.isfinite(np.stack(vectors)).all()
        assert np.abs(np.stack(vectors)).max() <= 8.0
    assert beats._wearer.baseline is not None
    assert np.isfinite(beats._wearer.baseline.shape).all()


BASELINE = learned(simulated([CALM], 1).signal)


def test_a_restart_changes_nothing_about_what_is_said() -> None:
    recording = simulated([CALM, Rhythm(20.0, ventricular=0.2)], 2)
    before = Beats(EXTRACT)
    kept: dict[str, bytes] = {}
    frames = [frame for _, frame in windows(recording.signal)]
    for frame in frames[:30]:
        try:
            before(frame)
        except NoScoreError:
            kept |= before.changes(10)
    after = Beats(EXTRACT)
    after.restore(kept)
    for frame in frames[30:]:
        assert np.stack(after(frame)) == pytest.approx(np.stack(before(frame)), abs=0.02)  # followed beats aside


def test_little_is_remembered_and_it_is_handed_out_once() -> None:
    beats = Beats(EXTRACT)
    assert beats.changes(10) == {}
    for _, frame in windows(simulated([CALM], 1).signal):
        with pytest.raises(NoScoreError):
            beats(frame)
        if beats._wearer.baseline is not None:
            break
    assert beats.changes(0) == {}
    entries = beats.changes(1)
    assert list(entries) == [KEY]
    assert len(entries[KEY]) == 4 * (6 + WAVE_SAMPLES) <= ENTRY_BYTES_MAX
    assert beats.changes(10) == {}


@pytest.mark.parametrize("entries", [{}, {KEY: b""}, {KEY: b"damaged"}, {"another": BASELINE}])
def test_without_its_memory_or_with_a_damaged_one_it_learns_anew(entries: dict[str, bytes]) -> None:
    beats = Beats(EXTRACT)
    beats.restore(entries)
    with pytest.raises(NoScoreError, match=LEARNING):
        beats(window(GOOD[:, 0]))


def test_features_have_names_and_words_for_people() -> None:
    assert make_extractor(EXTRACT).names == NAMES
    assert len(set(NAMES)) == len(NAMES)
    assert set(WORDS) <= set(NAMES)


def test_on_a_real_record_ventricular_beats_are_told_from_the_wearers_own_by_likeness_alone() -> None:
    record = real("208")
    judged = judge(record.signal, record.positions, record.kinds, nothing=NOTHING, extract=EXTRACT)
    normal, wide = values(judged, NORMAL, "likeness"), values(judged, VENTRICULAR, "likeness")
    assert (len(normal) > 150, len(wide) > 60) == (True, True)
    ranked = (wide[:, np.newaxis] < normal).mean()  # the chance that a ventricular beat is less alike
    assert ranked > 0.97


def test_on_a_real_record_early_atrial_beats_are_early_and_alike() -> None:
    record = real("100")
    lead = record.signal[: 330 * 125]
    judged = judge(lead, record.positions, record.kinds, nothing=NOTHING, extract=EXTRACT)
    early = values(judged, SUPRAVENTRICULAR, "interval_before")
    assert len(early) == 3
    assert early.max() < 0.88
    assert values(judged, SUPRAVENTRICULAR, "likeness").min() > 0.9
    assert np.quantile(values(judged, NORMAL, "interval_before"), 0.01) > 0.9
