"""What becomes of an update that the appliance tries when its publisher stops it, or signs a newer one."""

from pathlib import Path

import pytest

from appliance.errors import MetadataError, RepositoryError, StoreError
from appliance.trust import plan
from appliance.trust.plan import Event
from appliance.trust.state import Stage
from tests.loop.updater_bench import V2, V3, Offer, Trouble, UpdaterBench
from tests.slots import MODEL

TO_V2, WITHDRAWS = Offer(V2, 2), Offer(V3, 1, allow_downgrade_from=(V2.model_id,), rollout_percent=0)
TO_V3 = Offer(V3, 3)
STAGES = pytest.mark.parametrize("stage", plan.LOOP_STAGES)


def trying(folder: Path, stage: Stage) -> UpdaterBench:
    """A device on which the appliance tries v2."""
    bench = UpdaterBench(folder, TO_V2)
    bench.run()
    if stage is Stage.TRIAL:
        bench.tell(Event.DONE)
    assert bench.state.stage is stage
    return bench


@STAGES
@pytest.mark.parametrize(
    "offers", [(TO_V2.signed_anew(rollout_percent=0),), (TO_V2, WITHDRAWS), ()], ids=["0 percent", "withdrawn", "gone"]
)
def test_what_is_stopped_while_it_is_tried_is_dropped(stage: Stage, offers: tuple[Offer, ...], tmp_path: Path) -> None:
    bench = trying(tmp_path, stage)
    bench.publish(*offers)
    bench.run()
    assert (bench.state.stage, bench.state.candidate) == (Stage.IDLE, None)
    assert not bench.slots.condemned()
    assert bench.reports() == []


@STAGES
def test_what_is_overtaken_while_it_is_tried_gives_way_in_the_same_run(stage: Stage, tmp_path: Path) -> None:
    bench = trying(tmp_path, stage)
    bench.publish(TO_V3, TO_V2)
    assert bench.stands() is Stage.SELFTEST
    assert bench.state.candidate is not None
    assert bench.state.candidate.manifest.model_id == V3.model_id


@STAGES
@pytest.mark.parametrize(
    "newer",
    [TO_V3.signed_anew(rollout_percent=0), TO_V3.signed_anew(consent=True), Offer(V3, 3, base=V2, whole=False)],
    ids=["stopped", "consent", "base"],
)
def test_what_cannot_be_taken_yet_takes_no_ones_place(stage: Stage, newer: Offer, tmp_path: Path) -> None:
    bench = trying(tmp_path, stage)
    before = bench.state
    bench.publish(newer, TO_V2)
    bench.run()
    assert bench.state == before


@STAGES
def test_a_smaller_share_takes_nothing_back_that_is_tried(stage: Stage, tmp_path: Path) -> None:
    bench = trying(tmp_path, stage)
    before = bench.state
    bench.publish(TO_V2.signed_anew(rollout_percent=1))
    bench.run()
    assert bench.state == before


@STAGES
@pytest.mark.parametrize("trouble", [RepositoryError("no route"), MetadataError("forged"), StoreError("full")])
def test_without_a_fresh_word_of_its_publisher_it_is_tried_to_its_end(
    stage: Stage, trouble: Trouble, tmp_path: Path
) -> None:
    bench = trying(tmp_path, stage)
    before = bench.state
    bench.publish()
    bench.trouble = trouble
    bench.run()
    assert bench.state == before


def test_a_verdict_that_falls_at_the_same_moment_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = trying(tmp_path, Stage.TRIAL)
    asked = bench._refresh

    def committing() -> object:
        bench.tell(Event.DONE)
        return asked()

    monkeypatch.setattr(bench, "_refresh", committing)
    bench.publish()
    bench.run()
    assert bench.state.committed == V2.model_id
    assert bench.slots.load(MODEL).stage is Stage.IDLE
