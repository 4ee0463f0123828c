"""The loop on records: what an extractor makes of them, what it cannot score, and why it scored as it did."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from appliance.adapters.model_folder import read_model
from appliance.core.fallback import Fallback
from appliance.core.model import CardHistoryExtract
from appliance.core.types import Array, Frame, FrameKind, OutcomeState, Severity
from appliance.errors import ApplianceError, NoScoreError, NoSignalError
from appliance.reasons import BUDGET_S
from appliance.sim.backend import Act
from appliance.sim.sensor import Step
from tests.channels import ChannelBench, show
from tests.core.making import make_rule
from tests.model_folders import CARD as CARD_FOLDER

CARD = read_model(CARD_FOLDER)
FEATURES = 12
RULE = make_rule("fraud", labels=("fraud",), threshold=0.5)
QUIET, LOUD = np.zeros(FEATURES, np.float32), np.array([900, 20, 0, 900, 900, 9, 9, 5000, 3, 0, 0, 0], np.float32)


class Script:
    """An extractor that gives one of its rows a frame, or raises it."""

    names = tuple(f"f{number}" for number in range(FEATURES))
    words: Mapping[str, str] = {"amount": "a large amount"}

    def __init__(self, *rows: tuple[Array, ...] | ApplianceError) -> None:
        self._rows = iter(rows)
        self.asked = 0

    def __call__(self, _frame: Frame) -> tuple[Array, ...]:
        self.asked += 1
        row = next(self._rows)
        if isinstance(row, ApplianceError):
            raise row
        return row

    def changes(self, entries_max: int) -> dict[str, bytes]:  # noqa: ARG002 - the port's signature
        return {}

    def restore(self, entries: Mapping[str, bytes]) -> None:
        """Nothing is remembered."""


def request(amount: float = 1.0, **more: object) -> Step:
    return show(np.array([amount] * FEATURES), kind=FrameKind.RECORD, **more)


@contextmanager
def till(
    folder: Path, *rows: tuple[Array, ...] | ApplianceError, requests: tuple[Step, ...] = (), reasons: int = 0
) -> Iterator[tuple[ChannelBench, Script]]:
    script = Script(*rows)
    made = ChannelBench(
        folder,
        requests or [request() for _ in rows],
        rules=(RULE,),
        model=replace(CARD, extract=CardHistoryExtract()),
        extractor=script,
        fallback=Fallback("amount", 0, 50.0, Severity.WARNING),
        reasons=reasons,
    )
    made.start()
    try:
        yield made, script
    finally:
        made.end()


def test_a_frame_of_several_parts_is_as_bad_as_its_worst(tmp_path: Path) -> None:
    with till(tmp_path, (QUIET, LOUD, QUIET), (QUIET, QUIET)) as (device, _):
        worst, quiet = device.steps(2)
    assert (worst.rules, quiet.rules) == ({"fraud": True}, {"fraud": False})
    assert len(worst.predictions) == 1


def test_a_part_that_the_twin_had_to_answer_makes_the_decision_degraded(tmp_path: Path) -> None:
    with till(tmp_path, (QUIET, QUIET)) as (device, _):
        device.tpu.then(Act.ANSWER, Act.DIE)
        decision = device.step()
    assert (decision.provenance.backend, decision.provenance.degraded) == ("cpu", True)


@pytest.mark.parametrize(
    ("error", "state"),
    [
        (NoScoreError("no history of this card"), OutcomeState.NO_SCORE),
        (NoSignalError("too noisy"), OutcomeState.NO_SIGNAL),
    ],
)
def test_what_the_extractor_cannot_score_is_told_as_that_and_asks_no_backend(
    tmp_path: Path, error: ApplianceError, state: OutcomeState
) -> None:
    with till(tmp_path, error) as (device, _):
        proven = device.tpu.invokes
        decision = device.step()
        assert device.tpu.invokes == proven
        assert (decision.outcome_state, decision.reason, decision.rules) == (state, str(error), {"fraud": None})
        assert device.states()[-1]["outcome"] == "below_limit"
        [flag] = device.alerts()
        assert (flag["event_type"], flag["kind"], flag["reason"]) == ("new", "below_limit", str(error))


def test_a_record_that_is_too_old_to_be_judged_is_remembered_all_the_same(tmp_path: Path) -> None:
    with till(tmp_path, (QUIET,), requests=(request(age_s=5.0),)) as (device, script):
        assert device.step().outcome_state is OutcomeState.NO_RESULT
        assert script.asked == 1


def test_a_decision_says_what_moved_it_most_and_so_do_state_and_alert(tmp_path: Path) -> None:
    with till(tmp_path, (LOUD,), reasons=3) as (device, _):
        decision = device.step()
        state, alert = device.states()[-1], device.alerts()[-1]
    assert len(decision.reasons) == 3
    strongest = decision.reasons[0]
    for payload in (state, alert):
        assert payload["reason_1"] == strongest.feature
        assert payload["reason_1_effect"] == pytest.approx(strongest.effect, rel=1e-5)
        assert "reason_4" not in payload


def test_reasons_that_take_too_long_are_left_out_and_the_decision_stands(tmp_path: Path) -> None:
    with till(tmp_path, (LOUD,), reasons=3) as (device, _):
        device.tpu.then(Act.ANSWER, *[Act.SLOW] * FEATURES)
        decision = device.step()
        assert decision.rules == {"fraud": True}
        assert decision.reasons == ()
        assert device.meter.value("edge_reasons_missing_total", model=CARD.name) == 1
    assert BUDGET_S < 1.0


def test_reasons_that_no_backend_gives_are_left_out_and_the_decision_stands(tmp_path: Path) -> None:
    with till(tmp_path, (LOUD,), reasons=3) as (device, _):
        device.tpu.then(Act.ANSWER, Act.DIE)
        device.cpu.then(Act.DIE)
        decision = device.step()
        assert (decision.rules, decision.reasons) == ({"fraud": True}, ())
