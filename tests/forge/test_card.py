"""Model cards: figures by machine, words by people, and no figure without the command that measures it again."""

import re
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.adapters.model_folder import read_model
from appliance.core.facts import DataCard, Facts, Limits, ModelMetric, ModelProvenance
from appliance.core.model import Model
from appliance.errors import ForgeError
from appliance.forge.card import BEGIN, END, generated, replaced, write_card
from appliance.forge.figures import figure, toolchain
from appliance.forge.report import Estimate, Report, Step
from tests.model_folders import CARD, MODELS

DESCRIPTIONS = sorted(MODELS.rglob("model.toml"))
CARDS = sorted(file for file in MODELS.rglob("README.md") if BEGIN in file.read_text())


@pytest.fixture(scope="module")
def model() -> Model:
    """A model with every fact."""
    facts = Facts(
        limits=Limits(5.0, "a small board, one thread", 1_000_000),
        metrics=(
            ModelMetric("recall | precision", 0.5, "day 1\nand 2", "make it", 0.4, 0.6),
            ModelMetric("parameters", 12_345, "the file", "count", unit="numbers"),
        ),
        provenance=ModelProvenance("simulated", "own", "build.py", (3, 4), {"tool": "1.2"}),
        data=DataCard("a purchase", "a simulator", "real cards"),
        measured_lsb={"score": 1},
        runtimes=("one 1.0", "two 2.0"),
    )
    return replace(read_model(CARD), facts=facts)


def rows(text: str) -> dict[str, list[str]]:
    """Every row of every table by its first cell."""
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    cells = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]
    return {first: others for first, *others in cells}


def test_everything_that_the_model_says_of_itself_stands_in_the_card(model: Model) -> None:
    told = rows(generated(model))
    assert told["recall \\| precision"] == ["0.5 [0.4, 0.6]", "day 1 and 2", "`make it`"]
    assert told["parameters"] == ["12,345 numbers", "the file", "`count`"]
    assert told["latency limit"] == ["5 ms an invoke on a small board, one thread"]
    assert told["memory limit"] == ["1,000,000 bytes for weights and working memory"]
    assert told["tolerance of `score`"] == ["2 steps, 1 were measured"]
    assert told["runtimes compared"] == ["one 1.0, two 2.0"]
    assert told["training data"] == ["simulated"]
    assert (told["made by"], told["made with"], told["seeds"]) == (["`build.py`"], ["tool 1.2"], ["3, 4"])
    assert (told["the data"], told["what is not in them"]) == (["a purchase"], ["real cards"])


def test_a_card_tells_what_each_step_cost_and_when_nothing_was_measured(model: Model) -> None:
    pruned = Step(
        "prune", "p.keras", 10_000, 4_000, {"auc": Estimate(0.9, 0.8, 0.95)}, {"auc": Estimate.exact(0.89)},
        latency_ratio=0.5, operators=4, operators_edgetpu=3, command="forge prune",
    )  # fmt: skip
    packaged = Step("package", "made/1.0.0", 10_000, 4_000)
    told = rows(generated(replace(model, facts=Facts()), [pruned, packaged]))
    assert "package" not in told, "what it measured stands above"
    change = "auc: 0.9000 [0.8000, 0.9500] → 0.89"
    assert told["prune"] == ["10,000", "4,000", change, "x 0.50", "3 of 4", "`forge prune`"]
    alone = generated(replace(model, facts=Facts()), [packaged])
    assert "nobody can tell how good" in alone
    assert "| step |" not in alone


WORDS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r"), max_size=60).filter(
    lambda words: BEGIN not in words and END not in words
)


@given(before=WORDS, old=WORDS, after=WORDS, new=WORDS)
def test_what_a_person_wrote_stays_and_what_stood_between_the_marks_goes(
    before: str, old: str, after: str, new: str
) -> None:
    part = f"{BEGIN}\n{new}\n{END}\n"
    card = replaced(f"{before}\n{BEGIN}\n{old}\n{END}\n{after}", part)
    assert card == f"{before}\n{BEGIN}\n{new}\n{END}\n{after}"
    assert replaced(card, part) == card
    added = replaced(before, part)
    assert added.startswith(before.rstrip())
    assert replaced(added, part) == added


