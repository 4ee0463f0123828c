"""The report: what went in comes out, whatever was there stays, and a half-written file is never seen."""

import json
from io import StringIO
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from appliance.errors import ForgeError
from appliance.forge.report import REPORT_FILE, Estimate, Report, Step, table, write_whole

finite = st.floats(allow_nan=False, allow_infinity=False, width=32)
estimates = st.builds(Estimate, finite, finite, finite)
figures = st.dictionaries(st.text(min_size=1, max_size=8), estimates, max_size=3)
steps = st.builds(
    Step,
    step=st.sampled_from(["quantize", "prune", "distill"]),
    made=st.text(max_size=12),
    size_bytes=st.integers(0, 1 << 40),
    compressed_bytes=st.integers(0, 1 << 40),
    before=figures,
    after=figures,
    latency_ratio=st.none() | finite,
    operators=st.none() | st.integers(0, 3000),
    operators_edgetpu=st.none() | st.integers(0, 3000),
    notes=st.lists(st.text(max_size=20), max_size=2).map(tuple),
    command=st.text(max_size=30),
)

A_STEP = Step("quantize", "net.tflite", 1000, 800, after={"roc_auc": Estimate(0.9, 0.85, 0.95)})


@given(steps)
def test_what_a_step_notes_is_read_back_as_it_was(step: Step) -> None:
    assert Step.from_json(json.loads(json.dumps(step.to_json()))) == step


def test_steps_are_appended_in_order_and_read_back(tmp_path: Path) -> None:
    for name in ("distill", "prune", "quantize"):
        report = Report.load(tmp_path)
        report.add(Step(name, "x", 1, 1))
        report.save()
    assert [step.step for step in Report.load(tmp_path).steps] == ["distill", "prune", "quantize"]


def test_what_a_newer_forge_wrote_stays_in_the_file(tmp_path: Path) -> None:
    newer = {"schema": 2, "signed_by": "x", "steps": [{**A_STEP.to_json(), "energy_mj": 3.5}]}
    (tmp_path / REPORT_FILE).write_text(json.dumps(newer))
    report = Report.load(tmp_path)
    report.add(A_STEP)
    report.save()
    written = json.loads((tmp_path / REPORT_FILE).read_text())
    assert (written["schema"], written["signed_by"]) == (2, "x")
    assert written["steps"][0]["energy_mj"] == 3.5
    assert len(written["steps"]) == 2


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"\xff\xfe", b'{"steps": 3}', b'{"steps": [{}]}', b'{"steps": [{"step": "x", "made": "y"}]}'],
)
def test_a_file_that_is_no_report_is_refused_by_name_and_left_alone(tmp_path: Path, content: bytes) -> None:
    (tmp_path / REPORT_FILE).write_bytes(content)
    with pytest.raises(ForgeError, match=REPORT_FILE):
        Report.load(tmp_path)
    assert (tmp_path / REPORT_FILE).read_bytes() == content


def test_a_figure_that_was_not_measured_is_never_noted(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="not finite"):
        Report(tmp_path).add(Step("quantize", "x", 1, 1, after={"auc": Estimate(float("nan"), 0, 1)}))


def test_a_write_that_fails_leaves_what_was_there_and_nothing_beside_it(tmp_path: Path) -> None:
    there = tmp_path / "net.tflite"
    there.mkdir()  # a folder cannot be replaced by a file
    (there / "kept").write_text("x")
    with pytest.raises(ForgeError, match=r"net\.tflite cannot be written"):
        write_whole(there, b"new")
    assert [each.name for each in tmp_path.iterdir()] == ["net.tflite"]
    assert (there / "kept").read_text() == "x"


def test_a_written_file_may_be_read_by_everybody_and_its_folder_is_made(tmp_path: Path) -> None:
    file = tmp_path / "build" / "deep" / "net.tflite"
    write_whole(file, b"model")
    assert file.read_bytes() == b"model"
    assert file.stat().st_mode & 0o777 == 0o644


def test_the_table_shows_size_gzip_metrics_with_intervals_latency_and_operators(tmp_path: Path) -> None:
    report = Report(tmp_path)
    report.add(
        Step(
            "quantize", "net.tflite", 12_584, 10_670,
            before={"roc_auc": Estimate(0.978, 0.9738, 0.9815)}, after={"roc_auc": Estimate(0.977, 0.973, 0.981)},
            latency_ratio=0.83, operators=3, operators_edgetpu=2,
        )
    )  # fmt: skip
    console = Console(width=140, file=StringIO())
    with console.capture() as captured:
        console.print(table(report))
    shown = captured.get()
    for part in ("12,584", "10,670", "0.9780 [0.9738, 0.9815]", "0.9770 [0.9730, 0.9810]", "x 0.83", "2 of 3"):
        assert part in shown


def test_the_metrics_of_two_steps_of_one_name_are_told_apart_by_what_they_made(tmp_path: Path) -> None:
    report = Report(tmp_path)
    for name, value in (("small.tflite", 0.71), ("large.tflite", 0.93)):
        report.add(Step("quantize", name, 1, 1, after={"auc": Estimate.exact(value)}))
    console = Console(width=140, file=StringIO())
    with console.capture() as captured:
        console.print(table(report))
    for name, shown in (("small.tflite", "0.71"), ("large.tflite", "0.93")):
        assert any(name in line and shown in line for line in captured.get().splitlines())
