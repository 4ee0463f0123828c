"""The plan of an update: its table, and what holds whatever happens, in whatever order."""

from collections.abc import Iterable
from itertools import pairwise, product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.trust import plan
from appliance.trust.manifest import Terms
from appliance.trust.plan import BEGINNINGS_MAX, FAILURES_MAX, SKIP_RUNS_MAX, TABLE, WRITES_MAX, Effect, Event
from appliance.trust.state import REMEMBERED_MAX, Failure, ModelState, Stage, decode, encode
from tests.trust.updating import MODEL, an_id, make_manifest, state_at

NEWER = make_manifest("v3", 3)
ATTEMPT_RECORDS_MAX = WRITES_MAX + len(Stage)
"""Records of one attempt at most: where it goes on as before, and then straight through the stages."""
EVENTS: dict[Stage, list[Event]] = {stage: [event for at, event in TABLE if at is stage] for stage in Stage}
stories = st.binary(max_size=400)
"""For ``tell``: what each stage comes to, in order."""


def tell(state: ModelState, story: bytes, *, stay: bool = False) -> list[ModelState]:
    """Every record from ``state`` on; a byte of the story chooses one of the events that the stage knows.

    With ``stay``, nearly every byte chooses one that goes on as before, where there is one.
    """
    records = [state]
    for byte in story:
        state = records[-1]
        if state.stage is Stage.PLAN:
            state = plan.choose(state, make_manifest(), make_manifest().bundles[byte % 2])
        known = EVENTS[state.stage]
        staying = [event for event in known if TABLE[state.stage, event].to is state.stage]
        known = staying if stay and staying and byte > 3 else known
        records.append(plan.advance(state, known[byte % len(known)]))
    return records


def attempts(records: Iterable[ModelState]) -> list[list[ModelState]]:
    """Cut at each return to IDLE."""
    found: list[list[ModelState]] = [[]]
    for state in records:
        found[-1].append(state)
        if state.stage is Stage.IDLE:
            found.append([])
    return found


@pytest.mark.parametrize("stage", Stage)
def test_every_stage_can_be_left_and_from_every_stage_there_is_a_way_to_idle(stage: Stage) -> None:
    reached, more = set[Stage](), {stage}
    while more:
        reached |= more
        more = {TABLE[at, event].to for at, event in TABLE if at in reached} - reached
    assert EVENTS[stage]
    assert Stage.IDLE in reached


@pytest.mark.parametrize("stage", sorted(set(Stage) - {Stage.IDLE}))
def test_every_stage_is_on_the_way_of_an_update(stage: Stage) -> None:
    assert any(step.to is stage for step in TABLE.values())


@pytest.mark.parametrize("stage", plan.UPDATER_STAGES)
def test_every_stage_of_the_updater_knows_a_disk_that_fails(stage: Stage) -> None:
    assert Event.FAILED in EVENTS[stage]


def test_nothing_is_committed_but_by_a_trial_that_was_passed() -> None:
    ways = {pair for pair, step in TABLE.items() if Effect.COMMIT is step.effect or step.to is Stage.COMMITTED}
    assert ways == {(Stage.TRIAL, Event.DONE)}


def test_a_rollback_condemns_and_nothing_else_does() -> None:
    assert all((step.to is Stage.ROLLBACK) == (step.effect is Effect.CONDEMN) for step in TABLE.values())


def test_every_attempt_that_has_come_to_something_is_reported() -> None:
    for (stage, event), step in TABLE.items():
        assert bool(step.outcome) == (step.to in {Stage.COMMITTED, Stage.ROLLBACK} or (
            step.to is Stage.REPORT and stage in plan.UPDATER_STAGES
        )), f"{stage}, {event}"  # fmt: skip


def test_only_a_fetch_goes_on_as_before() -> None:
    assert {pair for pair, step in TABLE.items() if step.to is pair[0]} == {
        (Stage.FETCH, Event.UNREACHABLE),
        (Stage.FETCH, Event.HELD),
    }


@given(story=stories, stay=st.booleans())
def test_every_attempt_ends_after_a_bounded_number_of_records(*, story: bytes, stay: bool) -> None:
    for attempt in attempts(tell(ModelState(model=MODEL), story, stay=stay)):
        assert len(attempt) <= ATTEMPT_RECORDS_MAX
        assert all(state.writes <= ATTEMPT_RECORDS_MAX for state in attempt)


