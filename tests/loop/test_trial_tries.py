"""What is held against a candidate, and what is not: a crash, and neither the device's trouble nor its publisher's."""

from collections.abc import Iterator
from pathlib import Path
from threading import Event as Flag

import pytest

from appliance.adapters.backends.cpu import CpuBackend
from appliance.core.types import Array, Outputs
from appliance.inference import Inference
from appliance.sim.backend import Act, ScriptedBackend
from appliance.trial.attempts import LOOK_S, RETRY_S, RETRY_S_MAX, UNOPENED_MAX
from appliance.trial.probation import READY_S_MAX
from appliance.trial.selftest import QUIET_S
from appliance.trust import plan
from appliance.trust.plan import Event
from appliance.trust.state import ModelState, Stage
from tests.channels import DEADLINE_S, MODEL
from tests.loop.trials import NAME, Trying, trying
from tests.model_folders import TINY
from tests.updates import QUICK, newer

STAGES = pytest.mark.parametrize("stage", [Stage.SELFTEST, Stage.TRIAL])


@pytest.fixture
def trial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Trying]:
    with trying(tmp_path, monkeypatch) as made:
        yield made


def without_frames(trial: Trying) -> None:
    """Pieces of the trial's work while the camera is off."""
    for _ in range(10):
        trial.attempts.step()


def under_way(trial: Trying, stage: Stage) -> None:
    """See a candidate run, with a try counted for it."""
    trial.until(lambda: trial.state.stage is stage and trial.state.tries_left < 3 and trial.attempts._work is not None)
    if stage is Stage.TRIAL:
        trial.until(lambda: trial.version == "2.0.0")


@STAGES
def test_while_no_frame_comes_a_reboot_costs_no_try(trial: Trying, stage: Stage, tmp_path: Path) -> None:
    trial.lay(newer(TINY, tmp_path / "new"), stage=stage)
    for _ in range(9):
        without_frames(trial)
        assert (trial.state.stage, trial.state.tries_left) == (stage, 3)
        assert trial.decides.opens == 0
        trial.restart()
    assert trial.until_ended().outcome == "committed"


def test_a_try_is_counted_again_before_a_frame_is_judged_and_a_camera_that_goes_quiet_gives_it_back(
    trial: Trying, tmp_path: Path
) -> None:
    trial.lay(newer(TINY, tmp_path / "new"), QUICK.model_copy(update={"shadow_frames": 9}))
    without_frames(trial)
    proven = trial.shadows.invokes
    trial.step()
    trial.attempts.step()
    assert (trial.state.tries_left, trial.shadows.invokes) == (2, proven)
    trial.attempts.step()
    assert trial.shadows.invokes > proven
    without_frames(trial)
    assert trial.state.tries_left == 2
    trial.bench.clock.advance(QUIET_S)
    without_frames(trial)
    assert trial.state.tries_left == 3
    assert trial.until_ended().outcome == "committed"


@STAGES
@pytest.mark.parametrize(("told_to", "left"), [(True, 3), (False, 2)], ids=["told to end", "crashed"])
def test_a_process_that_is_told_to_end_gives_the_try_back_and_one_that_crashed_does_not(
    trial: Trying, stage: Stage, left: int, tmp_path: Path, *, told_to: bool
) -> None:
    trial.lay(newer(TINY, tmp_path / "new"), QUICK.model_copy(update={"decisions_min": 99}), stage=stage)
    if stage is Stage.SELFTEST:
        trial.attempts.step()
    else:
        under_way(trial, stage)
    assert trial.state.tries_left == 2
    stop = Flag()
    stop.set()
    trial.trials.close(told_to=told_to)
    trial.trials.run(stop)
    trial.trials.close()
    assert (trial.state.stage, trial.state.tries_left) == (stage, left)
    assert trial.version == "1.0.0"


def test_where_no_backend_opens_it_waits_longer_each_time_and_nothing_is_held_against_a_candidate(
    trial: Trying, tmp_path: Path
) -> None:
    trial.decides.refuse(9)
    trial.lay(newer(TINY, tmp_path / "new"), stage=Stage.TRIAL)
    waits = []
    for _ in range(9):
        trial.until(lambda: "no device" in trial.attempts.progress)
        assert (trial.state.stage, trial.state.tries_left, trial.version) == (Stage.TRIAL, 3, "1.0.0")
        waits.append(trial.attempts._retry_s - trial.bench.clock.monotonic_s())
        trial.attempts.progress = ""
        trial.bench.clock.advance(waits[-1])
    assert waits == pytest.approx([min(RETRY_S * 2**number, RETRY_S_MAX) for number in range(9)], abs=0.5)
    assert trial.until_ended().outcome == "committed"


def test_a_candidate_that_can_never_be_opened_is_given_up_within_its_bound(trial: Trying, tmp_path: Path) -> None:
    trial.decides.refuse(2 * UNOPENED_MAX)
    trial.lay(newer(TINY, tmp_path / "new"), stage=Stage.TRIAL)
    for _ in range(UNOPENED_MAX - 1):
        trial.until(lambda: "no device" in trial.attempts.progress)
        assert (trial.state.stage, trial.state.tries_left, trial.version) == (Stage.TRIAL, 3, "1.0.0")
        trial.attempts.progress = ""
        trial.bench.clock.advance(RETRY_S_MAX)
    ended = trial.until_ended()
    assert (ended.outcome, trial.version) == ("rolled_back", "1.0.0")
    assert f"could not be opened {UNOPENED_MAX} times: " in ended.reason


