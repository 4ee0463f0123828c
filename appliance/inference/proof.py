"""A backend is proven by the model's golden vectors before it is trusted."""

from dataclasses import dataclass
from typing import Literal

from appliance.core.golden import GoldenReport, combine, compare
from appliance.core.model import Model
from appliance.errors import BackendError
from appliance.ports import Backend

PROOF_DEADLINE_S = 10.0
"""For each golden vector: the first invoke of an Edge TPU also uploads the model."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a backend may not serve."""

    reason: str
    kind: Literal["open", "golden"]


def prove(backend: Backend, model: Model) -> GoldenReport:
    """Run the model's golden vectors on an open backend; each may take ``PROOF_DEADLINE_S``.

    Raises:
        BackendError: it does not answer, or a number is outside its tolerance.
    """
    report = _replay(backend, model)
    if not report.passed:
        raise BackendError(_unproven(backend, model, report))
    return report


def make_ready(backend: Backend, model: Model) -> Refusal | None:
    """Open a backend and prove it; None when it may serve, else it is closed again.

    Raises:
        ModelError: the file contradicts its description.
    """
    ready = False
    try:
        backend.open(model)
        report = _replay(backend, model)
        ready = report.passed
        return None if ready else Refusal(_unproven(backend, model, report), "golden")
    except BackendError as error:
        return Refusal(str(error), "open")
    finally:
        if not ready:
            backend.close()


def _replay(backend: Backend, model: Model) -> GoldenReport:
    """Compare every golden vector."""
    golden = model.golden
    return combine(
        compare(backend.invoke(tensor, PROOF_DEADLINE_S), expected, golden.tolerance_lsb)
        for tensor, expected in zip(golden.inputs, golden.outputs, strict=True)
    )


def _unproven(backend: Backend, model: Model, report: GoldenReport) -> str:
    return f"{backend.name}: not the golden outputs of {model.name} {model.version}: {report.faults()}"
