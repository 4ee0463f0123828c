"""``appliance bench models``: intervals over groups, damaged evaluations, runtimes that fail, the chart."""

import io
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from appliance.adapters.model_folder import read_model
from appliance.bench.models import NOT_COMMITTED, Size, _quality_table, _size_table, chart, quality_reached
from appliance.bench.models.latency import Candidate, Timed, Worker, measure
from appliance.bench.models.people import judge_people, labels_of
from appliance.bench.models.quality import Quality, interval, judge, read_arrays
from appliance.core.types import Array
from appliance.errors import BackendError, ConfigError
from appliance.forge.metrics import accuracy, bootstrap
from appliance.forge.report import Estimate
from tests.model_folders import HEARTBEAT, PERSON, TINY

KEPT = 600
LITERT = "ai-edge-litert"
PYTHONS = {LITERT: Path(sys.executable)}
SVG = "{http://www.w3.org/2000/svg}"


def right_by_group(groups: Array, shares: Array) -> tuple[Array, Array]:
    """Logits and labels of which each group has its share right."""
    rng = np.random.default_rng(3)
    labels = rng.integers(2, size=len(groups))
    right = rng.random(len(groups)) < shares[groups]
    return np.where(right == (labels == 1), 1.0, -1.0), labels


# --- what it is worth


def test_examples_that_come_from_few_wearers_say_less_than_as_many_that_have_nothing_in_common() -> None:
    groups = np.repeat(np.arange(10), 100)
    scores, labels = right_by_group(groups, np.tile([0.5, 1.0], 5))
    over_groups, over_rows = interval(accuracy, scores, labels, groups), interval(accuracy, scores, labels, None)
    assert over_groups.value == over_rows.value
    assert over_groups.high - over_groups.low > 3 * (over_rows.high - over_rows.low)


def test_without_groups_each_example_stands_for_itself() -> None:
    scores, labels = right_by_group(np.zeros(300, int), np.array([0.8]))
    assert interval(accuracy, scores, labels, None) == bootstrap(accuracy, scores, labels, rounds=100)


