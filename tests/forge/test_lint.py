"""The lint of whole models: what the compiler refuses, which part it compiles, memory, and how it is told."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from appliance.errors import ForgeError
from appliance.forge.flatbuffer import read
from appliance.forge.lint import LintReport, Severity, Status, lint
from appliance.forge.lint.model import ON_CHIP_BYTES
from appliance.forge.lint.partition import compiled
from appliance.forge.lint.report import table
from tests.forge.graphs import GraphBuilder, convolution, dense, outside

ROOT = Path(__file__).parents[2]
MODELS = sorted((*ROOT.glob("models/*/*/model.tflite"), *ROOT.glob("tests/data/models/*/*/model.tflite")))
IMAGE = (1, 4, 4, 4)


def _severities(report: LintReport) -> dict[str, Severity]:
    return {finding.rule: finding.severity for finding in report.findings}


@pytest.mark.parametrize("model", MODELS, ids=lambda model: str(model.parent.relative_to(ROOT)))
def test_every_operator_of_the_repositorys_models_maps(model: Path) -> None:
    report = lint(model.read_bytes())
    assert [each.sentence for each in report.operators if not each.mapped] == []
    assert report.compiles
    assert report.streamed_bytes == 0


def test_the_person_detectors_114_operators_map() -> None:
    [*_, newest] = sorted(ROOT.glob("models/person/*/model.tflite"))
    assert lint(newest.read_bytes()).mapped == 114


def test_an_open_size_is_refused_and_the_tensor_named() -> None:
    builder = GraphBuilder()
    first = builder.operator("RELU", (builder.source((1, 4), signature=(-1, 4)),), (1, 4), version=2)
    report = lint(builder.ending(builder.operator("RELU6", (first,), (1, 4), version=2)).flatbuffer())
    assert _severities(report)["sizes"] is Severity.REFUSED
    assert "t0 [-1, 4]" in report.findings[0].what
    assert [each.status for each in report.operators] == [Status.DYNAMIC, Status.FAILED]
    assert (report.mapped, report.compiles, report.complete) == (0, False, False)


def test_a_computed_shape_is_an_open_size_too() -> None:
    """What a converter makes of Keras's Flatten when the batch is open."""
    builder = GraphBuilder()
    source = builder.source(IMAGE)
    shape = builder.operator("SHAPE", (source,), builder.tensor((2,), "INT32", scales=()))
    made = builder.operator("RESHAPE", (source, shape), (1, 64))
    report = lint(builder.ending(made).flatbuffer())
    assert (report.compiles, report.operators[1].status) == (False, Status.DYNAMIC)
    assert "the output of RESHAPE 1" in report.findings[0].what


def test_a_refused_model_keeps_nothing_on_the_chip() -> None:
    builder = GraphBuilder()
    builder.ending(dense(builder, builder.source((1, 4), signature=(-1, 4))))
    assert lint(builder.flatbuffer()).parameters_bytes == 0


@pytest.mark.parametrize(("name", "last"), [("CONV_2D", 5), ("QUANTIZE", 2), ("TRANSPOSE_CONV", 3), ("EXP", 1)])
def test_versions_that_compiler_16_was_seen_to_refuse_are_refused(name: str, last: int) -> None:
    """Each ``last + 1`` stands in a reported "Didn't find op for builtin opcode"."""
    reports = []
    for version in (last, last + 1):
        builder = GraphBuilder()
        first = builder.operator("RELU", (builder.source(IMAGE),), IMAGE, version=2)
        reports.append(lint(builder.ending(builder.operator(name, (first,), IMAGE, version=version)).flatbuffer()))
    assert ["versions" in _severities(report) for report in reports] == [False, True]
    assert [each.status for each in reports[1].operators] == [Status.FAILED, Status.UNKNOWN]
    assert f"{name} version {last + 1}" in reports[1].findings[0].what


def test_an_operator_that_came_after_the_compiler_is_refused() -> None:
    builder = GraphBuilder()
    report = lint(builder.ending(builder.operator("GELU", (builder.source(IMAGE),), IMAGE)).flatbuffer())
    assert (report.compiles, report.operators[0].status) == (False, Status.UNKNOWN)
    assert "newer than it" in report.findings[0].what


def test_a_float_model_is_refused_as_not_quantised() -> None:
    builder = GraphBuilder()
    made = builder.operator("RELU", (builder.source(IMAGE, "FLOAT32"),), builder.tensor(IMAGE, "FLOAT32"))
    report = lint(builder.ending(made).flatbuffer())
    assert _severities(report) == {"quantised": Severity.REFUSED, "float edges": Severity.WARNING}
    assert report.findings[0].what.startswith(Status.NOT_QUANTISED)