def test_a_fetch_that_never_ends_is_given_up_and_the_count_begins_anew() -> None:
    given_up = state_at(Stage.FETCH)
    while given_up.stage is Stage.FETCH:
        given_up = plan.advance(given_up, Event.UNREACHABLE)
    assert given_up.stage is Stage.REPORT
    assert given_up.outcome == "failed"
    assert given_up.reason.startswith("given up")
    assert given_up.failures == 1
    assert plan.advance(given_up, Event.DONE).writes == 0


def test_a_fetch_that_ended_after_all_is_not_given_up() -> None:
    state = state_at(Stage.FETCH).model_copy(update={"writes": WRITES_MAX + 5})
    assert plan.advance(state, Event.DONE).stage is Stage.VERIFY


@given(story=stories)
def test_a_model_serves_only_if_its_trial_was_passed_and_the_one_before_it_is_remembered(*, story: bytes) -> None:
    records = tell(ModelState(model=MODEL), story)
    for before, after in pairwise(records):
        if after.committed != before.committed:
            assert (before.stage, after.stage) == (Stage.TRIAL, Stage.COMMITTED)
            assert before.candidate is not None
            assert after.committed == before.candidate.manifest.model_id
            assert after.previous == before.committed
            assert after.sequence == before.candidate.manifest.sequence


@given(story=stories)
def test_a_candidate_is_there_from_its_choice_until_its_attempt_has_ended(*, story: bytes) -> None:
    for state in tell(ModelState(model=MODEL), story):
        expected = state.stage not in {Stage.IDLE, Stage.METADATA, Stage.PLAN}
        assert (state.candidate is not None) == expected or state.stage is Stage.REPORT
        assert state.tries_left == 0 or expected


def test_a_try_is_counted_down_and_none_is_taken_that_is_not_left() -> None:
    state = state_at(Stage.SELFTEST, make_manifest(terms=Terms(tries=1)))
    state = plan.started(state)
    assert state.tries_left == 0
    with pytest.raises(AssertionError, match="no try"):
        plan.started(state)
    with pytest.raises(AssertionError, match="fetch"):
        plan.started(state_at(Stage.FETCH))


@pytest.mark.parametrize("stage", plan.LOOP_STAGES)
def test_a_try_is_given_back_but_never_more_than_were_signed(stage: Stage) -> None:
    state = state_at(stage, make_manifest(terms=Terms(tries=2)))
    assert plan.given_back(state).tries_left == 2
    assert plan.given_back(plan.started(state)).tries_left == 2
    with pytest.raises(AssertionError, match="fetch"):
        plan.given_back(state_at(Stage.FETCH))


@pytest.mark.parametrize("stage", [Stage.FETCH, Stage.VERIFY, Stage.APPLY, *plan.LOOP_STAGES])
def test_what_its_publisher_stops_is_dropped_wherever_it_stands_and_nothing_is_held_against_it(stage: Stage) -> None:
    state = plan.advance(state_at(stage), Event.STOPPED)
    assert (state.stage, state.candidate, state.tries_left) == (Stage.IDLE, None, 0)
    assert (state.outcome, state.failures, state.committed) == ("", 0, an_id("v1"))


def test_each_failure_waits_longer_up_to_a_bound() -> None:
    state, waits = state_at(Stage.VERIFY), []
    for _ in range(FAILURES_MAX + 2):
        state = plan.advance(state.model_copy(update={"stage": Stage.VERIFY}), Event.DAMAGED)
        waits.append(state.skip_runs)
    assert waits == [1, 3, 7, 15, 31, SKIP_RUNS_MAX, SKIP_RUNS_MAX]


@pytest.mark.parametrize(("stage", "whole"), [(Stage.FETCH, False), (Stage.VERIFY, False), (Stage.APPLY, True)])
def test_a_bundle_that_did_not_apply_is_not_asked_for_again_but_a_damaged_one_is(stage: Stage, *, whole: bool) -> None:
    assert plan.advance(state_at(stage), Event.DAMAGED).failed[0].prefer_whole is whole


