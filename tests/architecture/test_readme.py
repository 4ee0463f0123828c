"""What README promises is there."""

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


def test_the_two_commands_come_first_and_exist() -> None:
    commands = re.findall(r"^(make \w+)$", README, re.MULTILINE)
    assert commands[:2] == ["make demo", "make test"]
    makefile = (ROOT / "Makefile").read_text()
    for command in commands:
        target = command.split()[1]
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), command


@pytest.mark.parametrize("document", ["README.md", "appliance/README.md", "CHANGELOG.md", "models/README.md"])
def test_every_local_link_leads_somewhere(document: str) -> None:
    text = (ROOT / document).read_text()
    folder = (ROOT / document).parent
    links = re.findall(r"\]\((?!https?:)([^)#]+)", text)
    missing = [link for link in links if not (folder / link).exists()]
    assert missing == []


def test_every_invariant_names_a_test_that_exists() -> None:
    """The invariants of appliance/README.md are held by tests; a renamed test must not leave one unheld."""
    table = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", (ROOT / "appliance" / "README.md").read_text())
    assert len(table) >= 10
    for file, name in table:
        assert f"def {name}(" in (ROOT / file).read_text(), f"{file}::{name}"


def test_the_constraints_cover_every_dependency() -> None:
    """What is installed is what was tested."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    wanted = [*project["dependencies"], *extras["dev"], *extras["demo"]]
    names = {re.split(r"[<>=\[]", each)[0].lower() for each in wanted} - {"edge-appliance"}
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pinned = {line.partition("==")[0].lower().replace("_", "-") for line in lines}
    assert names - pinned == set()
