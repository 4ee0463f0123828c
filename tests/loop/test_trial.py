"""A candidate from its self-test to its end: who decides meanwhile, what is on disk, and what is told."""

import json
from collections.abc import Iterator
from itertools import repeat
from pathlib import Path

import pytest

from appliance.core.types import Array, EventType, OutcomeState, Outputs
from appliance.sim.backend import Act
from appliance.sim.sensor import Step
from appliance.trial.attempts import RETRY_S
from appliance.trial.telling import KEPT_S
from appliance.trust.state import Stage
from tests.channels import GREEN, RED, show
from tests.loop.trials import NAME, Trying, trying
from tests.model_folders import TINY
from tests.updates import QUICK, laid_ready, newer

SWAPPED = {"colour": "bgr"}
"""Preprocessing that takes red for blue."""
BLIND = {"std": [1e9, 1e9, 1e9]}
"""Preprocessing that leaves nothing of a picture: every one looks the same."""
UNCHECKED = QUICK.model_copy(update={"shadow_frames": 0, "decisions_min": 30})


@pytest.fixture
def trial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Trying]:
    with trying(tmp_path, monkeypatch) as made:
        yield made


def versions(trial: Trying) -> list[str]:
    """The models that decided, one after the other."""
    told = [each.provenance.model_version for each in trial.decisions]
    return [version for place, version in enumerate(told) if place == 0 or told[place - 1] != version]


def rolled_back(trial: Trying) -> str:
    """See everything as it was; returns why."""
    state = trial.until_ended()
    assert (state.committed, state.outcome) == (None, "rolled_back")
    assert list(trial.slots.condemned().values()) == [state.reason]
    assert trial.version == "1.0.0"
    assert [inference.model.version for inference in trial.opened] == ["1.0.0"]
    return state.reason


def test_a_good_candidate_is_committed_and_decides_from_then_on(trial: Trying, tmp_path: Path) -> None:
    model_id = trial.lay(newer(TINY, tmp_path / "new"))
    state = trial.until_ended()
    assert (state.committed, state.previous, state.outcome) == (model_id, None, "committed")
    assert [inference.model.version for inference in trial.opened] == ["2.0.0"], "the one before is let go"
    assert trial.site.model_id == model_id
    assert all(sandbox.closed for sandbox in trial.sandboxes)
    assert {each.outcome_state for each in trial.decisions} == {OutcomeState.RESULT}
    trial.step()
    assert versions(trial) == ["1.0.0", "2.0.0"]
    assert trial.bench.meter.value("edge_backend_active", model=NAME, backend="cpu") == 1.0
    assert trial.bench.meter.value("edge_update_shadow_frames_total", model=NAME, outcome="agreed") == 4.0


def test_until_it_is_proven_in_a_process_of_its_own_a_candidate_decides_nothing(trial: Trying, tmp_path: Path) -> None:
    trial.lay(newer(TINY, tmp_path / "new"))
    trial.until(lambda: trial.state.stage is Stage.TRIAL)
    assert versions(trial) == ["1.0.0"]
    assert trial.decides.opens == 0, "nothing of it was in our process"


@pytest.mark.parametrize(
    ("act", "changed", "why"),
    [
        (Act.LIE, {}, "golden outputs"),
        (Act.DIE, {}, "died"),
        (Act.SLOW, {}, "its publisher allows 500"),
        (Act.ANSWER, SWAPPED, "does not agree with the running model on 2 of"),
    ],
)
def test_a_candidate_that_fails_its_self_test_never_decides(
    trial: Trying, act: Act, changed: dict[str, object], why: str, tmp_path: Path
) -> None:
    trial.shadows.then(*[act] * 99)
    trial.lay(newer(TINY, tmp_path / "new", preprocess=changed), QUICK.model_copy(update={"latency_ms_max": 500.0}))
    assert why in rolled_back(trial)
    assert (versions(trial), trial.decides.opens) == (["1.0.0"], 0)


def test_a_candidate_that_takes_more_memory_than_signed_is_not_taken(trial: Trying, tmp_path: Path) -> None:
    trial.lay(newer(TINY, tmp_path / "new"), QUICK.model_copy(update={"memory_bytes_max": 999}))
    assert "adds 1,000 bytes of memory; its publisher allows 999" in rolled_back(trial)


def test_a_candidate_that_does_not_fit_the_configuration_is_not_loaded(trial: Trying, tmp_path: Path) -> None:
    trial.unfit = "a rule looks for purple"
    trial.lay(newer(TINY, tmp_path / "new"))
    assert "a rule looks for purple" in rolled_back(trial)
    assert trial.shadows.opens == 0


def test_a_candidate_that_says_the_same_of_every_frame_is_found_out(trial: Trying, tmp_path: Path) -> None:
    trial.lay(newer(TINY, tmp_path / "new", preprocess=BLIND), UNCHECKED)
    assert "it says the same of every frame" in rolled_back(trial)
    assert versions(trial)[:2] == ["1.0.0", "2.0.0"]


