"""Reading ONNX: what is there, what is missing, and what is no ONNX at all."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from appliance.errors import ForgeError
from appliance.forge.onnx.graph import device_shape, fixed_shape, layout_of, read
from appliance.forge.onnx.importing import plan
from tests.forge.onnx_graphs import classifier, constant, info, model, weight, write

BYTES = classifier().SerializeToString()


def test_a_graph_says_what_it_takes_gives_and_is_made_of(tmp_path: Path) -> None:
    graph = read(write(tmp_path, classifier(("N", 3, 16, None))))
    assert [str(each) for each in graph.inputs] == ["picture float32 Nx3x16x?"]
    assert [str(each) for each in graph.outputs] == ["scores float32 Nx3"]
    assert graph.opset == 17
    assert graph.producer == "a test"
    assert graph.counts == {
        ("", name): 1 for name in ("Conv", "Relu", "GlobalAveragePool", "Flatten", "Gemm", "Softmax")
    }


def test_weights_that_are_listed_as_inputs_are_not_fed(tmp_path: Path) -> None:
    built = classifier()
    built.graph.input.append(info("w0", [8, 3, 3, 3]))
    assert [each.name for each in read(write(tmp_path, built)).inputs] == ["picture"]


def test_operators_in_branches_and_local_functions_are_counted(tmp_path: Path) -> None:
    branch = helper.make_graph([helper.make_node("Erf", ["x"], ["inner"])], "branch", [], [info("inner", [1, 4])])
    nodes = [
        helper.make_node("If", ["yes"], ["picked"], then_branch=branch, else_branch=branch),
        helper.make_node("Twice", ["picked"], ["y"], domain="own"),
    ]
    built = model(
        nodes,
        [info("x", [1, 4])],
        [info("y", [1, 4])],
        [constant("yes", True, bool)],
        domains=["own"],
    )
    twice = helper.make_function(
        "own", "Twice", ["a"], ["b"], [helper.make_node("Add", ["a", "a"], ["b"])], [helper.make_opsetid("", 17)]
    )
    built.functions.append(twice)
    assert read(write(tmp_path, built)).counts == {("", "Erf"): 2, ("", "If"): 1, ("", "Add"): 1}


@pytest.mark.parametrize("content", [b"", b"\x00" * 64, b"PK\x03\x04 a zip", b"TFL3" * 9, BYTES[: len(BYTES) // 2]])
def test_what_is_no_onnx_or_cut_off_is_told_in_one_message(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    path.write_bytes(content)
    with pytest.raises(ForgeError, match=r"net\.onnx.*(not ONNX, or is cut off|operator set 0)"):
        read(path)


def test_a_name_that_is_no_text_is_told_in_one_message(tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    path.write_bytes(bytes([*BYTES[:130], 128, *BYTES[131:]]))
    with pytest.raises(ForgeError, match="a name in it is no text"):
        read(path)


@settings(max_examples=60)
@given(position=st.integers(0, len(BYTES) - 1), value=st.integers(0, 255), end=st.integers(0, len(BYTES)))
def test_damaged_bytes_give_a_graph_or_one_message_and_never_a_traceback(
    position: int, value: int, end: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "damaged.onnx"
    damaged = bytearray(BYTES)
    damaged[position] = value
    path.write_bytes(bytes(damaged[:end]) if value % 2 else bytes(damaged))
    message = ""
    try:
        plan(path)
    except ForgeError as error:
        message = str(error)
    assert not message or str(path) in message


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(ForgeError, match="cannot be read: No such file"):
        read(tmp_path / "net.onnx")


def _external(folder: Path, **entries: str) -> Any:  # noqa: ANN401 - onnx ships no types
    built = classifier()
    tensor = built.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in entries.items():
        tensor.external_data.add(key=key, value=value)
    return write(folder, built)


def test_weights_in_a_file_beside_are_looked_for(tmp_path: Path) -> None:
    path = _external(tmp_path, location="net.data", offset="0", length="864")
    with pytest.raises(ForgeError, match=r"weights in net\.data, which is missing"):
        read(path)
    (tmp_path / "net.data").write_bytes(b"\x00" * 100)
    with pytest.raises(ForgeError, match="has 100 of 864 bytes"):
        read(path)
    (tmp_path / "net.data").write_bytes(b"\x00" * 864)
    assert read(path).external == ("net.data",)


@pytest.mark.parametrize("location", ["../secret", "/etc/passwd", "a/../../b"])
def test_weights_outside_of_the_models_folder_are_refused(location: str, tmp_path: Path) -> None:
    with pytest.raises(ForgeError, match="outside of its folder"):
        read(_external(tmp_path, location=location))


@pytest.mark.parametrize("opset", [6, 23])
def test_operator_sets_that_nobody_tried_are_refused(opset: int, tmp_path: Path) -> None:
    with pytest.raises(ForgeError, match=rf"operator set {opset}; 7 to 22"):
        read(write(tmp_path, classifier(opset=opset)))


def test_ending_at_a_tensor_leaves_out_what_lies_behind_it(tmp_path: Path) -> None:
    built = classifier()
    built.graph.node.append(helper.make_node("Strange", ["scores"], ["answer"], domain="own"))
    path = write(tmp_path, built)
    assert ("own", "Strange") in read(path).counts
    cut = read(path, ["logits"])
    assert ("own", "Strange") not in cut.counts
    assert ("", "Softmax") not in cut.counts
    assert ("", "Gemm") in cut.counts
    with pytest.raises(ForgeError, match="no operator gives nothing; the graph's own outputs are scores"):
        read(path, ["nothing"])


@pytest.mark.parametrize(
    ("size", "shapes", "expected"),
    [
        ((1, 3, 16, 16), {}, (1, 3, 16, 16)),
        (("N", 3, 16, 16), {}, (1, 3, 16, 16)),
        ((8, 3, 16, 16), {}, (1, 3, 16, 16)),
        ((None, 3, "h", "w"), {"picture": (1, 3, 32, 48)}, (1, 3, 32, 48)),
        ((None, 3, "h", "w"), {}, "leaves sizes open.*--shape picture=1x3xNxN"),
        ((1, 3, 16, 16), {"picture": (1, 3, 32, 16)}, "contradicts"),
        ((None, 3, 16, 16), {"picture": (2, 3, 16, 16)}, "its batch is not 1"),
        ((None, 3, "h", "w"), {"picture": (1, 3, 32)}, "contradicts"),
        ((None, 3, "h", "w"), {"picture": (1, 3, 0, 16)}, "contradicts"),
        ((1, 3, 16, 16), {"image": (1, 3, 16, 16)}, "--shape names image; the inputs of .* are picture"),
    ],
)
def test_sizes_are_fixed_as_given_or_asked_for(
    size: tuple[int | str | None, ...],
    shapes: dict[str, tuple[int, ...]],
    expected: tuple[int, ...] | str,
    tmp_path: Path,
) -> None:
    graph = read(write(tmp_path, classifier(size)))
    if isinstance(expected, str):
        with pytest.raises(ForgeError, match=expected):
            fixed_shape(graph, graph.inputs[0], shapes)
    else:
        assert fixed_shape(graph, graph.inputs[0], shapes) == expected


@pytest.mark.parametrize(
    ("shape", "layout", "fed"),
    [
        ((1, 3, 224, 224), "first", (1, 224, 224, 3)),
        ((1, 224, 224, 3), "last", (1, 224, 224, 3)),
        ((1, 1, 28, 28), "first", (1, 28, 28, 1)),
        ((1, 3, 3, 3), "first", (1, 3, 3, 3)),
        ((1, 12, 640), "first", (1, 640, 12)),
        ((1, 640, 1), "last", (1, 640, 1)),
        ((1, 18), "first", (1, 18)),
    ],
)
def test_channels_stand_where_the_sizes_suggest(shape: tuple[int, ...], layout: str, fed: tuple[int, ...]) -> None:
    assert layout_of(shape) == layout
    assert device_shape(shape, layout_of(shape)) == fed


def test_a_graph_of_several_inputs_is_refused_with_their_names(tmp_path: Path) -> None:
    nodes = [helper.make_node("Add", ["sound", "state"], ["y"])]
    built = model(nodes, [info("sound", [1, 4]), info("state", [1, 4])], [info("y", [1, 4])])
    with pytest.raises(ForgeError, match=r"has 2 inputs \(sound float32 1x4; state float32 1x4\)"):
        plan(write(tmp_path, built))


def test_an_input_that_is_no_float_is_refused(tmp_path: Path) -> None:
    nodes = [helper.make_node("Gather", ["table", "tokens"], ["y"])]
    built = model(nodes, [info("tokens", [1, 4], TensorProto.INT64)], [info("y", [1, 4, 2])], [weight("table", 9, 2)])
    with pytest.raises(ForgeError, match=r"tokens int64 1x4 of .* is no float32"):
        plan(write(tmp_path, built))


def test_the_plan_tells_the_layout_that_the_device_will_feed(tmp_path: Path) -> None:
    planned = plan(write(tmp_path, classifier(("N", 3, 16, 16))))
    assert planned.shape == (1, 16, 16, 3)
    assert "input picture: 1x3x16x16 becomes 1x16x16x3, channels last" in planned.notes
    assert plan(planned.graph.path, layout="last").shape == (1, 3, 16, 16)