def test_more_than_one_subgraph_is_refused() -> None:
    builder = GraphBuilder(subgraphs=2)
    builder.ending(builder.operator("RELU", (builder.source(IMAGE),), IMAGE, version=2))
    assert _severities(lint(builder.flatbuffer()))["subgraphs"] is Severity.REFUSED
    builder.subgraphs = 1
    assert lint(builder.flatbuffer()).complete


def test_a_compiled_model_is_refused() -> None:
    report = lint((ROOT / "tests/data/models/edgetpu-op.tflite").read_bytes())
    assert _severities(report)["compiled"] is Severity.REFUSED


def test_weights_outside_the_flatbuffer_leave_their_operator_on_the_cpu() -> None:
    builder = GraphBuilder()
    tflite = builder.ending(dense(builder, builder.source((1, 4)))).flatbuffer()
    assert lint(tflite).complete
    report = lint(outside(tflite))
    assert report.operators[0].status is Status.NOT_CONSTANT
    assert "outside the flatbuffer" in report.operators[0].why
    assert _severities(report)["weights outside"] is Severity.WARNING


def test_a_constant_operand_outside_the_flatbuffer_does_so_too() -> None:
    builder = GraphBuilder()
    inputs = (builder.source(IMAGE), builder.tensor(IMAGE, values=(1,)))
    tflite = builder.ending(builder.operator("MUL", inputs, IMAGE, version=2)).flatbuffer()
    assert lint(tflite).complete
    assert lint(outside(tflite)).operators[0].status is Status.NOT_CONSTANT


def test_float_edges_cost_the_cpu_two_operators_and_are_warned_of() -> None:
    """As the log of such a model has it: QUANTIZE unspecified, the body mapped, DEQUANTIZE unsupported data type."""
    builder = GraphBuilder()
    first = builder.operator("QUANTIZE", (builder.source(IMAGE, "FLOAT32"),), IMAGE)
    body = convolution(builder, first)
    report = lint(
        builder.ending(builder.operator("DEQUANTIZE", (body,), builder.tensor(IMAGE, "FLOAT32"))).flatbuffer()
    )
    assert [each.status for each in report.operators] == [Status.LIMIT, Status.MAPPED, Status.DATA_TYPE]
    assert [finding.rule for finding in report.findings] == ["float edges", "float edges"]


@pytest.mark.parametrize(
    ("name", "custom", "output", "status"),
    [
        ("CUSTOM", "TFLite_Detection_PostProcess", "FLOAT32", Status.DATA_TYPE),
        ("DEQUANTIZE", "", "FLOAT32", Status.DATA_TYPE),
        ("ARG_MAX", "", "INT64", Status.DATA_TYPE),
        ("GATHER", "", "INT8", Status.UNSUPPORTED),
        ("TOPK_V2", "", "INT8", Status.UNSUPPORTED),
        ("LEAKY_RELU", "", "INT8", Status.UNSUPPORTED),
    ],
)
def test_operators_beyond_the_table_are_told_as_logs_tell_them(
    name: str, custom: str, output: str, status: Status
) -> None:
    builder = GraphBuilder()
    first = builder.operator("RELU", (builder.source(IMAGE),), IMAGE, version=2)
    made = builder.operator(name, (first, builder.constant((1,))), builder.tensor(IMAGE, output), custom=custom)
    assert lint(builder.ending(made).flatbuffer()).operators[1].status is status


def test_a_batch_above_one_is_warned_of_and_has_too_many_dimensions() -> None:
    builder = GraphBuilder()
    report = lint(
        builder.ending(builder.operator("RELU", (builder.source((2, 4, 4, 4)),), (2, 4, 4, 4), version=2)).flatbuffer()
    )
    assert report.operators[0].status is Status.RANK
    assert _severities(report)["batch"] is Severity.WARNING


def test_parameters_beyond_the_chips_memory_are_counted_once_and_warned_of() -> None:
    builder = GraphBuilder()
    source = builder.source((1, 3_000))
    weights = builder.tensor((3_000, 3_000), values=(1,))
    options = ("FullyConnectedOptions", dict[str, object]())
    for _ in range(2):
        source = builder.operator("FULLY_CONNECTED", (source, weights, -1), (1, 3_000), version=4, options=options)
    report = lint(builder.ending(source).flatbuffer())
    assert (report.parameters_bytes, report.streamed_bytes) == (9_000_000, 9_000_000 - ON_CHIP_BYTES)
    assert _severities(report)["parameter memory"] is Severity.WARNING


def test_what_the_documentation_leaves_open_is_said() -> None:
    builder = GraphBuilder()
    sizes = builder.constant((8, 8))
    inputs = (builder.source(IMAGE), sizes)
    made = builder.operator("RESIZE_BILINEAR", inputs, (1, 8, 8, 4), version=2)
    report = lint(builder.ending(made).flatbuffer())
    assert report.complete
    assert _severities(report) == {"left open": Severity.NOTE}


