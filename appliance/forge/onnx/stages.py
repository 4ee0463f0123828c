"""What each stage of an import changed: the original's outputs against the converted and the quantised graph's."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations

import numpy as np
from numpy.typing import NDArray
from rich.table import Column, Table

from appliance.core.types import Array
from appliance.errors import ForgeError

OUTPUTS_MAX = 7
"""Outputs of equal shape are told apart by trying every order of them: 5040 of seven."""


@dataclass(frozen=True, slots=True)
class Change:
    """How far one output is off after one stage, over all samples."""

    stage: str
    """``float``: converted; ``int8``: converted and quantised."""
    output: str
    """As ONNX names it."""
    max_error: float
    mean_error: float
    """Of the absolute difference, in the output's own unit."""
    spread: float
    """Standard deviation of the original's values: what the errors are to be compared with."""
    correlation: float
    """Of all values, -1 to 1; 1 where both are the same constant."""
    agreement: NDArray[np.bool_] | None
    """For an output of one score a class: of each sample, whether the same class has the highest. Else None."""


@dataclass(frozen=True, slots=True)
class Match:
    """Which output of the converted graph is which of the original."""

    name: str
    """Of the converted graph's tensor."""
    order: tuple[int, ...]
    """Its axes, batch included, in the original's order: ``original.transpose(order)`` has the converted one's."""

    @property
    def is_moved(self) -> bool:
        """Whether the layout differs."""
        return self.order != tuple(range(len(self.order)))


def match(original: Mapping[str, Array], converted: Mapping[str, Array]) -> dict[str, Match]:
    """Find each original output among the converted graph's, by shape, and by values where shapes are equal.

    Converters order and name outputs as they like, and turn pictures' channels last. A shape alone may fit several
    outputs, or fit with and without turning: then what comes closest on the samples is taken.

    Args:
        original: name to values ``[n, ...]``.
        converted: as ``original``, on the same samples.

    Raises:
        ForgeError: an output has no counterpart.
    """
    if len(original) != len(converted) or len(original) > OUTPUTS_MAX:
        msg = f"{len(original)} outputs became {len(converted)}; at most {OUTPUTS_MAX} are followed (--outputs)"
        raise ForgeError(msg)
    best: tuple[float, dict[str, Match]] | None = None
    for names in permutations(converted):
        total, found = 0.0, {}
        for (output, values), name in zip(original.items(), names, strict=True):
            fit = _fit(values, converted[name])
            if fit is None:
                break
            total += fit[0]
            found[output] = Match(name, fit[1])
        else:
            if best is None or total < best[0]:
                best = total, found
    if best is None:
        there = ", ".join(f"{name} {list(values.shape[1:])}" for name, values in converted.items())
        wanted = ", ".join(f"{name} {list(values.shape[1:])}" for name, values in original.items())
        msg = f"the converted graph's outputs are {there}; the original's {wanted}: they do not correspond"
        raise ForgeError(msg)
    return best[1]


def compare(
    stage: str, original: Mapping[str, Array], converted: Mapping[str, Array], matches: Mapping[str, Match]
) -> tuple[Change, ...]:
    """Measure a stage, one Change an output.

    Args:
        stage: its name.
        original: name to values ``[n, ...]``.
        converted: name of the converted tensor to values ``[n, ...]``.
        matches: as ``match`` found them.
    """
    return tuple(
        _change(stage, output, values.transpose(matches[output].order), converted[matches[output].name])
        for output, values in original.items()
    )


def table(changes: Sequence[Change]) -> Table:
    """Draw the stages, one output a row."""
    drawn = Table(
        "output",
        "stage",
        *(
            Column(title, justify="right")
            for title in ("max error", "mean error", "spread", "correlation", "same class")
        ),
        title="error against the original",
        title_justify="left",
    )
    for each in changes:
        same = "" if each.agreement is None else f"{each.agreement.mean():.1%}"
        figures = (f"{figure:.4g}" for figure in (each.max_error, each.mean_error, each.spread))
        drawn.add_row(each.output, each.stage, *figures, f"{each.correlation:.5f}", same)
    return drawn


def _orders(rank: int) -> tuple[tuple[int, ...], ...]:
    """Axes as they are, and with the channels moved from behind the batch to the end."""
    same = tuple(range(rank))
    return (same, (0, *range(2, rank), 1)) if rank > 2 else (same,)  # noqa: PLR2004 - rank


def _fit(original: Array, converted: Array) -> tuple[float, tuple[int, ...]] | None:
    """Give the least relative error of the ways in which the shapes fit, and that way."""
    fits = [
        (float(np.abs(original.transpose(order) - converted).mean()) / (float(original.std()) + 1e-9), order)
        for order in _orders(original.ndim)
        if original.transpose(order).shape == converted.shape
    ]
    return min(fits, default=None)


def _change(stage: str, output: str, original: Array, converted: Array) -> Change:
    error = np.abs(original.astype(np.float64) - converted)
    classes = original.ndim == 2 and original.shape[1] > 1  # noqa: PLR2004 - [n, classes]
    return Change(
        stage=stage,
        output=output,
        max_error=float(error.max()),
        mean_error=float(error.mean()),
        spread=float(original.std()),
        correlation=_correlation(original.ravel(), converted.ravel()),
        agreement=original.argmax(axis=1) == converted.argmax(axis=1) if classes else None,
    )


def _correlation(a: Array, b: Array) -> float:
    """Pearson's, with the two cases it leaves undefined: one constant 0, both the same constant 1."""
    if np.ptp(a) == 0 or np.ptp(b) == 0:
        return 1.0 if np.array_equal(a, b) else 0.0
    return float(np.corrcoef(a.astype(np.float64), b.astype(np.float64))[0, 1])