@pytest.mark.parametrize(
    "text", [BEGIN, END, f"{END}\n{BEGIN}", f"{BEGIN}\n{BEGIN}\n{END}", f"{BEGIN}{END}{BEGIN}{END}"]
)
def test_marks_that_are_no_pair_are_refused_and_the_card_stays(text: str, tmp_path: Path, model: Model) -> None:
    card = tmp_path / "README.md"
    card.write_text(text)
    with pytest.raises(ForgeError, match=r"README.md: has \d marks of beginning and \d of end; leave one pair"):
        write_card(model, card)
    assert card.read_text() == text


def test_a_card_that_is_not_there_begins_with_what_the_model_is(tmp_path: Path, model: Model) -> None:
    write_card(model, tmp_path / "README.md")
    assert (tmp_path / "README.md").read_text().startswith(f"# {model.name}\n\n{model.description}\n\n{BEGIN}\n")


def test_a_card_that_is_no_text_is_refused(tmp_path: Path, model: Model) -> None:
    (tmp_path / "README.md").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ForgeError, match=r"README.md: cannot be read as a model card"):
        write_card(model, tmp_path / "README.md")


@given(value=st.floats(-1e3, 1e3), down=st.floats(-0.1, 1e3), up=st.floats(-0.1, 1e3), unit=st.sampled_from(["", "ms"]))
def test_a_figure_lies_in_its_interval_and_keeps_its_command(value: float, down: float, up: float, unit: str) -> None:
    made = figure("auc", Estimate(value, value - down, value + up), data="d", command="c", unit=unit)
    assert made.value == pytest.approx(value, abs=1e-5)
    assert (made.command, made.unit) == ("c", unit)
    if made.low is not None and made.high is not None:
        assert made.low <= made.value <= made.high
        assert made.high - made.low >= min(down, 0) + min(up, 0)


def test_a_counted_figure_has_no_interval() -> None:
    assert figure("size", 2856, data="d", command="c", unit="bytes").low is None


@pytest.mark.parametrize(
    ("value", "command", "told"), [(float("nan"), "c", "not a measured"), (1.0, " ", "no command")]
)
def test_what_was_not_measured_or_cannot_be_again_is_no_figure(value: float, command: str, told: str) -> None:
    with pytest.raises(ForgeError, match=told):
        figure("auc", value, data="d", command=command)


def test_a_toolchain_is_what_is_installed() -> None:
    assert re.match(r"\d+\.\d+", toolchain("numpy")["numpy"])
    with pytest.raises(ForgeError, match="no-such-tool is not installed"):
        toolchain("numpy", "no-such-tool")


@pytest.mark.parametrize("file", DESCRIPTIONS, ids=lambda file: "/".join(file.parent.parts[-2:]))
def test_no_metric_of_a_committed_model_lacks_its_command(file: Path) -> None:
    """``trust`` refuses it too; this reads the file itself, and looks whether the command's script is there."""
    for metric in tomllib.loads(file.read_text()).get("metrics", []):
        assert metric["command"].strip()
        for script in re.findall(r"[\w./-]+\.py\b", metric["command"]):
            assert (MODELS.parent / script).is_file(), f"{metric['name']}: {script} is not in the repository"


def test_no_row_of_figures_in_a_committed_card_lacks_its_command() -> None:
    """A table with a column ``command`` has it filled in every row, in parts written by people too."""
    for card in MODELS.rglob("README.md"):
        lines = card.read_text().splitlines()
        for at, line in enumerate(lines):
            if not re.search(r"\|\s*command\s*\|$", line):
                continue
            for row in lines[at + 2 :]:
                if not row.startswith("|"):
                    break
                assert re.split(r"(?<!\\)\|", row)[-2].strip(), f"{card}: {row}"


@pytest.mark.parametrize("card", CARDS, ids=lambda file: file.parent.name)
def test_a_committed_card_says_what_its_newest_folder_says(card: Path) -> None:
    text = card.read_text()
    [name, version] = re.findall(r"^## (\S+) (\S+) in figures$", text, re.MULTILINE)[0]
    folder = card.parent / version
    assert name == card.parent.name
    fresh = generated(read_model(folder), Report.load(folder).steps)
    assert replaced(text, fresh) == text, f"`appliance forge card {folder}` writes it anew"
