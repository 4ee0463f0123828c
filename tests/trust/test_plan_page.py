"""The plan as the documentation has it: printed from the code, row by row."""

import re

from appliance import plan_page
from appliance.trust import plan
from appliance.trust.state import Stage


def test_every_row_of_the_plan_is_an_arrow_and_a_line() -> None:
    drawn = {
        (stage, event, after)
        for stage, after, events in re.findall(r"^    (\w+) --> (\w+): (.+)$", plan_page.plan_diagram(), re.MULTILINE)
        for event in events.split(", ")
    }
    assert drawn == {row[:3] for row in plan.rows()}
    lines = [line for line in plan_page.plan_table().splitlines() if line.startswith("| ")]
    assert [tuple(line.strip("| ").split(" | ")) for line in lines[2:]] == plan.rows()


def test_every_stage_but_the_first_and_the_last_has_a_colour() -> None:
    coloured = re.findall(r"^    class ([\w,]+) ", plan_page.plan_diagram(), re.MULTILINE)
    assert {name for names in coloured for name in names.split(",")} == set(Stage) - {Stage.IDLE, Stage.REPORT}


def test_what_an_update_may_wait_for_is_explained() -> None:
    assert all(f"`{word}`" in plan_page.held_table() for word in plan.HELD_WORDS)
