"""ONNX Runtime beyond the contract of every backend: files as other tools write them, silence, no report to anybody."""

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper

from appliance.adapters.backends.onnx import TELEMETRY_OFF, OnnxBackend
from appliance.adapters.model_folder import read_model
from appliance.core.model import Dtype, Model, TensorSpec
from appliance.core.types import Array
from appliance.errors import BackendError, ModelError
from appliance.inference import prove
from tests.contract.backend_makers import with_onnx
from tests.forge.onnx_graphs import Foreign, Shape, constant, info
from tests.forge.onnx_graphs import model as built
from tests.model_folders import CARD, FRAUD, TINY
from tests.waiting import eventually

DEADLINE_S = 5.0
SAME_LOOKS = 20
"""Looks in a row that find the same threads, before they are taken for all."""
X = TensorSpec("x", (1, 2), Dtype.FLOAT32)
ONE = np.array([[1.0, -2.0]], np.float32)


def described(nodes: Sequence[Foreign], *, x: Shape = (1, 2), y: Shape = (1, 2), **more: Any) -> Model:  # noqa: ANN401 - as built
    """A model of float32 [1, 2] to [1, 2] whose file is what the test makes of it."""
    made = built(nodes, [info("x", x)], [info("y", y)], **more)
    spec = {"score": replace(X, name="y")}
    return replace(read_model(TINY), name="made", input=X, outputs=spec, onnx=bytes(made.SerializeToString()))


def negative(**more: Any) -> Model:  # noqa: ANN401 - as built
    return described([helper.make_node("Neg", ["x"], ["y"])], **more)


def answer(model: Model, tensor: Array = ONE) -> list[list[float]]:
    backend = OnnxBackend()
    backend.open(model)
    return [[float(value) for value in row] for row in backend.invoke(tensor, DEADLINE_S)["score"]]


def test_a_folder_without_the_file_is_told_which_is_missing() -> None:
    with pytest.raises(ModelError, match=r"^tiny-uint8 1\.0\.0: no model\.onnx in the folder; models/README\.md says"):
        OnnxBackend().open(read_model(TINY))


@pytest.mark.parametrize("open_size", ["batch", None], ids=["named", "nameless"])
def test_an_open_batch_is_taken_for_what_the_description_says(open_size: str | None) -> None:
    assert answer(negative(x=[open_size, 2], y=[open_size, 2])) == [[-1.0, 2.0]]
    assert answer(negative(x=[open_size, 2])) == [[-1.0, 2.0]]


def test_another_open_size_is_refused_by_its_name() -> None:
    with pytest.raises(ModelError, match=r"input: model.onnx has float32 \[1, 'n'\]; model.toml says float32 \[1, 2\]"):
        answer(negative(x=[1, "n"]))
    with pytest.raises(ModelError, match=r"input: model.onnx has float32 \[1, '\?'\]; model.toml says"):
        answer(negative(x=[1, None]))


def test_an_output_that_comes_in_another_shape_after_all_is_no_answer() -> None:
    twice = described([helper.make_node("Concat", ["x", "x"], ["y"], axis=0)], x=["n", 2], y=["m", 2])
    with pytest.raises(BackendError, match=r"onnx: made 1\.0\.0: model.onnx gave score as \[2, 2\]; .* says \[1, 2\]"):
        answer(twice)


def test_two_inputs_are_refused() -> None:
    made = built(
        [helper.make_node("Add", ["x", "z"], ["y"])], [info("x", [1, 2]), info("z", [1, 2])], [info("y", [1, 2])]
    )
    with pytest.raises(ModelError, match=r"made 1\.0\.0: model.onnx has 2 inputs; the appliance feeds exactly one"):
        answer(replace(negative(), onnx=bytes(made.SerializeToString())))


def test_a_weight_that_may_be_overridden_is_no_input() -> None:
    """As PyTorch wrote files until 2019: every weight is listed among the inputs."""
    add = helper.make_node("Add", ["x", "w"], ["y"])
    made = built([add], [info("x", [1, 2]), info("w", [2])], [info("y", [1, 2])], [constant("w", [10.0, 20.0])])
    assert answer(replace(negative(), onnx=bytes(made.SerializeToString()))) == [[11.0, 18.0]]


@pytest.mark.parametrize(
    ("kind", "told"), [(TensorProto.FLOAT, "float32"), (TensorProto.DOUBLE, "float64"), (TensorProto.INT64, "int64")]
)
def test_a_file_with_other_numbers_at_its_edge_is_told_with_both_sides(kind: int, told: str) -> None:
    made = built([helper.make_node("Neg", ["x"], ["y"])], [info("x", [1, 12], kind)], [info("y", [1, 12], kind)])
    card = replace(read_model(CARD), onnx=bytes(made.SerializeToString()))
    with pytest.raises(ModelError, match=rf"input: model.onnx has {told} \[1, 12\]; model.toml says int8 \[1, 12\]$"):
        OnnxBackend().open(card)


