"""A soak counts what must be nothing, and would see it if it were something."""

import json
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from appliance.adapters.backends.engines import CpuEngine
from appliance.adapters.backends.exchange import make_memory
from appliance.adapters.backends.worker import Worker
from appliance.bench import soak
from appliance.bench.soak.chart import COLUMNS, Mark, draw
from appliance.bench.soak.soaking import KINDS, Soaked
from appliance.bench.soak.verdict import figures_of
from appliance.bench.soak.vitals import Process, Vitals, children, resident_mib, shared_memory, vitals, workers
from appliance.bench.soak.witness import Witness
from appliance.core.types import Decision, Frame, FrameKind, OutcomeState, Prediction, Provenance
from appliance.sim.tpu_faults import CARD, STICK
from appliance.sim.tpu_script import Act
from tests.channels import RED
from tests.command import Command
from tests.waiting import eventually

REACHED, MISSED = 0, 1
KILLS = 30
"""A seed that draws a fault of the stick which is over soon."""
NAMES = [fault.name for fault in KINDS]
SOMEBODY = (Prediction("person", 0.9),)
NOBODY: tuple[Prediction, ...] = ()
HELD = Vitals(files=30, threads=13, memories=6)
GOOD = Soaked(
    minutes=10.0,
    seed=1,
    counts=Counter(decisions=1000),
    memory=[(float(second), 200.0 + (second % 7) / 10) for second in range(600)],
    halfway=HELD,
    at_end=HELD,
    closed=Vitals(20, 3, 0),
)


@pytest.fixture
def appliance(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Command:
    return Command(capfd, monkeypatch)


@pytest.mark.slow
def test_a_soak_of_seconds_loses_nothing_and_leaves_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "soak.json"
    code = soak.run("gate", minutes=0.02, seed=KILLS, json_file=file, console=Console(width=200))
    assert code in {REACHED, MISSED}, "memory has no time to settle"
    figures = json.loads(file.read_text())["figures"]
    nothing = {name: figure["value"] for name, figure in figures.items() if figure["aim"] == "<= 0"}
    assert len(nothing) == 12
    told = capsys.readouterr().out
    assert {name for name, value in nothing.items() if value} == set(), told
    assert figures["soak_decisions"]["value"] > 10
    assert f"--seed {KILLS} draws the same faults again" in told
    assert re.search(r"cpu │.*\n +stick │·*1", told)
    assert workers() == []


@pytest.mark.slow
def test_two_edge_tpus_and_four_channels_come_through_half_a_minute_of_faults(tmp_path: Path) -> None:
    soak.run(minutes=0.5, seed=11, json_file=tmp_path / "soak.json", console=Console())
    figures = json.loads((tmp_path / "soak.json").read_text())["figures"]
    assert {name for name, figure in figures.items() if figure["aim"] == "<= 0" and figure["value"]} == set()


@pytest.mark.parametrize(
    ("words", "minutes", "seed"), [(("--soak", "0.5"), 0.5, None), (("--soak", "60", "--seed", "7"), 60.0, 7)]
)
def test_the_command_soaks_for_the_minutes_it_is_given_and_ends_as_the_soak_does(
    appliance: Command, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], minutes: float, seed: int | None
) -> None:
    asked: dict[str, object] = {}

    def run(**given: object) -> int:
        asked.update(given)
        return MISSED

    monkeypatch.setattr(soak, "run", run)
    assert appliance("bench", *words).code == MISSED
    assert (asked["minutes"], asked["seed"]) == (minutes, seed)


def test_a_soak_in_which_nothing_went_wrong_reaches_every_aim() -> None:
    assert all(figure.reached for figure in figures_of(GOOD))


def grown(mib_per_min: float, steps_mib: float = 0.0) -> list[tuple[float, float]]:
    """Samples of memory that grows evenly, with a step in the last tenth."""
    return [(second, 200.0 + second / 60 * mib_per_min + steps_mib * (second > 560)) for second in range(600)]


@pytest.mark.parametrize(
    ("what", "name"),
    [
        ({"counts": Counter(lost=1)}, "soak_decisions_lost"),
        ({"counts": Counter(wrong=1)}, "soak_wrong"),
        ({"counts": Counter(blind_as_empty=1)}, "soak_blind_as_empty"),
        ({"not_returned": ["hang of the stick: hangs"]}, "soak_not_returned"),
        ({"crashed": True}, "soak_crashes"),
        ({"memory": grown(1.2)}, "soak_memory_slope"),
        ({"memory": grown(0.0, 11.0)}, "soak_memory_growth_mib"),
        ({"left": [Process(1, zombie=True, worker=False)]}, "soak_zombies"),
        ({"left": [Process(1, zombie=False, worker=True)]}, "soak_orphans"),
        ({"at_end": HELD._replace(files=31)}, "soak_files_gained"),
        ({"at_end": HELD._replace(threads=14)}, "soak_threads_gained"),
        ({"at_end": HELD._replace(memories=7)}, "soak_memories_gained"),
        ({"closed": HELD._replace(memories=1)}, "soak_memories_left"),
        ({"shared": {"psm_1"}}, "soak_shared_memory_left"),
    ],
    ids=lambda each: each if isinstance(each, str) else "",
)
def test_whatever_is_lost_or_has_grown_misses_its_aim(what: dict[str, Any], name: str) -> None:
    missed = {figure.name for figure in figures_of(replace(GOOD, **what)) if not figure.reached}
    assert name in missed
    assert missed <= {name, "soak_memory_slope"}


