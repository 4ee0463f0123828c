"""docs/edge-tpu.md says what the program does: its tables are printed from the code, its example is accepted."""

import re
import tomllib
from pathlib import Path

import pytest

from appliance import ladder_page, plan_page
from appliance.config import parse
from appliance.config.device import ModelConfig, TpuConfig
from appliance.core import recovery, wire
from appliance.core.health import assess
from appliance.core.recovery import State
from appliance.core.types import ClockState
from appliance.pages import Page, table
from tests.core.making import IDENTITY, STAMP, keys_of, make_channel_health, make_outbox_health
from tests.core.tpus import make_tpu

ROOT = Path(__file__).parents[2]
FILE = ROOT / "docs" / "edge-tpu.md"
PAGE = FILE.read_text(encoding="utf-8")
PAGES = (ladder_page.PAGE, plan_page.PAGE)
BLOCKS = [(page, name) for page in PAGES for name in page.blocks]
every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.module)
every_block = pytest.mark.parametrize(("page", "name"), BLOCKS, ids=[name for _, name in BLOCKS])


def text_of(page: Page) -> str:
    return (ROOT / page.file).read_text(encoding="utf-8")


@every_page
def test_the_tables_of_the_page_are_those_of_the_code(page: Page) -> None:
    assert page.rewritten(text_of(page)) == text_of(page), f"run: {page.command}"


@every_page
def test_the_page_says_how_it_is_brought_up_to_date(page: Page) -> None:
    assert page.command in text_of(page)


@every_block
def test_a_page_that_fell_behind_is_brought_up_to_date_and_nothing_else_of_it_changes(
    page: Page, name: str, tmp_path: Path
) -> None:
    file = tmp_path / "page.md"
    file.write_text(text_of(page).replace(page.blocks[name](), "| of a year ago |"), encoding="utf-8")
    page.main(["--write", str(file)])
    assert file.read_text(encoding="utf-8") == text_of(page)


@every_block
@pytest.mark.parametrize("place", ["begin", "end"])
def test_a_page_that_lost_a_mark_is_refused_and_not_written_over(
    page: Page, name: str, place: str, tmp_path: Path
) -> None:
    mark, text = f"<!-- {name}:{place} -->", text_of(page)
    file = tmp_path / "page.md"
    swapped = text.replace(f"{name}:begin", f"{name}:x").replace(f"{name}:end", f"{name}:begin")
    for broken in (
        text.replace(mark, ""),
        text.replace(mark, f"{mark}\n\n{mark}"),
        swapped.replace(f"{name}:x", f"{name}:end"),
    ):
        file.write_text(broken, encoding="utf-8")
        with pytest.raises(AssertionError, match=mark):
            page.main(["--write", str(file)])
        assert file.read_text(encoding="utf-8") == broken


@every_page
def test_without_a_page_the_tables_are_printed(page: Page, capsys: pytest.CaptureFixture[str]) -> None:
    page.main([])
    printed = capsys.readouterr().out
    assert all(block() in printed for block in page.blocks.values())


def test_the_ladder_is_printed_row_by_row_in_the_order_of_the_code() -> None:
    lines = [line for line in ladder_page.ladder_table().splitlines() if line.startswith("| ")]
    cells = [tuple(line.strip("| ").split(" | ")) for line in lines[2:]]
    assert cells == recovery.rows()


def test_the_diagram_has_an_arrow_for_each_row_and_a_colour_for_each_state() -> None:
    """An event that leads nearly all states to the same one has one arrow, from "anywhere"."""
    drawn = {
        (state, event, after)
        for state, after, events in re.findall(
            r"^    (\w+) --> (\w+): (.+)$", ladder_page.ladder_diagram(), re.MULTILINE
        )
        for event in events.split(", ")
    }
    shared = {(event, after) for state, event, after in drawn if state == "anywhere"}
    rows = [row[:3] for row in recovery.rows()]
    assert {row for row in drawn if row[0] != "anywhere"} == {row for row in rows if row[1:] not in shared}
    assert all(sum(row[1:] == each for row in rows) > len(State) / 2 for each in shared)
    coloured = re.findall(r"^    class ([\w,]+) ", ladder_page.ladder_diagram(), re.MULTILINE)
    assert sorted(",".join(coloured).split(",")) == sorted(State)


def test_what_a_cell_holds_stays_in_its_cell_and_is_seen() -> None:
    """A bar would end the cell, and what looks like a tag would not be shown."""
    for block in (ladder_page.ladder_table(), ladder_page.advice_table(), ladder_page.metrics_table()):
        lines = block.partition("\n\n")[0].splitlines()
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in lines}) == 1
        assert not re.search(r"(?<!\\)<", block)
    assert table(("a | b", "c"), [("<name>", "d")]).splitlines() == [
        "| a \\| b | c |",
        "| --- | --- |",
        "| \\<name> | d |",
    ]


def test_the_example_is_a_configuration_that_the_appliance_accepts_and_shows_every_key() -> None:
    (text,) = re.findall(r"```toml\n(.+?)```", PAGE, re.DOTALL)
    camera = tomllib.loads((ROOT / "examples" / "camera.toml").read_text())
    config = parse(camera | tomllib.loads(text), text=text, file=ROOT / "page.toml")
    assert set(config.tpus["gate-stick"].model_fields_set) == set(TpuConfig.model_fields)
    assert config.tpu_of("person") == "gate-stick"
    assert {"backends", "tpu", "invoke_deadline_s", "return_passes"} <= set(config.models["person"].model_fields_set)
    assert 'backends = ["tpu", "cpu"]' in PAGE.partition("```toml")[0], "the one line that is enough"
    assert ModelConfig(folder=Path("f"), backends=("tpu", "cpu")).tpu is None


def test_every_key_of_the_status_topic_is_explained() -> None:
    report = assess(
        [make_channel_health()],
        outbox=make_outbox_health(),
        before=None,
        broker_connected=True,
        clock=ClockState.SYNCED,
        tpus=[make_tpu()],
    )
    keys = {key for key in keys_of(wire.status(report, IDENTITY, STAMP, seq=1)) if key.startswith("tpu_")}
    explained = re.findall(r"`(tpu_\w+)`", PAGE.partition("## What others see")[2].partition("<!--")[0])
    assert sorted(explained) == sorted(keys)


def test_every_link_of_the_page_leads_somewhere() -> None:
    links = re.findall(r"\]\((?!https?:)([^)]+)\)", PAGE)
    headings = {
        re.sub(r"[^a-z0-9 -]", "", line.lstrip("# ").lower()).replace(" ", "-")
        for line in PAGE.splitlines()
        if line.startswith("#")
    }
    assert links
    for link in links:
        file, _, anchor = link.partition("#")
        assert (FILE.parent / file).exists() if file else anchor in headings, link