def test_an_op_that_the_runtime_has_not_is_told() -> None:
    unknown = described([helper.make_node("Teleport", ["x"], ["y"])])
    with pytest.raises(ModelError, match=r"made 1\.0\.0: the runtime refuses model.onnx: .*Teleport"):
        answer(unknown)


def failing_at_minus_one() -> Model:
    """A model that looks a value up at the place that its input names: there are three."""
    nodes = [
        helper.make_node("Cast", ["x"], ["places"], to=TensorProto.INT64),
        helper.make_node("Gather", ["table", "places"], ["y"]),
    ]
    return described(nodes, weights=[constant("table", [5.0, 6.0, 7.0])])


def test_an_invoke_that_fails_is_no_answer_and_the_next_one_is() -> None:
    backend = OnnxBackend()
    backend.open(failing_at_minus_one())
    with pytest.raises(BackendError, match=r"^onnx: invoke failed: .*indices element out of data bounds"):
        backend.invoke(np.array([[0.0, 9.0]], np.float32), DEADLINE_S)
    assert backend.invoke(np.array([[0.0, 2.0]], np.float32), DEADLINE_S)["score"].tolist() == [[5.0, 7.0]]


def test_an_output_that_is_the_input_is_a_copy() -> None:
    backend, tensor = OnnxBackend(), ONE.copy()
    backend.open(described([helper.make_node("Identity", ["x"], ["y"])]))
    output = backend.invoke(tensor, DEADLINE_S)["score"]
    tensor[:] = 0.0
    assert output.tolist() == ONE.tolist()


def test_what_goes_wrong_is_raised_and_never_printed(capfd: pytest.CaptureFixture[str]) -> None:
    backend = OnnxBackend()
    for bad in (b"", b"\x3a\x02ab", b"x" * 100):
        with pytest.raises(ModelError):
            backend.open(replace(negative(), onnx=bad))
    with pytest.raises(ModelError):
        backend.open(described([helper.make_node("Teleport", ["x"], ["y"])]))
    with pytest.raises(ModelError):
        backend.open(
            described([helper.make_node("Reshape", ["x", "to"], ["y"])], weights=[constant("to", [7, 7], np.int64)])
        )
    backend.open(failing_at_minus_one())
    with pytest.raises(BackendError):
        backend.invoke(np.array([[0.0, 9.0]], np.float32), DEADLINE_S)
    assert tuple(capfd.readouterr()) == ("", "")


def test_it_takes_the_threads_that_it_is_given_and_lets_them_go() -> None:
    backend, model = OnnxBackend(threads=4), with_onnx(read_model(FRAUD))
    assert model is not None
    backend.open(model)  # whatever the library itself starts is there now
    backend.close()
    before = _settled_threads()
    backend.open(model)
    assert prove(backend, model).passed
    started = _threads() - before
    assert len(started) == 3
    backend.close()
    eventually(lambda: not started & _threads())  # the kernel forgets a thread a moment after it was waited for


def _settled_threads() -> set[str]:
    """The threads of this process, once no new one was seen for a while: libraries start some in their own time."""
    seen: list[set[str]] = []

    def settled() -> bool:
        seen.append(_threads())
        return len(seen) > SAME_LOOKS and all(each == seen[-1] for each in seen[-SAME_LOOKS:])

    eventually(settled)
    return seen[-1]


def _threads() -> set[str]:
    return set(os.listdir("/proc/self/task"))  # noqa: PTH208 - names are all that is there


PROGRAM = f"""
import os, sys
from dataclasses import replace
from appliance.adapters.backends.onnx import OnnxBackend
from appliance.adapters.model_folder import read_model
from tests.contract.backend_makers import with_onnx
from tests.model_folders import TINY
assert "onnxruntime" not in sys.modules
backend, model = OnnxBackend(), with_onnx(read_model(TINY))
backend.open(model)
backend.invoke(model.golden.inputs[0], 5.0)
held = [f"/proc/self/fd/{{number}}" for number in os.listdir("/proc/self/fd") if int(number) > 2]
print(os.environ["{TELEMETRY_OFF}"], [os.readlink(each) for each in held if os.path.lexists(each)])
"""


def test_nothing_is_loaded_before_it_is_opened_and_then_it_reports_to_nobody(tmp_path: Path) -> None:
    """From version 1.29 on the library has an uploader; it would keep a device's id and a database of its own."""
    root = Path(__file__).parents[2]
    homes = {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path), "PYTHONPATH": str(root)}
    given = {key: value for key, value in os.environ.items() if key != TELEMETRY_OFF} | homes
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], env=given, cwd=tmp_path, capture_output=True, text=True, check=True, timeout=60
    )
    assert (done.stdout, done.stderr) == ("1 []\n", "")
    assert list(tmp_path.rglob("*")) == []
