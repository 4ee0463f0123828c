"""A backend is proven by the model's golden vectors before it is trusted.

The twin is held against the outputs that the model's author recorded; every other backend against what the twin gave
on this very device, so that a failover changes no decision by more than the tolerance that the model declares.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

from appliance.core.golden import GoldenReport, combine, compare
from appliance.core.model import Model
from appliance.core.types import Array, Outputs
from appliance.errors import BackendError
from appliance.ports import Backend

PROOF_DEADLINE_S = 10.0
"""For each golden vector: the first invoke of an Edge TPU also uploads the model."""

Reference = Sequence[Mapping[str, Array]]
"""Outputs by role, one for each golden vector."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a backend may not serve."""

    reason: str
    kind: Literal["open", "answer", "golden"]


def prove(backend: Backend, model: Model) -> GoldenReport:
    """Run the model's golden vectors on an open backend; each may take ``PROOF_DEADLINE_S``.

    Raises:
        BackendError: it does not answer, or a number is outside its tolerance.
    """
    report = _compared(_replay(backend, model), model.golden.outputs, model)
    if not report.passed:
        raise BackendError(_unproven(backend, model, report, "golden outputs"))
    return report


def make_ready(
    backend: Backend,
    model: Model,
    reference: Reference | None = None,
    *,
    passes: int = 1,
    took: Callable[[Callable[[], Outputs]], Outputs] = lambda invoke: invoke(),
) -> Refusal | list[Outputs]:
    """Open a backend and prove it ``passes`` times in a row; if it may not serve it is closed again.

    Args:
        backend: not open yet.
        model: what it shall run.
        reference: what it must give; default: the recorded golden outputs.
        passes: how often in a row.
        took: calls each invoke, to time it.

    Returns:
        Why not, or its outputs for the golden vectors: the reference for others.

    Raises:
        ModelError: the file contradicts its description.
    """
    outputs: list[Outputs] = []
    opened = ready = False
    try:
        backend.open(model)
        opened = True
        for _ in range(passes):
            outputs = _replay(backend, model, took)
            report = _compared(outputs, reference or model.golden.outputs, model)
            if not report.passed:
                what = "golden outputs" if reference is None else "twin's outputs"
                return Refusal(_unproven(backend, model, report, what), "golden")
        ready = True
    except BackendError as error:
        return Refusal(str(error), "answer" if opened else "open")
    finally:
        if not ready:
            backend.close()
    return outputs


def _replay(
    backend: Backend, model: Model, took: Callable[[Callable[[], Outputs]], Outputs] = lambda invoke: invoke()
) -> list[Outputs]:
    """Run every golden vector."""
    return [took(partial(backend.invoke, tensor, PROOF_DEADLINE_S)) for tensor in model.golden.inputs]


def _compared(outputs: Sequence[Outputs], wanted: Reference, model: Model) -> GoldenReport:
    """Compare every golden vector's outputs."""
    tolerance = model.golden.tolerance_lsb
    return combine(compare(got, expected, tolerance) for got, expected in zip(outputs, wanted, strict=True))


def _unproven(backend: Backend, model: Model, report: GoldenReport, what: str) -> str:
    return f"{backend.name}: not the {what} of {model.name} {model.version}: {report.faults()}"
