"""The plan as the documentation has it: printed from the code, row by row."""

import re
from pathlib import Path

import pytest

from appliance import plan_page
from appliance.trust import plan
from appliance.trust.state import Stage

PAGE = "# Stages\n\n" + "\n\nby hand\n\n".join(
    f"<!-- {name}:begin -->\n<!-- {name}:end -->" for name in plan_page.BLOCKS
)


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


def test_a_page_is_brought_up_to_date_and_nothing_else_of_it_changes(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(PAGE, encoding="utf-8")
    for _ in range(2):
        plan_page.main(["--write", str(page)])
        written = page.read_text(encoding="utf-8")
        assert written.startswith("# Stages\n\n<!-- plan-diagram:begin -->\n\n```mermaid\n")
        assert written.count("by hand") == 2
        assert all(block() in written for block in plan_page.BLOCKS.values())
    assert plan_page.rewritten(written) == written


@pytest.mark.parametrize("name", plan_page.BLOCKS)
def test_a_page_that_lost_a_mark_is_refused(name: str) -> None:
    with pytest.raises(AssertionError, match=name):
        plan_page.rewritten(PAGE.replace(f"{name}:end", "x"))


def test_without_a_page_the_blocks_are_printed(capsys: pytest.CaptureFixture[str]) -> None:
    plan_page.main([])
    assert plan_page.held_table() in capsys.readouterr().out


def test_the_tables_of_the_page_are_those_of_the_code() -> None:
    page = (Path(__file__).parents[2] / "docs" / "updates.md").read_text(encoding="utf-8")
    assert plan_page.rewritten(page) == page, f"run: {plan_page.COMMAND}"
