"""Looking at a model from outside, and running it where a crash harms nobody."""

import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.core.model import Dtype
from appliance.errors import ForgeError
from appliance.forge.goldens import INPUTS_MAX, look, make, second_runtime
from appliance.forge.package import package
from tests.forge.graphs import GraphBuilder
from tests.forge.packaging import but
from tests.model_folders import TINY

SOUND = (TINY / "model.tflite").read_bytes()


def relu(inputs: int = 1, dtype: str = "INT8", signature: tuple[int, ...] | None = None) -> bytes:
    """A graph of one operator: the sum of its inputs, or what one input has above zero."""
    graph = GraphBuilder()
    sources = [graph.source((1, 4), dtype, signature=signature) for _ in range(inputs)]
    made = graph.tensor((1, 4), dtype)
    if inputs == 1:
        return graph.ending(graph.operator("RELU", sources, made)).flatbuffer()
    return graph.ending(graph.operator("ADD", sources, made, options=("AddOptions", {}))).flatbuffer()


def test_the_edge_is_told_as_the_runtime_sees_it() -> None:
    edge = look(SOUND)
    assert (edge.input.shape, edge.input.dtype, edge.dynamic) == ((1, 16, 16, 3), Dtype.UINT8, False)
    assert [(output.name, output.shape) for output in edge.outputs] == [("Identity", (1, 3))]
    assert edge.runtime.startswith("ai-edge-litert 2.")


def test_a_size_that_is_left_open_is_told() -> None:
    assert not look(relu(signature=(1, 4))).dynamic
    assert look(relu(signature=(-1, 4))).dynamic


def test_a_model_that_the_appliance_cannot_feed_is_refused() -> None:
    with pytest.raises(ForgeError, match=r"model.tflite has 2 inputs; the appliance feeds exactly one"):
        look(relu(inputs=2))
    with pytest.raises(ForgeError, match=r"tensor 't0' is int16; at a model's edge stand int8, uint8, float32"):
        look(relu(dtype="INT16"))


@settings(max_examples=3)  # each is a process
@given(st.integers(8, len(SOUND) - 1), st.binary(min_size=1, max_size=40))
def test_a_damaged_model_ends_its_own_process_and_not_this_one(at: int, instead: bytes) -> None:
    try:
        look(SOUND[:at] + instead)
    except ForgeError as error:
        assert "does not run model.tflite" in str(error) or "inputs" in str(error)  # noqa: PT017 - either outcome is right


def test_goldens_are_bounded() -> None:
    one = np.zeros((1, 16, 16, 3), np.uint8)
    with pytest.raises(ForgeError, match="0 golden inputs and 1 further ones; give 1 to 1000"):
        make(SOUND, [], [one], {"scores": 0}, "none")
    with pytest.raises(ForgeError, match="1 golden inputs and 1000 further ones"):
        make(SOUND, [one], [one] * INPUTS_MAX, {"scores": 0}, "none")


def test_the_second_runtime_is_a_word_or_a_path() -> None:
    assert second_runtime("managed") == "managed"
    assert second_runtime("none") == "none"
    assert second_runtime("venv/bin/python") == Path("venv/bin/python")


def test_packaging_warns_of_an_open_size_and_of_what_stays_on_the_cpu(tmp_path: Path) -> None:
    said: list[str] = []
    spec = but(
        tflite=relu(signature=(-1, 4)),
        outputs={"score": (1, 4)},
        task="anomaly",
        decode={"kind": "anomaly", "label": "odd"},
        preprocess={"kind": "record", "features": list("abcd"), "mean": [0.0] * 4, "std": [1.0] * 4},
        golden_inputs=[np.zeros((1, 4))],
        further_inputs=[],
        labels=(),
    )
    with pytest.raises(ForgeError, match=r"the roles are \['score'\]; anomaly needs exactly \['reconstruction'\]"):
        package(spec, tmp_path, second_runtime="none", say=said.append)
    package(
        but(**{**_fields(spec), "outputs": {"reconstruction": (1, 4)}}),
        tmp_path,
        second_runtime="none",
        say=said.append,
    )
    told = "\n".join(said)
    assert "warning: a tensor's size is left open in the file" in told
    assert re.search(r"warning: an Edge TPU would run 0 of 1 operators; the first: RELU 0 stays on the CPU", told)


def _fields(spec: object) -> dict[str, object]:
    names = ("tflite", "task", "decode", "preprocess", "golden_inputs", "further_inputs", "labels")
    return {name: getattr(spec, name) for name in names}
