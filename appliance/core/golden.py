"""Golden vectors: does a backend give the numbers that the model's author saw?

The same INT8 file gives different numbers on different hardware (google-coral/edgetpu#347, #503), so each backend
is compared with the recorded outputs before it is trusted. Differences are counted in LSB: steps of the quantised
value, which mean the same for every model.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from appliance.core.types import Array

FLOAT_LSB = 1e-4
"""One LSB of a float32 role, as a fraction of the largest magnitude expected in that tensor.

float32 sums taken in another order differ by some 1e-6 of the range; an INT8 path behind a float edge by 4e-3 a
step. 1e-4 tells a harmless difference (tolerance 1) from a wrong kernel.
"""
COUNT = "count"
"""Role that says how many slots of its sister tensors are filled (``TFLite_Detection_PostProcess``)."""


@dataclass(frozen=True, slots=True)
class Difference:
    """How far one role is off, over all elements and vectors compared."""

    max_lsb: float
    """Infinite when the tensors cannot be compared: role missing, other shape or dtype, not a number."""
    mean_lsb: float
    tolerance_lsb: int

    @property
    def passed(self) -> bool:
        """Whether every element is within the tolerance."""
        return self.max_lsb <= self.tolerance_lsb


@dataclass(frozen=True, slots=True)
class GoldenReport:
    """Differences by role."""

    roles: Mapping[str, Difference]

    @property
    def passed(self) -> bool:
        """Whether every role is within its tolerance; a report without roles proves nothing and does not pass."""
        return bool(self.roles) and all(difference.passed for difference in self.roles.values())

    def __str__(self) -> str:
        """Say how far each role is off."""
        return ", ".join(
            f"{role} is {_steps(difference.max_lsb)} (allowed: {difference.tolerance_lsb})"
            for role, difference in sorted(self.roles.items())
        )

    def faults(self) -> str:
        """Name each role that is outside its tolerance; empty when none is."""
        return str(GoldenReport({role: each for role, each in self.roles.items() if not each.passed}))


def compare(
    outputs: Mapping[str, Array], expected: Mapping[str, Array], tolerance_lsb: Mapping[str, int]
) -> GoldenReport:
    """Compare one inference with what it must give.

    Args:
        outputs: raw outputs by role, as a backend gave them.
        expected: raw outputs by role, as recorded; integers or float32, all finite.
        tolerance_lsb: for each role of ``expected`` the largest allowed difference. A float32 role is counted in
            ``FLOAT_LSB``.

    Slots past the expected ``count`` of a post-processed detector are not compared: they are uninitialised memory
    in tflite-runtime 2.14.
    """
    filled = _filled(expected)
    return GoldenReport(
        {
            role: _difference(outputs.get(role), wanted, tolerance_lsb[role], None if role == COUNT else filled)
            for role, wanted in expected.items()
        }
    )


def combine(reports: Iterable[GoldenReport]) -> GoldenReport:
    """Sum up the reports of several vectors of one model: the largest difference and the mean of the means."""
    listed = list(reports)
    roles = listed[0].roles if listed else {}
    return GoldenReport({role: _worst([report.roles[role] for report in listed]) for role in roles})


def _filled(expected: Mapping[str, Array]) -> int | None:
    """How many slots hold a detection, or None for a model without a ``count``."""
    return int(expected[COUNT].flat[0]) if COUNT in expected else None


def _difference(got: Array | None, wanted: Array, tolerance_lsb: int, filled: int | None) -> Difference:
    """Compare one role, of which only the first ``filled`` slots (axis 1) count."""
    if got is None or got.shape != wanted.shape or got.dtype != wanted.dtype:
        return Difference(math.inf, math.inf, tolerance_lsb)
    if filled is not None:
        got, wanted = got[:, :filled], wanted[:, :filled]
    if wanted.size == 0:
        return Difference(0.0, 0.0, tolerance_lsb)
    # Widened first: int8 minus int8 overflows.
    steps = np.abs(got.astype(np.float64) - wanted.astype(np.float64)) / _lsb(wanted)
    steps = np.where(np.isnan(steps), np.inf, steps)
    return Difference(float(steps.max()), float(steps.mean()), tolerance_lsb)


def _lsb(wanted: Array) -> float:
    """Give the size of one step: 1 for integers, a fraction of the tensor's magnitude for floats."""
    if wanted.dtype.kind in "iu":
        return 1.0
    return FLOAT_LSB * (float(np.abs(wanted).max()) or 1.0)


def _worst(differences: list[Difference]) -> Difference:
    """Sum up one role."""
    return Difference(
        max_lsb=max(difference.max_lsb for difference in differences),
        mean_lsb=sum(difference.mean_lsb for difference in differences) / len(differences),
        tolerance_lsb=differences[0].tolerance_lsb,
    )


def _steps(max_lsb: float) -> str:
    """Say a difference."""
    if math.isinf(max_lsb):
        return "missing, of another shape or dtype, or not a number"
    return f"{max_lsb:.3g} steps off"