def test_nothing_happening_before_the_camera_is_held_against_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with trying(tmp_path, monkeypatch, repeat(show(GREEN))) as trial:
        trial.lay(newer(TINY, tmp_path / "new"))
        assert trial.until_ended().outcome == "committed"


def test_a_candidate_that_answers_no_more_is_replaced_at_once(trial: Trying, tmp_path: Path) -> None:
    trial.lay(newer(TINY, tmp_path / "new"), UNCHECKED)
    trial.until(lambda: trial.version == "2.0.0")
    trial.decides.then(Act.DIE)
    assert "no backend answered 5 frames in a row" in rolled_back(trial)
    lost = [each for each in trial.decisions if each.outcome_state is OutcomeState.NO_RESULT]
    assert 5 <= len(lost) <= 6
    assert trial.bench.step().outcome_state is OutcomeState.RESULT


def test_a_candidate_that_answers_too_late_is_not_kept(trial: Trying, tmp_path: Path) -> None:
    trial.lay(newer(TINY, tmp_path / "new"), UNCHECKED)
    trial.until(lambda: trial.version == "2.0.0")
    trial.decides.then(*[Act.SLOW] * 40)
    assert "frames without an answer; 10% are allowed" in rolled_back(trial)


def test_an_event_that_has_begun_goes_on_over_the_switch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def red() -> Iterator[Step]:
        yield from repeat(show(RED), 60)
        yield from repeat(show(GREEN), 60)

    with trying(tmp_path, monkeypatch, red()) as trial:
        trial.lay(newer(TINY, tmp_path / "new"))
        trial.until_ended()
        trial.until(lambda: len(trial.bench.alerts()) > 1)
        new, end = trial.bench.alerts()
        assert (new["event_type"], end["event_type"]) == (EventType.NEW.value, EventType.END.value)
        assert new["id"] == end["id"]
        assert (new["model_version"], end["model_version"]) == ("1.0.0", "2.0.0")


def test_a_try_is_counted_on_disk_before_anything_is_loaded(trial: Trying, tmp_path: Path) -> None:
    trial.lay(newer(TINY, tmp_path / "new"))
    trial.attempts.step()
    assert (trial.state.tries_left, trial.shadows.opens) == (2, 0)
    trial.until(lambda: trial.state.stage is Stage.TRIAL)
    assert trial.state.tries_left == 3, "its self-test is passed"
    trial.until(lambda: trial.state.tries_left == 2)
    assert (trial.attempts.progress, trial.decides.opens) == ("it is opened", 0)


def test_a_last_try_that_passed_its_self_test_may_be_the_trials(trial: Trying, tmp_path: Path) -> None:
    once = QUICK.model_copy(update={"tries": 1})
    trial.lay(newer(TINY, tmp_path / "new"), once)
    assert trial.until_ended().outcome == "committed"


@pytest.mark.parametrize("stage", [Stage.SELFTEST, Stage.TRIAL])
def test_a_process_that_dies_each_time_comes_back_to_the_model_before(
    trial: Trying, stage: Stage, tmp_path: Path
) -> None:
    trial.lay(newer(TINY, tmp_path / "new"), stage=stage)
    for left in (2, 1, 0):
        trial.until(lambda left=left: trial.state.tries_left == left)  # type: ignore[misc]  # a default binds the loop's value
        trial.restart()  # whatever ended the process
        assert trial.version == "1.0.0"
    trial.attempts.step()
    state = trial.until_ended()
    assert state.outcome == "rolled_back"
    assert trial.slots.condemned()


def test_where_there_is_no_room_for_a_process_no_try_is_counted(trial: Trying, tmp_path: Path) -> None:
    trial.no_room = True
    trial.lay(newer(TINY, tmp_path / "new"))
    trial.step()
    assert (trial.state.tries_left, trial.state.stage) == (3, Stage.SELFTEST)
    assert "no memory" in trial.attempts.progress
    trial.no_room = False
    trial.bench.clock.advance(RETRY_S)
    assert trial.until_ended().outcome == "committed"


def test_a_disk_that_takes_nothing_tries_nothing(trial: Trying, tmp_path: Path) -> None:
    trial.lay(newer(TINY, tmp_path / "new"))
    trial.slots.script.refuse = "Read-only file system"
    trial.trials._step(trial.attempts)
    assert trial.shadows.opens == 0
    assert trial.trials.faults == (f"model {NAME}: {NAME}.json: Read-only file system",)
    trial.slots.script.refuse = ""
    trial.bench.clock.advance(RETRY_S)
    assert trial.until_ended().outcome == "committed"


