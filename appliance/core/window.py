"""The newest observations of something, and their quantiles."""

import math
from collections import deque
from collections.abc import Iterable, Sequence


class Window:
    """The last ``size_max`` observations. Adding is one atomic append, so any thread may add."""

    __slots__ = ("_values", "add")

    def __init__(self, size_max: int) -> None:
        """Hold at most ``size_max`` observations, at least 1."""
        assert size_max >= 1, size_max
        self._values: deque[float] = deque(maxlen=size_max)
        # Bound once: adding is on the path of every frame, and needs no frame of its own.
        self.add = self._values.append

    def __len__(self) -> int:
        return len(self._values)

    def values(self) -> list[float]:
        """A copy of the observations, oldest first."""
        return list(self._values)

    def quantile(self, q: float) -> float | None:
        """The ``q``-quantile (0 to 1) of what is held, by nearest rank; None when nothing is held."""
        return quantile(sorted(self._values), q)


def quantile(ascending: Sequence[float], q: float) -> float | None:
    """The ``q``-quantile (0 to 1) of sorted values by nearest rank, which is always one of the values.

    Nearest rank (Hyndman and Fan, 1996, type 1): the smallest value such that at least the fraction ``q`` of all
    values is not above it. None when there are no values.
    """
    assert 0.0 <= q <= 1.0, q
    if not ascending:
        return None
    return ascending[max(0, math.ceil(q * len(ascending)) - 1)]


def quantiles(values: Iterable[float], qs: Sequence[float]) -> list[float]:
    """Several quantiles of unsorted ``values``, sorted once; empty when there are no values."""
    ascending = sorted(values)
    return [value for q in qs if (value := quantile(ascending, q)) is not None]
