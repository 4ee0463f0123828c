"""What a measurement says: figures with their aims, and small statistics."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured number."""

    name: str
    value: float
    unit: str
    aim: str = ""
    """In words, as ``>= 0.90``; empty when the number is only told."""
    reached: bool = True
    note: str = ""


def at_least(name: str, value: float, unit: str, bound: float, note: str = "") -> Figure:
    """A figure that should not be below ``bound``."""
    return Figure(name, value, unit, f">= {bound:g}", value >= bound, note)


def at_most(name: str, value: float, unit: str, bound: float, note: str = "") -> Figure:
    """A figure that should not be above ``bound``."""
    return Figure(name, value, unit, f"<= {bound:g}", value <= bound, note)


def quantile(values: Sequence[float], fraction: float) -> float:
    """Nearest-rank quantile of at least one value; ``fraction`` in (0, 1]."""
    ordered = sorted(values)
    return ordered[max(0, ceil(fraction * len(ordered)) - 1)]


Progress = Callable[[str], None]
"""Called with a line whenever a measurement takes a step."""
