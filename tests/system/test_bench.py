"""The benches run and say what they measured; what they measure on this machine is nobody's test."""

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from appliance import bench
from appliance.adapters.model_folder import read_model
from appliance.bench import MEASUREMENTS, blindness, failover, progress, returning, worker
from appliance.bench.edge import Stream, rig
from appliance.bench.figure import Figure, Progress, at_least, at_most, quantile
from appliance.bench.soak.soaking import Soaked
from appliance.sim.tpu_faults import Fault
from appliance.sim.tpu_script import Act
from tests.command import Command
from tests.model_folders import TINY

REACHED, MISSED, USAGE, WRONG = 0, 1, 2, 78
DEADLINE_S = 2.0
"""For the simulated Edge TPU's answer, in the place of the bench's own: none is missed but by a fault."""


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


def silent(_step: str) -> None:
    """Nobody listens to the progress."""


def by_name(figures: list[Figure]) -> dict[str, Figure]:
    return {figure.name: figure for figure in figures}


@pytest.fixture
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every Edge TPU of a failover bench have longer for its answer, and a late one come later."""
    late = failover._while_invoked(Act.LATE, DEADLINE_S + 1.0)
    monkeypatch.setattr(failover, "rig", partial(rig, deadline_s=DEADLINE_S))
    monkeypatch.setattr(failover, "INVOKE_DEADLINE_S", DEADLINE_S)
    monkeypatch.setitem(failover.INJECTIONS, Act.LATE, late)


@pytest.mark.usefixtures("_patient")
def test_failover_times_the_decision_that_meets_each_fault_and_loses_none() -> None:
    kinds = (Act.ABORT, Act.LATE, Act.FAIL, Act.LIE, Act.LEAK, Act.OPEN_FAIL)
    told: list[str] = []
    figures = by_name(failover.measure(told.append, faults=1, kinds=kinds, folder=TINY))
    assert list(figures) == [*(f"failover_ms_p99_{kind.value}" for kind in kinds), "decisions_lost"]
    assert (figures["decisions_lost"].value, figures["decisions_lost"].reached) == (0, True)
    assert figures["failover_ms_p99_late"].value >= DEADLINE_S * 1e3, "the frame waited for its deadline"
    bounds = {figure.aim for name, figure in figures.items() if name != "decisions_lost"}
    assert len(bounds) == 1, "one deadline, one CPU"
    assert float(bounds.pop().removeprefix("<= ")) > DEADLINE_S * 1e3 + failover.SLACK_MS
    assert {line.partition(":")[0] for line in told} == {kind.value for kind in kinds}


@pytest.mark.slow
def test_no_kind_of_fault_that_the_stand_in_knows_costs_a_decision() -> None:
    figures = by_name(failover.measure(silent, faults=2))
    assert len(figures) == len(Act) + 1
    assert figures["decisions_lost"].value == 0


def test_an_answer_that_is_not_the_cpus_counts_as_lost() -> None:
    """A lie that is told to a frame, and not to the golden vectors, is what the comparison is there for."""
    with rig(read_model(TINY), deadline_s=DEADLINE_S) as one:
        one.until_served()
        stream = Stream(one, seed=1)
        with stream.running():
            stream.next_s()
            assert stream.lost == 0
            stream.next_s(lambda: one.device.script.then(Act.LIE))
            stream.next_s()
        assert stream.lost == 1


def test_worker_overhead_holds_the_round_trip_against_the_bare_invoke() -> None:
    figures = by_name(worker.measure(silent, rounds=2))
    assert {name: figure.aim for name, figure in figures.items()} == {
        "worker_overhead_ms_p50": "<= 0.3",
        "worker_overhead_ms_p99": "",
        "worker_throughput": ">= 0.95",
    }
    assert "300 x 300 x 3" in figures["worker_overhead_ms_p50"].note
    assert figures["worker_throughput"].value > 0.0


@pytest.mark.slow
def test_return_s_is_the_time_from_the_plug_to_the_first_decision() -> None:
    figures = by_name(returning.measure(silent, returns=1, away_s=0.0))
    assert 0.0 < figures["return_s"].value == figures["return_s_max"].value


@pytest.mark.parametrize(("faults", "rounds"), [(1, 1), (79, 1), (200, 5)])
def test_blind_as_empty_lets_every_kind_of_fault_happen_and_tells_what_the_witness_saw(
    monkeypatch: pytest.MonkeyPatch, faults: int, rounds: int
) -> None:
    """The appliance that it happens to is a soak's, and is tested as one."""
    happened: list[str] = []

    class Hand:
        def settle(self) -> None:
            happened.append("settled")

        def fault(self, _name: str, fault: Fault) -> None:
            happened.append(fault.name)

    @contextmanager
    def attended(soaked: Soaked, _tell: Progress, *channels: str) -> Iterator[Hand]:
        assert channels == ("gate",)
        yield Hand()
        soaked.counts += {"compared": 100, "blind_as_empty": 1, "lost": 2, "wrong": 3}

    monkeypatch.setattr(blindness, "attended", attended)
    figures = by_name(blindness.measure(silent, faults=faults))
    assert Counter(happened) == Counter({act.value: rounds for act in Act} | {"settled": 1})
    assert {name: figure.value for name, figure in figures.items()} == {
        "blind_as_empty": 1,
        "blind_decisions": 2,
        "blind_wrong": 3,
    }
    assert not any(figure.reached for figure in figures.values())


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_picture_of_people_never_reads_as_nobody_whatever_the_edge_tpu_does() -> None:
    figures = blindness.measure(silent, faults=1)
    assert [(figure.name, figure.value) for figure in figures] == [
        ("blind_as_empty", 0),
        ("blind_decisions", 0),
        ("blind_wrong", 0),
    ]


def test_where_there_is_no_terminal_progress_is_told_in_lines_now_and_then(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress, "LINE_INTERVAL_S", 0.0)

    def measure(progress: Progress) -> list[Figure]:
        progress("half of it")
        return [Figure("quick", 1.0, "s")]

    monkeypatch.setitem(MEASUREMENTS, "quick", measure)
    assert bench.run(only=("quick",), json_file=None, console=Console()) == REACHED
    assert "quick: half of it\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    "words",
    [
        ("--route",),
        ("--config", "a.toml"),
        ("--soak", "1", "--route", "--config", "a.toml"),
        ("--soak", "1", "--only", "disk"),
        ("--soak", "0"),
        ("--faults", "0"),
        ("--seed", "-1"),
    ],
    ids=" ".join,
)
def test_options_that_contradict_one_another_are_wrong_usage(appliance: Command, words: tuple[str, ...]) -> None:
    assert appliance("bench", *words).code == USAGE


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
