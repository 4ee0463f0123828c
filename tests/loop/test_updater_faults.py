"""The fault table: every stage of the plan, and whatever may happen at it. A good model always serves."""

from itertools import product
from pathlib import Path

import pytest

from appliance.trust.plan import TABLE
from appliance.trust.state import Stage
from tests.loop.updater_faults import ROWS, Fault, tell


def test_every_stage_of_the_plan_has_a_row_for_every_fault() -> None:
    stages = {stage for stage, _ in TABLE} - {Stage.IDLE}
    assert set(ROWS) == stages == set(Stage) - {Stage.IDLE}
    assert all(set(rows) == set(Fault) for rows in ROWS.values())


@pytest.mark.parametrize(("stage", "fault"), list(product(ROWS, Fault)), ids=str)
def test_whatever_happens_at_a_stage_its_row_says_what_comes_of_it(stage: Stage, fault: Fault, tmp_path: Path) -> None:
    """Where the writes of a stage matter: before its first; ``test_updater_faults_swept.py`` takes every other."""
    assert tell(tmp_path, stage, fault, 1)
