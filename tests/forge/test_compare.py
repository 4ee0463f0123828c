"""Models held against one another: what is compared, what is said about its fairness, and how it is drawn."""

import hashlib
import shutil
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.cli import Exit
from appliance.errors import ForgeError
from appliance.forge.chart import BOTTOM, LEFT, RIGHT, TOP, svg
from appliance.forge.compare import Compared, compare, remarks
from appliance.forge.report import Estimate, Report, Step
from tests.command import Command
from tests.model_folders import CARD, TINY

ONE = Estimate.exact(1.0)


def folder(root: Path, source: Path, version: str, metrics: str) -> Path:
    """A copy of a model folder, as another version with metrics of its own."""
    made = Path(shutil.copytree(source, root / source.parent.name / version))
    toml = (made / "model.toml").read_text().replace('version = "1.0.0"', f'version = "{version}"')
    (made / "model.toml").write_text(toml + metrics)
    return made


def metric(name: str, value: float, low: float, high: float, data: str = "day 1") -> str:
    keys = f'name = "{name}"\nvalue = {value}\nlow = {low}\nhigh = {high}\ndata = "{data}"\ncommand = "c"\n'
    return f"\n[[metrics]]\n{keys}"


def reported(root: Path, name: str, value: float) -> Path:
    """A `.tflite` beside the report of the step that made it."""
    file = root / name
    root.mkdir(exist_ok=True)
    file.write_bytes((CARD / "model.tflite").read_bytes())
    report = Report.load(root)
    report.add(Step("quantize", name, file.stat().st_size, 1, after={"auc": Estimate(value, value - 0.1, value + 0.1)}))
    report.save()
    return file


def test_folders_and_files_are_compared_by_the_metric_they_share(tmp_path: Path) -> None:
    a = folder(tmp_path, CARD, "2.0.0", metric("loss", 3.0, 2.0, 4.0) + metric("auc", 0.9, 0.85, 0.95))
    b = reported(tmp_path / "build", "student.tflite", 0.8)
    name, (first, second) = compare([a, b], repeats=2)
    assert name == "auc"
    assert (first.label, first.metric, first.data) == ("card-example 2.0.0", Estimate(0.9, 0.85, 0.95), "day 1")
    assert (second.label, second.metric.value, second.data) == ("student", 0.8, "")
    assert first.size_bytes == (CARD / "model.tflite").stat().st_size > first.compressed_bytes > 0
    assert (first.ratio, first.latency_s > 0, second.ratio.low > 0) == (ONE, True, True)
    assert second.ratio.low <= second.ratio.value <= second.ratio.high


def test_models_of_one_name_are_told_apart(tmp_path: Path) -> None:
    a, b = (reported(tmp_path / name, "student.tflite", 0.8) for name in ("a", "b"))
    assert [model.label for model in compare([a, b], repeats=1)[1]] == [str(a), str(b)]


def test_what_cannot_be_compared_is_told(tmp_path: Path) -> None:
    a = folder(tmp_path, CARD, "2.0.0", metric("auc", 0.9, 0.8, 1.0))
    b = folder(tmp_path, TINY, "2.0.0", metric("accuracy", 0.9, 0.8, 1.0))
    with pytest.raises(ForgeError, match=r"1 models; give 2 to 12"):
        compare([a])
    with pytest.raises(ForgeError, match=r"a metric in common \(card-example 2.0.0: auc; tiny-uint8 2.0.0: accuracy\)"):
        compare([a, b])
    with pytest.raises(ForgeError, match=r"not every model has the metric 'auc'"):
        compare([a, b], "auc")
    with pytest.raises(ForgeError, match=r"gone.tflite: cannot be read"):
        compare([a, tmp_path / "gone.tflite"])


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ((CARD / "model.tflite").read_bytes()[:500], "damaged"),
        ((CARD / "model.tflite").read_bytes()[:-200], "damaged"),
        (b"", "0 bytes without the mark TFL3 at byte 4: no .tflite file"),
        (b"<!DOCTYPE html>" * 40, "600 bytes without the mark"),
    ],
    ids=["cut early", "cut late", "empty", "a page"],
)
def test_a_file_that_is_no_whole_model_is_told_by_name_as_that(tmp_path: Path, content: bytes, complaint: str) -> None:
    a = folder(tmp_path, CARD, "2.0.0", metric("auc", 0.9, 0.8, 1.0))
    (tmp_path / "bad.tflite").write_bytes(content)
    with pytest.raises(ForgeError, match=rf"bad\.tflite: .*{complaint}"):
        compare([a, tmp_path / "bad.tflite"])


