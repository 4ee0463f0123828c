"""A candidate in a process of its own: whatever it does there, the loop decides on, and it is condemned for it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from appliance.adapters.model_folder import read_model
from appliance.compose import trials
from appliance.compose.trials import CPU_ENGINE, WorkerSandbox
from appliance.core.types import OutcomeState
from appliance.errors import BackendError
from appliance.inference import prove
from appliance.trust.state import ModelState
from tests.engines import HOARD_BYTES
from tests.loop.trials import Trying, trying
from tests.model_folders import FOLDERS, TINY
from tests.updates import QUICK, newer
from tests.workers import has_ended

pytestmark = pytest.mark.slow

ENOUGH_BYTES = HOARD_BYTES // 2


@pytest.fixture
def trial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Trying]:
    with trying(tmp_path, monkeypatch) as made:
        yield made


def tried(trial: Trying, engine: str, folder: Path, **terms: float) -> tuple[ModelState, int]:
    """Try a candidate with an engine; what came of it, and the process it was tried in."""
    made: list[WorkerSandbox] = []

    def sandbox(key: str) -> WorkerSandbox:
        assert key == "tiny"
        made.append(WorkerSandbox(engine, 1))
        return made[-1]

    trial.sandbox = sandbox  # type: ignore[method-assign]  # a real process in the place of none
    trial.restart()
    trial.lay(newer(TINY, folder), QUICK.model_copy(update=terms))
    state = trial.until_ended()
    assert {each.outcome_state for each in trial.decisions} == {OutcomeState.RESULT}
    return state, made[-1].pid


def test_a_good_one_is_proven_there_and_leaves_nothing_behind(trial: Trying, tmp_path: Path) -> None:
    state, pid = tried(trial, CPU_ENGINE, tmp_path / "new", memory_bytes_max=ENOUGH_BYTES, latency_ms_max=5000.0)
    assert state.outcome == "committed"
    assert has_ended(pid)


@pytest.mark.parametrize(
    ("engine", "why"),
    [("DiesInLoad", "died (SIGSEGV)"), ("HangsInLoad", "no answer to load"), ("Hoards", "bytes of memory; its")],
)
def test_a_bad_one_does_its_harm_there(
    trial: Trying, engine: str, why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trials, "LOAD_DEADLINE_S", 1.0 if engine == "HangsInLoad" else 60.0)
    state, pid = tried(trial, f"tests.engines:{engine}", tmp_path / "new", memory_bytes_max=ENOUGH_BYTES)
    assert state.outcome == "rolled_back"
    assert why in state.reason
    assert trial.version == "1.0.0"
    assert has_ended(pid)


def test_an_engine_that_cannot_be_started_is_told_and_leaves_nothing_behind() -> None:
    with pytest.raises(BackendError, match="candidate"):
        WorkerSandbox("tests.engines:Nothing", 1)


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.parent.name)
def test_every_model_gives_its_golden_outputs_there(folder: Path) -> None:
    model, sandbox = read_model(folder), WorkerSandbox(CPU_ENGINE, 1)
    try:
        sandbox.open(model)
        assert prove(sandbox, model).passed
    finally:
        sandbox.close()