def test_a_verdict_that_the_disk_does_not_take_changes_nothing(trial: Trying, tmp_path: Path) -> None:
    trial.lay(newer(TINY, tmp_path / "new"), QUICK.model_copy(update={"tries": 4}))
    trial.until(lambda: trial.version == "2.0.0")
    trial.slots.script.refuse = "Read-only file system"
    for _ in range(20):
        trial.trials._step(trial.attempts)
        trial.bench.step()
    assert trial.version == "1.0.0", "who is not committed on disk decides no more"
    trial.slots.script.refuse = ""
    trial.bench.clock.advance(RETRY_S)
    assert trial.until_ended().outcome == "committed"


def test_what_ends_with_the_process_is_not_held_against_a_candidate(trial: Trying, tmp_path: Path) -> None:
    trial.lay(newer(TINY, tmp_path / "new"))
    trial.shadows.then(*[Act.DIE] * 9)  # as its process does when it is killed
    prove = trial.shadows.invoke

    def ending(tensor: Array, deadline_s: float) -> Outputs:
        trial.trials.close()
        return prove(tensor, deadline_s)

    trial.shadows.invoke = ending  # type: ignore[method-assign]  # the end comes in the middle of it
    for _ in range(5):
        trial.attempts.step()
    assert (trial.state.stage, trial.state.tries_left) == (Stage.SELFTEST, 2), "it may have ended the process"
    assert not trial.slots.condemned()


def told(trial: Trying) -> dict[str, object]:
    """What is shown of the model's updates now."""
    trial.trials._tell()
    message = next(each for each in reversed(trial.bench.shown["state"]) if "/model/" in each.topic)
    assert (message.topic, message.retain) == (f"edge/a1b2c3/model/{NAME}/state", True)
    assert isinstance(message.payload, dict)
    return message.payload


def test_where_an_update_stands_is_told(trial: Trying, tmp_path: Path) -> None:
    at_rest = told(trial)
    assert (at_rest["installed_version"], at_rest["latest_version"]) == ("1.0.0", "1.0.0")
    assert (at_rest["in_progress"], at_rest["update_percentage"]) == (False, None)
    model_id = trial.lay(newer(TINY, tmp_path / "new"))
    trial.until(lambda: trial.version == "2.0.0")
    tried = told(trial)
    assert (tried["installed_version"], tried["latest_version"], tried["deciding_version"]) == (
        "1.0.0",
        "2.0.0",
        "2.0.0",
    )
    assert (tried["in_progress"], tried["release_summary"]) == (True, "Better (whole, 1 kB)")
    assert "results (6 signed)" in str(tried["progress"])
    trial.until_ended()
    done = told(trial)
    assert (done["installed_version"], done["model_id"], done["outcome"]) == ("2.0.0", model_id, "committed")


def test_a_version_that_failed_here_is_no_offer(trial: Trying, tmp_path: Path) -> None:
    trial.lay(newer(TINY, tmp_path / "new", preprocess=SWAPPED))
    trial.until_ended()
    shown = told(trial)
    assert (shown["installed_version"], shown["latest_version"], shown["bad"]) == ("1.0.0", "1.0.0", 1)
    assert "does not agree" in str(shown["reason"])


def test_a_report_is_in_the_outbox_before_it_leaves_the_store(trial: Trying, tmp_path: Path) -> None:
    trial.lay(newer(TINY, tmp_path / "new"))
    trial.until_ended()
    for _ in range(2):
        trial.trials._tell()
    sent = [each for each in trial.bench.outbox.next_batch(0, 100) if each.topic.endswith("/report")]
    assert [each.topic for each in sent] == [f"edge/a1b2c3/model/{NAME}/report"]
    assert sent[0].payload["outcome"] == "committed"
    assert trial.slots.files("reports/mqtt"), "until the outbox is on disk for certain"
    trial.bench.clock.advance(KEPT_S)
    trial.trials._tell()
    assert not trial.slots.files("reports/mqtt")


def test_a_report_that_cannot_be_read_stops_no_other(trial: Trying) -> None:
    trial.slots.write_file("reports/mqtt/000001.json", b"\xff{")
    trial.slots.write_file("reports/mqtt/000002.json", json.dumps({"model": NAME, "outcome": "x"}).encode())
    trial.trials._tell()
    assert [each.payload["outcome"] for each in trial.bench.outbox.next_batch(0, 100)] == ["x"]


def test_saying_yes_names_the_update_that_was_shown(trial: Trying, tmp_path: Path) -> None:
    assert trial.trials.consent(NAME) == "there is no update"
    model_id = laid_ready(trial.slots, newer(TINY, tmp_path / "new"))
    assert trial.trials.consent(NAME) == ""
    assert trial.slots.file(f"consent/{NAME}") == model_id.encode()
    trial.slots.script.refuse = "No space left on device"
    assert "No space left" in trial.trials.consent(NAME)