def test_the_float_file_of_a_quantisation_has_the_figures_from_before_it(tmp_path: Path) -> None:
    for name in ("net.int8.tflite", "net.float32.tflite"):
        (tmp_path / name).write_bytes((CARD / "model.tflite").read_bytes())
    report = Report(tmp_path)
    correlation = {"correlation with float": Estimate.exact(0.99)}
    for before, after in ((0.5, 0.4), (0.9, 0.88)):  # the later one counts
        made = correlation | {"auc": Estimate.exact(after)}
        report.add(Step("quantize", "net.int8.tflite", 9, 9, before={"auc": Estimate.exact(before)}, after=made))
    report.add(Step("prune", "net.keras", 9, 9, before={"auc": ONE}, after={"auc": ONE}))
    report.save()
    name, models = compare([tmp_path / "net.int8.tflite", tmp_path / "net.float32.tflite"], repeats=1)
    assert name == "auc"
    assert [model.metric.value for model in models] == [0.88, 0.9]


def compared(label: str, value: float, low: float, high: float, data: str = "day 1") -> Compared:
    return Compared(label, 1000, 500, 1e-5, ONE, Estimate(value, low, high), data)


def test_overlapping_intervals_and_other_data_are_told() -> None:
    best, near, far = compared("a", 0.9, 0.85, 0.95), compared("b", 0.8, 0.7, 0.86), compared("c", 0.5, 0.4, 0.6)
    assert remarks([best, far]) == []
    assert remarks([near, best, far]) == ["the intervals of b and a overlap: that one is better is not shown"]
    [unfair] = remarks([best, compared("d", 0.1, 0.1, 0.1, "day 2")])
    assert unfair == "the metric was not measured on the same data everywhere: day 1; day 2"


FIGURES = st.floats(-1e6, 1e6, allow_subnormal=False)
MODELS = st.lists(
    st.builds(
        lambda size, latency_s, figures, label: Compared(
            label, size, size, latency_s, ONE, Estimate(sorted(figures)[1], min(figures), max(figures)), ""
        ),
        st.integers(100, 10**8),
        st.floats(1e-7, 1e2),
        st.tuples(FIGURES, FIGURES, FIGURES) | FIGURES.map(lambda same: (same, same, same)),
        st.sampled_from(["a", 'b <&"> c', "student 1.0.0"]),
    ),
    min_size=1,
    max_size=12,
)


@given(MODELS)
def test_every_model_is_drawn_inside_the_frame_in_the_order_of_its_figures(models: list[Compared]) -> None:
    page = ET.fromstring(svg("recall < 0.1 %", models))  # noqa: S314 - our own file
    discs = list(page.iter("{http://www.w3.org/2000/svg}circle"))
    x, y, radius = ([float(disc.attrib[key]) for disc in discs] for key in ("cx", "cy", "r"))
    assert len(discs) == len(models)
    assert all(LEFT <= each <= RIGHT for each in x)
    assert all(TOP <= each <= BOTTOM for each in y)
    for a, one in enumerate(models):
        for b, other in enumerate(models):
            assert (one.latency_s <= other.latency_s) <= (x[a] <= x[b])
            assert (one.metric.value <= other.metric.value) <= (y[a] >= y[b])
            assert (one.size_bytes <= other.size_bytes) <= (radius[a] <= radius[b])
    text = " ".join(each.text or "" for each in page.iter("{http://www.w3.org/2000/svg}text"))
    assert all(f"{model.label}, " in text for model in models)
    assert "recall < 0.1 %" in text


def test_a_span_that_is_a_power_of_ten_but_for_rounding_has_ticks() -> None:
    assert svg("recall", [compared("a", 0.0, 0.0, 1 / 3)]).count("<circle") == 1


def test_the_command_prints_a_table_and_draws_the_same_file_for_the_same_figures(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    appliance, chart = Command(capfd, monkeypatch), tmp_path / "chart.svg"
    paths = [reported(tmp_path / "build", f"{name}.tflite", value) for name, value in (("a", 0.8), ("b", 0.7))]
    ended = appliance("forge", "compare", *paths, "--chart", chart, "--repeats", 1)
    assert ended.code == 0
    assert "0.8000 [0.7000, 0.9000]" in ended.out
    assert "note: the intervals of b and a overlap" in ended.out
    assert chart.read_text().startswith("<svg ")
    models = [compared("a", 0.8, 0.7, 0.9), compared("b", 0.7, 0.6, 0.8)]
    digests = {hashlib.sha256(svg("auc", models).encode()).hexdigest() for _ in range(2)}
    assert len(digests) == 1
    refused = appliance("forge", "compare", paths[0])
    assert (refused.code, refused.message()) == (Exit.DATA, "appliance: 1 models; give 2 to 12 to compare")
