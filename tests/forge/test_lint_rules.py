"""Every rule of the lint, kept and broken."""

import pytest
from ai_edge_litert.interpreter import Interpreter

from appliance.forge.lint import Status, lint
from appliance.forge.lint.operators import SUPPORTED
from tests.forge.lint_rules import RULES, Rule

RULE = pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)


@RULE
def test_a_graph_that_keeps_to_the_rule_maps_completely(rule: Rule) -> None:
    report = lint(rule.graph(breaks=False))
    assert [each.sentence for each in report.operators if not each.mapped] == []
    assert report.complete


@RULE
def test_a_graph_that_breaks_the_rule_leaves_the_operator_on_the_cpu_with_the_compilers_words(rule: Rule) -> None:
    last = lint(rule.graph(breaks=True)).operators[-1]
    assert (last.mapped, last.status) == (False, rule.status)
    assert rule.why in last.why
    assert last.fix
    assert last.sentence == f"{last.name} {last.index} stays on the CPU: {last.why}; {last.fix}"


@RULE
def test_a_graph_that_keeps_to_the_rule_is_one_the_runtime_loads(rule: Rule) -> None:
    Interpreter(model_content=rule.graph(breaks=False), num_threads=1).allocate_tensors()


def test_every_limitation_in_the_table_is_broken_by_a_rule_here() -> None:
    broken = {lint(rule.graph(breaks=True)).operators[-1].name for rule in RULES}
    limited = {name for name, operation in SUPPORTED.items() if operation.limits or operation.version_max}
    assert limited - broken == {"RESIZE_BILINEAR"}  # shares its entry with RESIZE_NEAREST_NEIGHBOR


def test_every_status_of_an_operator_is_reached_by_a_rule_here() -> None:
    whole_file = {Status.UNKNOWN, Status.NOT_QUANTISED, Status.FAILED}
    assert {rule.status for rule in RULES} == set(Status) - whole_file - {Status.MAPPED}
