"""Reading a .tflite: what is in it, and what a damaged one does."""

from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter
from hypothesis import example, given
from hypothesis import strategies as st

from appliance.errors import ForgeError
from appliance.forge.flatbuffer import inline_buffers, read
from appliance.forge.graph import Quantisation
from appliance.forge.lint import lint
from tests.forge.graphs import GraphBuilder, dense, outside
from tests.forge.lint_rules import RULES

ROOT = Path(__file__).parents[2]
SOUND = RULES[0].graph(breaks=False)
DAMAGED = (*(rule.graph(breaks=True) for rule in RULES), outside(SOUND))
"""Flatbuffers of every shape these tests know, to be damaged further."""


def _model() -> bytes:
    builder = GraphBuilder()
    source = builder.source((1, 4), zero_point=-3, signature=(-1, 4))
    return builder.ending(dense(builder, source)).flatbuffer()


def test_a_graph_is_read_as_it_was_written() -> None:
    graph = read(_model())
    [operator] = graph.operators
    assert (operator.name, operator.version, operator.inputs, operator.outputs) == (
        "FULLY_CONNECTED",
        4,
        (0, 1, 2),
        (3,),
    )
    assert operator.options["keepNumDims"] is False
    source, weights, bias = graph.tensors_of(operator.inputs)
    assert (source.shape, source.signature, source.dynamic, source.constant) == ((1, 4), (-1, 4), True, False)
    assert source.quantisation == Quantisation((0.5,), (-3,), 0)
    assert weights.values() is not None
    assert (weights.type, weights.data, weights.size) == ("INT8", bytes([1]) * 16, 16)
    assert (bias.type, bias.values() is not None and bias.values().tolist()) == ("INT32", [0, 0, 0, 0])  # type: ignore[union-attr] # just seen
    assert (graph.inputs, graph.outputs, graph.subgraphs) == ((0,), (3,), 1)


def test_weights_behind_the_flatbuffer_are_read_and_told_apart() -> None:
    weights = read(outside(_model())).tensors[1]
    assert (weights.data, weights.outside, weights.constant) == (bytes([1]) * 16, True, True)


def test_weights_are_brought_into_the_flatbuffer_and_the_model_answers_the_same() -> None:
    apart = outside(_model())
    inlined = inline_buffers(apart)
    assert not any(tensor.outside for tensor in read(inlined).tensors)
    assert read(inlined).tensors == read(_model()).tensors
    assert lint(inlined).operators == lint(_model()).operators
    answers = []
    for tflite in (_model(), inlined):
        interpreter = Interpreter(model_content=tflite, num_threads=1)
        interpreter.allocate_tensors()
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], np.array([[1, 2, 3, 4]], np.int8))
        interpreter.invoke()
        answers.append(interpreter.get_tensor(interpreter.get_output_details()[0]["index"]).tolist())
    assert answers[0] == answers[1] != [[0, 0, 0, 0]]


def test_a_file_without_such_weights_comes_back_as_it_is() -> None:
    assert inline_buffers(_model()) is not None
    assert inline_buffers(_model()) == _model()


def test_a_cut_file_whose_weights_lie_behind_the_flatbuffer_is_refused() -> None:
    with pytest.raises(ForgeError, match="the file is cut"):
        read(outside(_model())[:-1])


@pytest.mark.parametrize("raw", [b"", b"PK\x03\x04", b"\0" * 8, b"\0\0\0\0TFL2" + b"\0" * 40])
def test_what_is_no_tflite_is_said_to_be_none(raw: bytes) -> None:
    with pytest.raises(ForgeError, match=r"no \.tflite"):
        read(raw)


@given(
    st.sampled_from(DAMAGED),
    st.lists(st.tuples(st.integers(8, 2_000), st.sampled_from([0, 1, 3, 127, 128, 255])), max_size=8),
    st.integers(8, 3_000),
)
@example(_model(), [], 8)
def test_whatever_is_damaged_the_lint_gives_a_report_or_one_clear_error(
    tflite: bytes, changes: list[tuple[int, int]], length: int
) -> None:
    raw = bytearray(tflite)
    for position, value in changes:
        raw[position % len(raw)] = value
    raw[4:8] = tflite[4:8]
    for step in (lint, inline_buffers):
        try:
            step(bytes(raw[:length]))
        except ForgeError as error:
            assert "\n" not in str(error)  # noqa: PT017 - either outcome is right


def test_the_repositorys_models_are_read() -> None:
    person = read((ROOT / "models/person/1.1.0/model.tflite").read_bytes())
    assert len(person.operators) == 114
    assert person.tensors[person.inputs[0]].shape == (1, 300, 300, 3)
