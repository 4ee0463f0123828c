"""What may take a model's place, and what a trial comes to."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.adapters.model_folder import read_model
from appliance.core.agreement import LOOKS_MIN, Look
from appliance.core.model import BeatsExtract, ClassifyDecode, Model, ScoreDecode, Task
from appliance.core.trial import (
    ASKED_MIN,
    LOOKS_MAX,
    STREAK_MAX,
    Came,
    Criteria,
    Watch,
    at_most,
    suits,
    unanswered_share,
)
from appliance.core.types import FrameKind
from tests.model_folders import FOLDERS, HEARTBEAT, MACHINE, TINY

TINY_MODEL = read_model(TINY)
CRITERIA = Criteria(decisions_min=30, duration_s=60.0, faults_share_max=0.1)
LONG_S = 1e6


def watched(came: Sequence[Came], criteria: Criteria = CRITERIA) -> Watch:
    watch = Watch(criteria, started_s=0.0)
    for each in came:
        watch = watch.update(each)
    for _ in range(LOOKS_MIN):
        watch = watch.compare(None)
    return watch


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.parent.name)
def test_a_model_suits_itself_with_other_weights_numbers_and_more_labels(folder: Path) -> None:
    model = read_model(folder)
    wider = replace(model.input, scale=model.input.scale * 2, zero_point=1)
    newer = replace(model, version="9", tflite=b"", sha256="", input=wider, labels=(*model.labels, "another"))
    assert suits(model, newer) == ""


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"name": "other"}, "its name"),
        ({"task": Task.DETECT}, "what it is for"),
        ({"preprocess": replace(TINY_MODEL.preprocess, kind=FrameKind.WINDOW)}, "the kind of frame"),
        ({"extract": BeatsExtract(125.0, 1250, 250)}, "how its features are extracted"),
        ({"preprocess": replace(TINY_MODEL.preprocess, features=("a",))}, "its features"),
        ({"decode": ScoreDecode("none", "red")}, "how its answers are read"),
    ],
)
def test_what_the_channel_relies_on_must_stay(change: dict[str, object], words: str) -> None:
    changed: Model = replace(TINY_MODEL, **change)  # type: ignore[arg-type]  # a test's own spelling
    assert words in suits(TINY_MODEL, changed)


def test_an_extractor_that_works_otherwise_does_not_suit_what_was_remembered_with_the_one_before() -> None:
    model = read_model(HEARTBEAT)
    assert isinstance(model.extract, BeatsExtract)
    changed = replace(model, extract=replace(model.extract, stride=125))
    assert "extracted" in suits(model, changed)


def test_pictures_may_change_their_size_and_records_their_numbers_not() -> None:
    larger = replace(TINY_MODEL.input, shape=(1, 32, 32, 3))
    assert suits(TINY_MODEL, replace(TINY_MODEL, input=larger)) == ""
    model = read_model(MACHINE)
    assert "how many numbers" in suits(model, replace(model, input=replace(model.input, shape=(1, 44))))


def test_a_label_that_a_rule_looks_for_must_be_known() -> None:
    fewer = replace(TINY_MODEL, labels=("red", "green"), decode=ClassifyDecode("softmax"))
    assert suits(TINY_MODEL, fewer, used=["red"]) == ""
    assert suits(TINY_MODEL, fewer, used=["blue", "red"]).endswith("does not know blue, which a rule looks for")


def test_a_trial_ends_well_after_enough_results_and_time() -> None:
    watch = watched([Came.RESULT] * 30)
    assert watch.verdict(59.9) is None
    verdict = watch.verdict(60.0)
    assert verdict is not None
    assert (verdict.good, verdict.reason) == (True, "30 results (30 signed), 60 s (60 signed)")
    assert watched([Came.RESULT] * 29).verdict(LONG_S) is None


def test_a_trial_does_not_end_well_before_the_model_before_was_asked_often_enough() -> None:
    watch = Watch(CRITERIA, 0.0)
    for _ in range(100):
        watch = watch.update(Came.RESULT)
    assert watch.verdict(LONG_S) is None


@given(st.lists(st.sampled_from([Came.RESULT, Came.UNASKED]), max_size=200))
def test_what_no_model_could_do_about_is_held_against_none(came: list[Came]) -> None:
    verdict = watched(came).verdict(LONG_S)
    assert verdict is None or verdict.good
    assert (verdict is not None) is (came.count(Came.RESULT) >= CRITERIA.decisions_min)


@given(st.lists(st.sampled_from(Came), max_size=200), st.floats(0.0, 0.5))
def test_no_candidate_is_kept_that_left_more_frames_unanswered_than_allowed(came: list[Came], own_share: float) -> None:
    criteria = replace(CRITERIA, own_share=own_share)
    verdict = watched(came, criteria).verdict(LONG_S)
    if verdict is not None and verdict.good:
        assert unanswered_share(came) <= criteria.faults_share_max + own_share
        assert Came.NOT_FINITE not in came


def test_frames_without_an_answer_end_a_trial_early_but_not_at_the_first() -> None:
    assert watched([Came.LATE] * (ASKED_MIN - 1)).verdict(1.0) is None
    verdict = watched([Came.LATE] * ASKED_MIN).verdict(1.0)
    assert verdict is not None
    assert verdict.reason == "20 of 20 frames without an answer; 10% are allowed"


def test_a_streak_without_a_backend_or_one_answer_that_is_no_number_ends_it_at_once() -> None:
    assert watched([Came.NO_BACKEND] * (STREAK_MAX - 1)).verdict(1.0) is None
    assert watched([*[Came.NO_BACKEND] * 4, Came.RESULT, Came.NO_BACKEND]).verdict(1.0) is None
    streak = watched([Came.NO_BACKEND] * STREAK_MAX).verdict(1.0)
    assert streak is not None
    assert not streak.good
    nonsense = watched([Came.NOT_FINITE]).verdict(1.0)
    assert nonsense is not None
    assert nonsense.reason == "its answer is not a finite number"


def test_answers_that_are_all_the_same_end_it() -> None:
    watch = watched([Came.RESULT] * 30)
    for number in range(2 * LOOKS_MAX):
        same, varied = Look((), "red", 0.0), Look((), ("red", "blue")[number % 2], 0.0)
        watch = watch.compare((same, varied))
    assert len(watch.looks) == LOOKS_MAX
    verdict = watch.verdict(1.0)
    assert verdict is not None
    assert "the same of every frame" in verdict.reason


def compared(agreed: int, frames: int, agreement_min: float = 0.8) -> Watch:
    watch = watched([Came.RESULT] * 30, replace(CRITERIA, agreement_min=agreement_min))
    watch = replace(watch, compared=0)
    for number in range(frames):
        seen = Look((), str(number), 0.0)
        watch = watch.compare((seen, seen), agreed=number < agreed)
    return watch


def test_a_model_that_sees_nothing_where_the_one_before_always_sees_people_is_found_out() -> None:
    verdict = compared(0, LOOKS_MIN).verdict(1.0)
    assert verdict is not None
    assert verdict.reason == f"it agrees with the model before it on 0 of {LOOKS_MIN} frames; 80% are signed"
    assert compared(0, LOOKS_MIN - 1).verdict(1.0) is None, "a few frames say nothing"
    good = compared(0, 100, agreement_min=0.0).verdict(LONG_S)
    assert good is not None
    assert good.good, "its publisher signed that it judges otherwise"


@given(st.integers(LOOKS_MIN, 150), st.floats(0.0, 1.0), st.floats(0.0, 1.0))
def test_what_chance_may_explain_condemns_nobody_and_what_it_cannot_does(
    frames: int, share: float, agreement_min: float
) -> None:
    agreed = round(share * frames)
    verdict = compared(agreed, frames, agreement_min).verdict(LONG_S)
    assert verdict is not None
    if agreed >= agreement_min * frames:
        assert verdict.good
    if agreed < (agreement_min - 0.35) * frames:
        assert not verdict.good


@given(st.integers(1, 500), st.data())
def test_the_highest_likely_share_is_never_below_the_one_that_was_seen(tries: int, data: st.DataObject) -> None:
    hits = data.draw(st.integers(0, tries))
    assert hits / tries <= at_most(hits, tries) + 1e-9
    assert at_most(hits, tries) <= 1.0 + 1e-9


def test_a_share_of_no_frames_is_none() -> None:
    assert unanswered_share([Came.UNASKED]) == 0.0
    assert unanswered_share([Came.LATE, Came.RESULT, Came.UNASKED]) == 0.5
