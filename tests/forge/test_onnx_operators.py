"""What becomes of each operator, told before anything is converted."""

from pathlib import Path
from typing import Any

import pytest
from onnx import helper
from rich.console import Console

from appliance.errors import ForgeError
from appliance.forge.onnx.graph import read
from appliance.forge.onnx.importing import plan
from appliance.forge.onnx.operators import CONVERTIBLE, Operator, Place, judge, refuse_unknown, table
from tests.forge.onnx_graphs import classifier, constant, info, mobile, model, write


def _judged(folder: Path, kind: str, domain: str = "", **attributes: Any) -> Operator:  # noqa: ANN401 - of every type that onnx knows
    node = helper.make_node(kind, ["x"], ["y"], domain=domain, **attributes)
    built = model([node], [info("x", [1, 3, 8, 8])], [info("y", [1, 3, 8, 8])], domains=[domain] if domain else [])
    (operator,) = judge(read(write(folder, built)))
    return operator


@pytest.mark.parametrize(
    ("kind", "attributes", "place", "word"),
    [
        ("Conv", {}, Place.EDGETPU, ""),
        ("Relu", {}, Place.EDGETPU, ""),
        ("Softmax", {}, Place.EDGETPU, ""),
        ("BatchNormalization", {}, Place.VANISHES, "folded"),
        ("Shape", {}, Place.VANISHES, "once the shapes are fixed"),
        ("Cast", {}, Place.VANISHES, "constant"),
        ("HardSwish", {}, Place.DEPENDS, "relu6"),
        ("Clip", {}, Place.DEPENDS, "ReLU6"),
        ("LSTM", {}, Place.DEPENDS, "unrolls"),
        ("Resize", {"mode": "linear"}, Place.DEPENDS, "linear"),
        ("Resize", {"mode": "cubic"}, Place.CPU, "cubic"),
        ("Gelu", {}, Place.CPU, "GELU|HardSwish"),
        ("Erf", {}, Place.CPU, "GELU"),
        ("LayerNormalization", {}, Place.CPU, "batch normalisation"),
        ("TopK", {}, Place.CPU, "scores"),
        ("NonMaxSuppression", {}, Place.CPU, "--outputs"),
        ("Sin", {}, Place.CPU, "no operator"),
        ("QuantizeLinear", {}, Place.DEPENDS, "import the float one"),
        ("StringConcat", {}, Place.NOWHERE, "export without it"),
    ],
)
def test_each_operator_is_told_where_it_ends_and_why(
    kind: str, attributes: dict[str, Any], place: Place, word: str, tmp_path: Path
) -> None:
    operator = _judged(tmp_path, kind, **attributes)
    assert (operator.name, operator.count, operator.place) == (kind, 1, place)
    assert any(each in operator.why for each in word.split("|"))


def test_everything_that_converts_and_stays_off_the_edge_tpu_has_a_reason(tmp_path: Path) -> None:
    nodes = [helper.make_node(kind, ["x"], [kind]) for kind in sorted(CONVERTIBLE)]
    operators = judge(read(write(tmp_path, model(nodes, [info("x", [1, 4])], [info("Relu", [1, 4])]))))
    assert {each.name for each in operators} == CONVERTIBLE
    assert all(each.place is not Place.NOWHERE for each in operators)
    assert all(each.why or each.place is Place.EDGETPU for each in operators)


@pytest.mark.parametrize(
    ("domain", "advice"),
    [("ai.onnx.ml", "forge distill"), ("com.microsoft", "plain float graph"), ("my.company", "a custom operator")],
)
def test_operators_of_other_domains_are_refused_with_names_and_advice(domain: str, advice: str, tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Fancy", ["x"], ["a"], domain=domain),
        helper.make_node("Fancy", ["a"], ["b"], domain=domain),
        helper.make_node("Relu", ["b"], ["y"]),
    ]
    built = model(nodes, [info("x", [1, 4])], [info("y", [1, 4])], domains=[domain])
    path = write(tmp_path, built)
    with pytest.raises(ForgeError, match=rf"net\.onnx has operators[^\n]*\n  {domain}:Fancy \(2 times\): .*{advice}"):
        plan(path)


def test_a_known_name_in_another_domain_is_another_operator(tmp_path: Path) -> None:
    assert _judged(tmp_path, "Conv", "com.microsoft").place is Place.NOWHERE


def test_a_custom_operator_behind_the_chosen_end_is_no_hindrance(tmp_path: Path) -> None:
    built = classifier()
    built.graph.node.append(helper.make_node("Fancy", ["scores"], ["answer"], domain="my.company"))
    path = write(tmp_path, built)
    with pytest.raises(ForgeError, match="Fancy"):
        plan(path)
    assert plan(path, outputs=["logits"]).outputs == ("logits",)


def test_uses_are_counted_and_the_most_frequent_come_first(tmp_path: Path) -> None:
    operators = judge(read(write(tmp_path, mobile())))
    assert {each.name: each.count for each in operators} == {
        "Mul": 4,
        "Add": 2,
        "Clip": 2,
        "Conv": 2,
        "Div": 1,
        "HardSigmoid": 1,
        "HardSwish": 1,
        "Relu": 1,
    }
    assert operators[0].name == "Mul"
    refuse_unknown(read(tmp_path / "net.onnx"), operators)


def test_one_operator_with_two_fates_has_two_rows(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Resize", ["x", "", "scales"], ["a"], mode="nearest"),
        helper.make_node("Resize", ["a", "", "scales"], ["y"], mode="cubic"),
    ]
    weights = [constant("scales", [1, 1, 2, 2])]
    built = model(nodes, [info("x", [1, 1, 4, 4])], [info("y", [1, 1, 16, 16])], weights)
    operators = judge(read(write(tmp_path, built)))
    assert [(each.name, each.place) for each in operators] == [
        ("Resize", Place.DEPENDS),
        ("Resize", Place.CPU),
    ]


def test_the_table_names_operators_counts_and_reasons(tmp_path: Path) -> None:
    graph = read(write(tmp_path, mobile()))
    console = Console(width=160)
    with console.capture() as captured:
        console.print(table(graph, judge(graph)))
    text = captured.get()
    assert "net.onnx: opset 17, made by a test" in text
    assert "maps to the Edge TPU" in text
    assert "HardSwish" in text