@given(st.integers(1, 8), st.integers(1, 30), st.integers(0, 2**32 - 1))
def test_an_interval_holds_nothing_but_means_of_whole_groups(groups: int, each: int, seed: int) -> None:
    members = np.random.default_rng(seed).permutation(np.repeat(np.arange(groups), each))
    found = interval(lambda scores, _: float(scores.mean()), members.astype(float), np.zeros(len(members)), members)
    assert found.low >= 0.0
    assert found.high <= groups - 1
    assert found.low <= found.high
    assert (groups > 1) or (found.low == found.high == found.value)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The heartbeat model with some of its held-out beats."""
    folder = tmp_path / "heartbeat" / "1.0.0"
    evaluation = folder.parent / "evaluation"
    evaluation.mkdir(parents=True)
    folder.symlink_to(HEARTBEAT, target_is_directory=True)
    (evaluation / "float32.tflite").write_bytes((HEARTBEAT.parent / "evaluation" / "float32.tflite").read_bytes())
    with np.load(HEARTBEAT.parent / "evaluation" / "test.npz") as held:
        step = len(held["labels"]) // KEPT
        write(folder, **{name: held[name][::step] for name in ("inputs", "labels", "wearer")})
    return folder


def write(folder: Path, **arrays: Array) -> None:
    np.savez(folder.parent / "evaluation" / "test.npz", **arrays)  # type: ignore[arg-type] # by name, none of them `allow_pickle`


def held(folder: Path) -> dict[str, Array]:
    return read_arrays(folder.parent / "evaluation" / "test.npz")


def test_a_model_is_judged_over_the_wearers_its_examples_come_from(folder: Path) -> None:
    model = read_model(HEARTBEAT)
    [over_wearers] = judge(folder, model)
    arrays = held(folder)
    write(folder, inputs=arrays["inputs"], labels=arrays["labels"])
    [over_beats] = judge(folder, model)
    assert over_wearers.by_judge["int8"].value == over_beats.by_judge["int8"].value > 0.9
    assert over_wearers.by_judge["int8"] != over_beats.by_judge["int8"]
    assert over_wearers.loss is not None
    assert over_wearers.loss.low <= over_wearers.loss.value <= over_wearers.loss.high


def test_a_network_that_is_its_own_float_self_loses_exactly_nothing(folder: Path) -> None:
    (folder.parent / "evaluation" / "float32.tflite").write_bytes((HEARTBEAT / "model.tflite").read_bytes())
    [figures] = judge(folder, read_model(HEARTBEAT))
    assert figures.loss == Estimate(0.0, 0.0, 0.0)


def truncated(content: bytes) -> bytes:
    return content[: len(content) // 2]


def flipped(content: bytes) -> bytes:
    return content[:400] + bytes(255 - byte for byte in content[400:500]) + content[500:]


def pickled(_: bytes) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, inputs=np.array([{}], dtype=object), allow_pickle=True)
    return buffer.getvalue()


def lone_array(_: bytes) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.zeros(3))
    return buffer.getvalue()


@pytest.mark.parametrize("damage", [truncated, flipped, pickled, lone_array, lambda _: b"", lambda _: b"no archive"])
def test_a_damaged_evaluation_is_told_in_our_own_words(damage: Callable[[bytes], bytes], folder: Path) -> None:
    file = folder.parent / "evaluation" / "test.npz"
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(ConfigError, match=r"test\.npz: cannot be read: no \.npz of plain arrays, or damaged") as told:
        judge(folder, read_model(HEARTBEAT))
    assert "allow_pickle" not in str(told.value)


@pytest.mark.parametrize("name", ["test.npz", "float32.tflite"])
def test_an_evaluation_that_is_not_whole_is_told(name: str, folder: Path) -> None:
    (folder.parent / "evaluation" / name).unlink()
    with pytest.raises(ConfigError, match=rf"{name}: cannot be read: No such file"):
        judge(folder, read_model(HEARTBEAT))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"inputs": np.zeros((9, 3))}, r"inputs are \[9, 3\]"),
        ({"labels": np.zeros(2)}, "one label each"),
        ({"wearer": np.zeros(2)}, r"wearer is \[2\] for"),
        ({"teacher": np.zeros(2)}, r"teacher is \[2\] for"),
    ],
)
def test_examples_that_do_not_fit_together_are_told(change: dict[str, Array], told: str, folder: Path) -> None:
    write(folder, **held(folder) | change)
    with pytest.raises(ConfigError, match=told):
        judge(folder, read_model(HEARTBEAT))


def test_a_loss_is_judged_by_its_aim_and_printed_with_its_interval() -> None:
    within = Quality("m", "accuracy", {"int8": Estimate(0.9, 0.8, 1.0)}, Estimate(0.005, -0.001, 0.012), 0.005)
    beyond = replace(within, loss=Estimate(0.0051, 0.005, 0.006))
    assert [quality_reached(each) for each in (within, beyond)] == [True, False]
    assert quality_reached(replace(beyond, loss=None, loss_max=None))
    printed = as_text(_quality_table([within, beyond]))
    assert "+0.0050 (-0.0010 to +0.0120)" in printed
    assert "missed" in printed


def test_a_float_network_that_is_not_there_is_said_to_be_so_and_not_left_blank() -> None:
    printed = as_text(_size_table([Size("person", 1000, None, 900), Size("fraud", 500, 1000, 400)]))
    assert NOT_COMMITTED in next(line for line in printed.splitlines() if "person" in line)
    assert "0.50" in next(line for line in printed.splitlines() if "fraud" in line)


def as_text(table: object) -> str:
    console = Console(width=200, file=io.StringIO(), record=True)
    console.print(table)
    return console.export_text()


# --- people


def test_a_model_without_labels_is_no_labelled_detector() -> None:
    assert labels_of(HEARTBEAT) is None
    assert labels_of(PERSON) is not None


@pytest.mark.parametrize(
    ("boxes", "told"),
    [(None, "cannot be read: No such file"), (np.zeros((4, 5)), r"float64 \[4, 5\]; float \[n, 6\] is wanted")],
)
def test_a_detector_whose_footage_or_float_boxes_are_missing_is_told(
    boxes: Array | None, told: str, tmp_path: Path
) -> None:
    (tmp_path / "labels").mkdir()
    (tmp_path / "evaluation").mkdir()
    (tmp_path / "labels" / "people-walking.csv").write_text("frame,xmin,ymin,xmax,ymax,flags\n0,10,10,50,90,\n")
    if boxes is not None:
        np.savez(tmp_path / "evaluation" / "float.npz", whole=boxes)
    with pytest.raises(ConfigError, match=told):
        judge_people(tmp_path / "1.1.0", read_model(PERSON))


def test_labels_of_footage_that_is_not_there_are_told(tmp_path: Path) -> None:
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels" / "elsewhere.csv").write_text("frame,xmin,ymin,xmax,ymax,flags\n0,10,10,50,90,\n")
    with pytest.raises(ConfigError, match=r"elsewhere\.avi: not there or too short"):
        judge_people(tmp_path / "1.1.0", read_model(PERSON))


# --- how long it takes


def candidate(**changes: object) -> Candidate:
    return replace(Candidate("tiny", "int8", LITERT, 1, TINY / "model.tflite"), **changes)  # type: ignore[arg-type] # by name


def test_what_runs_is_timed_and_what_does_not_is_told_with_its_fault(tmp_path: Path) -> None:
    (tmp_path / "broken.tflite").write_bytes(b"no flatbuffer")
    candidates = [
        candidate(),
        candidate(threads=2),
        candidate(runtime="onnxruntime"),
        candidate(form="float32", file=tmp_path / "broken.tflite"),
    ]
    begun_s = time.monotonic()
    times = measure(candidates, PYTHONS, rounds=2)
    in_all_s = time.monotonic() - begun_s
    assert [each.candidate for each in times] == candidates
    assert all(each.took_s is not None and 0 < each.took_s < in_all_s and not each.fault for each in times[:2])
    assert times[2] == Timed(candidates[2], None, "onnxruntime is not installed")
    assert times[3].took_s is None
    assert times[3].fault.startswith("ValueError: ")


@pytest.fixture
def worker() -> Iterator[Worker]:
    with Worker(Path(sys.executable)) as worker:
        yield worker


@pytest.mark.parametrize(
    ("order", "told"),
    [
        ({"load": "x", "runtime": "none such", "threads": 1}, "KeyError: 'none such'"),
        ({"run": 0, "times": 1}, "IndexError"),
        ({}, "KeyError: 'run'"),
    ],
)
def test_an_order_that_is_none_is_answered_and_the_worker_goes_on(
    order: dict[str, object], told: str, worker: Worker
) -> None:
    for _ in range(2):
        with pytest.raises(BackendError, match=told):
            worker.ask(**order)


def interpreter(folder: Path, body: str) -> Path:
    """A program in the place of a runtime's Python."""
    file = folder / "python"
    file.write_text(f"#!/bin/sh\n{body}\n")
    file.chmod(0o755)
    return file


