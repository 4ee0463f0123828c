"""ONNX graphs through the whole import: onnx2tf in its environment, TensorFlow here, both runtimes' numbers.

The environment is the one in ``FORGE_ONNX_ENVIRONMENT``, or the one that the command makes once (some minutes, and the
network). Graphs are built here, so that every one of them is foreign to the converter too.
"""

import os
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import helper

from appliance.errors import ForgeError
from appliance.forge.environment import Environment
from appliance.forge.flatbuffer import read
from appliance.forge.lint import lint
from appliance.forge.onnx import importing
from appliance.forge.report import REPORT_FILE, Report
from tests.forge.onnx_graphs import Foreign, classifier, constant, info, mobile, model, weight, write

pytestmark = pytest.mark.timeout(2400)  # the first test makes the environment, when nobody has made it yet


@pytest.fixture(scope="module")
def converter() -> Environment:
    given = os.environ.get("FORGE_ONNX_ENVIRONMENT")
    return importing.tools(Path(given) if given else None, tell=print)


def _inputs(*shape: int, count: int = 40) -> NDArray[np.float32]:
    return np.random.default_rng(list(shape)).normal(0, 1, (count, *shape)).astype(np.float32)


def _import(folder: Path, built: Foreign, converter: Environment, **options: object) -> importing.Imported:
    planned = importing.plan(write(folder, built), **options)  # type: ignore[arg-type]  # the test's own spelling
    return importing.import_onnx(planned, _inputs(*planned.shape[1:]), converter)


def _changes(imported: importing.Imported) -> dict[tuple[str, str], float]:
    return {(each.stage, each.output): each.correlation for each in imported.changes}


def test_a_classifier_of_open_batch_becomes_int8_and_every_stage_is_measured(
    converter: Environment, tmp_path: Path
) -> None:
    path = write(tmp_path, classifier(("N", 3, 16, 16)))
    planned = importing.plan(path, outputs=["logits"])
    imported = importing.import_onnx(planned, _inputs(16, 16, 3), converter, evaluation=_inputs(16, 16, 3, count=50))
    correlation = _changes(imported)
    assert correlation["float", "logits"] > 0.99999
    assert correlation["int8", "logits"] > 0.97
    assert all(each.agreement is not None and len(each.agreement) == 50 for each in imported.changes)
    assert lint(imported.int8).complete
    out = tmp_path / "out"
    importing.save(imported, planned, out, command="appliance forge import-onnx net.onnx")
    assert sorted(each.name for each in out.iterdir()) == sorted([REPORT_FILE, "model.tflite", "model_float32.tflite"])
    (step,) = Report.load(out).steps
    assert step.after["logits same class"].value > 0.8
    assert step.before["logits correlation"].value > 0.99999
    assert (step.operators_edgetpu, step.command) == (step.operators, "appliance forge import-onnx net.onnx")


def test_a_detector_keeps_its_boxes_and_scores_apart(converter: Environment, tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["maps"], kernel_shape=[3, 3], pads=[1, 1, 1, 1], strides=[4, 4]),
        helper.make_node("Split", ["maps", "parts"], ["score", "place"], axis=1),
        helper.make_node("Transpose", ["score"], ["score_last"], perm=[0, 2, 3, 1]),
        helper.make_node("Reshape", ["score_last", "scores_shape"], ["raw"]),
        helper.make_node("Sigmoid", ["raw"], ["scores"]),
        helper.make_node("Transpose", ["place"], ["place_last"], perm=[0, 2, 3, 1]),
        helper.make_node("Reshape", ["place_last", "boxes_shape"], ["boxes"]),
    ]
    weights = [
        weight("w", 5, 3, 3, 3),
        constant("parts", [1, 4], np.int64),
        constant("scores_shape", [1, 64, 1], np.int64),
        constant("boxes_shape", [1, 64, 4], np.int64),
    ]
    built = model(nodes, [info("x", [1, 3, 32, 32])], [info("boxes", [1, 64, 4]), info("scores", [1, 64, 1])], weights)
    imported = _import(tmp_path, built, converter)
    assert _changes(imported)["float", "boxes"] > 0.99999
    assert _changes(imported)["int8", "boxes"] > 0.99
    assert _changes(imported)["int8", "scores"] > 0.99
    assert not any(each.is_moved for each in imported.outputs.values())


def test_a_signal_of_channels_first_is_fed_channels_last(converter: Environment, tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Conv", ["x", "w", "b"], ["c"], kernel_shape=[5], pads=[2, 2], strides=[2]),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("GlobalAveragePool", ["r"], ["p"]),
        helper.make_node("Flatten", ["p"], ["y"]),
    ]
    built = model(nodes, [info("x", [1, 6, 64])], [info("y", [1, 8])], [weight("w", 8, 6, 5), weight("b", 8)])
    planned = importing.plan(write(tmp_path, built))
    assert planned.shape == (1, 64, 6)
    correlation = _changes(importing.import_onnx(planned, _inputs(64, 6), converter))
    assert correlation["float", "y"] > 0.99999
    assert correlation["int8", "y"] > 0.97


def test_mobile_activations_and_strides_map_when_asked_for_and_stay_when_not(
    converter: Environment, tmp_path: Path
) -> None:
    planned = importing.plan(write(tmp_path, mobile()))
    inputs = _inputs(8, 12, 4)
    mapped = importing.import_onnx(planned, inputs, converter)
    kept = importing.import_onnx(planned, inputs, converter, edgetpu=False)
    assert lint(mapped.int8).complete
    kinds = Counter(each.name for each in read(kept.int8).operators)
    assert kinds["HARD_SWISH"] >= 1
    assert not lint(kept.int8).complete
    for imported in (mapped, kept):
        assert _changes(imported)["float", "y"] > 0.99999
        assert _changes(imported)["int8", "y"] > 0.95


def test_a_graph_that_is_not_sound_gets_one_message(converter: Environment, tmp_path: Path) -> None:
    built = classifier()
    built.graph.node[4].input[0] = "p0"  # a dense layer over four dimensions
    planned = importing.plan(write(tmp_path, built))
    with pytest.raises(ForgeError, match=r"net\.onnx: (fixing the shapes|running the original): "):
        importing.import_onnx(planned, _inputs(16, 16, 3), converter)


def test_an_input_the_network_cannot_bear_is_told(converter: Environment, tmp_path: Path) -> None:
    nodes = [helper.make_node("Exp", ["x"], ["e"]), helper.make_node("Exp", ["e"], ["y"])]
    built = model(nodes, [info("x", [1, 8])], [info("y", [1, 8])])
    planned = importing.plan(write(tmp_path, built))
    with pytest.raises(ForgeError, match="gives NaN or infinity in y"):
        importing.import_onnx(planned, 50 * _inputs(8), converter)
