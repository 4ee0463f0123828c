"""Which update is chosen: whatever is signed, a device comes to rest, and goes back only where it is told to."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from appliance.trust.manifest import Manifest
from appliance.trust.state import Failure, ModelState
from appliance.updater.choice import Situation, bundle_for, choose, stopped
from tests.trust.updating import MODEL, an_id, make_bundle, make_manifest

NAMES = ("v1", "v2", "v3", "v4")
HERE = Situation(node="b1", running_id=an_id("v1"))

names = st.sampled_from(NAMES)
offers = st.lists(
    st.builds(
        lambda name, percent, back, retry, consent: make_manifest(
            name,
            NAMES.index(name) + 1,
            rollout_percent=percent,
            allow_downgrade_from=tuple(an_id(each) for each in back),
            retry=retry,
            consent=consent,
        ),
        names,
        st.sampled_from([0, 50, 100, 100]),
        st.sets(names, max_size=2),
        st.booleans(),
        st.booleans(),
    ),
    max_size=4,
    unique_by=lambda manifest: manifest.model_id,
)


def state_of(manifest: Manifest | None) -> ModelState:
    """The record of a device on which ``manifest`` was committed."""
    if manifest is None:
        return ModelState(model=MODEL)
    return ModelState(model=MODEL, committed=manifest.model_id, sequence=manifest.sequence)


@given(signed=offers, consented=names, condemned=st.sets(names, max_size=2))
def test_a_device_comes_to_rest_whatever_is_signed(
    *, signed: list[Manifest], consented: str, condemned: set[str]
) -> None:
    state, situation, passed = state_of(None), HERE, {an_id("v1")}
    for _ in NAMES:
        situation = replace(situation, consented=an_id(consented), condemned={an_id(name) for name in condemned})
        choice = choose(signed, state, situation)
        if choice.manifest is None or choice.held:
            return
        assert choice.manifest.model_id not in passed, "to and fro"
        passed.add(choice.manifest.model_id)
        state = state_of(choice.manifest)
        situation = replace(situation, running_id=choice.manifest.model_id)
    raise AssertionError("more updates than there are versions")


@given(signed=offers, running=st.sampled_from([None, *NAMES]), condemned=st.sets(names, max_size=2))
def test_what_is_taken_is_newer_or_allowed_signed_for_this_device_and_did_not_fail_here(
    *, signed: list[Manifest], running: str | None, condemned: set[str]
) -> None:
    state = state_of(make_manifest(running, NAMES.index(running) + 1) if running else None)
    here = replace(HERE, running_id=state.committed or an_id("v1"), condemned={an_id(name) for name in condemned})
    choice = choose(signed, state, here)
    if choice.manifest is None or choice.held:
        return
    custom = choice.manifest.custom
    assert custom.sequence > state.sequence or here.running_id in custom.allow_downgrade_from
    assert custom.rollout_percent > 0
    assert not custom.consent
    assert choice.manifest.model_id not in here.condemned or custom.retry
    assert not stopped(signed, choice.manifest)


def test_the_factorys_model_is_no_update_though_no_record_knows_its_place() -> None:
    signed = [make_manifest("v1", 5), make_manifest("v0", 4)]
    assert choose(signed, state_of(None), HERE).manifest is None


def test_the_newest_that_may_be_taken_is_taken_though_a_newer_one_waits() -> None:
    signed = [make_manifest("v3", 3, consent=True), make_manifest("v2", 2)]
    choice = choose(signed, state_of(None), HERE)
    assert (choice.manifest, choice.held) == (signed[1], "")
    waiting = choose(signed[:1], state_of(None), HERE)
    assert (waiting.manifest, waiting.held) == (signed[0], "consent")


def test_of_two_bundles_the_delta_comes_first_and_the_whole_only_where_both_sides_allow_it() -> None:
    delta, whole = make_bundle(), make_bundle(base=None)
    both = make_manifest(bundles=(delta, whole))
    state, base = state_of(None), an_id("v1")
    assert bundle_for(both, state, base, whole_allowed=True) == delta
    assert bundle_for(both, state, an_id("other"), whole_allowed=True) == whole
    assert bundle_for(both, state, None, whole_allowed=False) is None
    strict = make_manifest(bundles=(delta, whole), whole_allowed=False)
    assert bundle_for(strict, state, None, whole_allowed=True) is None
    failure = Failure(model_id=both.model_id, prefer_whole=True)
    failed = state.model_copy(update={"failed": (failure, Failure(model_id=an_id("v9")))})
    assert bundle_for(both, failed, base, whole_allowed=True) == whole
    assert bundle_for(both, failed, base, whole_allowed=False) == delta, "again, rather than never"