def test_a_worker_that_dies_under_a_model_is_that_models_fault(tmp_path: Path) -> None:
    pythons = PYTHONS | {"onnxruntime": interpreter(tmp_path, "read order; exit 1")}
    dead, alive = candidate(runtime="onnxruntime"), candidate()
    times = measure([dead, alive], pythons, rounds=1)
    assert times[0] == Timed(dead, None, "the process died")
    assert times[1].took_s is not None


def test_a_worker_that_dies_while_it_is_timed_does_not_lose_what_the_others_measured(tmp_path: Path) -> None:
    loaded = ["read order; echo '{\"index\": 0}'", *["read order; echo '{\"took_s\": 0.001}'"] * 3]
    pythons = PYTHONS | {"onnxruntime": interpreter(tmp_path, "; ".join([*loaded, *loaded, "read order; exit 1"]))}
    dying, too, alive = candidate(runtime="onnxruntime"), candidate(runtime="onnxruntime", threads=2), candidate()
    times = measure([dying, too, alive], pythons, rounds=3)
    assert times[:2] == [Timed(each, None, "the process died") for each in (dying, too)]
    assert times[2].took_s is not None


def test_a_worker_that_speaks_no_json_is_told(tmp_path: Path) -> None:
    babbling = candidate(runtime="onnxruntime")
    times = measure([babbling], {"onnxruntime": interpreter(tmp_path, "echo Hello; read order")}, rounds=1)
    assert times == [Timed(babbling, None, "what the process answered is no JSON object")]


# --- the chart


def timed(model: str, took_s: float | None) -> Timed:
    return Timed(candidate(model=model), took_s, "" if took_s else "not installed")


def bars(document: str) -> list[tuple[float, float]]:
    """Top and width of each bar, as drawn."""
    drawn = [each for each in ET.fromstring(document).iter(f"{SVG}rect") if each.get("x") == str(chart.LEFT)]  # noqa: S314 - our own
    return [(float(each.attrib["y"]), float(each.attrib["width"])) for each in drawn]


def test_bars_stand_in_order_the_longer_the_slower_and_what_was_not_measured_is_left_out() -> None:
    found = bars(chart.svg([timed("a & <b>", 0.00002), timed("a & <b>", None), timed("c", 0.003), timed("d", 0.3)]))
    assert len(found) == 3
    assert found == sorted(found)
    assert [width for _, width in found] == sorted({width for _, width in found})


def test_a_chart_of_nothing_is_a_picture_all_the_same() -> None:
    assert bars(chart.svg([])) == []


@given(st.lists(st.floats(1e-7, 10.0), min_size=1, max_size=12))
def test_no_bar_leaves_the_chart(times_s: list[float]) -> None:
    found = bars(chart.svg([timed("m", each) for each in times_s]))
    assert len(found) == len(times_s)
    assert all(0 < width <= chart.RIGHT - chart.LEFT for _, width in found)