def test_what_failed_at_one_update_is_not_held_against_the_next() -> None:
    failed = plan.advance(plan.advance(state_at(Stage.APPLY), Event.DAMAGED), Event.DONE)
    assert (plan.failure_of(failed, an_id("v2")).times, plan.failure_of(failed, an_id("v3")).times) == (1, 0)
    planned = failed.model_copy(update={"stage": Stage.PLAN})
    again = plan.advance(plan.advance(plan.choose(planned, NEWER, NEWER.bundles[0]), Event.DONE), Event.REFUSED)
    assert again.failed[-1] == Failure(model_id=an_id("v3"), times=1)
    assert plan.failure_of(again, an_id("v2")) == Failure(model_id=an_id("v2"), times=1, prefer_whole=True)
    assert (again.failures, again.skip_runs) == (2, 3), "but what keeps failing is asked for less and less often"


@pytest.mark.parametrize("stage", [stage for stage in plan.UPDATER_STAGES if stage is not Stage.METADATA])
def test_the_devices_own_trouble_is_waited_out_and_not_held_against_the_update(stage: Stage) -> None:
    failed = plan.advance(plan.seen(state_at(stage), make_manifest()), Event.FAILED)
    assert (failed.failures, failed.skip_runs) == (1, 1)
    assert failed.failed == (Failure(model_id=an_id("v2")),)


def test_of_what_failed_and_was_tried_again_a_bounded_number_is_remembered() -> None:
    state = ModelState(model=MODEL)
    for number in range(REMEMBERED_MAX + 3):
        manifest = make_manifest(f"v{number}")
        planned = state.model_copy(update={"stage": Stage.PLAN})
        chosen = plan.choose(plan.forgiven(planned, manifest.model_id), manifest, manifest.bundles[0])
        state = plan.advance(plan.advance(chosen, Event.DONE), Event.REFUSED)
    expected = [an_id(f"v{number}") for number in range(3, REMEMBERED_MAX + 3)]
    assert [each.model_id for each in state.failed] == list(state.retried) == expected
    assert decode(encode(state), MODEL) == state


def test_what_is_newest_and_what_it_waits_for_is_known_though_nothing_is_under_way() -> None:
    state = plan.seen(ModelState(model=MODEL, committed=an_id("v1")), NEWER, "consent")
    assert (state.latest_id, state.latest_version, state.held) == (an_id("v3"), "3.0.0", "consent")
    assert plan.seen(state, None).latest_id == an_id("v1")


def test_an_apply_that_takes_the_device_down_is_counted_and_what_leaves_it_forgets_the_count() -> None:
    state = state_at(Stage.APPLY)
    for _ in range(BEGINNINGS_MAX):
        state = plan.begun(state)
    assert state.beginnings == BEGINNINGS_MAX
    assert plan.advance(state, Event.EXHAUSTED).beginnings == 0
    assert plan.advance(state, Event.EXHAUSTED).failed[0].prefer_whole
    with pytest.raises(AssertionError, match="begun in"):
        plan.begun(state_at(Stage.FETCH))


def test_the_record_keeps_of_what_is_signed_only_the_bundle_that_is_fetched() -> None:
    candidate = state_at(Stage.FETCH).candidate
    assert candidate is not None
    assert candidate.manifest.bundles == (candidate.bundle,)


def test_a_pair_that_the_table_does_not_know_is_a_bug() -> None:
    for stage, event in set(product(Stage, Event)) - set(TABLE):
        with pytest.raises(KeyError):
            plan.advance(ModelState(model=MODEL, stage=stage), event)


def test_the_bar_only_ever_moves_on() -> None:
    shares = [plan.percent(state_at(Stage.FETCH), received) for received in (0, 500, 1000, 2000)]
    order = (Stage.VERIFY, Stage.APPLY, Stage.SELFTEST, Stage.TRIAL, Stage.COMMITTED)
    shares += [plan.percent(state_at(stage)) for stage in order]
    assert shares == [0, 30, 60, 60, 60, 65, 75, 80, 100]
    assert [plan.percent(state_at(stage)) for stage in (Stage.IDLE, Stage.PLAN, Stage.ROLLBACK)] == [None] * 3


def test_the_table_is_told_row_by_row() -> None:
    told = plan.rows()
    assert len(told) == len(TABLE)
    assert told[0] == ("idle", "start", "metadata", "keep", "ask what is signed")
    assert all(words and not words.endswith(".") for *_, words in told)
