"""What an Edge TPU would run of a model, by the compiler's documented rules and without the compiler."""

from appliance.forge.flatbuffer import read
from appliance.forge.graph import Graph, GraphOperator
from appliance.forge.lint import model, partition, versions
from appliance.forge.lint.checks import fault
from appliance.forge.lint.report import Finding, LintReport, OperatorVerdict, Severity
from appliance.forge.lint.words import Fault, Source, Status

__all__ = ["Fault", "Finding", "LintReport", "OperatorVerdict", "Severity", "Source", "Status", "lint"]


def lint(tflite: bytes) -> LintReport:
    """Say of each operator whether the Edge TPU compiler would map it, and if not, why and what to do.

    Raises:
        ForgeError: the bytes are no ``.tflite``, or damaged.
    """
    graph = read(tflite)
    faults = tuple(fault(graph, operator) for operator in graph.operators)
    refusals = tuple(model.refusals(graph))
    indices = partition.compiled(graph, tuple(found is None for found in faults))
    if refusals:
        verdicts = tuple(_refused(graph, each, faults[each.index], refusals[0]) for each in graph.operators)
        indices = frozenset()
    else:
        verdicts = tuple(_verdict(each, faults[each.index], each.index in indices) for each in graph.operators)
    mapped = tuple(operator for operator in graph.operators if operator.index in indices)
    stored = model.parameters_bytes(graph, mapped)
    return LintReport(
        verdicts,
        (*refusals, *model.remarks(graph, mapped)),
        stored,
        max(0, stored - model.ON_CHIP_BYTES),
        model.runtime_min(mapped),
    )


def _verdict(operator: GraphOperator, found: Fault | None, mapped: bool) -> OperatorVerdict:  # noqa: FBT001 - a fact
    if found is None and not mapped:
        why = "it follows an operator that stays on the CPU, and one part of a graph is compiled"
        found = Fault(Status.SUBGRAPH, why, "mend that operator, or move it to the end", Source.COMPILING)
    if found is None:
        return OperatorVerdict(
            operator.index, operator.name, operator.version, True, Status.MAPPED, "", "", Source.OPERATIONS
        )
    return OperatorVerdict(
        operator.index, operator.name, operator.version, False, found.status, found.why, found.fix, found.source
    )


def _refused(graph: Graph, operator: GraphOperator, found: Fault | None, first: Finding) -> OperatorVerdict:
    """Judge an operator of a file that is not compiled at all: by what is wrong with it, or else with the file."""
    if model.unknown(operator):
        why = f"the compiler, which is of 2021, does not know version {operator.version} of it"
        found = Fault(Status.UNKNOWN, why, versions.fix(operator.name), Source.RUNTIME_VERSIONS)
    elif model.dynamic(graph, operator):
        fix = "freeze the network with batch 1 (forge quantize does)"
        found = Fault(
            Status.DYNAMIC, "a tensor of it has no fixed size, or one that is computed", fix, Source.REQUIREMENTS
        )
    elif found is None:
        found = Fault(Status.FAILED, f"the file is not compiled ({first.rule})", first.fix, first.source)
    return _verdict(operator, found, mapped=False)
