"""What the lint says of a model: each operator's verdict and what concerns the model as a whole."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from rich.table import Column, Table

from appliance.forge.lint.words import Source, Status


class Severity(StrEnum):
    """What a finding means for the model."""

    REFUSED = "refused"
    """The compiler does not compile the file: nothing runs on the Edge TPU."""
    WARNING = "warning"
    """It compiles, and is slower or other than it could be."""
    NOTE = "note"
    """Good to know."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What concerns the model as a whole."""

    severity: Severity
    rule: str
    what: str
    fix: str
    """Empty where there is nothing to do."""
    source: Source


@dataclass(frozen=True, slots=True)
class OperatorVerdict:
    """Where one operator runs, and why."""

    index: int
    """Its position in the graph, from 0."""
    name: str
    version: int
    mapped: bool
    status: Status
    """The compiler's words."""
    why: str
    """Ours; empty when it is mapped."""
    fix: str
    source: Source

    @property
    def sentence(self) -> str:
        """Say it in one line."""
        if self.mapped:
            return f"{self.name} {self.index} runs on the Edge TPU"
        return f"{self.name} {self.index} stays on the CPU: {self.why}; {self.fix}"


@dataclass(frozen=True, slots=True)
class LintReport:
    """What an Edge TPU would run of a model."""

    operators: tuple[OperatorVerdict, ...]
    findings: tuple[Finding, ...]
    parameters_bytes: int
    """Constants of the mapped operators: what the Edge TPU keeps on its chip, or is sent for each inference."""
    streamed_bytes: int
    """Of those, what is beyond the chip's memory."""
    runtime_min: int
    """The oldest Edge TPU runtime that has all mapped operators without further limitations."""

    @property
    def mapped(self) -> int:
        """How many operators run on the Edge TPU."""
        return sum(operator.mapped for operator in self.operators)

    @property
    def compiles(self) -> bool:
        """Whether the compiler takes the file at all."""
        return not any(finding.severity is Severity.REFUSED for finding in self.findings)

    @property
    def complete(self) -> bool:
        """Whether every operator runs on the Edge TPU."""
        return bool(self.operators) and self.mapped == len(self.operators)

    def counts(self) -> dict[tuple[str, str], int]:
        """Count operators by name and status, as the compiler's log does."""
        counted: dict[tuple[str, str], int] = {}
        for operator in self.operators:
            key = (operator.name, operator.status.value)
            counted[key] = counted.get(key, 0) + 1
        return counted

    def to_json(self) -> Mapping[str, Any]:
        """Give what ``--json`` prints."""
        return {
            "operators_total": len(self.operators),
            "operators_mapped": self.mapped,
            "compiles": self.compiles,
            "parameters_bytes": self.parameters_bytes,
            "streamed_bytes": self.streamed_bytes,
            "runtime_min": self.runtime_min,
            "findings": [asdict(finding) for finding in self.findings],
            "operators": [asdict(operator) for operator in self.operators],
        }


def table(report: LintReport) -> Table:
    """Draw operators by name and status, those on the CPU first, with the first one's reason and fix."""
    drawn = Table(
        Column("operator", no_wrap=True),
        Column("count", justify="right"),
        Column("status", ratio=2),
        Column("why, and what to do", ratio=3),
        title=f"{report.mapped} of {len(report.operators)} operators run on the Edge TPU",
    )
    groups: dict[tuple[bool, str, str, str, str], list[int]] = {}
    for each in report.operators:
        groups.setdefault((each.mapped, each.name, each.status.value, each.why, each.fix), []).append(each.index)
    for (mapped, name, status, why, fix), indices in sorted(groups.items()):
        where = "" if mapped else f"{_positions(indices)}: {why}; {fix}"
        drawn.add_row(name, str(len(indices)), status, where, style=None if mapped else "yellow")
    return drawn


POSITIONS_MAX = 4
"""Operators of one kind that are named by their positions."""


def _positions(indices: list[int]) -> str:
    named = ", ".join(str(index) for index in indices[:POSITIONS_MAX])
    left = len(indices) - POSITIONS_MAX
    return f"{named} and {left} more" if left > 0 else named