def test_a_candidate_that_was_opened_in_between_is_not_given_up(trial: Trying, tmp_path: Path) -> None:
    trial.decides.refuse(UNOPENED_MAX - 1)
    trial.lay(newer(TINY, tmp_path / "new"), stage=Stage.TRIAL)
    for _ in range(UNOPENED_MAX - 1):
        trial.until(lambda: "no device" in trial.attempts.progress)
        trial.attempts.progress = ""
        trial.bench.clock.advance(RETRY_S_MAX)
    trial.until(lambda: trial.version == "2.0.0")
    trial.attempts.stop("the disk takes nothing")
    trial.decides.refuse(1)
    trial.bench.clock.advance(RETRY_S_MAX)
    trial.until(lambda: "no device" in trial.attempts.progress)
    trial.bench.clock.advance(RETRY_S_MAX)
    assert trial.until_ended().outcome == "committed"


def test_a_disk_that_fails_in_the_middle_costs_no_try_once_it_takes_records_again(
    trial: Trying, tmp_path: Path
) -> None:
    trial.lay(newer(TINY, tmp_path / "new"), stage=Stage.TRIAL)
    trial.until(lambda: trial.version == "2.0.0")
    trial.slots.script.refuse = "Read-only file system"
    for _ in range(9):
        for _ in range(20):
            trial.trials._step(trial.attempts)
            trial.bench.step()
        trial.bench.clock.advance(RETRY_S_MAX)
    assert (trial.version, trial.state.tries_left) == ("1.0.0", 2)
    trial.slots.script.refuse = ""
    assert trial.until_ended().outcome == "committed"


@pytest.mark.parametrize(("refuted", "outcome"), [(False, ""), (True, "rolled_back")], ids=["away", "other numbers"])
def test_an_accelerator_that_does_not_come_is_the_devices_and_one_that_refuses_the_numbers_the_candidates(
    trial: Trying, outcome: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, refuted: bool
) -> None:
    made = trial.inference

    def behind(key, model):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202 - as the workshop's
        inference = made(key, model)
        seat = inference._seats[0]
        seat.serving, seat.reason, seat.refuted = False, "tpu: trouble", refuted
        return inference

    monkeypatch.setattr(trial, "inference", behind)
    trial.restart()
    trial.lay(newer(TINY, tmp_path / "new"), stage=Stage.TRIAL)
    trial.until(lambda: trial.attempts.progress == "waits: tpu: trouble")
    trial.bench.clock.advance(READY_S_MAX)
    trial.step()
    trial.step()
    assert (trial.state.outcome, bool(trial.slots.condemned())) == (outcome, refuted)
    assert trial.version == "1.0.0"
    assert refuted or trial.state.tries_left == 3


@pytest.mark.parametrize("lies", [False, True], ids=["absent", "other numbers"])
def test_only_a_backend_that_ran_a_model_and_gave_other_numbers_has_refused_it(trial: Trying, *, lies: bool) -> None:
    bench = trial.bench
    tpu = ScriptedBackend(CpuBackend(), bench.clock, name="tpu")
    inference = Inference(
        MODEL, (tpu, CpuBackend()), bench.clock, bench.meter, deadline_s=DEADLINE_S, probe_interval_s=1.0
    )
    inference.open()
    try:
        if lies:
            tpu.then(Act.LIE)
        else:
            tpu.refuse(1)
        inference.probe()
        assert (inference.degraded, inference.unsuited) == (True, lies)
        bench.clock.advance(1.0)
        inference.probe()
        assert (inference.degraded, inference.unsuited) == (False, False)
    finally:
        inference.close()


def meddled(trial: Trying, change: str) -> ModelState:
    """What another process, or the medium, makes of the record."""
    if change == "lost":
        trial.slots.forget(NAME)
        return trial.state
    with trial.slots.locked(NAME):
        return trial.slots.save(plan.advance(trial.state, Event.STOPPED))


@STAGES
@pytest.mark.parametrize("change", ["stopped", "lost"])
def test_where_the_record_changes_what_is_under_way_is_let_go_and_nothing_is_written(
    trial: Trying, stage: Stage, change: str, tmp_path: Path
) -> None:
    trial.lay(newer(TINY, tmp_path / "new"), QUICK.model_copy(update={"decisions_min": 99}), stage=stage)
    under_way(trial, stage)
    record = meddled(trial, change)
    trial.bench.clock.advance(LOOK_S)
    trial.step()
    trial.step()
    assert trial.state == record
    assert record.stage is Stage.IDLE
    assert trial.version == "1.0.0"
    assert not trial.slots.condemned()
    assert all(sandbox.closed for sandbox in trial.sandboxes)
    assert len(trial.opened) == 1
    model_id = trial.lay(newer(TINY, tmp_path / "newer", "3.0.0"))
    assert trial.until_ended().committed == model_id, "and a newer one is tried"


@pytest.mark.parametrize("change", ["stopped", "lost"])
@pytest.mark.parametrize("act", [Act.ANSWER, Act.DIE], ids=["good", "bad"])
def test_a_verdict_on_a_record_that_is_another_one_meanwhile_is_dropped(
    trial: Trying, act: Act, change: str, tmp_path: Path
) -> None:
    trial.shadows.then(act)
    trial.lay(newer(TINY, tmp_path / "new"), QUICK.model_copy(update={"shadow_frames": 0}))
    invoke, records = trial.shadows.invoke, list[ModelState]()

    def meddling(tensor: Array, deadline_s: float) -> Outputs:
        if not records:
            records.append(meddled(trial, change))
        return invoke(tensor, deadline_s)

    trial.shadows.invoke = meddling  # type: ignore[method-assign]  # it comes in the middle of the proof
    for _ in range(9):
        trial.step()
    assert [trial.state] == records
    assert not trial.slots.condemned()
    assert trial.version == "1.0.0"
