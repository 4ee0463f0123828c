"""The fault table at every write of every stage, and a second kill wherever the first was recovered from."""

from itertools import product
from pathlib import Path

import pytest

from appliance.trust.state import Stage
from tests.loop.updater_bench import V2, Offer
from tests.loop.updater_faults import ROWS, Fault, Story, before_write, tell

pytestmark = pytest.mark.slow

WRITES_MAX = 60
"""More than an update has from its first record to its last."""

PATIENT = Offer(V2, 2, terms={"tries": 10})
"""Two kills of a trial are not held against it."""


@pytest.mark.parametrize(("stage", "fault"), list(product(ROWS, (Fault.KILL, Fault.POWER, Fault.FULL))), ids=str)
def test_whichever_write_of_a_stage_it_happens_at_its_row_says_what_comes_of_it(
    stage: Stage, fault: Fault, tmp_path: Path
) -> None:
    assert tell(tmp_path, stage, fault, 20)


@pytest.mark.parametrize("again", [None, 0, 1, 3])
def test_an_update_that_is_killed_at_any_write_and_again_on_its_way_back_serves_in_the_end(
    again: int | None, tmp_path: Path
) -> None:
    for number in range(WRITES_MAX):
        story = Story(tmp_path / str(number), PATIENT)
        if not story.dying(before_write(story, number)):
            break
        if again is not None:
            story.dying(before_write(story, again))
        story.live()
        assert story.bench.serving() is V2
    assert 20 < number < WRITES_MAX
