"""docs/publishing.md tells of commands that there are, with options that they take."""

import re
import shlex
from pathlib import Path

import typer

from appliance.hub.cli import app
from appliance.hub.publish_cli import BASES, DEFAULT, LOSS_MAX
from tests.hub.hubs import COMMANDS

PAGE = (Path(__file__).parents[2] / "docs" / "publishing.md").read_text(encoding="utf-8")
GIVEN = [shlex.split(words) for words in re.findall(r"appliance hub ([a-z-]+ ?[^\n`&]*)", PAGE) if "──" not in words]


def test_every_command_of_the_page_is_taken_and_none_is_left_out() -> None:
    group = typer.main.get_command(app)
    for name, *words in GIVEN:
        command = group.commands[name]  # type: ignore[attr-defined]  # a group has them, get_command promises less
        command.make_context(name, list(words))
    assert {name for name, *_ in GIVEN} == set(COMMANDS)


def test_the_defaults_of_the_page_are_those_of_the_commands() -> None:
    for row in (
        f"| `--tries` | {DEFAULT.tries} |",
        f"| `--shadow-frames`, `--agreement` | {DEFAULT.shadow_frames}, {DEFAULT.agreement_min:g} |",
        f"| `--decisions`, `--duration` | {DEFAULT.decisions_min}, {DEFAULT.duration_s:g} |",
        f"| `--faults` | {DEFAULT.faults_share_max:g} |",
        f"`--gate` ({LOSS_MAX:g})",
    ):
        assert row in PAGE
    assert BASES == 3