def test_a_soak_of_seconds_has_no_slope() -> None:
    short = replace(GOOD, memory=[(float(second), 200.0 + second) for second in range(10)])
    assert "soak_memory_slope" not in {figure.name for figure in figures_of(short)}


def decision(outcome: OutcomeState, predictions: tuple[Prediction, ...] = (), backend: str = "cpu") -> Decision:
    return Decision(
        channel="gate",
        outcome_state=outcome,
        rules={},
        predictions=predictions,
        alerts=(),
        provenance=Provenance("person", "1.1.0", backend, degraded=False),
        frame_seq=1,
        captured_s=0.0,
        decided_s=0.0,
        threshold=0.5,
        reason="no backend" if outcome is OutcomeState.NO_RESULT else "",
    )


def picture(seq: int) -> Frame:
    return Frame(FrameKind.IMAGE, RED, 0.0, seq)


def test_a_witness_knows_a_lost_picture_from_a_wrong_one_and_from_one_that_reads_as_empty() -> None:
    witness = Witness(slice_s=1.0, pictures=(SOMEBODY, NOBODY))
    result = OutcomeState.RESULT
    witness.watch(picture(1), decision(result, SOMEBODY))
    witness.watch(picture(2), decision(result, NOBODY))
    counts = witness.counts
    assert counts == Counter(decisions=2, compared=2)
    witness.watch(picture(3), decision(result, NOBODY))
    assert (counts["wrong"], counts["blind_as_empty"]) == (1, 1)
    witness.watch(picture(4), decision(result, SOMEBODY))
    assert (counts["wrong"], counts["blind_as_empty"]) == (2, 1), "somebody where nobody is: wrong, and not blind"
    witness.watch(picture(5), decision(OutcomeState.NO_RESULT, backend=""))
    assert (counts["lost"], counts["compared"], witness.reasons) == (1, 4, ["no backend"])
    witness.watch(picture(7), decision(result, SOMEBODY))
    assert counts["lost"] == 2, "number 6 was never judged"
    assert counts["decisions"] == 6
    assert witness.by_slice.total() == 6


def test_a_frame_that_has_no_score_yet_is_no_loss() -> None:
    witness = Witness(slice_s=1.0)
    witness.watch(picture(1), decision(OutcomeState.NO_SCORE, backend=""))
    witness.watch(picture(2), decision(OutcomeState.NO_SIGNAL, backend=""))
    assert (witness.counts, witness.by_slice.total()) == (Counter(decisions=2), 0)


def test_every_act_of_the_stand_ins_script_is_among_the_faults_and_each_has_one_name() -> None:
    assert len(set(NAMES)) == len(NAMES)
    assert {act.value for act in Act} <= set(NAMES)


@given(
    st.dictionaries(
        st.tuples(st.integers(0, COLUMNS - 1), st.sampled_from(["tpu", "cpu", "none"])), st.integers(1, 99)
    ),
    st.lists(st.builds(Mark, st.integers(0, COLUMNS - 1), st.sampled_from([STICK, CARD]), st.sampled_from(NAMES))),
)
def test_a_chart_has_a_column_for_each_slice_whatever_happened(
    decisions: dict[tuple[int, str], int], marks: list[Mark]
) -> None:
    rows = draw(decisions, marks, 5.0).plain.splitlines()
    assert {len(row) for row in rows} == {len(rows[0])}
    drawn = {row.split("│")[0].strip(): row.split("│")[1] for row in rows}
    for column, backend in decisions:
        assert drawn[backend][column] != " ", "whatever is there is seen"
    for mark in marks:
        assert drawn[mark.device][mark.slice] != "·"
    assert ("none" in drawn) is any(backend == "none" for _, backend in decisions), "blindness is seen, and only then"


@pytest.fixture
def child() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen([sys.executable, "-c", "pass"])
    yield process
    process.wait(10)


def test_a_child_that_nobody_collects_is_seen_as_a_zombie(child: subprocess.Popen[bytes]) -> None:
    seen = eventually(lambda: [each for each in children() if each.pid == child.pid and each.zombie])
    assert [each.worker for each in seen] == [False]


def test_a_worker_is_seen_while_it_lives_with_what_it_holds() -> None:
    before = vitals()
    worker = Worker(f"{CpuEngine.__module__}:{CpuEngine.__name__}", {})
    try:
        assert eventually(lambda: worker.pid in workers())
        assert vitals().files > before.files
    finally:
        worker.kill("seen")
        assert worker.reap(10.0)
    assert worker.pid not in workers()
    assert vitals().files == before.files


def test_anonymous_memory_and_named_memory_are_seen() -> None:
    before, names = vitals().memories, shared_memory()
    file = make_memory("seen", 4096)
    named = Path("/dev/shm/appliance-test-soak")  # noqa: S108 - what is looked for
    try:
        assert vitals().memories == before + 1
        named.touch()
        assert shared_memory() - names == {named.name}
    finally:
        named.unlink(missing_ok=True)
        os.close(file)
    assert vitals().memories == before
    assert resident_mib() > 10.0
