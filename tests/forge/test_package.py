"""A model folder from a `.tflite`: what the device accepts, or one clear message and nothing on the disk."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.adapters.model_folder import read_model
from appliance.core.facts import Limits, ModelMetric
from appliance.core.quant import quantise
from appliance.errors import ForgeError
from appliance.explain import proof
from appliance.forge.card import BEGIN
from appliance.forge.goldens import tolerance
from appliance.forge.package import PackageSpec, package
from appliance.forge.report import Report
from appliance.trust.description import TOLERANCE_LSB_MAX
from tests.forge.packaging import COMMAND, METRIC, but, everything, quiet, score, spec
from tests.model_folders import EDGETPU_OP, TINY, TWINS

NOT_A_NUMBER = np.full((1, 16, 16, 3), np.nan, np.float32)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """A folder as it is packaged, and what was said of it."""
    root = tmp_path_factory.mktemp("models")
    said: list[str] = []
    report = Report(root / "build")
    return package(spec(), root, report=report, second_runtime="none", say=said.append), said


def test_the_device_accepts_what_is_packaged_and_reads_from_it_what_the_spec_said(
    built: tuple[Path, list[str]],
) -> None:
    folder, _ = built
    wanted, model = spec(), read_model(folder)
    assert (folder.parent.name, folder.name) == (wanted.name, wanted.version)
    assert (model.description, model.labels, model.tflite) == (wanted.description, wanted.labels, wanted.tflite)
    assert model.facts.limits == wanted.limits
    assert list(model.facts.metrics) == wanted.metrics
    assert (model.facts.provenance, model.facts.data) == (wanted.provenance, wanted.data)
    assert (folder / "LICENSE").read_bytes() == b"free\n"


def test_golden_vectors_are_what_the_device_will_feed_and_what_the_runtime_gave(built: tuple[Path, list[str]]) -> None:
    model, known = read_model(built[0]), read_model(TINY)
    assert len(model.golden.inputs) == len(spec().golden_inputs)
    for tensor, values in zip(model.golden.inputs, spec().golden_inputs, strict=True):
        assert np.array_equal(tensor, quantise(values, model.input))
    for outputs, recorded in zip(model.golden.outputs, known.golden.outputs, strict=True):
        assert np.abs(outputs["scores"].astype(int) - recorded["scores"].astype(int)).max() <= 1


def test_the_tolerance_is_measured_and_the_runtimes_are_named(built: tuple[Path, list[str]]) -> None:
    model = read_model(built[0])
    assert model.golden.tolerance_lsb["scores"] > model.facts.measured_lsb["scores"]
    assert [name.partition(" ")[0] for name in model.facts.runtimes] == ["ai-edge-litert", "ai-edge-litert"]
    assert model.facts.runtimes[1].endswith("without XNNPACK")


def test_what_should_be_known_is_said(built: tuple[Path, list[str]]) -> None:
    told = "\n".join(built[1])
    assert re.search(r"an invoke takes [\d.e-]+ ms .* adds [\d,]+ bytes of memory", told)
    assert "tflite-runtime was left out" in told
    assert "may run all 6 operators" in told
    assert "no metrics" not in told


def test_the_card_and_the_report_stand_beside_it(built: tuple[Path, list[str]]) -> None:
    folder, _ = built
    assert BEGIN in (folder.parent / "README.md").read_text()
    [step] = Report.load(folder).steps
    [saved] = Report.load(folder.parent.parent / "build").steps
    assert step == saved
    assert (step.step, step.operators_edgetpu, step.after["accuracy"].low) == ("package", 6, METRIC.low)


def test_verify_accepts_it_tells_what_it_costs_here_and_every_metric_with_its_command(
    built: tuple[Path, list[str]],
) -> None:
    sound, cost, *others = proof(built[0])
    assert sound.startswith(f"{built[0]}: sound. Digests and tensors agree; scores is 0 steps off")
    assert re.fullmatch(
        r"on this device's CPU an invoke takes [\d.e-]+ ms, opening it adds [\d,]+ bytes of memory", cost
    )
    metrics = [line for line in others if not line.startswith("warning: ")]
    assert metrics[0] == f"accuracy: 0.98 [0.97, 0.99], on 2,000 fresh pictures; measured by: {COMMAND}"
    assert metrics[1] == f"size: 2,856 bytes, on the file; measured by: {COMMAND}"


def test_packaging_again_gives_the_same_bytes_and_leaves_nothing_else(tmp_path: Path) -> None:
    said: list[str] = []
    folder = package(score(), tmp_path, second_runtime="none", say=said.append)
    first = everything(tmp_path)
    assert package(score(), tmp_path, second_runtime="none", say=said.append) == folder
    assert everything(tmp_path) == first
    assert "no metrics" in "\n".join(said)
    assert set(first) == {
        "scorer/README.md", *(f"scorer/1.0.0/{name}" for name in ("model.toml", "model.tflite", "golden/golden.npz"))
    }  # fmt: skip


def test_a_version_with_another_model_is_replaced_only_when_that_is_asked_for(tmp_path: Path) -> None:
    folder = package(score(), tmp_path, second_runtime="none", say=quiet)
    first = everything(tmp_path)
    other = replace(spec(), name="scorer", version="1.0.0")
    with pytest.raises(ForgeError, match=r"1\.0\.0 holds another model of this version: .* higher version"):
        package(other, tmp_path, second_runtime="none", say=quiet)
    assert everything(tmp_path) == first
    assert package(other, tmp_path, second_runtime="none", say=quiet, force=True) == folder
    assert read_model(folder).tflite == spec().tflite
    package(replace(other, version="1.0.1"), tmp_path, second_runtime="none", say=quiet)


REFUSED: list[tuple[str, Callable[[], PackageSpec], str]] = [
    ("nothing", lambda: but(tflite=b""), r"not a TFLite flatbuffer .*is it whole"),
    ("a picture", lambda: but(tflite=b"\x89PNG and so on"), r"not a TFLite flatbuffer"),
    ("cut off", lambda: but(tflite=spec().tflite[:600]), r"does not run model.tflite"),
    ("compiled", lambda: but(tflite=EDGETPU_OP.read_bytes()), r"does not run model.tflite.*\n.*edgetpu-custom-op"),
    ("float only", lambda: but(tflite=TWINS.read_bytes()), r"a float model is not packaged; .*forge quantize"),
    ("no labels", lambda: but(labels=()), r"labels are missing: classify needs a name for each score"),
    ("no decoder", lambda: but(decode={}), r"decode.kind is None; choose one of ssd_raw, .*score"),
    ("no goldens", lambda: but(golden_inputs=[]), r"0 golden inputs; give 1 to 64"),
    ("too many goldens", lambda: but(golden_inputs=[*spec().golden_inputs[:1]] * 65), r"65 golden inputs"),
    (
        "no batch",
        lambda: but(golden_inputs=[np.zeros((16, 16, 3))]),
        r"golden input 0 is \[16, 16, 3\].*\[1, 16, 16, 3",
    ),
    ("not finite", lambda: but(further_inputs=[NOT_A_NUMBER]), r"golden input 0 .*not finite"),
    (
        "unknown output",
        lambda: but(outputs={"scores": "logits"}),
        r"output 'scores': 0 outputs are 'logits'; .*Identity",
    ),
    (
        "one role too many",
        lambda: but(outputs={"scores": (1, 3), "score": (1, 3)}),
        r"do not stand for each output once",
    ),
    ("wrong role", lambda: but(outputs={"score": (1, 3)}), r"outputs: the roles are \['score'\]; classify needs"),
    ("wrong task", lambda: but(task="score"), r"decode.kind: classify is not for the task score"),
    ("a name for a path", lambda: but(name="../colours"), r"model.toml:2: name: string should match pattern"),
    ("no command", lambda: but(metrics=[ModelMetric("a", 1.0, "d", " ")]), r"metrics.0.command: string should match"),
    ("interval", lambda: but(metrics=[ModelMetric("a", 1.0, "d", "c", 0.1, 0.2)]), r"value 1.0 is not from low 0.1 to"),
    ("unnamed hardware", lambda: but(limits=Limits(latency_ms_max=1.0)), r"latency_ms_max and latency_on go together"),
    (
        "in its own place",
        lambda: but(files={"model.tflite": b"x"}),
        r"'model.tflite': a further file needs a path of its",
    ),
    ("outside", lambda: but(papers={"../LICENSE": b"x"}), r"'../LICENSE': a further file needs a path .*outside"),
    ("too few labels", lambda: but(labels=("red",)), r"labels.txt: 1 labels, but the scores have 3 classes"),
    (
        "other roles",
        lambda: but(tolerance_lsb={"score": 9}),
        r"golden.tolerance_lsb: is given for \['score'\]; the outputs",
    ),
]


@pytest.mark.parametrize(("make", "told"), [case[1:] for case in REFUSED], ids=[case[0] for case in REFUSED])
def test_what_cannot_be_a_folder_is_refused_in_words_and_nothing_is_written(
    make: Callable[[], PackageSpec], told: str, tmp_path: Path
) -> None:
    with pytest.raises(ForgeError, match=told):
        package(make(), tmp_path, second_runtime="none", say=quiet)
    assert everything(tmp_path) == {}
    assert list(tmp_path.iterdir()) == []


def test_a_second_runtime_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(ForgeError, match=r"tflite-runtime.*python.* cannot be started: No such file"):
        package(score(), tmp_path, second_runtime=tmp_path / "python", say=quiet)


STEPS = st.integers(0, TOLERANCE_LSB_MAX)


@given(st.dictionaries(st.sampled_from(["boxes", "scores", "count"]), STEPS, min_size=1))
def test_the_tolerance_lies_above_what_was_measured_and_within_what_proves_something(measured: dict[str, int]) -> None:
    allowed = tolerance(measured, None)
    assert set(allowed) == set(measured)
    for role, steps in measured.items():
        assert (
            min(steps + 1, TOLERANCE_LSB_MAX) <= allowed[role] <= min(steps + max(1, steps // 4 + 1), TOLERANCE_LSB_MAX)
        )


@given(STEPS, STEPS)
def test_a_declared_tolerance_is_taken_unless_it_is_less_than_measured(measured: int, declared: int) -> None:
    if declared >= measured:
        assert tolerance({"score": measured}, {"score": declared}) == {"score": declared}
    else:
        with pytest.raises(ForgeError, match=f"tolerance_lsb is {declared}, but runtimes differ by {measured}"):
            tolerance({"score": measured}, {"score": declared})


def test_runtimes_too_far_apart_make_no_golden_vectors() -> None:
    with pytest.raises(ForgeError, match=r"output 'score': runtimes differ by 65 steps.*emit the logit"):
        tolerance({"score": TOLERANCE_LSB_MAX + 1}, {"score": TOLERANCE_LSB_MAX + 1})
