"""The benches run and say what they measured; what they measure on this machine is nobody's test."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.bench import MEASUREMENTS
from appliance.bench.figure import Figure, at_least, at_most, quantile
from tests.command import Command

REACHED, MISSED, WRONG = 0, 1, 78


@pytest.fixture
def appliance(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Command:
    """The command, in this process and in an empty folder: the disk bench writes where it stands."""
    monkeypatch.chdir(tmp_path)
    return Command(capfd, monkeypatch)


def test_one_measurement_is_told_as_a_table_and_as_json(appliance: Command, tmp_path: Path) -> None:
    file = tmp_path / "figures.json"
    ended = appliance("bench", "--only", "disk", "--json", file)
    assert ended.code in {REACHED, MISSED}
    assert "disk_bytes_per_1000_alerts" in ended.out
    told = json.loads(file.read_text())
    assert set(told) == {"version", "machine", "figures"}
    figure = told["figures"]["disk_bytes_per_1000_alerts"]
    assert set(figure) == {"value", "unit", "aim", "reached", "note"}
    assert (figure["unit"], figure["aim"], figure["reached"]) == ("bytes", None, True)
    assert isinstance(figure["value"], float)
    assert figure["value"] >= 0.0
    assert list(tmp_path.iterdir()) == [file], "nothing is left behind"


def test_an_unknown_measurement_is_78_and_names_those_there_are(appliance: Command) -> None:
    ended = appliance("bench", "--only", "disk", "--only", "dizk")
    assert (ended.code, ended.out) == (WRONG, "")
    assert ended.message() == f"appliance: --only dizk: no such measurement; there are {', '.join(MEASUREMENTS)}"


@pytest.mark.parametrize("name", MEASUREMENTS)
def test_the_help_says_what_each_measurement_is(appliance: Command, name: str) -> None:
    told = appliance("bench", "--help").out
    assert f"{name}: " in " ".join(told.split())


@given(st.floats(allow_nan=False, allow_infinity=False), st.floats(allow_nan=False, allow_infinity=False))
def test_an_aim_is_reached_exactly_on_its_side_of_the_bound(value: float, bound: float) -> None:
    assert at_least("x", value, "s", bound).reached is (value >= bound)
    assert at_most("x", value, "s", bound).reached is (value <= bound)
    assert Figure("x", value, "s").reached


@given(st.lists(st.floats(allow_nan=False), min_size=1), st.floats(0.0, 1.0, exclude_min=True))
def test_a_quantile_is_a_measured_value_with_that_share_at_or_under_it(values: list[float], fraction: float) -> None:
    found = quantile(values, fraction)
    assert found in values
    assert sum(value <= found for value in values) >= fraction * len(values)
    assert sum(value < found for value in values) < fraction * len(values) or found == min(values)