def test_the_oldest_runtime_is_that_of_the_youngest_operator() -> None:
    builder = GraphBuilder()
    first = builder.operator("RELU", (builder.source(IMAGE),), IMAGE, version=2)
    order = builder.constant((0, 1, 2, 3))
    second = builder.operator("TRANSPOSE", (first, order), IMAGE, version=2)
    assert lint(builder.ending(second).flatbuffer()).runtime_min == 14
    builder = GraphBuilder()
    assert lint(builder.ending(convolution(builder, builder.source(IMAGE))).flatbuffer()).runtime_min == 12


# Which part is compiled -------------------------------------------------------------------------------------------


def _tree(parents: list[list[int]]) -> bytes:
    """A graph whose operator i joins the input and the outputs of its parents."""
    builder = GraphBuilder()
    source = builder.source(IMAGE)
    made: list[int] = []
    for each in parents:
        inputs = [source, *(made[parent] for parent in each)]
        made.append(builder.operator("ADD", inputs, IMAGE, version=2))
    return builder.ending(made[-1]).flatbuffer()


@pytest.mark.parametrize(
    ("parents", "able", "parts"),
    [
        ([[], [0], [1]], "TTT", {0, 1, 2}),
        ([[], [0], [1]], "TCT", {0}),  # what follows an operator of the CPU stays there
        ([[], [0], [1]], "CTT", {1, 2}),  # ... but not what stands before the first part
        ([[], [0], [1], [2]], "CTCT", {1}),
        ([[], [0], [0], [1, 2]], "TCTT", {0, 2}),  # a branch beside the CPU's belongs to the part, the join does not
        ([[], [], [0, 1]], "TCT", {0}),  # the part begins with what is ready first
        ([[], [], [0, 1]], "CTT", {1, 2}),
        ([[], [0]], "CC", set()),
    ],
)
def test_one_part_is_compiled_the_first_that_the_edge_tpu_can_run(
    parents: list[list[int]], able: str, parts: set[int]
) -> None:
    assert compiled(read(_tree(parents)), tuple(each == "T" for each in able)) == parts


GRAPHS = st.integers(1, 12).flatmap(
    lambda size: st.tuples(
        st.tuples(*(st.lists(st.integers(0, max(0, index - 1)), max_size=3 if index else 0) for index in range(size))),
        st.lists(st.booleans(), min_size=size, max_size=size),
    )
)


@given(GRAPHS)
def test_the_part_is_convex_able_and_nothing_ready_is_left_out(case: tuple[tuple[list[int], ...], list[bool]]) -> None:
    parents, able = case
    part = compiled(read(_tree([sorted(set(each)) for each in parents])), tuple(able))
    assert all(able[index] for index in part)
    after: set[int] = set()  # operators outside the part that depend on it
    for index, each in enumerate(parents):
        if index in part:
            assert not after & set(each), "a path leaves the part and comes back"
        elif any(parent in part or parent in after for parent in each):
            after.add(index)
    for index, each in enumerate(parents):
        if able[index] and all(parent in part for parent in each):
            assert index in part


def test_operators_that_depend_on_one_another_in_a_circle_are_refused() -> None:
    builder = GraphBuilder()
    first = builder.tensor(IMAGE)
    second = builder.operator("RELU", (first,), IMAGE, version=2)
    builder.operator("RELU", (second,), first, version=2)
    with pytest.raises(ForgeError, match="circle"):
        lint(builder.ending(second).flatbuffer())


# How it is told ---------------------------------------------------------------------------------------------------


def _mixed() -> LintReport:
    builder = GraphBuilder()
    made = builder.operator("RELU", (builder.source(IMAGE),), IMAGE, version=2)
    for _ in range(6):
        made = builder.operator("LEAKY_RELU", (made,), IMAGE, version=2)
    return lint(builder.ending(made).flatbuffer())


def test_the_json_holds_every_operator_with_the_compilers_words() -> None:
    told = json.loads(json.dumps(_mixed().to_json()))
    assert (told["operators_total"], told["operators_mapped"], told["compiles"]) == (7, 1, True)
    assert told["operators"][1]["status"] == "Operation not supported"
    assert told["operators"][1]["source"].startswith("coral.ai/docs/edgetpu/models-intro")


def test_the_table_says_once_what_holds_for_many_and_names_where() -> None:
    console = Console(width=160)
    with console.capture() as captured:
        console.print(table(_mixed()))
    text = captured.get()
    assert "1 of 7 operators run on the Edge TPU" in text
    assert text.count("LEAKY_RELU") == 1
    assert "1, 2, 3, 4 and 2 more" in text


def test_operators_are_counted_as_the_compilers_log_counts_them() -> None:
    assert _mixed().counts() == {("RELU", Status.MAPPED): 1, ("LEAKY_RELU", Status.UNSUPPORTED): 6}
